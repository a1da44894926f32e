"""An ONNX file whose states go in and come out, beside a Model: both answer from the same random states.

A window's states depend on its numbers alone, so that they are the same alone and among others. What is compared is
one row of numbers for each window, the answer's and behind them those of the states at the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import lstmcore
from lstmcore.formats.states import Carried
from lstmcore.layers import Array, Recurrent


def random_units(states: Carried, windows: Array) -> Array:
    """States for windows (N, T, F): (N, all units)."""
    seeds = [zlib.crc32(np.ascontiguousarray(window, np.float32).tobytes()) for window in windows]
    return np.stack([np.random.default_rng(seed).normal(size=states.width) for seed in seeds]).astype(np.float32)


def check_alike(path: str, layers: Sequence[Recurrent], model: lstmcore.Model) -> None:
    """Raise ValueError where a Model has other states than the file's layers."""

    def shapes(some: Sequence[Recurrent]) -> list[Any]:
        return [(type(layer).__name__, layer.states, *layer.state_widths.values()) for layer in some]

    if shapes(layers) != shapes(model.recurrent_layers):
        raise ValueError(
            f"{path}: its states are those of {shapes(layers)} (kind, rows, units), and the model's of "
            f"{shapes(model.recurrent_layers)}; their states cannot be compared"
        )


def of_model(model: lstmcore.Model, states: Carried, with_ends: bool) -> Callable[[Array], Array]:
    """The Model's answers to a window or several, and `with_ends` its states."""

    def answer(x: Array) -> Array:
        batch = x if x.ndim == 3 else x[np.newaxis]
        units = random_units(states, batch)
        given = states.as_state(model.recurrent_layers, units) if states.flow.inputs else None
        if not with_ends:
            made = model(batch, given).reshape(len(batch), -1)
        else:
            answers, ends = model(batch, given, return_state=True)
            own = states.as_units(model.recurrent_layers, ends)
            parts = [own[:, list(port.units)] for port in states.flow.outputs]
            made = np.concatenate([answers.reshape(len(batch), -1), *parts], axis=1)
        return made if x.ndim == 3 else made[0]

    return answer


def of_file(
    run: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    states: Carried,
    names: tuple[str, str],
    letters: Sequence[str],
    batch: int | None,
    dtype: type[np.floating[Any]],
    with_ends: bool,
) -> Callable[[Array], Array]:
    """The file's, by `run`, which takes and gives tensors by name.

    Args:
        run: ONNX Runtime.
        states: What goes in and comes out.
        names: The window and the answer.
        letters: The window's axes.
        batch: How many windows the file takes at once; None: any.
        dtype: Of the inputs.
        with_ends: Whether the states at the end are a part of what is compared.
    """
    window, answer_name = names

    def once(x: Array) -> Array:
        units = random_units(states, x)
        sizes = dict(zip("NTF", x.shape, strict=True))
        ordered = x.swapaxes(0, 1) if letters[0] == "T" else x
        given = ordered.reshape([sizes[letter] for letter in letters])  # without axes of size 1, perhaps
        feed = {window: given.astype(dtype)}
        out = run(feed | {port.name: port.gather(units).astype(dtype) for port in states.flow.inputs})
        answers = out[answer_name]
        if letters[0] == "T" and answers.ndim == 3:
            answers = answers.swapaxes(0, 1)
        ports = states.flow.outputs if with_ends else ()
        ends = (np.moveaxis(out[port.name], port.windows_axis, 0) for port in ports)
        rows: Array = np.concatenate([part.reshape(len(x), -1) for part in (answers, *ends)], axis=1)
        return rows

    def answer(x: Array) -> Array:
        if x.ndim == 2:
            alone: Array = once(np.repeat(x[np.newaxis], batch or 1, 0))[0]
            return alone
        return once(x) if batch in (None, len(x)) else np.stack([answer(one) for one in x])

    return answer
