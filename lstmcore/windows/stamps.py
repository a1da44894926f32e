"""Stamps of samples, datetimes or numbers, and lengths of time that are added to them."""

from __future__ import annotations

import contextlib
import datetime
import re
import sys
from typing import Any

import numpy as np

from lstmcore.inputs import check_unmasked
from lstmcore.layers import Array
from lstmcore.text import NAME, clean, quoted
from lstmcore.windows.zones import UTC, Stamps, call, from_text, read_stamps

#: Units of text such as "12 months", in the singular, as numpy calls them.
UNITS = {"year": "Y", "month": "M", "week": "W", "day": "D", "hour": "h", "minute": "m", "second": "s"} | {
    "millisecond": "ms",
    "microsecond": "us",
    "nanosecond": "ns",
}
CALENDAR = ("Y", "M")  # of no fixed length
COARSE = (*CALENDAR, "W")  # which numpy does not bring together with all others
FINE = ("ps", "fs", "as")  # nor these
MOST = 1 << 62  # of stamps that are integers: a distance between two fits int64
DAYS = np.array(["0001-01-01", "9999-12-31"], "datetime64[D]")  # of Python's calendar


def as_stamps(value: Any, what: str, *, unknown: bool = False) -> Stamps:
    """Stamps with or without a time zone; NaT or NaN among them only where `unknown` ones are allowed.

    Args:
        value: (n,): datetime64, numbers, objects of datetime, a column of pandas, polars or pyarrow, or `Stamps`.
        what: The argument's name.
        unknown: Whether NaT, NaN and None are allowed.

    Raises:
        ValueError: Another shape, no stamp at all, NaT, NaN, infinity; several time zones, or some without one.
        TypeError: Neither datetimes nor numbers.
    """
    check_unmasked(value.values if isinstance(value, Stamps) else value, what)
    stamps = value if isinstance(value, Stamps) else read_stamps(value, what)
    array = stamps.values
    if array.dtype.kind not in "Mfiu":
        raise TypeError(f"{what}: expected datetime64 or numbers, got dtype {array.dtype}")
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"{what}: expected (n,) with at least one stamp, got shape {array.shape}")
    if array.dtype.kind == "M":
        array = _in_plain_unit(array, what)
    elif array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    else:
        beyond = np.flatnonzero((array > MOST) | (array < -MOST))
        if len(beyond):
            raise ValueError(f"{what}: row {beyond[0]} is {array[beyond[0]]}; expected numbers from -2**62 to 2**62")
        array = array.astype(np.int64, copy=False)
    wrong = np.flatnonzero(~np.isfinite(array) & ~(unknown & is_unknown(array)))
    if len(wrong):
        raise ValueError(f"{what}: row {wrong[0]} is {array[wrong[0]]}; every sample needs a stamp")
    if stamps.zone is not None:  # whose calendar has no others
        days = array.astype("datetime64[D]")
        beyond = np.flatnonzero((days < DAYS[0]) | (days > DAYS[1]))
        if len(beyond):
            raise ValueError(f"{what}: row {beyond[0]} is {array[beyond[0]]}, beyond the years 1 to 9999 in UTC")
    return Stamps(array, stamps.zone)


def _in_plain_unit(stamps: Array, what: str) -> Array:
    """datetime64 in days, hours, ... or nanoseconds. Raises ValueError for a finer unit, and for what wraps around."""
    unit, count = np.datetime_data(stamps.dtype)
    _check_unit(unit, what)
    if unit in COARSE or count > 1:
        plain = stamps.astype(f"datetime64[{'D' if unit in COARSE else unit}]")
        return widened(stamps, plain, what)
    return stamps


def _check_unit(unit: str, what: str) -> None:
    """Raise ValueError for units that numpy cannot bring together with days."""
    if unit in FINE:
        raise ValueError(f"{what}: in units of {unit}; the finest that are taken are nanoseconds, ns")


def is_unknown(stamps: Array) -> Array:
    """Which are NaT or NaN."""
    found: Array = np.isnat(stamps) if stamps.dtype.kind == "M" else np.isnan(stamps)
    return found


def check_sorted(stamps: Stamps, what: str) -> None:
    """Raise ValueError for stamps that descend."""
    values = stamps.values
    back = np.flatnonzero(values[1:] < values[:-1])
    if len(back):
        at = int(back[0]) + 1
        late, early = show_stamp(values[at - 1], stamps.zone), show_stamp(values[at], stamps.zone)
        raise ValueError(f"{what}: row {at} ({early}) is before row {at - 1} ({late}); sort the samples by time")


