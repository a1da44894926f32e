"""How long answers took to come: behind each other in a queue, and told in percentiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstmcore.layers import Array

MILLISECOND = 10**6  # ns
#: Where the groups of `by_burst` begin: ticks within the last millisecond, the newest included.
BURSTS = (1, 2, 4, 8, 16, 32, 64)
PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


def percentiles(ns: Array) -> dict[str, float]:
    """p50, p99, p99.9 and max of nanoseconds (N,), in microseconds; NaN where there are none."""
    values = np.percentile(ns, [*PERCENTILES.values()]) / 1e3 if len(ns) else [np.nan] * len(PERCENTILES)
    return {name: float(value) for name, value in zip(PERCENTILES, values, strict=True)}


def queue(arrival: Array, urgent: Array, afterwards: Array) -> tuple[Array, Array]:
    """When one server takes up each of N jobs, and how long after its arrival each is answered; ns, int64, (N,).

    The jobs are served in order. A job is taken up when it has come and the one before is done, answered `urgent` ns
    later, and done `afterwards` ns after that: start[n] = max(arrival[n], done[n - 1]).

    Args:
        arrival: int64; where it falls, the clock was set back, and it is taken to stand still.
        urgent: int64, at least 0.
        afterwards: int64, at least 0.

    >>> import numpy as np
    >>> from lstmcore.feed.delays import queue
    >>> queue(np.array([0, 10, 90]), np.array([20, 20, 20]), np.array([5, 5, 5]))
    (array([ 0, 25, 90]), array([20, 35, 20]))
    """
    arrival = np.maximum.accumulate(arrival)
    busy = urgent + afterwards
    before = np.cumsum(busy) - busy  # what the server has had to do
    start: Array = before + np.maximum.accumulate(arrival - before)
    return start, start - arrival + urgent


def ticks_within(arrival: Array, ns: int = MILLISECOND) -> Array:
    """How many ticks came within the last `ns` nanoseconds, each tick itself included, (N,)."""
    arrival = np.maximum.accumulate(arrival)
    return np.arange(1, len(arrival) + 1) - np.searchsorted(arrival, arrival - ns, side="right")


@dataclass(frozen=True)
class Burst:
    """The answers to ticks that had so many others close before them."""

    label: str  # "4-7": ticks within the last millisecond
    ticks: int
    delay_us: dict[str, float]


def by_burst(arrival: Array, delay: Array) -> list[Burst]:
    """Delays (N,) ns apart by how many ticks came within the last millisecond; groups without a tick are left out."""
    count = ticks_within(arrival)
    group = np.searchsorted(BURSTS, count, side="right") - 1
    ends = [*(b - 1 for b in BURSTS[1:]), None]
    labels = [str(a) if a == b else f"{a}-{b}" if b else f"{a} or more" for a, b in zip(BURSTS, ends, strict=True)]
    return [
        Burst(label, int(np.sum(group == n)), percentiles(delay[group == n]))
        for n, label in enumerate(labels)
        if np.any(group == n)
    ]
