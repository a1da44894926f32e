"""Part two: a real recording, walked forward in time, costs counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import metrics, train
from lstmcore.layers import Array
from lstmcore.windows import Fold, check_no_leakage, walk_forward
from order_book import intervals, models, trading
from order_book.answers import Answers
from order_book.samples import WINDOW, Part, stands_higher
from order_book.ticks import Ticks

SECOND = 10**9  # ns
MILLISECOND = 10**6  # ns: the unit of the folds' bounds
HORIZON = SECOND  # up, flat and down then come to about a third each in the recording this was made with
BLOCK = 5 * SECOND  # of the bootstrap: five horizons
RESAMPLES = 1000


@dataclass(frozen=True)
class Plan:
    """The walk, in shares of the recording's time: four folds; and how many samples to train on at most."""

    training: float = 0.35
    validation: float = 0.12
    test: float = 0.12
    samples: int = 12_000

    def scaled(self, scale: float) -> Plan:
        """The same walk with another number of samples to train on."""
        return replace(self, samples=int(scale * self.samples))

    def small(self) -> Plan:
        """For a try: one fold."""
        return Plan(0.3, 0.2, 0.5, 600)


@dataclass(frozen=True)
class Pooled:
    """All test samples of all folds: each scored by models that were done before its time."""

    rows: Array  # (n,)
    labels: Array  # (n,)
    scores: list[dict[str, Array]]  # a seed's, a model's (n,)
    trades: list[dict[str, trading.Trades]]  # a seed's, a model's


def split(ticks: Ticks, plan: Plan) -> list[Fold]:
    """Train, validate, test, roll; labels that reach into the next window purged, a horizon's embargo besides."""
    elapsed = (ticks.time - ticks.time[0]) // MILLISECOND
    apart = HORIZON // MILLISECOND
    sizes = (int(share * elapsed[-1]) for share in (plan.training, plan.validation, plan.test))
    folds = walk_forward(elapsed, *sizes, horizon=apart, embargo=apart, window=WINDOW)
    for fold in folds:
        check_no_leakage(fold, elapsed, horizon=apart, embargo=apart)
    return folds


def check(ticks: Ticks, plan: Plan) -> None:
    """Raise ValueError where a recording is too short, or too quiet, for every part of every fold to be used."""
    labels = stands_higher(ticks.time, ticks.mid, HORIZON)
    for fold in split(ticks, plan):
        for name, part in vars(_parts(ticks, labels, fold, plan.samples)).items():
            if len(np.unique(part.y)) < 2:
                raise ValueError(
                    f"the recording's {ticks.seconds:.0f} s are too short: in fold {fold.number}, {name} has "
                    f"{len(part.rows)} samples, and not of both labels"
                )


def run(
    ticks: Ticks,
    seeds: Sequence[int],
    plan: Plan,
    settings: train.Settings,
    out: Path,
    *,
    processes: int = 1,
    resume: bool = False,
) -> Iterator[dict[str, Any] | Pooled]:
    """A dictionary for each fold and seed as it is done, and last the pooled answers."""
    labels = stands_higher(ticks.time, ticks.mid, HORIZON)
    folds = split(ticks, plan)
    found: dict[int, list[tuple[models.Parts, Answers]]] = {seed: [] for seed in seeds}
    tasks = [(seed, fold) for seed in seeds for fold in folds]
    jobs = [
        models.Job(
            _parts(ticks, labels, fold, plan.samples),
            replace(settings, seed=seed),
            out / f"seed_{seed}" / f"fold_{fold.number}",
        )
        for seed, fold in tasks
    ]
    fitted = models.fit_many(jobs, processes, resume)
    for (seed, fold), (parts, *_), answers in zip(tasks, jobs, fitted, strict=True):
        found[seed].append((parts, answers))
        yield fold.to_dict() | {
            "seed": seed,
            "test_share_of_rises": float(parts.test.y.mean()),
            "auc": {name: metrics.auc(parts.test.y, score) for name, score in answers.test.items()},
            "deployed": answers.deployed,
            "history": answers.history,
        }
    tests = [parts.test for parts, _ in found[seeds[0]]]
    yield Pooled(
        np.concatenate([test.rows for test in tests]),
        np.concatenate([test.y for test in tests]),
        [{n: np.concatenate([a.test[n] for _, a in found[seed]]) for n in models.NAMES} for seed in seeds],
        [{n: _trades(ticks, n, found[seed]) for n in models.NAMES} for seed in seeds],
    )


