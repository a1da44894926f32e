"""The metrics are what their definitions say, and what scikit-learn computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmcore import metrics
from lstmcore.layers import Array

pairs = st.tuples(st.integers(0, 2**31), st.integers(2, 60))


def drawn(seed: int, n: int) -> tuple[Array, Array]:
    """Labels and scores, many of them tied; both labels are there, the first a 0, the last a 1."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    labels[[0, -1]] = False, True
    return labels, rng.integers(1, 8, n) / 8


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_auc_is_the_share_of_pairs_in_the_right_order(drawing: tuple[int, int]) -> None:
    labels, scores = drawn(*drawing)
    a, b = scores[labels], scores[~labels]
    expected = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    assert metrics.auc(labels, scores) == pytest.approx(expected)
    assert np.trapezoid(*metrics.roc(labels, scores)[::-1]) == pytest.approx(expected)


@pytest.mark.parametrize("label", [0, 1])
def test_auc_of_one_label_is_nan(label: int) -> None:
    assert np.isnan(metrics.auc([label] * 3, [0.1, 0.2, 0.3]))
    with pytest.raises(ValueError, match="all are the same"):
        metrics.roc([label] * 3, [0.1, 0.2, 0.3])


@settings(max_examples=30, deadline=None)
@given(pairs)
def test_the_others_are_those_of_scikit_learn(drawing: tuple[int, int]) -> None:
    learn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    labels, scores = drawn(*drawing)
    assert metrics.auc(labels, scores) == pytest.approx(learn.roc_auc_score(labels, scores))
    assert metrics.log_loss(labels, scores) == pytest.approx(learn.log_loss(labels, scores))
    assert metrics.brier(labels, scores) == pytest.approx(learn.brier_score_loss(labels, scores))
    found = metrics.confusion(labels, scores, 0.4)
    (true_negative, false_positive), (false_negative, true_positive) = learn.confusion_matrix(labels, scores > 0.4)
    assert found == (true_positive, false_positive, false_negative, true_negative)
    assert found.accuracy == pytest.approx(learn.accuracy_score(labels, scores > 0.4))
    assert found.recall == pytest.approx(learn.recall_score(labels, scores > 0.4))


@settings(max_examples=30, deadline=None)
@given(pairs, st.integers(1, 12))
def test_calibration_counts_every_answer_once(drawing: tuple[int, int], bins: int) -> None:
    labels, scores = drawn(*drawing)
    found = metrics.calibration(labels, scores, bins)
    assert sum(one.answers for one in found) == len(labels)
    assert all(one.low <= one.score <= one.high for one in found)
    assert sum(one.share * one.answers for one in found) == pytest.approx(labels.sum())
    assert sum(one.score * one.answers for one in found) == pytest.approx(scores.sum())


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 2], [0.1, 0.2], "expected 0 or 1, got 2 at 1"),
        ([0, 1], [0.1, np.nan], "NaN at 1"),
        ([0, 1], [0.1], r"got shapes \(2,\) and \(1,\)"),
        ([], [], "N at least 1"),
    ],
)
def test_what_is_no_pair_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.auc(labels, scores)
