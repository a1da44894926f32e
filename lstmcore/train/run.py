"""Walk forward over a file: a model for each fold, judged by what its deployed copy answers to the test window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import metrics, windows
from lstmcore.layers import Array
from lstmcore.train.config import Config, SplitSection
from lstmcore.train.fitting import Fitted, check_labels, check_rows, check_samples, fit, is_first, score
from lstmcore.train.samples import Windows
from lstmcore.train.table import Table

MODEL = "model.safetensors"


@dataclass(frozen=True, eq=False)
class Task:
    """A fold, and its samples that have a label."""

    fold: windows.Fold
    training: Windows
    validation: Windows | None
    test: Windows


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
        "share_of_commoner_label": max(float(np.mean(labels)), float(np.mean(1 - labels))),
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
    """The folds of a config.

    Raises:
        ValueError, TypeError: As `windows.walk_forward`; the text names section and key.
    """
    split, data = asdict(config.split), config.data
    sizes = [split.pop(name) for name in ("train", "validation", "test")]
    ends = windows.label_ends(table.stamps, data.horizon)
    try:
        return windows.walk_forward(table.stamps, *sizes, label_end=ends, window=data.window, **split)
    except (ValueError, TypeError) as error:
        text = str(error)
        is_key = text.partition(":")[0] in {field.name for field in fields(SplitSection)}
        raise type(error)(f"split{'.' if is_key else ': '}{text}") from None


def plan(config: Config, table: Table) -> list[Task]:
    """The folds with their samples, all checked before any is trained with.

    Raises:
        ValueError, TypeError: As `make_folds` and `fit`, a test window without a label or with a number that is not
            finite, and test windows whose labels are all the same; the text names the section and key, or the fold and
            the column.
    """
    samples = Windows(table.features, table.targets, config.data.window)
    module, tasks = config.model.build(samples.features), []
    for fold in make_folds(config, table):
        training, validation, test = (
            samples.take(rows[~np.isnan(samples.targets[rows])]) for rows in (fold.train, fold.validation, fold.test)
        )
        if len(test) == 0:
            raise ValueError(f"fold {fold.number}: no test sample has a label")
        task = Task(fold, training, validation if len(validation) else None, test)
        for what, part in (("training", task.training), ("validation", task.validation)):
            if part is not None:
                check_samples(f"fold {fold.number}: {what}", part, module, config.training, config.data.features)
        check_rows(f"fold {fold.number}: test", test, config.data.features)
        tasks.append(task)
    check_labels("test windows", np.concatenate([task.test.labels for task in tasks]))
    return tasks


def run(
    config: Config, tasks: list[Task], out: Path, *, resume: bool = False, told: Callable[[str], None] = print
) -> list[Judged]:
    """Train and judge every fold; write its checkpoint and its model into a folder of its own.

    Args:
        config: What to do.
        tasks: With what: `plan`'s.
        out: The folder, which is made where it is not there; `fold_1/`, ... are made in it.
        resume: Go on from the checkpoints that are there.
        told: Called with a line on each fold.

    Returns:
        The folds, oldest first; nothing in a process that is not the first of several.

    Raises:
        ValueError, FloatingPointError: As `fit`.
    """
    judged: list[Judged] = []
    for task in tasks:
        fold, training, test = task.fold, task.training, task.test
        folder = out / f"fold_{fold.number}"
        module = config.model.build(training.features)
        fitted = fit(module, training, task.validation, settings=config.training, out=folder, resume=resume)
        if not is_first():
            continue
        fitted.save(folder / MODEL)
        model = lstmcore.load(folder / MODEL)
        scores = score(model, test).astype(np.float64)
        difference = float(np.max(np.abs(scores - fitted.predict(test))))
        judged.append(Judged(fold, fitted, model, test.labels, scores, difference, float(np.mean(training.labels))))
        told(f"{fold}: AUC {metrics.auc(test.labels, scores):.4f}")
    return judged
