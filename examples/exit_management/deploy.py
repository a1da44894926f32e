"""The first process: train the study's models, fold by fold, and leave them with torch's answers to the test trades."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import store
from fitting import Part, Recipe, choose_threshold, settings_of, trade_auc
from pieces import Piece, Pieces
from samples import Sample

from lstmcore.files import write_text
from lstmcore.windows import Fold

CELLS = ("lstm", "gru")


def train_all(
    out: Path, samples: Sequence[Sample], folds: Sequence[Fold], recipe: Recipe, seeds: Sequence[int], pieces: Pieces
) -> None:
    """A model for each fold, cell and seed: its file, torch's answers, and an entry in the report."""
    todo = []
    for fold in folds:
        for cell in CELLS:
            for seed in seeds:
                name = f"{cell}-fold{fold.number}-seed{seed}"
                made = dataclasses.replace(recipe, cell=cell)
                arguments = (out, samples, name, fold, made, seed)
                todo.append(Piece(name, settings_of(made, fold, seed), train_one, arguments))
    write_text(store.train_report(out), json.dumps(pieces.run(todo, "models"), indent=1))


def train_one(out: Path, samples: Sequence[Sample], name: str, fold: Fold, recipe: Recipe, seed: int) -> dict[str, Any]:
    """The entry of one model in the report."""
    training, validation, test = (
        Part.of([samples[n] for n in rows]) for rows in (fold.train, fold.validation, fold.test)
    )
    fitted = recipe.fit(training.sequences(), validation.sequences(), seed)
    answers = {
        part: one.split(fitted.predict(one.sequences()))
        for part, one in (("train", training), ("validation", validation), ("test", test))
    }
    store.model_file(out, name).parent.mkdir(parents=True, exist_ok=True)
    fitted.save(store.model_file(out, name))
    trades = np.array([sample.name for sample in test.samples])
    store.Answers(trades, np.concatenate(answers["test"])).save(store.torch_answers(out, name))
    return {
        "name": name,
        "cell": recipe.cell,
        "fold": fold.number,
        "seed": seed,
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "device": str(fitted.device),
        "threshold": choose_threshold(validation.samples, answers["validation"]),
        "train_auc": trade_auc(training, answers["train"]),
        "validation_auc": trade_auc(validation, answers["validation"]),
    }
