"""Daily bars of the S&P 500 and the NASDAQ Composite, 1999 to 2018, from the PyPI package `arch`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

MARKETS = ("sp500", "nasdaq")  # all that `arch` carries with highs and lows; vix, wti and crude are closes only


@dataclass(frozen=True)
class Bars:
    """One row a trading day, oldest first; prices in index points. Each array is (bars,)."""

    date: npt.NDArray[np.datetime64]
    open: Series
    high: Series
    low: Series
    close: Series
    volume: Series

    def __len__(self) -> int:
        return len(self.date)


def load(market: str) -> Bars:
    """The bars of one of MARKETS, which `arch` carries inside the package: nothing is downloaded."""
    table = importlib.import_module(f"arch.data.{market}").load()
    columns = (table[name].to_numpy(np.float64) for name in ("Open", "High", "Low", "Close", "Volume"))
    return Bars(table.index.to_numpy("datetime64[D]"), *columns)


def repeated_opens(bars: Bars, since: str) -> dict[str, float]:
    """The share of opens that are the close before, before a date and from it on: there the data knew no open."""
    same, later = bars.open[1:] == bars.close[:-1], bars.date[1:] >= np.datetime64(since, "D")
    return {"before": float(same[~later].mean()), "since": float(same[later].mean())}