def check_same_kind(stamps: Stamps, times: Stamps, what: str) -> None:
    """Raise TypeError for numbers beside datetimes, ValueError for naive datetimes beside zoned ones."""
    kind, wanted = stamps.values.dtype, times.values.dtype
    if (kind.kind == "M") != (wanted.kind == "M"):
        raise TypeError(f"{what}: expected {wanted}, as times are, got {kind}")
    if (stamps.zone is None) != (times.zone is None):
        raise ValueError(
            f"{what}: it has {call(stamps.zone)}, and times have {call(times.zone)}, so their order "
            "cannot be known; give both a zone, or neither (numpy's datetime64 never has one)"
        )


def widened(stamps: Array, others: Array, what: str) -> Array:
    """Stamps in the finer one of both units. Raises ValueError for one that numpy would wrap around there."""
    kind = np.promote_types(stamps.dtype, others.dtype)
    new = stamps.astype(kind)
    wrong = np.flatnonzero((new.astype(stamps.dtype) != stamps) & ~is_unknown(stamps))
    if len(wrong) and kind.kind == "M":
        raise ValueError(f"{what}: row {wrong[0]} is {stamps[wrong[0]]}, beyond what {kind} holds")
    return new


def add(stamps: Array, size: Any, what: str) -> Array:
    """Each stamp and `size` after it, from `as_size`. Raises ValueError where that is too large for the stamps."""
    try:
        later: Array = stamps + size
    except OverflowError:
        later = stamps[:0]
    if len(later) != len(stamps) or np.any(later < stamps):
        raise ValueError(f"{what}: {size} after the last stamp is too large for {stamps.dtype}")
    return later


def as_size(value: Any, stamps: Array, what: str, *, zero: bool = False, calendar: bool = True) -> Any:
    """A length of time that can be added to the stamps: timedelta64, or for numbers a number.

    Args:
        value: timedelta64, datetime.timedelta, text such as "12 months", or a number.
        stamps: What it will be added to.
        what: The argument's name.
        zero: Whether it may be 0.
        calendar: Whether it may be months or years.

    Raises:
        TypeError: A length of another kind than the stamps.
        ValueError: A negative one, or one without a fixed length where it needs one.
    """
    size = _parse(value, what) if isinstance(value, str) else value
    if isinstance(size, datetime.timedelta):
        if abs(size) > datetime.timedelta(days=10**8):  # more microseconds than numpy can count
            raise ValueError(f"{what}: {size} is too long for stamps")
        size = np.timedelta64(size // datetime.timedelta(microseconds=1), "us")
    dated = stamps.dtype.kind == "M"
    is_number = isinstance(size, int | float | np.integer | np.floating) and not isinstance(size, bool | np.timedelta64)
    if dated and is_number and size == 0:
        size = np.timedelta64(0)
    if dated != isinstance(size, np.timedelta64) or not (dated or is_number):
        example = "12 months" if calendar else "10 days"
        wanted = f'a timedelta64, or text such as "{example}"' if dated else "a number, as the stamps are"
        hint = "; a label that reads so many rows ahead: label_end=label_ends(times, rows)" if what == "horizon" else ""
        raise TypeError(f"{what}: expected {wanted}, got {quoted(value)}{hint}")
    if dated:
        _check_unit(np.datetime_data(size)[0], what)
    unknown = np.isnat(size) if dated else not isinstance(size, int) and not np.isfinite(size)
    if unknown or size < 0 or (size == 0 and not zero):
        raise ValueError(
            f"{what}: expected a length of time {'of at least' if zero else 'above'} 0, got {quoted(value)}"
        )
    if dated and not calendar and is_calendar(size):
        raise ValueError(f"{what}: {size} has no fixed length; give weeks, days or less")
    _check_fits(size, stamps.dtype, what)
    if dated:
        return size if size else np.timedelta64(0)  # which goes with months, too
    return size.item() if isinstance(size, np.generic) else size  # Python's do not wrap around


def _parse(text: str, what: str) -> Any:
    found = re.fullmatch(r"\s*([0-9]{1,15})\s*([a-z]+?)s?\s*", text)
    if not found or found[2] not in UNITS:
        raise ValueError(f'{what}: expected text such as "12 months"; units are {", ".join(UNITS)}; got {text!r:.80}')
    unit: Any = UNITS[found[2]]  # numpy's stub wants a literal
    return np.timedelta64(int(found[1]), unit)


def _check_fits(size: Any, unit: np.dtype[Any], what: str) -> None:
    """Raise ValueError for a length that numpy would wrap around in that unit, or take for a shorter one."""
    if unit.kind == "M" and not is_calendar(size):
        same = size.astype(np.promote_types(size.dtype, f"timedelta64[{np.datetime_data(unit)[0]}]"))
        fits = same >= 0 * same and same.astype(size.dtype) == size
    else:  # a Python integer has no end; numpy's types have
        most = MOST - 1 if unit.kind == "i" else int(np.finfo(np.float64).max)
        fits = unit.kind == "M" or not isinstance(size, int) or size <= most
    if not fits:
        raise ValueError(f"{what}: {clean(size, NAME)} is too long for stamps of {unit}")


def is_calendar(size: Any) -> bool:
    """Whether it is a number of months or years."""
    return isinstance(size, np.timedelta64) and np.datetime_data(size)[0] in CALENDAR


def first_edge(stamps: Stamps, sizes: list[Any], start: Any) -> Any:
    """Where the first window begins: `start` or the first stamp; the first of its month for sizes in months.

    Months are those of the stamps' zone: datetime64[M] by its calendar, for `instant`.

    Raises:
        ValueError: Months among sizes of fixed length, a start inside a month where sizes are months, or one that is
            naive where stamps have a zone, or the reverse.
        TypeError: A start of another kind than the stamps.
    """
    values, zone = stamps.values, stamps.zone
    lengths = [size for size in sizes if size != 0 * size]
    months = [is_calendar(size) for size in lengths]
    if any(months) and not all(months):
        raise ValueError("train, validation, test, step: months and years do not mix with lengths of days or less")
    if start is None:
        first = values[0] if values.dtype.kind == "M" else values[0].item()
        return _month(first, zone) if any(months) else first
    if values.dtype.kind != "M":
        if isinstance(start, bool) or not isinstance(start, int | float | np.integer | np.floating):
            raise TypeError(f"start: expected a number, as the stamps are, got {quoted(start)}")
        number: int | float = start.item() if isinstance(start, np.generic) else start
        if not abs(number) <= (MOST if values.dtype.kind == "i" else sys.float_info.max):
            raise ValueError(f"start: {quoted(start)} is beyond what stamps may be")
        return number
    given = as_stamps(from_text([start], "start") if isinstance(start, str) else [start], "start")
    check_same_kind(given, stamps, "start")
    edge: Any = given.values[0]
    if not any(months):
        return edge
    first = _month(edge, zone)
    if edge != instant(first, zone):
        raise ValueError(f"start: expected the first of a month where windows are months, got {clean(start, NAME)}")
    return first


def _month(moment: Any, zone: datetime.tzinfo | None) -> Any:
    """The month that a moment is in, by the zone's calendar, datetime64[M]."""
    if zone is None:
        return moment.astype("datetime64[M]")
    local = _wall(moment.astype("datetime64[us]").item(), zone)
    return np.datetime64(f"{local.year:04}-{local.month:02}", "M")


def _wall(moment: datetime.datetime, zone: datetime.tzinfo) -> datetime.datetime:
    """What clocks in the zone show at a moment of UTC; both naive."""
    try:
        return moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"times: {moment} in UTC has a year beyond 1 to 9999 in {call(zone)}") from None


