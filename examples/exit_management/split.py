"""Walk-forward: each block of years is scored by a model that was trained on what came before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from trades import Trade

TRAIN_FIRST = 0.5  # of the bars, before the first test block


@dataclass(frozen=True)
class Fold:
    """Row numbers of bars, and places in the list of trades."""

    start: int  # the test block's first bar
    stop: int  # behind its last
    train: list[int]  # closed before `start`, so that no label reads the test block
    purged: list[int]  # entered before `start` and still open there: neither trained with nor tested
    test: list[int]  # entered in the block


def walk_forward(trades: Sequence[Trade], bars: int, folds: int) -> list[Fold]:
    """`folds` test blocks of equal length in bars; each trains on all that came before it."""
    edges = np.linspace(TRAIN_FIRST * bars, bars, folds + 1).astype(int).tolist()
    return [cut(trades, start, stop) for start, stop in pairwise(edges)]


def cut(trades: Sequence[Trade], start: int, stop: int) -> Fold:
    """The fold whose test block is bars `start` ... `stop` - 1."""
    before = [n for n, trade in enumerate(trades) if trade.entry < start]
    return Fold(
        start,
        stop,
        train=[n for n in before if trades[n].end < start],
        purged=[n for n in before if trades[n].end >= start],
        test=[n for n, trade in enumerate(trades) if start <= trade.entry < stop],
    )
