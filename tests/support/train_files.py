"""A config of `lstmcore train`, and the data that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lstmcore.layers import Array

HOURS = 54 * 24 + 4
CONFIG = """
[data]
path = "ticks.csv"
timestamp = "time"
features = ["a", "b", "c"]
target = "up"
window = 10
horizon = 4

[split]
train = "30 days"
validation = "8 days"
test = "8 days"
embargo = "2 hours"

[model]
cell = "gru"
hidden = 8

[training]
epochs = 2
learning_rate = 0.01
accelerator = "cpu"
"""


def write_data(folder: Path) -> tuple[Array, Array]:
    """ticks.csv: three features a row an hour, and whether the first was high of late; the last 4 have no label.

    Behind them what cannot be trained with: a feature that has a gap, labels that are all 1, and some that end early.
    """
    rng = np.random.default_rng(3)
    x = rng.standard_normal((HOURS, 3))
    up = (np.convolve(x[:, 0], np.ones(5))[:HOURS] > 0).astype(int)
    price = 100 + np.cumsum(x[:, 1])
    stamps = np.datetime64("2024-01-01T00:00") + np.arange(HOURS).astype("timedelta64[h]")
    with open(folder / "ticks.csv", "w", encoding="utf-8") as file:
        print("time,a,b,c,up,price,gap,late,one,early,stale", file=file)
        for n in range(HOURS):
            label = "" if n >= HOURS - 4 else up[n]
            wrong = "" if n == 700 else 0, "" if n == HOURS - 99 else 0, 1, up[n] if n < 46 * 24 else ""
            wrong = *wrong, up[n] if n < 46 * 24 else 1
            print(f"{stamps[n]}Z", *(f"{v:.6f}" for v in x[n]), label, f"{price[n]:.6f}", *wrong, sep=",", file=file)
    return x, up
