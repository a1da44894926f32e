"""Latency of several answerers of the same windows, measured so that what disturbs one disturbs all.

Rounds: in each, every contender in turn, in a new order, answers a short burst of windows from a pool, each
    call timed by itself. A ratio is taken inside each round, between medians, so that a processor that
    changes its speed between rounds does not enter it; what is reported is the median of the ratios and the
    middle 90 % of them.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore.comparison import answer_each, largest_difference, oracle, random_windows
from lstmcore.layers import Array
from lstmcore.model import Model

POOL = 64  # different windows; together they fit the second-level cache
BURST = 4e-3  # seconds that a contender answers before the next one's turn, if a call is shorter than that
LONG_BURST = 5 * BURST  # when it is cut short: threads that wait for a busy core can take a second a call
MAX_CALLS = 400  # in a burst
UNTIMED = 3  # calls before each burst: code, weights and threads of the contender come back to the caches
WARM_UP = 0.1  # seconds
LEAST_ROUNDS = 3
ORACLE_TIME = 2.0  # seconds that the float64 reference may take for the comparison


@dataclass
class Contender:
    """Someone who answers windows, and the times it took."""

    label: str
    settings: str
    answer: Callable[[Array], Any]
    ready: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    difference: float = 0.0  # the largest from the float64 reference; see comparison.Difference
    calls: int = 1  # in a burst
    rounds: list[Array] = field(default_factory=list)  # ns of each call, an array a round

    def warm_up(self, windows: Sequence[Array]) -> None:
        """Answer for a while, and see how many calls a burst can hold."""
        with self.ready():
            start = time.perf_counter()
            for n in itertools.count(1):
                self.answer(windows[n % len(windows)])
                if (passed := time.perf_counter() - start) > WARM_UP:
                    break
        self.calls = int(np.clip(BURST / (passed / n), 1, MAX_CALLS))

    def burst(self, windows: Iterator[Array]) -> None:
        """Answer `calls` windows, or what of them fits a long burst, and keep the time of each."""
        times = []
        answer, clock = self.answer, time.perf_counter_ns
        with self.ready():
            end = clock() + int(LONG_BURST * 1e9)
            for window in itertools.islice(windows, min(UNTIMED, self.calls)):
                answer(window)
            for window in itertools.islice(windows, self.calls):
                start = clock()
                answer(window)
                stop = clock()
                times.append(stop - start)
                if stop > end:
                    break
        self.rounds.append(np.array(times))


@dataclass(frozen=True)
class Row:
    """What came out for one contender; times in microseconds."""

    label: str
    settings: str
    difference: float
    calls: int
    p50: float
    p99: float
    p99_9: float | None  # None below a thousand calls, where it would be the maximum by another name
    max: float
    min: float
    ratio: float  # how many times the first contender's time: median over the rounds
    ratio_low: float  # 5th percentile of the rounds
    ratio_high: float  # 95th percentile
    best: bool  # the fastest of its label's settings


def compare(contenders: Sequence[Contender], model: Model, steps: int, seed: int) -> tuple[list[Array], int]:
    """Set every contender's `difference`; the pool of windows (T, F), and how many of them were compared."""
    pool = list(random_windows(model, POOL, steps, 1.0, np.random.default_rng(seed)))
    reference = oracle(model)
    expected = []
    start = time.perf_counter()
    for window in pool:
        expected.append(np.asarray(reference(window)))
        if time.perf_counter() - start > ORACLE_TIME:
            break
    compared = np.stack(pool[: len(expected)])
    for contender in contenders:
        with contender.ready():
            answers = answer_each(contender.answer, compared)
        contender.difference = largest_difference(answers, np.stack(expected)).value
    return pool, len(expected)


def measure(contenders: Sequence[Contender], pool: Sequence[Array], seconds: float, seed: int) -> Iterator[float]:
    """Run rounds for `seconds`, at least `LEAST_ROUNDS`; yields the share of the time that has passed."""
    rng = np.random.default_rng(seed)
    windows = [itertools.cycle(pool) for _ in contenders]
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for contender in contenders:
            contender.warm_up(pool)
        start = time.perf_counter()
        for n in itertools.count(1):
            for k in rng.permutation(len(contenders)):
                contenders[k].burst(windows[k])
            passed = (time.perf_counter() - start) / seconds
            yield min(passed, 1.0)
            if passed >= 1 and n >= LEAST_ROUNDS:
                return
    finally:
        if collecting:
            gc.enable()


def rows(contenders: Sequence[Contender]) -> list[Row]:
    """The results of all contenders after `measure`; ratios are to the first one."""
    base = np.array([np.median(times) for times in contenders[0].rounds])
    out = []
    medians: dict[str, float] = {}
    for contender in contenders:
        times = np.concatenate(contender.rounds) / 1e3
        p50, p99, p99_9 = np.percentile(times, [50, 99, 99.9])
        ratios = np.array([np.median(times) for times in contender.rounds]) / base
        low, ratio, high = np.percentile(ratios, [5, 50, 95])
        medians[contender.label] = min(ratio, medians.get(contender.label, np.inf))
        row = Row(
            contender.label, contender.settings, contender.difference, len(times),
            float(p50), float(p99), float(p99_9) if len(times) >= 1000 else None, float(times.max()),
            float(times.min()), float(ratio), float(low), float(high), best=False,
        )  # fmt: skip
        out.append(row)
    return [Row(**{**vars(row), "best": row.ratio == medians[row.label]}) for row in out]
