"""Made-up bars for the tests of examples/exit_management."""

from __future__ import annotations

from typing import Any

import numpy as np
from bars import Bars


def make_bars(**columns: Any) -> Bars:
    """Bars from lists, with dates and volume where the test has no use for them."""
    rows = len(columns["close"])
    columns = {"date": np.datetime64("2001-01-01") + np.arange(rows), "volume": np.ones(rows)} | columns
    return Bars(**{name: np.asarray(values) for name, values in columns.items()})


def random_bars(seed: int, rows: int) -> Bars:
    """A random walk."""
    random = np.random.default_rng(seed)
    close = 1000 * np.exp(np.cumsum(random.normal(0, 0.01, rows)))
    open_ = close * np.exp(random.normal(0, 0.005, rows))
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return make_bars(
        open=open_,
        high=high * (1 + random.exponential(0.003, rows)),
        low=low * (1 - random.exponential(0.003, rows)),
        close=close,
        volume=random.uniform(1e9, 2e9, rows),
    )
