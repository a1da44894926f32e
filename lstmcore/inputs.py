"""What users hand in, made into arrays that a backend takes, or refused with what was expected and what came."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.layers import LSTM, Array

#: (h, c) of a model's one LSTM layer, or such pairs by the layers' names.
State = tuple[npt.ArrayLike, npt.ArrayLike] | Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]


def as_real(value: npt.ArrayLike, what: str) -> Array:
    """`value` as an array in its own dtype, not copied where it is one. Raises as `as_numbers` does."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{what}: a masked array with masked values; fill them first, with NaN if they are unknown")
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{what}: not a regular array of numbers ({error})") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected real numbers, got {type(value).__name__} of dtype {array.dtype}")
    return array


def as_numbers(value: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    """A C-contiguous array of `dtype`. Raises TypeError for what does not hold real numbers."""
    array = as_real(value, what)
    return np.ascontiguousarray(array, dtype=dtype) if array.ndim else array.astype(dtype)


def as_integer(value: Any, what: str, least: int) -> int:
    """An int that is at least `least`. Raises TypeError for what is no integer, ValueError for one below it."""
    if isinstance(value, bool):
        raise TypeError(f"{what}: expected an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{what}: expected an integer, got {type(value).__name__} {value!r}") from None
    if number < least:
        raise ValueError(f"{what}: expected at least {least}, got {number}")
    return number


def as_windows(value: npt.ArrayLike, dtype: np.dtype[Any], features: int, steps: int | None) -> Array:
    """One window (T, F) or a batch (N, T, F), C-contiguous, of `dtype`.

    Raises:
        ValueError: Another rank, feature count or length.
        TypeError: Something that does not hold numbers.
    """
    x = as_numbers(value, dtype, "window")
    length = "T" if steps is None else steps
    expected = f"expected ({length}, {features}) or (N, {length}, {features})"
    if x.ndim not in (2, 3):
        raise ValueError(f"window: {expected}, got {x.ndim} dimensions, shape {x.shape}")
    if x.shape[-1] != features:
        raise ValueError(f"window: {expected}, got {x.shape[-1]} features, shape {x.shape}")
    if x.shape[-2] == 0:
        raise ValueError(f"window: {expected} with at least one time step, got shape {x.shape}")
    if steps is not None and x.shape[-2] != steps:
        raise ValueError(f"window: {expected}, got {x.shape[-2]} time steps, shape {x.shape}")
    return x


def as_states(
    state: State | None, layers: Sequence[LSTM], x: Array, dtype: np.dtype[Any]
) -> tuple[Array | None, Array | None]:
    """Initial states as two arrays (N, S), each window's layers one behind the other; (None, None) for zeros.

    Raises:
        ValueError: States for a layer that is not there, or of another shape.
        TypeError: Something that is neither a pair nor a mapping of pairs.
    """
    if state is None:
        return None, None
    names = [layer.name for layer in layers]
    pairs = state if isinstance(state, Mapping) else {names[0]: state} if len(names) == 1 else None
    if pairs is None:
        raise TypeError(f"state: the model has {len(names)} LSTM layers, so give a mapping with the keys {names}")
    if set(pairs) != set(names):
        raise ValueError(f"state: expected the keys {names}, got {sorted(pairs)}")
    h, c = [], []
    for layer in layers:
        try:
            h_0, c_0 = pairs[layer.name]
        except (TypeError, ValueError):
            raise TypeError(f"state of {layer.name}: expected a pair (h, c)") from None
        h.append(_as_state(h_0, layer, x, dtype, "h"))
        c.append(_as_state(c_0, layer, x, dtype, "c"))
    return np.ascontiguousarray(np.concatenate(h, axis=1)), np.ascontiguousarray(np.concatenate(c, axis=1))


def _as_state(value: npt.ArrayLike, layer: LSTM, x: Array, dtype: np.dtype[Any], letter: str) -> Array:
    """(L, H) or (L, N, H) -> (N, L*H)."""
    what = f"state {letter} of {layer.name}"
    array = as_numbers(value, dtype, what)
    one = (layer.num_layers, layer.hidden_size)
    batch = x.shape[:-2]
    full = (one[0], *batch, one[1])
    if array.shape not in (one, full):
        forms = " or ".join(str(shape) for shape in sorted({one, full}, key=len))
        raise ValueError(f"{what}: expected shape {forms}, got {array.shape}")
    n = batch[0] if batch else 1
    if array.shape == one:
        return np.broadcast_to(array.reshape(1, -1), (n, array.size))
    return np.ascontiguousarray(array.transpose(1, 0, 2)).reshape(n, -1)
