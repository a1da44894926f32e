"""Run what failures.py describes, and set what was reported beside what live trading gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import judge
import numpy as np
from bars import Series
from exits import by_score
from failures import FAILURES, Context
from fitting import Part, Recipe, choose_threshold, settings_of
from judge import Scores
from pieces import Piece, Pieces
from samples import Sample

from lstmcore import train
from lstmcore.windows import Fold

FIRST_BARS = 5
VIEWS = ("reported", "live")


def run(
    pieces: Pieces, samples: Sequence[Sample], folds: Sequence[Fold], recipe: Recipe, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """An entry for each of FAILURES."""
    todo = []
    for name in FAILURES:
        for fold in folds:
            for seed in seeds:
                piece = f"{name.replace(' ', '-')}-fold{fold.number}-seed{seed}"
                arguments = (name, Context(samples, fold, recipe), seed)
                todo.append(Piece(piece, settings_of(recipe, fold, seed), one, arguments))
    results = iter(pieces.run(todo, "failures"))
    made = {name: [[next(results) for _ in seeds] for _ in folds] for name in FAILURES}
    return [summary(name, samples, made[name]) for name in FAILURES]


def one(name: str, context: Context, seed: int) -> dict[str, Any]:
    """One model of one failure: in each view its trades, their scores by the C backend, and what was earned."""
    attempt = FAILURES[name](context)
    fitted = attempt.recipe.fit(attempt.training, attempt.validation, seed)
    model = fitted.to_lstmcore(backend="c")
    rows = {sample.name: n for n, sample in enumerate(context.samples)}

    def scores(part: Part, first: int) -> list[Series]:
        flat = train.score(model, part.sequences(attempt.recipe.history))
        return [np.where(np.arange(len(x)) < first, 0, x) for x in part.split(flat)]  # 0: not left before

    threshold = choose_threshold(
        attempt.choose.samples, scores(attempt.choose, attempt.reported_from), attempt.reported_from
    )
    found: dict[str, Any] = {"epochs": len(fitted.history)}
    for view, part, first in zip(VIEWS, (attempt.reported, attempt.live), (attempt.reported_from, 0), strict=True):
        if part.samples:
            own = scores(part, first)
            found[view] = {
                "rows": [rows[sample.name] for sample in part.samples],
                "scores": [x.tolist() for x in own],
                "first": first,
                "r": [s.results[by_score(x, threshold)] for s, x in zip(part.samples, own, strict=True)],
            }
    return found


def summary(name: str, samples: Sequence[Sample], made: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """The entry of one failure; `made`: for each fold, for each seed."""
    entry: dict[str, Any] = {"name": name, "meaning": str(FAILURES[name].__doc__)}
    for view in VIEWS:
        folds = [[model[view] for model in models] for models in made if view in models[0]]
        if not folds:
            entry[view] = None
            continue
        parts, r = [], []
        for models in folds:
            first = models[0]["first"]
            labels = [samples[row].labels[first:] for row in models[0]["rows"]]
            parts.append((labels, [[np.array(x[first:]) for x in model["scores"]] for model in models]))
            r.append(np.mean([model["r"] for model in models], axis=0))
        early = [([y[:FIRST_BARS] for y in labels], _first(models)) for (labels, models) in parts]
        earned = np.concatenate(r)
        entry[view] = {
            "trades": len(earned),
            **judge.auc_interval(parts),
            "expectancy": float(earned.mean()),
            "expectancy_interval": judge.bootstrap(earned),
            "auc_of_first_bars": None if folds[0][0]["first"] else judge.auc_interval(early)["auc"],
            "spread_of_first_bars": _spread(folds),
        }
    return entry


def _first(models: Sequence[Scores]) -> list[list[Series]]:
    return [[x[:FIRST_BARS] for x in scores] for scores in models]


def _spread(folds: Sequence[Sequence[dict[str, Any]]]) -> float | None:
    """The deviation, over models that differ in their seed alone, of the score at a trade's first bars; its mean."""
    if len(folds[0]) < 2 or folds[0][0]["first"]:
        return None
    values = [
        np.std([x[:FIRST_BARS] for x in trade], axis=0, ddof=1).mean()
        for models in folds
        for trade in zip(*(model["scores"] for model in models), strict=True)
    ]
    return float(np.mean(values))
