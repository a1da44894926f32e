"""What a call of a model does: windows, states and lengths taken as they were given, answers given back alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcore.given_states import State, as_lengths, as_states, states_of
from lstmcore.layers import Array
from lstmcore.ports import Given, as_windows, by_name

if TYPE_CHECKING:
    from lstmcore.model import Model


def answer(model: Model, window: Given, state: State | None, lengths: npt.ArrayLike | None, return_state: bool) -> Any:
    """As `Model.__call__`."""
    runner = model.runner
    xs = runner.take_all(as_windows(window, runner.inputs, model.steps))
    sequence = next(n for n, one in enumerate(runner.inputs) if one.rank == "sequence")
    several = xs[sequence].ndim == 3
    if not several and state is None and lengths is None and not return_state:
        return by_name(runner.outputs, runner.run_window(xs))
    batch = xs if several else [x[np.newaxis] for x in xs]
    count, steps = batch[sequence].shape[:2]
    begin = as_states(state, model.recurrent_layers, (count,) if several else (), runner.dtype)
    counts = None if lengths is None else _lengths(model, lengths, count, steps)
    ends = _room_for_states(model, count) if return_state else None
    answers = runner.run(batch, begin, counts, ends) if count else runner.answers(count, steps)
    given = by_name(runner.outputs, answers if several else [y[0] for y in answers])
    return given if ends is None else (given, states_of(ends, model.recurrent_layers, several))


def _room_for_states(model: Model, count: int) -> Array:
    layers = model.recurrent_layers
    if not layers:
        raise ValueError("return_state: the model has no recurrent layer, and so no states")
    size = sum(layer.states * (layer.state_width + layer.cell_width) for layer in layers)
    return np.zeros((count, size), model.runner.dtype)


def _lengths(model: Model, lengths: npt.ArrayLike, count: int, steps: int) -> Array:
    if model.steps is not None:
        raise ValueError(f"lengths: the model answers windows of {model.steps} ticks (Flatten), no shorter ones")
    return as_lengths(lengths, count, steps).astype(np.uintp)
