"""How far a figure can be trusted: over seeds, and over stretches of one recording."""

from __future__ import annotations

import numpy as np
from scipy import stats

from lstmcore.layers import Array


def t_interval(values: Array, level: float = 0.95) -> dict[str, float]:
    """Mean of (n,) independent figures and Student's interval of that mean; infinitely wide for one figure."""
    mean, count = float(np.mean(values)), len(values)
    half = np.inf
    if count > 1:
        half = float(stats.t.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return {"mean": mean, "low": mean - half, "high": mean + half, "count": count}


def blocks(time: Array, length: int) -> Array:
    """The number of the stretch of `length` that each row lies in, from 0, (N,)."""
    found: Array = (time - time[0]) // length
    return found


def resample(block: Array, times: int, seed: int) -> Array:
    """Bootstrap over stretches: how often each row counts in each of `times` resamples, (times, N).

    Whole stretches are drawn, with replacement, so that rows close in time stay together (Künsch 1989).
    """
    _, place = np.unique(block, return_inverse=True)
    count = int(place.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), times)
    return drawn.astype(np.uint16)[:, place]


def weighted_aucs(labels: Array, score: Array, weights: Array) -> Array:
    """The AUC under each row of weights, ties counted half: (N,), (N,), (times, N) -> (times,)."""
    _, group = np.unique(score, return_inverse=True)
    groups = int(group.max()) + 1
    found = np.empty(len(weights))
    for n, weight in enumerate(weights):
        ones = np.bincount(group, weight * labels, groups)
        zeros = np.bincount(group, weight * (1 - labels), groups)
        below = np.cumsum(zeros) - zeros
        found[n] = np.sum(ones * (below + zeros / 2)) / (ones.sum() * zeros.sum())
    return found


def percentile_interval(value: float, resampled: Array, level: float = 0.95) -> dict[str, float]:
    """A figure with the middle `level` of what its resamples gave."""
    low, high = np.percentile(resampled, [50 * (1 - level), 50 * (1 + level)])
    return {"mean": value, "low": float(low), "high": float(high)}