def instant(edge: Any, zone: datetime.tzinfo | None) -> Any:
    """An edge as a moment: the first of a month in the zone, datetime64[M], becomes one of UTC; others stay."""
    if zone is None or not isinstance(edge, np.datetime64) or np.datetime_data(edge)[0] != "M":
        return edge
    first = edge.astype("datetime64[us]").item()
    if not isinstance(first, datetime.datetime):
        raise ValueError(f"times: a window would reach to {edge}; expected years up to 9999")
    # Clocks may be set at that very hour: of the moments that they could show it at, the first.
    day = datetime.timedelta(days=1)
    moments = sorted(first - (_wall(first + shift, zone) - (first + shift)) for shift in (-day, day))
    return np.datetime64(next((each for each in moments if _wall(each, zone) >= first), moments[-1]))


def end_of(stamps: Array) -> Any:
    """Where a series ends: its last stamp and the usual distance between two."""
    apart = np.diff(stamps)
    apart = apart[apart > 0 * apart]
    return stamps[-1] + np.sort(apart)[len(apart) // 2] if len(apart) else stamps[-1]


def after(stamp: Any) -> Any:
    """The next larger stamp of its kind."""
    if isinstance(stamp, np.datetime64):
        return stamp + np.timedelta64(1)
    return stamp + 1 if isinstance(stamp, np.integer) else np.nextafter(stamp, np.inf)


def show_stamp(stamp: Any, zone: datetime.tzinfo | None = None) -> str:
    """A datetime, in its zone, without a time of day that is 0; a number without needless digits."""
    if isinstance(stamp, np.datetime64):
        moment = instant(stamp, zone)
        if zone is not None:
            local = moment.astype("datetime64[us]").item()
            with contextlib.suppress(
                AttributeError, OverflowError
            ):  # a year beyond 9999: an integer, or not in the zone
                text: str = local.replace(tzinfo=UTC).astimezone(zone).isoformat()
                return text.replace("T00:00:00", "", 1)
            return f"{moment}+00:00"
        day = stamp.astype("datetime64[D]")
        text = str(day) if day == stamp else str(stamp)
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{stamp:.10g}" if isinstance(stamp, float | np.floating) else str(stamp)
