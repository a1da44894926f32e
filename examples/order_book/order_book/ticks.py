"""A recording as arrays: times, quotes and the ten live features of every tick."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from lstmcore.feed.features import Features
from lstmcore.feed.messages import Parser, Quote
from lstmcore.feed.recording import Recording
from lstmcore.layers import Array


@dataclass(frozen=True)
class Ticks:
    """N ticks, oldest first."""

    time: Array  # (N,) int64, ns since 1970, by the recording machine's clock; never falls
    bid: Array  # (N,) price units
    ask: Array  # (N,)
    features: Array  # (N, 10) float32, as `lstmcore.feed.features` makes them live
    gaps: int  # times that messages were missing and the features began anew

    @property
    def mid(self) -> Array:
        """(N,), price units."""
        mid: Array = (self.bid + self.ask) / 2
        return mid

    @property
    def seconds(self) -> float:
        """From the first tick to the last."""
        return float(self.time[-1] - self.time[0]) / 1e9


def read(path: str | os.PathLike[str], tick_size: float) -> Ticks:
    """Every tick of a recording.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No tick in it, or messages of several markets.
    """
    features, parse = Features(tick_size), Parser()
    times, quotes, rows = [], [], []
    for received_ns, payload in Recording(path):
        message = parse(payload)
        if features.take(message, received_ns) and isinstance(message, Quote):
            times.append(received_ns)
            quotes.append((message.bid, message.ask))
            rows.append(features.out.copy())
    if parse.other_symbol:
        raise ValueError(f"{os.fspath(path)}: several markets, {parse.symbol}, {', '.join(parse.other_symbols)}")
    if not rows:
        raise ValueError(f"{os.fspath(path)}: no tick in it; see docs/live-bot.md for the form of a recording")
    bid, ask = np.array(quotes).T
    time = np.maximum.accumulate(np.array(times, np.int64))  # where the clock was set back, it is taken to stand still
    return Ticks(time, bid, ask, np.array(rows), features.counts.gaps)
