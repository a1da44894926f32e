"""Latency of several answerers of the same windows, measured so that what disturbs one disturbs all.

Rounds: in each, every contender in turn, in a new order, answers a short burst of windows from a pool, each
    call timed by itself. A ratio is taken inside each round, between medians, so that a processor that
    changes its speed between rounds does not enter it; what is reported is the median of the ratios and the
    middle 90 % of them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstmcore.layers import Array
from lstmcore.measure.comparison import answer_each, largest_difference, oracle, random_windows
from lstmcore.model import Model

POOL = 64  # different windows; together they fit the second-level cache
BURST = 4e-3  # seconds that a contender answers before the next one's turn, if a call is shorter than that
LONG_BURST = 5 * BURST  # when it is cut short: threads that wait for a busy core can take a second a call;
# who needs longer for a whole turn sits out some rounds, so that the others have more of them
MAX_CALLS = 400  # in a burst
UNTIMED = 3  # calls before each burst: code, weights and threads of the contender come back to the caches
WARM_UP = 0.1  # seconds
LEAST_ROUNDS = 3
ORACLE_TIME = 2.0  # seconds that the float64 reference may take for the comparison


def nothing() -> None:
    """What most do between two calls."""


@dataclass
class Contender:
    """Someone who answers windows, and the times it took."""

    label: str
    settings: str
    answer: Callable[[Any], Any]
    ready: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    threads: int | None = 1  # None: as many as it takes by itself
    difference: float = 0.0  # the largest from the float64 reference; see comparison.Difference
    calls: int = 1  # in a burst
    every: int = 1  # takes part in every such round: 3 is every third
    rounds: list[Array] = field(default_factory=list)  # ns of each call, an array a round; empty: sat out
    between: Callable[[], object] = nothing  # done after each call, outside its time

    def warm_up(self, windows: Sequence[Array]) -> None:
        """Answer for a while, and see how many calls a burst can hold, and how often there can be one."""
        with self.ready():
            start = time.perf_counter()
            for n in itertools.count(1):
                self.answer(windows[n % len(windows)])
                self.between()
                if (passed := time.perf_counter() - start) > WARM_UP:
                    break
        call = passed / n
        self.calls = int(np.clip(BURST / call, 1, MAX_CALLS))
        self.every = int(np.ceil((self.calls + min(UNTIMED, self.calls)) * call / LONG_BURST))

    def burst(self, windows: Iterator[Array]) -> None:
        """Answer `calls` windows, or what of them fits a long burst, and keep the time of each; or sit out."""
        if len(self.rounds) % self.every:
            self.rounds.append(np.empty(0))
            return
        times = []
        answer, between, clock = self.answer, self.between, time.perf_counter_ns
        with self.ready():
            end = clock() + int(LONG_BURST * 1e9)
            for window in itertools.islice(windows, min(UNTIMED, self.calls)):
                answer(window)
                between()
            for window in itertools.islice(windows, self.calls):
                start = clock()
                answer(window)
                stop = clock()
                times.append(stop - start)
                between()
                if stop > end:
                    break
        self.rounds.append(np.array(times))


#: What a contender does in a round: it appends an array to its `rounds`.
Turn = Callable[[Contender, Iterator[Any]], None]


def in_bursts(contender: Contender, windows: Iterator[Any]) -> None:
    """The usual turn, the contender's own way."""
    contender.burst(windows)


@dataclass(frozen=True)
class Row:
    """What came out for one contender; times in microseconds."""

    label: str
    settings: str
    difference: float
    calls: int
    p50: float
    p99: float | None  # None below a hundred calls, where it would be the maximum by another name
    p99_9: float | None  # None below a thousand
    max: float
    min: float
    ratio: float  # how many times the first contender's time: median over the rounds
    ratio_low: float  # 5th percentile of the rounds
    ratio_high: float  # 95th percentile
    ratio_p99: float | None  # p99 over the first contender's p99, each of all its calls
    threads: int | None
    best: bool = False  # the fastest of its label's settings
    best_one_thread: bool = False  # the fastest of its label's settings with one thread


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


def runs_here() -> list[tuple[str, str | None]]:
    """Every backend that can be imported here and, of the C backend, every kernel: (backend, kernel)."""
    from lstmcore.backends import c

    numba = [("numba", None)] if importlib.util.find_spec("numba") else []
    return [*(("c", kernel) for kernel in c.kernels_here()), *numba, ("numpy", None)]


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python from collecting garbage: it would do so in the middle of someone's call."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def measure(
    contenders: Sequence[Contender],
    pool: Sequence[Any],
    seconds: float,
    seed: int,
    turn: Turn = in_bursts,
) -> Iterator[float]:
    """Run rounds for `seconds`, at least `LEAST_ROUNDS`; yields the share of the time that has passed."""
    rng = np.random.default_rng(seed)
    windows = [itertools.cycle(pool) for _ in contenders]
    with no_collection():
        for contender in contenders:
            contender.warm_up(pool)
        contenders[0].every = 1  # the ratios of all others need it
        start = time.perf_counter()
        for n in itertools.count(1):
            for k in rng.permutation(len(contenders)):
                turn(contenders[k], windows[k])
            passed = (time.perf_counter() - start) / seconds
            yield min(passed, 1.0)
            if passed >= 1 and n >= LEAST_ROUNDS:
                return


def rows(contenders: Sequence[Contender]) -> list[Row]:
    """The results of all contenders after `measure`; ratios are to the first one."""
    base = contenders[0].rounds
    base_p99 = _percentile(contenders[0], 99, least=100)
    out = []
    for contender in contenders:
        times = np.concatenate(contender.rounds) / 1e3
        p99, p99_9 = _percentile(contender, 99, least=100), _percentile(contender, 99.9, least=1000)
        ratio_p99 = None if p99 is None or base_p99 is None else p99 / base_p99
        pairs = zip(contender.rounds, base, strict=True)
        ratios = [np.median(times) / np.median(first) for times, first in pairs if len(times)]
        low, ratio, high = (float(r) for r in np.percentile(ratios, [5, 50, 95]))
        row = Row(
            contender.label, contender.settings, contender.difference, len(times),
            float(np.median(times)), p99, p99_9, float(times.max()), float(times.min()),
            ratio, low, high, ratio_p99, contender.threads,
        )  # fmt: skip
        out.append(row)
    best = _least(out)
    single = _least([row for row in out if row.threads == 1])
    return [
        replace(
            row, best=row.ratio == best[row.label], best_one_thread=row.threads == 1 and row.ratio == single[row.label]
        )
        for row in out
    ]


def _percentile(contender: Contender, share: float, least: int) -> float | None:
    """A percentile of all calls in microseconds; None below `least` calls."""
    times = np.concatenate(contender.rounds)
    return float(np.percentile(times, share)) / 1e3 if len(times) >= least else None


def _least(rows: Sequence[Row]) -> dict[str, float]:
    """Each label's least ratio."""
    return {label: min(row.ratio for row in rows if row.label == label) for label in {row.label for row in rows}}
