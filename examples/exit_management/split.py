"""Walk-forward over the years: six years to train on, two to stop and to choose by, two to test; then two years on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from samples import Sample

from lstmcore.windows import Fold, check_no_leakage, walk_forward

START = np.datetime64("1999-01-01")
TRAIN, VALIDATION, TEST = "6 years", "2 years", "2 years"
EMBARGO = "7 days"


def folds(samples: Sequence[Sample]) -> list[Fold]:
    """The folds, whose rows are places in `samples`.

    A trade's labels read its bars up to its last, so that is where its label's span ends: a trade that is still open
    within a week of the next part is in none.

    Args:
        samples: By entry date.
    """
    entered, ended = (np.array([sample.dates[n] for sample in samples]) for n in (0, -1))
    found = walk_forward(entered, TRAIN, VALIDATION, TEST, label_end=ended, embargo=EMBARGO, start=START)
    for fold in found:
        check_no_leakage(fold, entered, label_end=ended, embargo=EMBARGO)
    return found
