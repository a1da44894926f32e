"""Pictures of a training: curves, calibration and confusion, the folds in time. Needs matplotlib: the extra `plot`.

Every function returns a `matplotlib.figure.Figure`; `figure.savefig("curves.png")` writes a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcore import metrics
from lstmcore.plot.canvas import COLORS, GREY, INK, figure, heading, lines, whole_numbers
from lstmcore.windows import Fold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = {"train": COLORS[0], "validation": COLORS[1]}
MOST_TICKS = 12  # folds that are named one by one
TALLEST = 0.25  # of the bars of answers, which only show where most of the scores are
BRIGHT = 0.55  # of the largest count: above it a cell is dark, and what is written on it white


def curves(histories: Sequence[Sequence[Mapping[str, Any]]], best_epochs: Sequence[int]) -> Figure:
    """Loss and AUC by epoch, a line for each fold, a dot at the epoch whose weights were kept.

    Args:
        histories: `Fitted.history` of each fold.
        best_epochs: `Fitted.best_epoch` of each fold.
    """
    made = figure(9, 3.6)
    for axes, kind, name in zip(made.subplots(1, 2), ("loss", "auc"), ("Loss", "AUC"), strict=True):
        for part, color in PARTS.items():
            if not any(f"{part}_{kind}" in history[0] for history in histories):
                continue  # trained without validation
            for history, best in zip(histories, best_epochs, strict=True):
                epochs = [row["epoch"] for row in history]
                values = [row[f"{part}_{kind}"] for row in history]
                axes.plot(
                    epochs, values, color=color, linewidth=1.2, alpha=0.75, marker="." if len(epochs) == 1 else ""
                )
                axes.plot(best, values[best - 1], "o", color=color, markersize=4.5)
            axes.plot([], [], color=color, label=part)
        lines(axes, f"{name} by epoch; a dot: the weights that were kept", "epoch", name)
        axes.xaxis.set_major_locator(whole_numbers())
        axes.legend(frameon=False, fontsize=9)
    return made


def judgement(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float = 0.5) -> Figure:
    """Calibration, the ROC curve, and confusion at a threshold.

    Args:
        labels: (N,), 0 and 1, both.
        scores: (N,).
        threshold: A score above it says 1.
    """
    made = figure(12, 4.2)
    calibrated, ranked, confused = made.subplots(1, 3)
    _calibration(calibrated, labels, scores)
    zeros, ones = metrics.roc(labels, scores)
    ranked.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    ranked.plot(zeros, ones, color=COLORS[0], linewidth=1.6)
    lines(
        ranked, f"ROC curve, AUC {metrics.auc(labels, scores):.3f}", "share of zeros called 1", "share of ones called 1"
    )
    ranked.set_aspect("equal")
    _confusion(confused, metrics.confusion(labels, scores, threshold), threshold)
    return made


def _calibration(axes: Axes, labels: npt.ArrayLike, scores: npt.ArrayLike) -> None:
    found = metrics.calibration(labels, scores)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    share = np.array([each.share for each in found])
    error = 1.96 * np.sqrt(share * (1 - share) / np.array([each.answers for each in found]))
    axes.errorbar(
        [each.score for each in found],
        share,
        error,
        color=COLORS[0],
        marker="o",
        markersize=4.5,
        linewidth=1.4,
        capsize=2,
    )
    answers = np.array([each.answers for each in found])
    middles = [(each.low + each.high) / 2 for each in found]
    axes.bar(middles, answers * TALLEST / answers.max(), width=0.09, color=GREY, alpha=0.3)
    lines(axes, "Calibration, with 95 % intervals; bars: answers", "score", "share of ones among such scores")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(1)


def _confusion(axes: Axes, counts: metrics.Confusion, threshold: float) -> None:
    cells = np.array(
        [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]], np.float64
    )
    axes.imshow(cells, cmap="Blues", vmin=0)
    for (row, column), value in np.ndenumerate(cells):
        color = "white" if value > BRIGHT * cells.max() else INK
        text = f"{value:,.0f}\n{value / cells.sum():.1%}"
        axes.text(column, row, text, ha="center", va="center", color=color)
    axes.set_xticks([0, 1], ["0", "1"])
    axes.set_yticks([0, 1], ["0", "1"])
    axes.set_xlabel("said")
    axes.set_ylabel("came")
    heading(axes, f"Confusion, 1 said above {threshold:g}: {counts.accuracy:.1%} right")


def walk_forward(folds: Sequence[Fold], aucs: Sequence[float]) -> Figure:
    """The folds in time, and the AUC on each test window."""
    made = figure(11, 1.4 + 0.32 * len(folds))
    when, what = made.subplots(1, 2, width_ratios=[3, 1], sharey=True)
    for n, fold in enumerate(folds):
        spans = (
            (fold.train_bounds, COLORS[0], "train"),
            (fold.validation_bounds, COLORS[1], "validation"),
            (fold.test_bounds, COLORS[2], "test"),
        )
        for bounds, color, name in spans:
            if bounds is not None:
                start, stop = (_moment(edge) for edge in bounds)
                when.barh(n, stop - start, left=start, height=0.62, color=color, label=name if n == 0 else None)
    lines(when, "Folds; between train, validation and test the labels' reach is purged", "", "fold")
    when.legend(ncols=3, frameon=False, fontsize=9, loc="lower left")
    when.set_ylim(len(folds) - 0.4 + 0.9, -0.6)  # the first on top, and room for the legend
    step = max(1, len(folds) // MOST_TICKS)
    when.set_yticks(range(0, len(folds), step), [str(fold.number) for fold in folds[::step]])
    what.plot(aucs, range(len(folds)), "o", color=COLORS[2])
    what.axvline(0.5, color=GREY, linewidth=0.8, linestyle="--")
    low, high = min(0.49, *aucs), max(0.51, *aucs)
    what.set_xlim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    lines(what, "AUC on the test window", "", "")
    return made


def _moment(edge: Any) -> Any:
    """What matplotlib takes."""
    return edge.astype("datetime64[us]") if isinstance(edge, np.datetime64) else float(edge)
