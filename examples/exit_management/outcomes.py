"""What every rule made of the same test trades, and the tables that come of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exits
import judge
import numpy as np
import numpy.typing as npt
import regimes
import store
from bars import MARKETS, Series
from samples import Sample

from lstmcore.windows import Fold

BASELINE = "trailing stop"
MODELS = {"lstm": "exit model (LSTM)", "gru": "exit model (GRU)"}
RULES = ("hold", "time stop", BASELINE, *MODELS.values(), "oracle")

DISTANCES = (0.5, 1.0, 1.5, 2.0, 3.0)  # R, of trailing stops beside the yardstick

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """The test trades of all folds, fold after fold, and where each rule left them."""

    samples: list[Sample]
    fold: npt.NDArray[np.int64]  # (trades,), from 1
    regime: npt.NDArray[np.int64]  # (trades,), places in regimes.NAMES
    places: dict[str, Places]  # for each of RULES (seeds, trades); see exits
    scores: dict[str, list[list[Series]]]  # for each model by seed and trade (open bars,)

    def results(self, rule: str) -> Series:
        """(seeds, trades), R."""
        return np.array([[s.results[n] for s, n in zip(self.samples, row, strict=True)] for row in self.places[rule]])

    def held(self, rule: str) -> Series:
        """(seeds, trades): the closes that the position was open over."""
        open_bars = np.array([sample.trade.open_bars for sample in self.samples])
        return np.minimum(self.places[rule] + 1, open_bars).astype(np.float64)

    def closed(self, rule: str) -> npt.NDArray[np.datetime64]:
        """(seeds, trades): when the position was closed, at the open behind the decision or where the trade ends."""
        return np.array(
            [
                [s.dates[min(n + 1, s.trade.open_bars)] for s, n in zip(self.samples, row, strict=True)]
                for row in self.places[rule]
            ]
        )

    def summaries(self, which: npt.NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """judge.summary of each rule over these trades, (trades,) of bool; None: over all."""
        chosen = np.ones(len(self.samples), bool) if which is None else which
        months = np.array([sample.dates[0] for sample in self.samples]).astype("datetime64[M]")[chosen]
        baseline = self.results(BASELINE)[0, chosen]
        return {
            rule: judge.summary(
                self.results(rule)[:, chosen],
                self.held(rule)[:, chosen],
                self.closed(rule)[:, chosen],
                months,
                baseline,
            )
            for rule in RULES
        }

    def tables(self) -> dict[str, Any]:
        """All that results.json holds of the rules: over all trades, and by fold, market, side and regime."""
        market = np.array([sample.market for sample in self.samples])
        side = np.array([sample.trade.side for sample in self.samples])
        return {
            "rules": self.summaries(),
            "trailing": self._trailing(),
            "by_fold": {str(number): self.summaries(self.fold == number) for number in np.unique(self.fold)},
            "by_market": {name: self.summaries(market == name) for name in MARKETS},
            "by_side": {name: self.summaries(side == sign) for name, sign in (("long", 1), ("short", -1))},
            "by_regime": {name: self.summaries(self.regime == n) for n, name in enumerate(regimes.NAMES)},
            "auc": {model: self._auc(model) for model in MODELS.values()},
        }

    def _trailing(self) -> list[dict[str, Any]]:
        """What trailing stops at other distances made of the same trades: how much hangs on the yardstick."""
        months = [str(sample.dates[0].astype("datetime64[M]")) for sample in self.samples]
        rows = []
        for distance in DISTANCES:
            r = np.array([s.results[exits.trailing_stop(s.features[:, 0], distance)] for s in self.samples])
            interval = judge.bootstrap(r, months)
            model = self.results(MODELS["lstm"]).mean(axis=0) - r
            rows.append(
                {
                    "distance": distance,
                    "expectancy": float(r.mean()),
                    "expectancy_interval_months": interval,
                    "model_less": float(model.mean()),
                    "model_less_interval_months": judge.bootstrap(model, months),
                }
            )
        return rows

    def _auc(self, model: str) -> dict[str, Any]:
        """The model's AUC over all folds and in each."""
        folds, months = [], []
        for number in np.unique(self.fold):
            at = np.flatnonzero(self.fold == number)
            labels = [self.samples[n].labels for n in at]
            folds.append((labels, [[scores[n] for n in at] for scores in self.scores[model]]))
            months.append([str(self.samples[n].dates[0].astype("datetime64[M]")) for n in at])
        every = judge.auc_interval(folds, months)
        return {"all": every, "by_fold": [judge.auc_interval([f], [m]) for f, m in zip(folds, months, strict=True)]}


def collect(out: Path, samples: Sequence[Sample], folds: Sequence[Fold]) -> Outcomes:
    """The outcomes of one run, with the scores that the process without torch gave.

    Raises:
        ValueError: Scores of other trades than the folds' own.
    """
    models = json.loads(store.train_report(out).read_text())
    test = [samples[n] for fold in folds for n in fold.test]
    borders = {fold.number: regimes.thresholds([samples[n] for n in fold.train]) for fold in folds}
    number = np.concatenate([np.full(len(fold.test), fold.number) for fold in folds])
    places: dict[str, list[Places]] = {}
    scores: dict[str, list[list[Series]]] = {}
    for cell, name in MODELS.items():
        for seed in sorted({model["seed"] for model in models}):
            own = [model for model in models if (model["cell"], model["seed"]) == (cell, seed)]
            thresholds = {model["fold"]: model["threshold"] for model in own}
            flat = [store.Answers.load(store.core_answers(out, model["name"])) for model in own]
            if [str(trade) for one in flat for trade in one.trades] != [sample.name for sample in test]:
                raise ValueError(f"{out}: the scores of {cell} models, seed {seed}, are of other trades; train again")
            edges = np.cumsum([len(sample.labels) for sample in test])[:-1]
            by_trade = np.split(np.concatenate([one.scores for one in flat]), edges)
            scores.setdefault(name, []).append(by_trade)
            left = [exits.by_score(one, thresholds[k]) for one, k in zip(by_trade, number, strict=True)]
            places.setdefault(name, []).append(np.array(left))
    profit = [sample.features[:, 0].astype(np.float64) for sample in test]
    fixed = {
        "hold": [exits.hold(one) for one in profit],
        "time stop": [exits.time_stop(one) for one in profit],
        BASELINE: [exits.trailing_stop(one) for one in profit],
        "oracle": [exits.oracle(sample.results) for sample in test],
    }
    every = {name: np.array(rows) for name, rows in places.items()}
    every |= {name: np.array([row]) for name, row in fixed.items()}
    kind = np.array([regimes.regime(sample, borders[k]) for sample, k in zip(test, number, strict=True)])
    return Outcomes(test, number, kind, {rule: every[rule] for rule in RULES}, scores)
