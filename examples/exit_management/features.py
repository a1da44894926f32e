"""The eight features of an open trade, one row a bar; the row of bar t is known at the close of bar t."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from bars import Bars
from indicators import Indicators
from trades import Trade

FEATURES = (
    "current_r",  # profit at the close, in R
    "mfe_r",  # maximum favourable excursion: the best price since entry, in R; at least 0
    "mae_r",  # maximum adverse excursion: the worst price since entry, in R; at most 0
    "bars_held",  # closes since entry, this one among them: 1, 2, 3, ...
    "atr_ratio",  # ATR by the ATR at the signal: above 1, the market has become wilder
    "regime_score",  # 50-day less 200-day average, in ATR; positive where the trade goes with the trend
    "momentum",  # the last ten bars' move, in ATR; positive where it went the trade's way
    "volume_ratio",  # volume by its 20-day average
)


def trade_features(bars: Bars, known: Indicators, trade: Trade, ahead: int = 0) -> npt.NDArray[np.float32]:
    """(open bars, 8): a row for each close the trade is open over, the columns as in FEATURES.

    With `ahead` = 1 the row of each close holds the next bar's values instead, as a window that is off by one does:
    what that costs is for failures.py to show.
    """
    held = slice(trade.entry, trade.end + ahead)
    best, worst = (bars.high, bars.low) if trade.side > 0 else (bars.low, bars.high)
    to_r = trade.side / trade.risk
    columns = (
        (bars.close[held] - trade.entry_price) * to_r,
        np.maximum(np.maximum.accumulate((best[held] - trade.entry_price) * to_r), 0),
        np.minimum(np.minimum.accumulate((worst[held] - trade.entry_price) * to_r), 0),
        np.arange(1, trade.open_bars + 1 + ahead),
        known.atr[held] / known.atr[trade.entry - 1],
        known.trend[held] * trade.side,
        known.momentum[held] * trade.side,
        known.volume_ratio[held],
    )
    return np.stack(columns, axis=1)[ahead:].astype(np.float32)
