"""How much of the past an exit needs: the same model, trained and scored with a trade's last 1, 2, 5, ... bars only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import judge
import numpy as np
from exits import by_score, trailing_stop
from fitting import Part, Recipe, choose_threshold, settings_of
from pieces import Piece, Pieces
from samples import Sample

from lstmcore import train
from lstmcore.windows import Fold

MOST_EPOCHS = 12  # of more steps than those over whole trades have


def run(
    pieces: Pieces,
    samples: Sequence[Sample],
    folds: Sequence[Fold],
    recipe: Recipe,
    lengths: Sequence[int],
    seeds: Sequence[int],
) -> list[dict[str, Any]]:
    """An entry for each length: AUC, expectancy and the difference from the trailing stop, with intervals by months."""
    keys = [(length, fold, seed) for length in lengths for fold in folds for seed in seeds]
    todo = []
    for length, fold, seed in keys:
        own = dataclasses.replace(recipe, history=length, epochs=min(recipe.epochs, MOST_EPOCHS))
        name = f"length{length}-fold{fold.number}-seed{seed}"
        todo.append(Piece(name, settings_of(own, fold, seed), one, (samples, fold, own, seed)))
    results = pieces.run(todo, "sequence lengths")
    made = {(length, fold.number, seed): result for (length, fold, seed), result in zip(keys, results, strict=True)}
    return [
        summary(length, samples, folds, [[made[length, fold.number, seed] for seed in seeds] for fold in folds])
        for length in lengths
    ]


def one(samples: Sequence[Sample], fold: Fold, recipe: Recipe, seed: int) -> dict[str, Any]:
    """The threshold and the test scores of one model, by the C backend."""
    training, validation, test = (
        Part.of([samples[n] for n in rows]) for rows in (fold.train, fold.validation, fold.test)
    )
    chosen = validation.sequences(recipe.history)
    fitted = recipe.fit(training.sequences(recipe.history), chosen, seed)
    model = fitted.to_lstmcore(backend="c")
    return {
        "threshold": choose_threshold(validation.samples, validation.split(train.score(model, chosen))),
        "scores": train.score(model, test.sequences(recipe.history)).tolist(),
    }


def summary(
    length: int, samples: Sequence[Sample], folds: Sequence[Fold], made: Sequence[Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    """The entry of one length; `made`: for each fold, for each seed."""
    parts, months, r, baseline = [], [], [], []
    for fold, models in zip(folds, made, strict=True):
        test = Part.of([samples[n] for n in fold.test])
        scores = [test.split(np.array(model["scores"], np.float32)) for model in models]
        parts.append((test.labels, scores))
        months.append([str(s.dates[0].astype("datetime64[M]")) for s in test.samples])
        r.append(
            [
                [s.results[by_score(x, model["threshold"])] for s, x in zip(test.samples, own, strict=True)]
                for own, model in zip(scores, models, strict=True)
            ]
        )
        baseline += [s.results[trailing_stop(s.features[:, 0])] for s in test.samples]
    mean = np.concatenate(r, axis=1).mean(axis=0)
    return {
        "length": length,
        **judge.auc_interval(parts, months),
        "expectancy": float(mean.mean()),
        "expectancy_interval": judge.bootstrap(mean, np.concatenate(months)),
        "difference": float((mean - baseline).mean()),
        "difference_interval": judge.bootstrap(mean - baseline, np.concatenate(months)),
    }
