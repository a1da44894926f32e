"""States of streams: arrays by name, made, and checked before a stream goes on from them.

A state has h and c of every window in flight, or the last ticks ("history") where whole windows are answered; how many
"ticks" have come; the "window"; and "model", the digest of layers and weights. A pool's has a row for each stream and
their names, "streams".
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from lstmcore.files import as_name
from lstmcore.inputs import as_real
from lstmcore.layers import Array
from lstmcore.text import NAME, clean, listed, quoted

if TYPE_CHECKING:
    from lstmcore.backends.sliders import Slider
    from lstmcore.model import Model

#: What can be kept, as errors call it.
KINDS = {"stateful": "a stateful stream", "sliding": "a sliding stream", "pool": "a pool"}

MOST_TICKS = 1 << 62  # there is room to count on from there

#: A state, or a file that holds one.
Source = Mapping[str, npt.ArrayLike] | str | os.PathLike[str]


class Part(NamedTuple):
    """One array of a state, before it is read."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


def digest(model: Model) -> Array:
    """SHA-256 over the layers and weights, (32,) uint8."""
    whole = hashlib.sha256()
    whole.update(repr(([(one.name, one.size, one.rank) for one in model.inputs], model.wiring.outputs)).encode())
    for layer in model.layers:
        whole.update(repr((type(layer).__name__, layer.name, layer.inputs, sorted(layer.settings().items()))).encode())
        for key, weight in sorted(layer.weights.items()):
            whole.update(repr((key, weight.shape, str(weight.dtype))).encode())
            whole.update(weight.tobytes())
    return np.frombuffer(whole.digest(), np.uint8)


def keep(slider: Slider, stream: int, window: int | None, model: Model) -> dict[str, Array]:
    """The state of one stream."""
    parts, ticks = slider.get(stream)
    numbers = {"ticks": ticks} | ({} if window is None else {"window": window})
    return {**parts, **{name: np.array(n, np.int64) for name, n in numbers.items()}, "model": digest(model)}


def go_on(slider: Slider, stream: int, state: Mapping[str, Array]) -> None:
    """Let a stream go on from a state that `fit` returned."""
    parts = {name: part for name, part in state.items() if name not in ("ticks", "window", "model", "streams")}
    slider.set(stream, parts, int(state["ticks"]))


def fit(source: Source, kind: str, expected: Mapping[str, Array]) -> dict[str, Array]:
    """The state that `source` is or holds, once a stream whose own state is `expected` can go on from it.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that holds no state, or a damaged one.
        ValueError: The state of another kind of stream, of another model, window or pool; parts that do not fit.
        TypeError: Parts that are no numbers.
    """
    from lstmcore.streaming import files

    if not isinstance(source, Mapping):
        return files.read(as_name(source, "state"), kind, expected)
    other = next((name for name in source if not isinstance(name, str)), None)
    if other is not None:
        raise ValueError(f"state: expected the names of its parts as keys, got {quoted(other)}")
    arrays = {name: as_real(value, f"state: {clean(name, NAME)}") for name, value in source.items()}
    found = {name: Part(str(x.dtype), x.shape, x.copy) for name, x in arrays.items()}
    is_pool, has_window = "streams" in found, "window" in found
    of = "pool" if is_pool else "sliding" if has_window else "stateful"
    return check("state", found, of if "model" in found else kind, kind, expected)


def check(where: str, found: Mapping[str, Part], of: str, kind: str, expected: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of `found`, a state of the kind `of`; what differs is told with what causes it first.

    Raises:
        ValueError: As `fit`.
    """

    def refuse(what: str) -> NoReturn:
        raise ValueError(f"{where}: {what}")

    def read(name: str) -> Array:
        part, like = found[name], expected[name]
        if part.shape != like.shape or part.dtype != str(like.dtype):
            refuse(f"{name}: expected {like.dtype} {like.shape}, got {part.dtype} {part.shape}")
        return part.read()

    if of != kind:
        refuse(f"expected the state of {KINDS[kind]}, got that of {KINDS[of]}")
    if "model" in found and not np.array_equal(read("model"), expected["model"]):
        refuse("it is the state of another model, or of other weights")
    if "window" in found and read("window") != expected["window"]:
        refuse(f"window: expected {expected['window']}, got {read('window')}")
    if "streams" in found:
        if found["streams"].dtype != "uint8":
            refuse(f"streams: expected uint8, got {found['streams'].dtype}")
        given, own = names(found["streams"].read()), names(expected["streams"])
        for what, some in (("it has no", {*own} - {*given}), ("this pool has no", {*given} - {*own})):
            if some:
                refuse(
                    f"streams: {what} {clean(min(some), NAME)}"
                    + (f" and {len(some) - 1} more" if len(some) > 1 else "")
                )
        if len(given) != len(own):
            refuse("streams: a name occurs twice")
    kept, goes_on = _computes(found), _computes(expected)
    if kept and kept != goes_on:
        refuse(f"kept by a stream that computes {kept}; this one, of another backend, computes {goes_on}")
    if set(found) != set(expected):
        refuse(f"expected the parts [{listed(map(repr, sorted(expected)))}], got [{listed(map(repr, sorted(found)))}]")
    state = {name: read(name) for name in expected}
    wrong = state["ticks"][(state["ticks"] < 0) | (state["ticks"] > MOST_TICKS)]
    if wrong.size:
        refuse(f"ticks: expected 0 to 2**62, got {wrong[0]}")
    return state


def _computes(parts: Iterable[str]) -> str:
    """What a stream of such a state does at a tick; "" where the parts do not say."""
    if any(name.startswith("history") for name in parts):
        return "whole windows"
    return "a step of each layer" if any("." in name for name in parts) else ""


def name_part(streams: Iterable[Hashable]) -> Array:
    """The names of a pool's streams as a part of its state: their reprs, in JSON, as bytes."""
    return np.frombuffer(json.dumps([repr(name) for name in streams]).encode(), np.uint8)


def names(part: Array) -> list[str]:
    """The reprs in such a part; none where it is no such part."""
    try:
        found = json.loads(part.tobytes())
    except (ValueError, RecursionError):
        return []
    return [str(name) for name in found] if isinstance(found, list) else []


def refuse_to_pickle(stream: object) -> NoReturn:
    """Raise TypeError: a stream holds memory, and perhaps a thread, of this process; its state is arrays."""
    raise TypeError(
        f"a {type(stream).__name__} cannot be pickled: pickle its state() or save() it, and restore() that in one that "
        f"is made anew; its copy() makes a second one"
    )
