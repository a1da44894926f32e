"""Daily bars of the S&P 500, 1999 to 2018, from the PyPI package `arch`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]


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


def load() -> Bars:
    """The bars, which `arch` carries inside the package: nothing is downloaded."""
    import arch.data.sp500

    table = arch.data.sp500.load()
    columns = (table[name].to_numpy(np.float64) for name in ("Open", "High", "Low", "Close", "Volume"))
    return Bars(table.index.to_numpy("datetime64[D]"), *columns)
