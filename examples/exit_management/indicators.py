"""What is read off the bars; the value of bar t uses bars up to and including t."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from bars import Bars, Series

from lstmcore import windows

ATR_BARS = 14
FAST_BARS, SLOW_BARS = 50, 200
MOMENTUM_BARS = 10
VOLUME_BARS = 20


@dataclass(frozen=True)
class Indicators:
    """One value a bar, each (bars,), NaN where too few bars have gone before."""

    atr: Series  # average true range, in points: the unit of the two below
    trend: Series  # fast less slow moving average of the close, in ATR
    momentum: Series  # close less the close ten bars before, in ATR
    volume_ratio: Series  # volume by its average


def indicators(bars: Bars) -> Indicators:
    """All indicators of all bars."""
    atr = average(true_range(bars), ATR_BARS)
    before = np.full(len(bars), np.nan)
    before[MOMENTUM_BARS:] = bars.close[:-MOMENTUM_BARS]
    return Indicators(
        atr=atr,
        trend=(average(bars.close, FAST_BARS) - average(bars.close, SLOW_BARS)) / atr,
        momentum=(bars.close - before) / atr,
        volume_ratio=bars.volume / average(bars.volume, VOLUME_BARS),
    )


def true_range(bars: Bars) -> Series:
    """The bar's range, widened to the close before it."""
    close_before = np.concatenate([bars.open[:1], bars.close[:-1]])
    wide: Series = np.maximum(bars.high, close_before) - np.minimum(bars.low, close_before)
    return wide


def average(series: Series, length: int) -> Series:
    """The mean of the last `length` values, today's among them."""
    return _rolling(np.mean, series, length)


def highest(series: Series, length: int) -> Series:
    """The largest of the last `length` values, today's among them."""
    return _rolling(np.max, series, length)


def lowest(series: Series, length: int) -> Series:
    """The smallest of the last `length` values, today's among them."""
    return _rolling(np.min, series, length)


def _rolling(of: Callable[..., Series], series: Series, length: int) -> Series:
    values = np.full(len(series), np.nan)
    rows = windows.target_rows(len(series), length)
    values[rows] = of(windows.windows(series[:, np.newaxis], length), axis=(1, 2))
    return values
