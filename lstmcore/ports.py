"""What goes into a model and comes out of it: one array, or several by the names of the inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_out, as_real
from lstmcore.layers import Array, Input, Shape
from lstmcore.text import listed, quoted

#: What a model takes: an array, or, by the names of its inputs, several.
Given = npt.ArrayLike | Mapping[str, npt.ArrayLike]


def by_input(value: Any, inputs: Sequence[Input], what: str) -> list[tuple[str, Any]]:
    """What was given for each input, after what errors call it: `what`, with the input's name where there are several.

    Raises:
        TypeError: No mapping, where there are several inputs.
        ValueError: A mapping with other keys.
    """
    names = [one.name for one in inputs]
    if not isinstance(value, Mapping):
        if len(inputs) > 1:
            keys = f"[{listed(map(repr, names))}]"
            raise TypeError(
                f"{what}: the model has {len(inputs)} inputs, so give a mapping with the keys {keys}, not "
                f"{type(value).__name__}"
            )
        return [(what, value)]
    if set(value) != set(names):
        raise ValueError(f"{what}: expected the keys [{listed(map(repr, names))}], got [{listed(map(quoted, value))}]")
    labels = [f"{what} {quoted(name)}" for name in names] if len(inputs) > 1 else [what]
    return [(label, value[name]) for label, name in zip(labels, names, strict=True)]


def by_name(names: Iterable[str], arrays: Sequence[Any]) -> Any:
    """Answers as they are given out: the one there is, or a dict by the outputs' names."""
    return arrays[0] if len(arrays) == 1 else dict(zip(names, arrays, strict=True))


def as_windows(value: Any, inputs: Sequence[Input], steps: int | None) -> list[Array]:
    """One window or a batch, for each input: (T, F) or (N, T, F), of a vector (F,) or (N, F).

    In their own dtypes, not copied where they are arrays.

    Raises:
        ValueError: Another rank, feature count or length; sequences that are not of one length; other names.
        TypeError: Something that does not hold numbers.
    """
    found: list[Array] = []
    like: tuple[int, ...] = ()  # N, if it is a batch, and T, of the first sequence
    first = ""
    for one, (what, given) in zip(inputs, by_input(value, inputs, "window"), strict=True):
        x = as_real(given, what)
        if one.rank == "sequence":
            _check_window(x, one.size, steps, what)
            if first and x.shape[:-1] != like:
                raise ValueError(f"{what}: expected shape {(*like, one.size)}, as {first} has, got {x.shape}")
            first, like = first or what, x.shape[:-1]
        found.append(x)
    return [
        x if one.rank == "sequence" else _vector(x, one, like[:-1], f"window {quoted(one.name)}")
        for one, x in zip(inputs, found, strict=True)
    ]


def _check_window(x: Array, features: int, steps: int | None, what: str) -> None:
    length = "T" if steps is None else steps
    expected = f"expected ({length}, {features}) or (N, {length}, {features})"
    if x.ndim not in (2, 3):
        raise ValueError(f"{what}: {expected}, got {x.ndim} dimensions, shape {x.shape}")
    if x.shape[-1] != features:
        raise ValueError(f"{what}: {expected}, got {x.shape[-1]} features, shape {x.shape}")
    if x.shape[-2] == 0:
        raise ValueError(f"{what}: {expected} with at least one time step, got shape {x.shape}")
    if steps is not None and x.shape[-2] != steps:
        raise ValueError(f"{what}: {expected}, got {x.shape[-2]} time steps, shape {x.shape}")


def _vector(x: Array, one: Input, rows: tuple[int, ...], what: str) -> Array:
    """A vector for each of `rows`; one number may come alone."""
    shape = (*rows, one.size)
    if one.size == 1 and x.shape == rows:
        x = x[..., np.newaxis]
    if x.shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {x.shape}")
    return x


def as_tick(value: Any, inputs: Sequence[Input]) -> list[Array]:
    """A tick (F,) of each input, in their own dtypes. Raises as `as_windows` does."""
    found = []
    for one, (what, given) in zip(inputs, by_input(value, inputs, "tick"), strict=True):
        x = as_real(given, what)
        if one.rank == "vector":
            x = _vector(x, one, (), what)
        if x.shape != (one.size,):
            raise ValueError(f"{what}: expected shape {(one.size,)}, got {x.shape}")
        found.append(x)
    return found


def as_ticks(value: Any, inputs: Sequence[Input], count: int | None = None) -> list[Array]:
    """Ticks (N, F) of each input, `count` of them where it is given. Raises as `as_windows` does."""
    named = by_input(value, inputs, "ticks")
    given = [(one, what, as_real(x, what)) for one, (what, x) in zip(inputs, named, strict=True)]
    n = count
    for one, what, x in given:
        if one.rank == "sequence":
            if x.ndim != 2 or x.shape[1] != one.size or n not in (None, len(x)):
                raise ValueError(f"{what}: expected ({'N' if n is None else n}, {one.size}), got shape {x.shape}")
            n = len(x)
    return [x if one.rank == "sequence" else _vector(x, one, (n or 0,), what) for one, what, x in given]


def as_series(value: Any, inputs: Sequence[Input], window: int, stride: int) -> tuple[list[Array], int]:
    """A series (rows, F) for each sequence, and a vector (N, F) for all N windows of it; and N.

    Raises:
        ValueError: Another shape, or fewer rows than the window has.
        TypeError: Something that does not hold numbers.
    """
    given = [(what, as_real(x, what)) for what, x in by_input(value, inputs, "series")]
    rows = next(len(x) if x.ndim else 0 for one, (_, x) in zip(inputs, given, strict=True) if one.rank == "sequence")
    count = max(0, (rows - window) // stride + 1)
    first = True
    for one, (what, x) in zip(inputs, given, strict=True):
        if one.rank == "vector":
            continue
        if x.ndim != 2 or x.shape[1] != one.size or len(x) != rows:
            expected = f"({'rows' if first else rows}, {one.size})"
            raise ValueError(f"{what}: expected {expected}, got shape {x.shape}")
        if rows < window:
            raise ValueError(f"{what}: expected at least the window's {window} rows, got {rows}")
        first = False
    return [
        x if one.rank == "sequence" else _vector(x, one, (count,), f"{what}, a row for each window")
        for one, (what, x) in zip(inputs, given, strict=True)
    ], count


def as_outs(out: Any, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> list[Array]:
    """Room for answers of these shapes: what the caller gave, one array or a mapping, else new arrays.

    Raises:
        ValueError: Arrays that do not fit; of a model with several outputs, no mapping, or one with other keys.
    """
    if out is None:
        return [np.empty(shape, dtype) for shape in shapes.values()]
    if len(shapes) == 1:
        return [as_out(out, shape, dtype, "out") for shape in shapes.values()]
    if not isinstance(out, Mapping) or set(out) != set(shapes):
        came = f"the keys [{listed(map(quoted, out))}]" if isinstance(out, Mapping) else type(out).__name__
        raise ValueError(f"out: expected a mapping with the keys [{listed(map(repr, shapes))}], got {came}")
    return [as_out(out[name], shape, dtype, f"out {quoted(name)}") for name, shape in shapes.items()]


def sizes_of(output: Shape, steps: int) -> tuple[int, ...]:
    """The shape of an output for a window of so many steps."""
    return tuple(n if isinstance(n, int) else steps for n in output)
