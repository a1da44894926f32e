"""Follow a stream of ticks with the shipped model, and judge what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore.demo import market
from lstmcore.layers import Array
from lstmcore.measure.comparison import largest_difference, oracle
from lstmcore.metrics import auc
from lstmcore.model import Model
from lstmcore.windows import windows

MODEL = Path(__file__).with_name("model.safetensors")
WINDOW = 50  # ticks
SEED = 7  # of the demo's market; the shipped model was trained on other seeds
FIT_SEED, FIT_TICKS = 1007, 20_000  # the market that the one-tick yardstick is fitted on
SAMPLE = 400  # windows that are compared with the float64 reference


class Tick(NamedTuple):
    """The answer at one tick."""

    n: int  # which tick, from 0
    signal: float  # the model's probability that the mid is higher `market.HORIZON` ticks later
    ns: int  # nanoseconds that model(window) took


def follow(model: Model, features: Array) -> Iterator[Tick]:
    """Take ticks (N, F) one by one, keep the last `WINDOW`, and answer at each once there are that many."""
    window = np.zeros((WINDOW, features.shape[1]), np.float32)
    clock = time.perf_counter_ns
    for n, tick in enumerate(features):
        window[:-1] = window[1:]
        window[-1] = tick
        if n < WINDOW - 1:
            continue
        start = clock()
        answer = model(window)
        ns = clock() - start
        yield Tick(n, answer.item(), ns)


class Verdict(NamedTuple):
    """How well some score foretells whether the mid is higher `market.HORIZON` ticks later."""

    name: str
    auc: float  # the chance that a tick before a rise scores higher than one before no rise; 0.5 is a coin
    hit_rate: float  # how often "score above the threshold" was right


def judge(quotes: market.Quotes, features: Array, signal: Array) -> tuple[list[Verdict], float]:
    """The model beside what less and what more knowledge gives; and the share of ticks before a rise.

    Args:
        quotes: N ticks.
        features: (N, F), of the same ticks.
        signal: (N - WINDOW + 1,), the model's answers.

    The yardsticks: the best linear score of the last tick's features alone (least squares, fitted on another
    market), and the hidden pressure itself, which nobody can see: more than it knows cannot be known.
    """
    rise = market.labels(quotes.mid)[WINDOW - 1 :]
    count = len(rise)
    now = slice(WINDOW - 1, WINDOW - 1 + count)
    scores = {
        "the model, on the last 50 ticks": (signal[:count], 0.5),
        "a linear score of the last tick alone": (_last_tick_score(features[now]), 0.5),
        "the hidden pressure (nobody has it)": (quotes.pressure[now], 0.0),
    }
    verdicts = [
        Verdict(name, auc(rise, score), float(np.mean((score > threshold) == rise)))
        for name, (score, threshold) in scores.items()
    ]
    return verdicts, float(rise.mean())


def _last_tick_score(features: Array) -> Array:
    quotes = market.simulate(FIT_TICKS, FIT_SEED)
    rise = market.labels(quotes.mid)
    x = _with_one(market.features(quotes)[: len(rise)])
    weights, *_ = np.linalg.lstsq(x, rise.astype(np.float64), rcond=None)
    score: Array = _with_one(features) @ weights
    return score


def _with_one(x: Array) -> Array:
    return np.column_stack([x.astype(np.float64), np.ones(len(x))])


def difference_from_reference(model: Model, features: Array, signal: Array) -> tuple[float, int]:
    """The largest difference from the float64 reference over an evenly spaced sample, and its size."""
    every = windows(features, WINDOW)
    sample = np.unique(np.linspace(0, len(every) - 1, SAMPLE).astype(int))
    expected = oracle(model)(every[sample]).reshape(len(sample))
    return largest_difference(signal[sample], expected).value, len(sample)


def latency(ns: Array) -> dict[str, Any]:
    """Quantiles of the calls' times in microseconds."""
    us = ns / 1e3
    names = {"p50": 50, "p99": 99, "p99.9": 99.9}
    return {name: float(np.percentile(us, q)) for name, q in names.items()} | {"max": float(us.max())}
