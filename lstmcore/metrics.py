"""How good scores are as probabilities of a label: AUC, log loss, Brier score, calibration, confusion.

numpy alone, so that a process without torch can judge what it answered.
Letters: N answers, of scores between 0 and 1, with labels 0 or 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_integer, as_real
from lstmcore.layers import Array

#: The score nearest to 0 or 1 that a log loss takes: behind it the loss would be infinite.
NEAREST = 1e-7


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The area under the ROC curve: the chance that a 1 scores above a 0, ties counted half; NaN without both.

    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    y, s = _pair(labels, scores)
    ones, zeros = int(y.sum()), int((~y).sum())
    if not ones or not zeros:
        return float("nan")
    _, at, count = np.unique(s, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[at]  # from 1; tied scores share their mean rank
    return float((rank[y].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def roc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Array, Array]:
    """The ROC curve: the share of zeros and the share of ones at or above each threshold, each from 0 to 1.

    Raises:
        ValueError: Labels that are all the same.
    """
    y, s = _pair(labels, scores)
    if y.all() or not y.any():
        raise ValueError("labels: all are the same; a ROC curve needs both")
    order = np.argsort(-s, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)  # the last of each run of ties
    ones = np.cumsum(y[order])[ends]
    zeros = ends + 1 - ones
    return np.append(0, zeros / zeros[-1]), np.append(0, ones / ones[-1])


def log_loss(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The mean of -log of what was given to the label that came, in nats; ln 2 = 0.693 for 0.5 everywhere."""
    y, s = _pair(labels, scores)
    s = np.clip(s, NEAREST, 1 - NEAREST)
    return float(-np.mean(np.where(y, np.log(s), np.log1p(-s))))


def brier(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The mean squared difference between score and label; 0.25 for 0.5 everywhere."""
    y, s = _pair(labels, scores)
    return float(np.mean((s - y) ** 2))


class Bin(NamedTuple):
    """The answers with a score from `low` up to `high`."""

    low: float
    high: float
    answers: int
    score: float  # their mean score
    share: float  # the share of ones among them


def calibration(labels: npt.ArrayLike, scores: npt.ArrayLike, bins: int = 10) -> list[Bin]:
    """How often a 1 came at each height of the score: bins of equal width from 0 to 1, the empty ones left out."""
    y, s = _pair(labels, scores)
    edges = np.linspace(0, 1, as_integer(bins, "bins", 1) + 1)
    at = np.clip(np.searchsorted(edges, s, side="right") - 1, 0, len(edges) - 2)
    return [
        Bin(float(edges[k]), float(edges[k + 1]), int(here.sum()), float(s[here].mean()), float(y[here].mean()))
        for k in range(len(edges) - 1)
        if (here := at == k).any()
    ]


class Confusion(NamedTuple):
    """Counts of answers, by what was said and what came."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def accuracy(self) -> float:
        """The share that was right."""
        return (self.true_positive + self.true_negative) / sum(self)

    @property
    def precision(self) -> float:
        """The share of ones among what was called 1; NaN where nothing was."""
        said = self.true_positive + self.false_positive
        return self.true_positive / said if said else float("nan")

    @property
    def recall(self) -> float:
        """The share of ones that were called 1; NaN where there are none."""
        came = self.true_positive + self.false_negative
        return self.true_positive / came if came else float("nan")


def confusion(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float = 0.5) -> Confusion:
    """What a decision at this threshold gets right and wrong: a score above it says 1."""
    y, s = _pair(labels, scores)
    said = s > threshold
    return Confusion(int((said & y).sum()), int((said & ~y).sum()), int((~said & y).sum()), int((~said & ~y).sum()))


def _pair(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Array, Array]:
    """Labels as (N,) bool, scores as (N,) float64.

    Raises:
        ValueError: Other shapes, nothing at all, a label that is neither 0 nor 1, a score that is NaN.
    """
    y, s = as_real(labels, "labels"), as_real(scores, "scores").astype(np.float64, copy=False)
    if y.ndim != 1 or y.shape != s.shape or len(y) == 0:
        raise ValueError(f"labels, scores: expected (N,) both, N at least 1, got shapes {y.shape} and {s.shape}")
    wrong = np.flatnonzero((y != 0) & (y != 1))
    if len(wrong):
        raise ValueError(f"labels: expected 0 or 1, got {y[wrong[0]]} at {wrong[0]}")
    if np.isnan(s).any():
        raise ValueError(f"scores: NaN at {np.flatnonzero(np.isnan(s))[0]}")
    return y != 0, s
