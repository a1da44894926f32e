"""Trades from a simple rule: in on the day after a breakout, out at a loss of one R or after MAX_BARS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bars import Bars
from indicators import SLOW_BARS, Indicators, highest, lowest

BREAKOUT_BARS = 20
RISK_IN_ATR = 2.0
MAX_BARS = 60


@dataclass(frozen=True)
class Trade:
    """One position, as if the exit model did not exist. Bars are row numbers of `Bars`."""

    entry: int  # bought or sold short at this bar's open; the signal was the close before
    end: int  # closed in this bar: stopped out, or at the close of the last bar allowed
    side: int  # 1 long, -1 short
    entry_price: float
    exit_price: float
    risk: float  # R: the distance from entry to stop, in points

    @property
    def open_bars(self) -> int:
        """How many closes the position is open over: rows entry ... end - 1, each a moment to decide at."""
        return self.end - self.entry


def find_trades(bars: Bars, known: Indicators) -> list[Trade]:
    """Every trade of the series, by entry.

    Long after the first close above the highest high of the 20 bars before, short after the first close
    below their lowest low. Left out: trades stopped out in their first bar, which leave nothing to decide,
    and trades that are still open where the series ends, whose result is not known.
    """
    above, below = np.zeros(len(bars), bool), np.zeros(len(bars), bool)
    above[1:] = bars.close[1:] > highest(bars.high, BREAKOUT_BARS)[:-1]
    below[1:] = bars.close[1:] < lowest(bars.low, BREAKOUT_BARS)[:-1]
    side = above.astype(int) - below
    first = (np.flatnonzero((side[1:] != 0) & (side[1:] != side[:-1])) + 1).tolist()
    found = (follow(bars, t + 1, int(side[t]), RISK_IN_ATR * known.atr[t]) for t in first if t >= SLOW_BARS)
    return [trade for trade in found if trade is not None and trade.open_bars > 0]


def follow(bars: Bars, entry: int, side: int, risk: float) -> Trade | None:
    """The trade entered at the open of bar `entry`; None where the bars end before it does."""
    last = entry + MAX_BARS - 1
    if last >= len(bars):
        return None
    entry_price = float(bars.open[entry])
    stop = entry_price - side * risk
    worst = bars.low if side > 0 else bars.high
    for t in range(entry, last + 1):
        if side * (worst[t] - stop) <= 0:
            # A bar that opens beyond the stop is filled at its open.
            price = min(side * float(bars.open[t]), side * stop) * side
            return Trade(entry, t, side, entry_price, price, risk)
    return Trade(entry, last, side, entry_price, float(bars.close[last]), risk)