def summary(ticks: Ticks, pooled: Pooled) -> dict[str, Any]:
    """AUC with bootstrap intervals over stretches of time, the LSTM's lead, and what trading would have earned.

    The AUC is of all test samples at once, and the mean over seeds of the models; the interval says how much the
    minutes that were recorded matter, and nothing of other days.
    """
    weights = intervals.resample(intervals.blocks(ticks.time[pooled.rows], BLOCK), RESAMPLES, seed=0)
    ones = np.ones((1, len(pooled.rows)))
    value, drawn = (
        {
            name: np.mean([intervals.weighted_aucs(pooled.labels, s[name], w) for s in pooled.scores], axis=0)
            for name in models.NAMES
        }
        for w in (ones, weights)
    )
    return {
        "auc": {name: intervals.percentile_interval(float(value[name][0]), drawn[name]) for name in models.NAMES},
        "auc_lead_of_lstm": {
            name: intervals.percentile_interval(float(value["LSTM"][0] - value[name][0]), drawn["LSTM"] - drawn[name])
            for name in models.NAMES
            if name != "LSTM"
        },
        "trading": {name: _earned(ticks, [seed[name] for seed in pooled.trades]) for name in models.NAMES},
        "bootstrap_blocks": len(np.unique(intervals.blocks(ticks.time[pooled.rows], BLOCK))),
    }


def _parts(ticks: Ticks, labels: Array, fold: Fold, most: int) -> models.Parts:
    """The fold's windows: training thinned out evenly to at most `most` samples; validation in two halves, the first's
    labels over before the second begins.
    """
    validation = fold.validation
    elapsed = ticks.time - ticks.time[0]
    middle = (elapsed[validation[0]] + elapsed[validation[-1]]) / 2
    first = validation[elapsed[validation] + 2 * HORIZON < middle]  # a horizon's embargo, as everywhere
    second = validation[elapsed[validation] >= middle]
    parts = (fold.train[:: -(-len(fold.train) // most)], first, second, fold.test)
    return models.Parts(*(Part(ticks.features, labels, rows[~np.isnan(labels[rows])]) for rows in parts))


def _trades(ticks: Ticks, name: str, folds: list[tuple[models.Parts, Answers]]) -> trading.Trades:
    """The trades of all folds, each with the limits of its own validation."""
    found = [
        trading.act(ticks, p.test.rows, a.test[name], trading.thresholds(a.stacking[name]), HORIZON) for p, a in folds
    ]
    columns = {
        field: np.concatenate([getattr(t, field) for t in found]) for field in ("row", "side", "gross", "spread")
    }
    return trading.Trades(**columns, fees=2 * trading.FEE_BP)


def _earned(ticks: Ticks, seeds: list[trading.Trades]) -> dict[str, Any]:
    """Basis points a trade: mean over seeds and trades, with a bootstrap over stretches of time."""
    row, gross, spread = (np.concatenate([getattr(t, field) for t in seeds]) for field in ("row", "gross", "spread"))
    found: dict[str, Any] = {"trades_per_seed": len(row) / len(seeds), "fees_bp": seeds[0].fees}
    if len(row) == 0:
        return found
    weights = intervals.resample(intervals.blocks(ticks.time[row], BLOCK), RESAMPLES, seed=0)
    values = {"gross_bp": gross, "after_spread_bp": gross - spread, "net_bp": gross - spread - seeds[0].fees}
    for name, value in values.items():
        drawn = weights @ value / weights.sum(axis=1)
        found[name] = intervals.percentile_interval(float(value.mean()), drawn)
    return found | {
        "spread_bp": float(spread.mean()),
        "right_side": float(np.mean(gross > 0)),
        "profitable": float(np.mean(values["net_bp"] > 0)),
    }


def by_seed(pooled: Pooled) -> dict[str, list[float]]:
    """The pooled AUC of every seed."""
    return {name: [metrics.auc(pooled.labels, seed[name]) for seed in pooled.scores] for name in models.NAMES}
