"""Bars made into what the model reads: a sequence of features for each trade, a label for each bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from bars import Bars
from features import trade_features
from indicators import indicators
from labels import labels
from trades import Trade, find_trades


@dataclass(frozen=True)
class Sample:
    """One trade. The model's input at its bar n are the rows 0 ... n of `features`."""

    trade: Trade
    features: npt.NDArray[np.float32]  # (open bars, 8)
    labels: npt.NDArray[np.float32]  # (open bars,)


def make_samples(bars: Bars) -> list[Sample]:
    """All trades, by entry."""
    known = indicators(bars)
    return [
        Sample(trade, trade_features(bars, known, trade), labels(bars, trade)) for trade in find_trades(bars, known)
    ]
