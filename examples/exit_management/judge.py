"""What a list of trades was worth: expectancy, hit rate, drawdown, bars held; and how sure one may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from bars import Series

DRAWS = 2000
CONFIDENCE = 95.0  # percent
AUC_DRAWS = 500

Scores = Sequence[Series]  # (open bars,) for each trade


def bootstrap(values: Series, groups: npt.ArrayLike | None = None, draws: int = DRAWS, seed: int = 0) -> list[float]:
    """The percentile interval of the mean: [low, high].

    Args:
        values: (trades,).
        groups: (trades,), what is drawn together; None: every trade by itself. Trades that were open at the same
            time shared the market's moves, so drawing them one by one takes them for more evidence than they are.
        draws: How many resamples.
        seed: Of the draws.

    Raises:
        ValueError: No values.
    """
    if not len(values):
        raise ValueError("values: expected at least one, got none")
    _, at = np.unique(np.arange(len(values)) if groups is None else np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(at, values), np.bincount(at)
    random = np.random.default_rng(seed)
    drawn = random.integers(len(sums), size=(draws, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (100 - CONFIDENCE) / 2
    return [float(edge) for edge in np.percentile(means, [tail, 100 - tail])]


def max_drawdown(r: Series, closed: npt.NDArray[np.datetime64]) -> float:
    """The deepest fall of the summed results from their highest so far, in R; at least 0.

    Args:
        r: (trades,), R.
        closed: (trades,), when each trade was closed: the order in which they count.
    """
    equity = np.concatenate([[0.0], np.cumsum(r[np.argsort(closed, kind="stable")])])
    return float(np.max(np.maximum.accumulate(equity) - equity))


def summary(
    r: Series, held: Series, closed: npt.NDArray[np.datetime64], months: npt.ArrayLike, baseline: Series
) -> dict[str, Any]:
    """The figures of one way to leave.

    Args:
        r: (seeds, trades), R; one row where the rule knows no seeds.
        held: (seeds, trades), bars.
        closed: (seeds, trades), the exit's dates.
        months: (trades,), of the entries: what is drawn together in the wider intervals.
        baseline: (trades,), R of the rule to compare with, on the same trades.
    """
    mean = r.mean(axis=0)
    difference = mean - baseline
    return {
        "trades": r.shape[1],
        "expectancy": float(mean.mean()),
        "expectancy_interval": bootstrap(mean),
        "expectancy_interval_months": bootstrap(mean, months),
        "expectancy_by_seed": [float(one) for one in r.mean(axis=1)],
        "hit_rate": float((r > 0).mean()),
        "hit_rate_interval": bootstrap((r > 0).mean(axis=0)),
        "max_drawdown": float(np.mean([max_drawdown(*one) for one in zip(r, closed, strict=True)])),
        "bars_held": float(held.mean()),
        "difference": float(difference.mean()),
        "difference_interval": bootstrap(difference),
        "difference_interval_months": bootstrap(difference, months),
    }


def auc_interval(
    folds: Sequence[tuple[Scores, Sequence[Scores]]],
    groups: Sequence[npt.ArrayLike] | None = None,
    draws: int = AUC_DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """The mean AUC over folds and models, with an interval by drawing whole trades, or groups of them, in each fold.

    Scores of different models are never set against each other: each model has an AUC of its own.

    Args:
        folds: For each fold the labels of its trades, and for each model of the fold its scores of these trades.
        groups: For each fold what is drawn together, as in `bootstrap`; None: every trade by itself.
        draws: How many resamples.
        seed: Of the draws.

    Returns:
        auc, low and high.
    """
    random = np.random.default_rng(seed)
    means, drawn = [], []
    for number, (labels, models) in enumerate(folds):
        _, at_group = np.unique(np.arange(len(labels)) if groups is None else groups[number], return_inverse=True)
        bar_group = np.repeat(at_group, [len(one) for one in labels])
        size = int(at_group.max()) + 1
        counts = random.multinomial(size, np.full(size, 1 / size), size=draws)
        weights = counts[:, bar_group].astype(np.float64)  # (draws, bars)
        y = np.concatenate(labels) > 0
        for scores in models:
            _, at = np.unique(np.concatenate(scores), return_inverse=True)
            means.append(_weighted(y, at, np.ones(len(y))))
            drawn.append([_weighted(y, at, one) for one in weights])
    tail = (100 - CONFIDENCE) / 2
    low, high = np.nanpercentile(np.mean(drawn, axis=0), [tail, 100 - tail])
    return {"auc": float(np.mean(means)), "low": float(low), "high": float(high)}


def _weighted(y: npt.NDArray[np.bool_], at: npt.NDArray[np.int64], weights: Series) -> float:
    ones, zeros = np.bincount(at, weights * y), np.bincount(at, weights * ~y)
    pairs = ones.sum() * zeros.sum()
    return float(ones @ (np.cumsum(zeros) - zeros / 2) / pairs) if pairs else float("nan")
