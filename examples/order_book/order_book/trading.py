"""What acting on a score would have earned: a taker in and out, one position at a time, costs counted apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lstmcore.layers import Array
from order_book.samples import in_force
from order_book.ticks import Ticks

FEE_BP = 5.0  # each way: a taker's fee of 0.05 %, the usual entry tier of perpetual futures
LATENCY_NS = 5 * 10**6  # from the tick to the order's arrival
QUANTILE = 0.05  # the share of the validation's scores beyond which one acts, on each side


class Trades(NamedTuple):
    """K trades; basis points of the price at entry."""

    row: Array  # (K,) the tick that was acted on
    side: Array  # (K,) 1 bought, -1 sold
    gross: Array  # (K,) from mid to mid
    spread: Array  # (K,) half the spread at entry and at exit
    fees: float  # of each trade, in and out

    @property
    def net(self) -> Array:
        """(K,), after spread and fees."""
        net: Array = self.gross - self.spread - self.fees
        return net


def thresholds(scores: Array) -> tuple[float, float]:
    """Below the first one sells, above the second one buys: from scores that the test has no part in."""
    low, high = np.quantile(scores, [QUANTILE, 1 - QUANTILE])
    return float(low), float(high)


def act(ticks: Ticks, rows: Array, scores: Array, limits: tuple[float, float], hold_ns: int) -> Trades:
    """Buy at the ask or sell at the bid when the score is beyond its limit, and out `hold_ns` later on the other side.

    Orders meet the quotes that are in force `LATENCY_NS` after the tick. While a position is open, scores are not
    looked at; a trade that would not be over by the recording's end is not begun.

    Args:
        ticks: The recording.
        rows: (n,) the ticks that have scores, ascending.
        scores: (n,)
        limits: As from `thresholds`.
        hold_ns: How long a position is held.
    """
    low, high = limits
    side = np.where(scores > high, 1, np.where(scores < low, -1, 0))
    taken, free_from = [], np.iinfo(np.int64).min
    for n in np.flatnonzero(side).tolist():
        now = int(ticks.time[rows[n]])
        out = now + LATENCY_NS + hold_ns
        if now < free_from or out > ticks.time[-1]:
            continue
        taken.append(n)
        free_from = out
    row, side = rows[taken], side[taken]
    entry = in_force(ticks.time, ticks.time[row] + LATENCY_NS)
    exit_ = in_force(ticks.time, ticks.time[row] + LATENCY_NS + hold_ns)
    mid, half = ticks.mid, (ticks.ask - ticks.bid) / 2
    gross = 1e4 * side * (mid[exit_] - mid[entry]) / mid[entry]
    return Trades(row, side, gross, 1e4 * (half[entry] + half[exit_]) / mid[entry], 2 * FEE_BP)
