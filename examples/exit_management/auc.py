"""The area under the ROC curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The chance that a bar labelled 1 scores above one labelled 0, ties counted half; NaN without both."""
    y = np.asarray(labels) > 0
    _, at, count = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[at]  # from 1; tied scores share their mean rank
    ones, zeros = int(y.sum()), int((~y).sum())
    if not ones or not zeros:
        return float("nan")
    return float((rank[y].sum() - ones * (ones + 1) / 2) / (ones * zeros))
