"""When to leave a trade, by five rules, and what each moment pays.

Every rule decides at a close, from what is known there, and is filled at the next bar's open. The place of a decision
is n = 0 ... open bars - 1, the close that it is taken at; n = open bars stands for no decision: the trade then ends by
itself, at its stop or after MAX_BARS. So all rules choose among the same prices, and the oracle bounds them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from bars import Bars, Series
from trades import Trade

from lstmcore.layers import Array

COST = 1e-4  # of the price, each way
TRAIL_IN_R = 1.0
TIME_STOP_BARS = 20
NEVER = 1.0  # the threshold that no score is above


def results(bars: Bars, trade: Trade) -> Series:
    """(open bars + 1,): the trade's result in R, costs taken off, for a decision at each place."""
    prices = np.append(bars.open[trade.entry + 1 : trade.end + 1], trade.exit_price)
    costs = COST * (trade.entry_price + prices)
    net: Series = (trade.side * (prices - trade.entry_price) - costs) / trade.risk
    return net


def hold(current_r: Series) -> int:
    """Never leaves."""
    return len(current_r)


def time_stop(current_r: Series, bars: int = TIME_STOP_BARS) -> int:
    """Leaves at the close of the trade's bar number `bars`."""
    return min(bars - 1, len(current_r))


def trailing_stop(current_r: Series, distance: float = TRAIL_IN_R) -> int:
    """Leaves at the first close that lies `distance` R or more under the best close since entry, or the entry."""
    best = np.maximum.accumulate(np.maximum(current_r, 0))
    return _first(current_r <= best - distance)


def by_score(scores: Array, threshold: float) -> int:
    """Leaves at the first close whose exit score is above the threshold."""
    return _first(scores > threshold)


def oracle(known_results: Series) -> int:
    """The best place in hindsight; no rule can do better, and none can know it."""
    return int(np.argmax(known_results))


def _first(leave: npt.NDArray[np.bool_]) -> int:
    return int(np.argmax(leave)) if leave.any() else len(leave)
