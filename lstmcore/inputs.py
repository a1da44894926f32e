"""What users hand in, made into arrays that a backend takes, or refused with what was expected and what came."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.layers import Array
from lstmcore.text import clean, quoted


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


def as_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any], what: str = "out") -> Array:
    """A view of `out`, to write numbers of this shape and dtype through. Raises ValueError where it does not fit."""
    if not isinstance(out, np.ndarray):
        raise ValueError(f"{what}: expected a {dtype} array of shape {shape}, got {type(out).__name__}")
    if type(out) not in (np.ndarray, np.memmap):
        raise ValueError(
            f"{what}: expected a numpy.ndarray or numpy.memmap, got the subclass {type(out).__name__}, which may give "
            "its memory another meaning: hand in an array, or out.view(numpy.ndarray)"
        )
    view = out.view(np.ndarray)
    if view.shape != shape or view.dtype != dtype:
        raise ValueError(f"{what}: expected a {dtype} array of shape {shape}, got {view.dtype} {view.shape}")
    if not view.flags.carray:
        raise ValueError(f"{what}: expected a C-contiguous, aligned, writable array")
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


def check_finite(ticks: Array, given: Array, what: str) -> None:
    """Raise ValueError, `what` first, for a number that is not finite in ticks, (F,) or (N, F), with what it was as
    `given`."""
    wrong = np.argwhere(~np.isfinite(ticks))
    if len(wrong):
        *tick, feature = wrong[0].tolist()
        where = f"feature {feature}" + (f" of tick {tick[0]}" if len(ticks) > 1 and tick else "")
        came = given[tuple(wrong[0])]
        beyond = f", too large for {ticks.dtype}" if np.isfinite(came) else ""
        raise ValueError(f"{what}{where} is {came}{beyond}, and on_nan is 'raise'; the stream has not changed")


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
