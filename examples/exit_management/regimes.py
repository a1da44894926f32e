"""How wild the market was when a trade began: the tercile of its ATR among trades that were known then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bars import Series
from samples import Sample

NAMES = ("calm", "middle", "wild")


def thresholds(train: Sequence[Sample]) -> dict[str, Series]:
    """For each market the two borders between terciles of `volatility` over its training trades, (2,) each."""
    by_market: dict[str, list[float]] = {}
    for sample in train:
        by_market.setdefault(sample.market, []).append(sample.volatility)
    return {market: np.quantile(values, [1 / 3, 2 / 3]) for market, values in by_market.items()}


def regime(sample: Sample, borders: dict[str, Series]) -> int:
    """The place in NAMES. Known at the signal: it reads the trade's own volatility and borders of training trades."""
    return int(np.searchsorted(borders[sample.market], sample.volatility))
