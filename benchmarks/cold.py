"""Time of one call that nothing has warmed up: after the caches were flushed, and after an idle sleep.

Rounds as in `measure.bench`, but a contender has one timed call in each. The window is the caller's and was written
just before, so it is in the cache; weights, buffers, code and Python itself are not, after a flush. Another core's own
caches are not flushed: a library that keeps threads there keeps something warm. The sleep comes right behind a call, so
that nothing but time lies between the two.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import terminal
from lstmcore.layers import Array
from lstmcore.measure import bench

IDLE = 5e-3  # seconds
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNKNOWN = 32 << 20  # bytes, where the system does not say how large the last cache is


def largest_cache() -> int:
    """Bytes of this core's largest cache."""
    sizes = [path.read_text().strip() for path in CACHES.glob("index*/size")]
    return max((int(size.removesuffix("K")) << 10 for size in sizes if size.endswith("K")), default=UNKNOWN)


def call_after(disturb: Callable[[], object]) -> Callable[[bench.Contender, Iterator[Array]], None]:
    """A turn for `bench.measure`: one call after `disturb`, timed."""

    def turn(contender: bench.Contender, windows: Iterator[Array]) -> None:
        clock = time.perf_counter_ns
        with contender.ready():
            contender.answer(next(windows))
            disturb()
            window = next(windows).copy()
            clock()
            start = clock()
            contender.answer(window)
            stop = clock()
        contender.rounds.append(np.array([stop - start]))

    return turn


def measure(contenders: Sequence[bench.Contender], pool: Sequence[Array], seconds: float, seed: int) -> dict[str, Any]:
    """Both ways, each for `seconds`: {"flushed": rows, "idle": rows} and how they were made, ready for JSON."""
    walked = np.zeros(2 * largest_cache() // 8, np.int64)
    ways: dict[str, Callable[[], object]] = {
        "flushed": lambda: np.add(walked, 1, out=walked),
        "idle": lambda: time.sleep(IDLE),
    }
    facts: dict[str, Any] = {"walked_bytes": walked.nbytes, "idle_seconds": IDLE}
    for way, disturb in ways.items():
        fresh = [dataclasses.replace(contender, calls=1, rounds=[]) for contender in contenders]
        shares = bench.measure(fresh, pool, seconds, seed, call_after(disturb))
        for _ in terminal.progress(shares, 1, way, lambda share: share):
            pass
        facts[way] = [dataclasses.asdict(row) for row in bench.rows(fresh)]
    return facts
