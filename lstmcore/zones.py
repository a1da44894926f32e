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
from lstmcore.text import quoted

UTC = datetime.timezone.utc
#: ISO 8601 with a time of day, and what comes after it: the zone.
ZONED = re.compile(r"(.+[T ][0-9]{2}[0-9:.]*)(Z|[+-][0-9]{2}(?::?[0-9]{2})?)", re.ASCII)


@dataclass(frozen=True, eq=False)
class Stamps:
    """Moments of samples, (n,), as `times` and `label_end` take them too."""

    values: Array  # (n,) datetime64, in UTC where there is a zone; int64 or float64
    zone: datetime.tzinfo | None = None  # whose calendar counts; None: naive ones, or numbers

    def __len__(self) -> int:
        return len(self.values)


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
        ValueError: Text of another form, several offsets, or some without one.
    """
    found = [ZONED.fullmatch(cell) for cell in cells]
    offsets = [None if each is None else _offset(each[2]) for each in found]
    known = [row for row, cell in enumerate(cells) if cell]
    zone = _one_zone([(row, cells[row], offsets[row]) for row in known], what)
    local = np.array([cell if each is None else each[1] for cell, each in zip(cells, found, strict=True)])
    values = local.astype("datetime64")
    if zone is not None:
        values = values - np.timedelta64(zone.utcoffset(None) or datetime.timedelta(0))
    return Stamps(values, zone)


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
        else:
            moments.append(np.datetime64(each if zone is None else each.astimezone(UTC).replace(tzinfo=None)))
    values = np.array(moments, dtype=None if moments else "datetime64[us]")
    return Stamps(values.reshape(array.shape), _one_zone(rows, what))


def _one_zone(rows: Sequence[tuple[int, Any, datetime.tzinfo | None]], what: str) -> datetime.tzinfo | None:
    """The zone that all of (row, stamp, zone) have. They are told apart by name: pytz has an object for each offset."""
    if not rows:
        return None
    first, shown, zone = rows[0]
    for row, each, other in rows:
        if str(other) != str(zone):
            raise ValueError(
                f"{what}: row {row} ({each}) has {call(other)}, and row {first} ({shown}) has {call(zone)}; "
                "convert them to one zone first, such as UTC"
            )
    return zone


def call(zone: datetime.tzinfo | None) -> str:
    """How an error calls it."""
    return "no time zone" if zone is None else f"the time zone {zone}"


def _zone(name: str, what: str) -> datetime.tzinfo:
    if re.fullmatch(r"[+-][0-9]{2}:?[0-9]{2}", name, re.ASCII):
        return _offset(name)
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{what}: the time zone {quoted(name)} is not known on this machine") from None


def _offset(text: str) -> datetime.timezone:
    """Of "Z", "+02", "+02:00" or "+0200"."""
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[3:].removeprefix(":") or 0)
    return datetime.timezone(datetime.timedelta(minutes=-minutes if text[0] == "-" else minutes))
