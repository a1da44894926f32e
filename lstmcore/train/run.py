"""Walk forward over a file: a model for each fold, judged by what its deployed copy answers to the test window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import metrics, windows
from lstmcore.layers import Array
from lstmcore.train.config import Config
from lstmcore.train.fitting import Fitted, fit, is_first, score
from lstmcore.train.samples import Windows
from lstmcore.train.table import Table

MODEL = "model.safetensors"


@dataclass(frozen=True, eq=False)
class Judged:
    """A fold, the model that was trained in it, and what that made of the test window."""

    fold: windows.Fold
    fitted: Fitted
    model: lstmcore.Model
    labels: Array  # (test samples,), 0 or 1
    scores: Array  # (test samples,), the deployed model's answers
    difference: float  # the largest between these and torch's
    share: float  # of ones among the training samples: what a model that knows nothing says

    def to_dict(self) -> dict[str, Any]:
        """What the report holds of it."""
        return {
            **self.fold.to_dict(),
            "best_epoch": self.fitted.best_epoch,
            "history": self.fitted.history,
            **figures(self.labels, self.scores, self.share),
            "largest_difference_from_torch": self.difference,
        }


def figures(labels: Array, scores: Array, share: float | Array) -> dict[str, Any]:
    """How good scores are, beside what the share of ones in the training samples alone would have been."""
    counts = metrics.confusion(labels, scores)
    return {
        "answers": len(labels),
        "share_of_ones": float(np.mean(labels)),
        "auc": metrics.auc(labels, scores),
        "log_loss": metrics.log_loss(labels, scores),
        "log_loss_of_share": metrics.log_loss(labels, np.broadcast_to(share, labels.shape)),
        "brier": metrics.brier(labels, scores),
        "accuracy": counts.accuracy,
        "precision": counts.precision,
        "recall": counts.recall,
        "confusion": counts._asdict(),
    }


def make_folds(config: Config, table: Table) -> list[windows.Fold]:
    """The folds of a config, without the samples that have no label.

    Raises:
        ValueError, TypeError: As `windows.walk_forward`.
    """
    split, data = asdict(config.split), config.data
    sizes = [split.pop(name) for name in ("train", "validation", "test")]
    ends = windows.label_ends(table.stamps, data.horizon)
    return windows.walk_forward(table.stamps, *sizes, label_end=ends, window=data.window, **split)


def run(
    config: Config, table: Table, out: Path, *, resume: bool = False, told: Callable[[str], None] = print
) -> list[Judged]:
    """Train and judge every fold; write its checkpoint and its model into a folder of its own.

    Args:
        config: What to do.
        table: With what.
        out: The folder; `fold_1/`, ... are made in it.
        resume: Go on from the checkpoints that are there.
        told: Called with a line on each fold.

    Returns:
        The folds, oldest first; nothing in a process that is not the first of several.

    Raises:
        ValueError: As `walk_forward` and `fit`.
    """
    samples = Windows(table.features, table.targets, config.data.window)
    judged: list[Judged] = []
    for fold in make_folds(config, table):
        train, validation, test = (
            samples.take(rows[~np.isnan(samples.targets[rows])]) for rows in (fold.train, fold.validation, fold.test)
        )
        if len(test) == 0:
            raise ValueError(f"fold {fold.number}: no test sample has a label")
        folder = out / f"fold_{fold.number}"
        module = config.model.build(samples.features)
        fitted = fit(
            module, train, validation if len(validation) else None, settings=config.training, out=folder, resume=resume
        )
        if not is_first():
            continue
        fitted.save(folder / MODEL)
        model = lstmcore.load(folder / MODEL)
        scores = score(model, test).astype(np.float64)
        difference = float(np.max(np.abs(scores - fitted.predict(test))))
        judged.append(Judged(fold, fitted, model, test.labels, scores, difference, float(np.mean(train.labels))))
        told(f"{fold}: AUC {metrics.auc(test.labels, scores):.4f}")
    return judged
