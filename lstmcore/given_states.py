"""The states of recurrent layers, and the lengths of windows, as users hand them in and get them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_numbers, as_real
from lstmcore.layers import Array, Recurrent
from lstmcore.text import NAME, clean, listed

#: (h, c) of a model's one LSTM layer, h alone of its one GRU or RNN; where it has several, such by their names.
State = npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike] | Mapping[str, Any]


def as_states(
    state: State | None, layers: Sequence[Recurrent], batch: tuple[int, ...], dtype: np.dtype[Any]
) -> Array | None:
    """Initial states (N, S), of each layer and direction h, then c where there is one; None for zeros.

    `batch` is (N,), or () for one window.

    Raises:
        ValueError: States for a layer that is not there, or of another shape.
        TypeError: Something that is neither what one layer takes nor a mapping of such.
    """
    if state is None:
        return None
    if not layers:
        raise ValueError("state: the model has no recurrent layer, so none of its layers takes one")
    names = [layer.name for layer in layers]
    given: Mapping[str, Any] | None = (
        state if isinstance(state, Mapping) else {names[0]: state} if len(names) == 1 else None
    )
    if given is None:
        keys = f"[{listed(map(repr, names))}]"
        raise TypeError(f"state: the model has {len(names)} recurrent layers, so give a mapping with the keys {keys}")
    if set(given) != set(names):
        raise ValueError(f"state: expected the keys [{listed(map(repr, names))}], got [{listed(map(repr, given))}]")
    rows = []
    for layer in layers:
        if layer.cell_width:
            h_0, c_0 = _as_pair(given[layer.name], layer)
            cells = _as_state(c_0, layer, layer.cell_width, batch, dtype, "c")
        else:
            h_0, cells = given[layer.name], None
        hidden = _as_state(h_0, layer, layer.state_width, batch, dtype, "h")
        rows.append(hidden if cells is None else np.concatenate([hidden, cells], axis=2))
    flat = [part.reshape(len(part), part.shape[1] * part.shape[2]) for part in rows]
    return np.ascontiguousarray(np.concatenate(flat, axis=1))


def states_of(ends: Array, layers: Sequence[Recurrent], batch: bool) -> Any:
    """What `as_states` takes, of states (N, S); of one window where it is no batch."""
    found, at = {}, 0
    for layer in layers:
        width = layer.state_width + layer.cell_width
        rows = ends[:, at : at + layer.states * width].reshape(len(ends), layer.states, width).transpose(1, 0, 2)
        at += layer.states * width
        h, c = (part if batch else part[:, 0] for part in np.split(rows, [layer.state_width], axis=2))
        h, c = h.copy(), c.copy()
        found[layer.name] = (h, c) if layer.cell_width else h
    return next(iter(found.values())) if len(found) == 1 else found


def as_lengths(lengths: npt.ArrayLike, n: int, steps: int) -> Array:
    """How many ticks of each of n windows count: (N,), each 1 to `steps`; one number is for all.

    Raises:
        ValueError: Another count, or a length out of range.
        TypeError: Something that is no integers.
    """
    array = as_real(lengths, "lengths")
    if array.size == 0:  # an empty list is one of floats for numpy
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got dtype {array.dtype}")
    if array.ndim == 0:
        array = np.full(n, array)
    if array.shape != (n,):
        raise ValueError(f"lengths: expected {n}, one for each window, got shape {array.shape}")
    wrong = np.flatnonzero((array < 1) | (array > steps))
    if len(wrong):
        raise ValueError(
            f"lengths: expected 1 to {steps}, the windows' ticks, got {array[wrong[0]]} for window {wrong[0]}"
        )
    return array


def _as_pair(value: Any, layer: Recurrent) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    """The h and c of an LSTM."""
    try:
        if isinstance(value, np.ndarray) and value.ndim < 3:
            raise ValueError("rows of h alone, of which two would pass for a pair")
        h, c = value
    except (TypeError, ValueError):
        raise TypeError(f"state of {clean(layer.name, NAME)}: expected a pair (h, c)") from None
    return h, c


def _as_state(
    value: npt.ArrayLike, layer: Recurrent, width: int, batch: tuple[int, ...], dtype: np.dtype[Any], letter: str
) -> Array:
    """(rows, width) or (rows, N, width) -> (N, rows, width); rows are layers times directions."""
    what = f"state {letter} of {clean(layer.name, NAME)}"
    array = as_numbers(value, dtype, what)
    one = (layer.states, width)
    full = (one[0], *batch, one[1])
    if array.shape not in (one, full):
        forms = " or ".join(str(shape) for shape in sorted({one, full}, key=len))
        rows = ", rows being layers times directions" if layer.bidirectional else ""
        alone = (
            f"; {type(layer).__name__} layers have h alone" if isinstance(value, tuple) and not layer.cell_width else ""
        )
        raise ValueError(f"{what}: expected shape {forms}{rows}, got {array.shape}{alone}")
    n = batch[0] if batch else 1
    if array.shape == one:
        return np.broadcast_to(array, (n, *one))
    return array.transpose(1, 0, 2)
