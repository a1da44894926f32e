"""Bars made into what the model reads: a sequence of features for each trade, a label and a result for each bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from bars import MARKETS, Bars, Series, load
from exits import results
from features import trade_features
from indicators import indicators
from labels import labels
from trades import Trade, find_trades


@dataclass(frozen=True)
class Sample:
    """One trade. The model's input at its bar n are the rows 0 ... n of `features`."""

    market: str
    trade: Trade
    dates: npt.NDArray[np.datetime64]  # (open bars + 1,): of its bars entry ... end
    features: npt.NDArray[np.float32]  # (open bars, 8)
    labels: npt.NDArray[np.float32]  # (open bars,)
    results: Series  # (open bars + 1,), R: of leaving after each close, and of not leaving; see exits.results
    volatility: float  # ATR by the close at the signal, so known before the entry

    @property
    def name(self) -> str:
        """What tells it from all other trades."""
        return f"{self.market} {self.dates[0]} {'long' if self.trade.side > 0 else 'short'}"


def make_samples(bars: Bars, market: str = "") -> list[Sample]:
    """All trades of one market, by entry."""
    known = indicators(bars)
    return [
        Sample(
            market,
            trade,
            bars.date[trade.entry : trade.end + 1],
            trade_features(bars, known, trade),
            labels(bars, trade),
            results(bars, trade),
            float(known.atr[trade.entry - 1] / bars.close[trade.entry - 1]),
        )
        for trade in find_trades(bars, known)
    ]


def load_samples(markets: Sequence[str] = MARKETS) -> list[Sample]:
    """All trades of these markets, by entry date."""
    found = [sample for market in markets for sample in make_samples(load(market), market)]
    return sorted(found, key=lambda sample: sample.dates[0])  # stable: on one day in the markets' order
