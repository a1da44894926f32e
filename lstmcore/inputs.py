"""What users hand in, made into arrays that a backend takes, or refused with what was expected and what came."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.layers import Array, Recurrent
from lstmcore.text import NAME, clean, listed, quoted

#: (h, c) of a model's one LSTM layer, h alone of its one GRU or RNN; where it has several, such by their names.
State = npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike] | Mapping[str, Any]


def as_real(value: npt.ArrayLike, what: str) -> Array:
    """`value` as an array in its own dtype, not copied where it is one. Raises as `as_numbers` does.

    The columns of a frame are taken in its order, whatever their names.

    Always another array than `value`: what has been checked stays so, whatever other threads do to its shape or dtype.
    """
    check_unmasked(value, what)
    try:
        array = np.asarray(value).view()
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{what}: not a regular array of numbers ({clean(error)})") from None
    except (TypeError, RuntimeError) as error:  # as of a torch tensor that has a gradient, or is on a GPU
        raise TypeError(f"{what}: numpy makes no array of {type(value).__name__} ({clean(error)})") from None
    if array.dtype.kind == "O" and hasattr(value, "iloc"):
        array = _from_pandas(value, what)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected real numbers, got {type(value).__name__} of dtype {array.dtype}")
    return array


def check_unmasked(value: Any, what: str) -> None:
    """Raise ValueError for a masked array, or a list of such, of which an array would lose the mask."""
    parts = value if isinstance(value, list | tuple) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise ValueError(f"{what}: a masked array with masked values; fill them first, with NaN if they are unknown")


def _from_pandas(value: Any, what: str) -> Array:
    """A frame or column that numpy takes for objects: float64, NaN where a value is missing.

    Raises TypeError for a column that holds no numbers; it names the column.
    """
    columns = [value.iloc[:, k] for k in range(value.shape[1])] if value.ndim == 2 else [value]
    for column in columns:
        if column.dtype.kind not in "fiub":
            name = "" if column.name is None else f" column {quoted(column.name)}:"
            raise TypeError(f"{what}:{name} expected real numbers, got dtype {column.dtype}")
    arrays = [column.to_numpy(dtype=np.float64, na_value=np.nan) for column in columns]
    return np.stack(arrays, axis=1) if value.ndim == 2 else arrays[0]


def as_numbers(value: npt.ArrayLike, dtype: np.dtype[Any], what: str) -> Array:
    """A C-contiguous, aligned array of `dtype`, infinite where a number is too large for it.

    Raises:
        ValueError: Rows of different lengths, or masked values.
        TypeError: Something that does not hold real numbers.
    """
    array = as_real(value, what)
    if not array.flags.aligned:
        array = array.copy()
    if array.dtype == dtype and array.ndim:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=dtype) if array.ndim else array.astype(dtype)


def as_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A view of `out`, to write numbers of this shape and dtype through. Raises ValueError where it does not fit."""
    if not isinstance(out, np.ndarray):
        raise ValueError(f"out: expected a {dtype} array of shape {shape}, got {type(out).__name__}")
    if type(out) not in (np.ndarray, np.memmap):
        raise ValueError(
            f"out: expected a numpy.ndarray or numpy.memmap, got the subclass {type(out).__name__}, which may give its "
            "memory another meaning: hand in an array, or out.view(numpy.ndarray)"
        )
    view = out.view(np.ndarray)
    if view.shape != shape or view.dtype != dtype:
        raise ValueError(f"out: expected a {dtype} array of shape {shape}, got {view.dtype} {view.shape}")
    if not view.flags.carray:
        raise ValueError("out: expected a C-contiguous, aligned, writable array")
    return view


def as_flag(value: Any, what: str) -> bool:
    """A bool. Raises TypeError for anything else: the text "no" would be true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{what}: expected True or False, got {quoted(value)}")
    return bool(value)


#: What a stream does with a NaN or an infinity in a tick.
ON_NAN = ("propagate", "raise")


def as_choice(value: str, what: str, choices: Sequence[str]) -> str:
    """The value. Raises ValueError for what is none of these words."""
    if not isinstance(value, str) or value not in choices:  # an array would be compared word by word
        raise ValueError(f"{what}: expected one of {tuple(choices)}, got {quoted(value)}")
    return value


def check_finite(ticks: Array, given: Array) -> None:
    """Raise ValueError for a number that is not finite in ticks, (F,) or (N, F), with what it was as `given`."""
    wrong = np.argwhere(~np.isfinite(ticks))
    if len(wrong):
        *tick, feature = wrong[0].tolist()
        where = f"feature {feature}" + (f" of tick {tick[0]}" if len(ticks) > 1 and tick else "")
        came = given[tuple(wrong[0])]
        beyond = f", too large for {ticks.dtype}" if np.isfinite(came) else ""
        raise ValueError(f"{where} is {came}{beyond}, and on_nan is 'raise'; the stream has not changed")


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


def as_windows(value: npt.ArrayLike, features: int, steps: int | None) -> Array:
    """One window (T, F) or a batch (N, T, F), in its own dtype, not copied where it is an array.

    Raises:
        ValueError: Another rank, feature count or length.
        TypeError: Something that does not hold numbers.
    """
    x = as_real(value, "window")
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


def as_states(state: State | None, layers: Sequence[Recurrent], x: Array, dtype: np.dtype[Any]) -> Array | None:
    """Initial states (N, S), of each layer and direction h, then c where there is one; None for zeros.

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
            cells = _as_state(c_0, layer, layer.cell_width, x, dtype, "c")
        else:
            h_0, cells = given[layer.name], None
        hidden = _as_state(h_0, layer, layer.state_width, x, dtype, "h")
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


def as_lengths(lengths: npt.ArrayLike, windows: Array) -> Array:
    """How many ticks of each window of a batch (N, T, F) count: (N,), each 1 to T; one number is for all.

    Raises:
        ValueError: Another count, or a length out of range.
        TypeError: Something that is no integers.
    """
    array = as_real(lengths, "lengths")
    n, steps = windows.shape[:2]
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


def _as_state(value: npt.ArrayLike, layer: Recurrent, width: int, x: Array, dtype: np.dtype[Any], letter: str) -> Array:
    """(rows, width) or (rows, N, width) -> (N, rows, width); rows are layers times directions."""
    what = f"state {letter} of {clean(layer.name, NAME)}"
    array = as_numbers(value, dtype, what)
    one = (layer.states, width)
    batch = x.shape[:-2]
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
