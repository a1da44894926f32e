"""Datetimes of many makes as datetime64, in UTC where they have a time zone, and the zone beside it.

numpy knows no zones: it takes a zoned datetime for UTC, and its months for those of UTC.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore.layers import Array
from lstmcore.text import NAME, clean, quoted

UTC = datetime.timezone.utc
OFFSET = r"[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?"
#: ISO 8601: a date, a time of day, and the zone. numpy would also take words, such as "today", years of any length, and
#: fractions of a second that are finer than it holds.
ISO = re.compile(
    r"((?!0000)[0-9]{4}(?:-[0-9]{2}){0,2})"
    rf"(?:([T ][0-9]{{2}}(?::[0-9]{{2}}(?::[0-9]{{2}}(?:\.[0-9]{{1,9}})?)?)?)(Z|{OFFSET})?)?",
    re.ASCII,
)
WHOLE = len("2020-01-31T09:30:00")  # without a fraction of a second
MICRO = len("2020-01-31T09:30:00.000000")  # what is longer has nanoseconds, of which int64 holds 584 years
NANO_YEARS = np.array(["1677-09-21T00:12:44", "2262-04-11T23:47:15"], "datetime64[s]")


@dataclass(frozen=True, eq=False)
class Stamps:
    """Moments of samples, (n,), as `times` and `label_end` take them too."""

    values: Array  # (n,) datetime64, in UTC where there is a zone; int64 or float64
    zone: datetime.tzinfo | None = None  # whose calendar counts; None: naive ones, or numbers

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Stamps:
        """Those of some rows, as an array takes them: a slice, a mask, row numbers."""
        return Stamps(self.values[rows], self.zone)


def read_stamps(value: Any, what: str) -> Stamps:
    """Whatever can be stamps; its shape and its numbers are not checked here.

    Raises:
        ValueError: Several time zones, or some without one.
        TypeError: Objects that are no datetimes.
    """
    kind = getattr(value, "dtype", getattr(value, "type", None))
    tz = getattr(kind, "tz", getattr(kind, "time_zone", None))  # of pandas and pyarrow, of polars
    if isinstance(tz, str):
        return Stamps(np.asarray(value), _zone(tz, what))
    if isinstance(tz, datetime.tzinfo):  # pandas: as an array it would be objects
        return Stamps(value.to_numpy(dtype=f"datetime64[{getattr(kind, 'unit', 'ns')}]"), tz)
    array = np.asarray(value)
    return _from_objects(array, what) if array.dtype.kind == "O" else Stamps(array)


def from_text(cells: Sequence[str], what: str) -> Stamps:
    """Dates and times of ISO 8601, "" is NaT; all naive, or all with the same offset from UTC.

    Raises:
        ValueError: Text of another form, several offsets, or some without one, years that nanoseconds do not reach;
            it names the row.
    """
    found = [ISO.fullmatch(cell) for cell in cells]
    local = ["" if each is None else each[1] + (each[2] or "") for each in found]
    wrong = next((row for row, cell in enumerate(cells) if cell and not _is_moment(local[row])), None)
    if wrong is not None:
        raise ValueError(
            f"{what}: row {wrong}: expected an ISO date or time such as 2020-01-31 or 2020-01-31T09:30, "
            f"got {quoted(cells[wrong])}"
        )
    offsets = [(row, cells[row], _offset(each[3]) if each[3] else None) for row, each in enumerate(found) if each]
    zone = _one_zone(offsets, what)
    shift = np.timedelta64((zone and zone.utcoffset(None)) or datetime.timedelta(0))
    if max(map(len, local), default=0) > MICRO:
        whole = np.array([text[:WHOLE] for text in local], "datetime64[s]")
        first, last = NANO_YEARS
        beyond = np.flatnonzero((whole < first + max(shift, 0 * shift)) | (whole > last + min(shift, 0 * shift)))
        if len(beyond):
            raise ValueError(f"{what}: row {beyond[0]} is {cells[beyond[0]]}, beyond what datetime64[ns] holds")
    values = np.array(local).astype("datetime64")
    return Stamps(values if zone is None else values - shift, zone)


def _is_moment(text: str) -> bool:
    """Whether it is on the calendar, and not a 30th of February."""
    try:
        return not np.isnat(np.datetime64(text[:WHOLE], "s"))
    except ValueError:
        return False


def _from_objects(array: Array, what: str) -> Stamps:
    """A list of datetime objects, of dates, or of pandas' Timestamps; None is NaT."""
    rows: list[tuple[int, Any, datetime.tzinfo | None]] = []
    moments: list[Any] = []
    for row, each in enumerate(array.ravel().tolist()):
        if each is None or (isinstance(each, datetime.datetime | np.datetime64) and each != each):
            moments.append(np.datetime64("NaT", "us"))
            continue
        if not isinstance(each, datetime.date | np.datetime64):
            raise TypeError(f"{what}: expected datetime64 or numbers, got {type(each).__name__} objects")
        zone = None
        if isinstance(each, datetime.datetime) and each.utcoffset() is not None:
            zone = each.tzinfo
        rows.append((row, each, zone))
        if hasattr(each, "to_datetime64"):  # pandas: with nanoseconds, and in UTC
            moments.append(each.to_datetime64())
        elif zone is None:
            moments.append(np.datetime64(each))
        else:  # numpy has years before 1 and behind 9999, which may be those of UTC
            moments.append(np.datetime64(each.replace(tzinfo=None)) - np.timedelta64(each.utcoffset()))
    values = np.array(moments, dtype=None if moments else "datetime64[us]")
    if len({each.dtype for each in moments}) > 1:  # the finest unit was chosen, in which others may wrap around
        days = np.array([each.astype("datetime64[D]") for each in moments])
        wrong = np.flatnonzero((values.astype("datetime64[D]") != days) & ~np.isnat(days))
        if len(wrong):
            raise ValueError(f"{what}: row {wrong[0]} is {moments[wrong[0]]}, beyond what {values.dtype} holds")
    return Stamps(values.reshape(array.shape), _one_zone(rows, what))


def _one_zone(rows: Sequence[tuple[int, Any, datetime.tzinfo | None]], what: str) -> datetime.tzinfo | None:
    """The zone that all of (row, stamp, zone) have. They are told apart by name: pytz has an object for each offset."""
    if not rows:
        return None
    first, shown, zone = rows[0]
    for row, each, other in rows:
        if str(other) != str(zone):
            raise ValueError(
                f"{what}: row {row} ({clean(each, NAME)}) has {call(other)}, and row {first} "
                f"({clean(shown, NAME)}) has {call(zone)}; convert them to one zone first, such as UTC"
            )
    return zone


def call(zone: datetime.tzinfo | None) -> str:
    """How an error calls it."""
    return "no time zone" if zone is None else f"the time zone {clean(zone, NAME)}"


def _zone(name: str, what: str) -> datetime.tzinfo:
    if re.fullmatch(OFFSET, name, re.ASCII):
        return _offset(name)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # the last: it is opened as a file's name
        raise ValueError(f"{what}: the time zone {quoted(name)} is not known on this machine") from None


def _offset(text: str) -> datetime.timezone:
    """Of "Z", "+02", "+02:00" or "+0200"."""
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[3:].removeprefix(":") or 0)
    return datetime.timezone(datetime.timedelta(minutes=-minutes if text[0] == "-" else minutes))
