"""What the model is to learn: is closing now better than holding on?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from bars import Bars
from trades import Trade

HORIZON = 5


def labels(bars: Bars, trade: Trade, horizon: int = HORIZON) -> npt.NDArray[np.float32]:
    """(open bars,): 1 where the profit in R at this close is more than `horizon` bars later, else 0.

    A trade that ends before counts with the price it ended at. So the label of bar t reads bars up to
    min(t + horizon, end), and no label of a trade reads a bar behind `trade.end`.
    """
    price = bars.close[trade.entry : trade.end + 1].copy()
    price[-1] = trade.exit_price
    profit = trade.side * (price - trade.entry_price) / trade.risk
    now = np.arange(trade.open_bars)
    later = np.minimum(now + horizon, trade.open_bars)
    return (profit[now] > profit[later]).astype(np.float32)
