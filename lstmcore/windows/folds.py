"""One split of a time series: which samples train, which validate, which test, and from when to when."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore.errors import LstmcoreError
from lstmcore.layers import Array
from lstmcore.windows.stamps import show_stamp

Bounds = tuple[Any, Any]  # [start, stop), stamps


class LeakageError(LstmcoreError, ValueError):
    """A split in which a label that a model learns from overlaps one that it is judged by."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: rows as ascending int64 arrays; each row is in exactly one of the five.

    Bounds are half-open, [start, stop), in the unit of the stamps, in UTC where they have a time zone; None where
    there is no such window.
    """

    number: int  # from 1
    train: Array
    validation: Array
    test: Array
    purged: Array  # in the time of training or validation, but the label, or the embargo, reaches another window
    outside: Array  # in none of the windows, without a label, or without all the rows of its features
    train_bounds: Bounds
    validation_bounds: Bounds | None
    test_bounds: Bounds
    zone: datetime.tzinfo | None = None  # in which bounds are shown

    def __str__(self) -> str:
        named = self._named()
        parts = [
            f"{name} {show_stamp(b[0], self.zone)} to {show_stamp(b[1], self.zone)} ({n:,})"
            for name, (b, n) in named.items()
            if b
        ]
        return f"fold {self.number}: {', '.join(parts)}, purged {len(self.purged):,}"

    def to_dict(self) -> dict[str, Any]:
        """Bounds, as text, and counts: what a report holds."""
        found: dict[str, Any] = {"fold": self.number}
        for name, (bounds, count) in self._named().items():
            found[name] = None if bounds is None else [show_stamp(edge, self.zone) for edge in bounds]
            found[f"{name}_samples"] = count
        return found | {"purged_samples": len(self.purged)}

    def _named(self) -> dict[str, tuple[Bounds | None, int]]:
        return {
            "train": (self.train_bounds, len(self.train)),
            "validation": (self.validation_bounds, len(self.validation)),
            "test": (self.test_bounds, len(self.test)),
        }


def others(rows: int, *parts: Array) -> Array:
    """The rows that are in none of these parts."""
    free = np.ones(rows, bool)
    free[np.concatenate(parts)] = False
    return np.flatnonzero(free)


def check_filled(fold: Fold) -> Fold:
    """The fold. Raises ValueError for a window without a sample."""
    for name, (bounds, count) in fold._named().items():
        if bounds is not None and count == 0:
            raise ValueError(
                f"fold {fold.number}: no sample is left for {name}, {show_stamp(bounds[0], fold.zone)} to "
                f"{show_stamp(bounds[1], fold.zone)}: {len(fold.purged)} are purged, and {len(fold.outside)} are in no "
                "window of time, without a label, or without the rows of their features (window)"
            )
    return fold


def show_folds(folds: Sequence[Fold]) -> str:
    """A table with a line a fold: the windows' starts, and how many samples they hold."""
    header = ["fold", "train from", "samples", "validation from", "samples", "test from", "to", "samples", "purged"]
    lines = [header]
    for fold in folds:
        named = fold._named()
        cells = [str(fold.number)]
        for bounds, count in named.values():
            cells += [show_stamp(bounds[0], fold.zone) if bounds else "-", f"{count:,}"]
        cells.insert(-1, show_stamp(fold.test_bounds[1], fold.zone))
        lines.append([*cells, f"{len(fold.purged):,}"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
