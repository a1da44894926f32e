"""examples/exit_management: the failures that are committed on purpose do what they are said to do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bars import Bars
from exit_bars import random_bars
from exits import NEVER
from features import trade_features
from indicators import indicators
from samples import Sample, make_samples

from lstmcore.windows import Fold

pytest.importorskip("pytorch_lightning", reason="lightning is not installed")

import failure_runs
import failures
from fitting import Part, Recipe, choose_threshold

ROWS = 1500
RECIPE = Recipe(epochs=100, patience=100, dropout=0.0, weight_decay=0.0)  # which learns by heart quickly


@pytest.fixture(scope="module")
def market() -> Bars:
    return random_bars(0, ROWS)


@pytest.fixture(scope="module")
def context(market: Bars) -> failures.Context:
    """Trades with labels that nothing foretells: whoever scores well on those of the test has seen them."""
    random = np.random.default_rng(0)
    samples = [
        dataclasses.replace(sample, labels=random.integers(0, 2, len(sample.labels)).astype(np.float32))
        for sample in make_samples(market)
    ]
    third = len(samples) // 3
    train, validation, test = np.split(np.arange(len(samples)), [third, third + 10])
    none = np.empty(0, np.int64)
    bounds = tuple(samples[row].dates[0] for row in (train[0], validation[0], test[0]))
    fold = Fold(1, train, validation, test[:20], none, test[20:], bounds[:2], bounds[1:], (bounds[2], None))
    return failures.Context(samples, fold, RECIPE)


def run(name: str, context: failures.Context) -> dict[str, dict[str, float]]:
    return failure_runs.summary(name, context.samples, [[failure_runs.one(name, context, 0)]])


def test_learned_test_labels_are_reported_and_not_kept(context: failures.Context) -> None:
    honest = run("honest run", context)
    assert honest["reported"] == honest["live"]
    leaked = run("test labels in training", context)
    assert leaked["reported"]["low"] > 0.6
    for found in (honest["live"], leaked["live"]):
        assert 0.38 < found["auc"] < 0.62


def test_without_dropout_the_report_is_of_what_was_learned_by_heart(context: failures.Context) -> None:
    found = run("no dropout", context)
    assert found["reported"]["low"] > 0.7
    assert 0.38 < found["live"]["auc"] < 0.62


def test_the_window_that_is_off_by_one(market: Bars) -> None:
    """Row n holds what the honest row n + 1 does, and the last row the bar in which the trade ends."""
    known = indicators(market)
    for sample in make_samples(market):
        ahead = trade_features(market, known, sample.trade, ahead=1)
        assert ahead.shape == sample.features.shape
        np.testing.assert_array_equal(ahead[:-1], sample.features[1:])
        last = sample.trade
        profit = last.side * (market.close[last.end] - last.entry_price) / last.risk
        assert ahead[-1, 0] == pytest.approx(profit, rel=1e-5, abs=1e-6)


def test_what_a_scale_over_the_whole_life_gives_away(context: failures.Context) -> None:
    """The honest form of a row stays when the bars behind it change; the other does not."""
    sample = max(context.samples, key=lambda s: len(s.features))
    half = len(sample.features) // 2
    np.testing.assert_array_equal(failures.so_far(sample.features)[:half], failures.so_far(sample.features[:half]))
    whole = failures.whole_life(sample.features)
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-5)
    assert np.abs(whole[:half] - failures.whole_life(sample.features[:half])).max() > 0.1
    np.testing.assert_array_equal(failures.so_far(sample.features)[-1], whole[-1])


def test_full_windows_begin_late(context: failures.Context) -> None:
    attempt = failures.full_windows_only(context)
    part = context.part(context.fold.train)
    windows = sum(max(0, len(rows) - failures.FULL_WINDOW + 1) for rows in part.features)
    assert len(attempt.training) == windows > 0
    found = failure_runs.one("full windows only", context._replace(recipe=Recipe(epochs=2)), 0)
    first = failures.FULL_WINDOW - 1
    assert all(not any(scores[:first]) for scores in found["reported"]["scores"])
    assert all(all(scores) for scores in found["live"]["scores"])


def test_ranks_know_the_years_that_they_are_of(context: failures.Context) -> None:
    attempt = failures.ranks_of_all_years(context)
    sample, ranks = attempt.reported.samples[3], attempt.reported.features[3]
    every = np.concatenate([s.features for s in context.samples])
    np.testing.assert_allclose(ranks[4], (every < sample.features[4]).mean(axis=0), rtol=1e-6)
    known = np.concatenate([context.samples[n].features for n in context.fold.train])
    np.testing.assert_allclose(attempt.live.features[3][4], (known < sample.features[4]).mean(axis=0), rtol=1e-6)


def test_an_unpurged_border_takes_the_purged_back(context: failures.Context) -> None:
    train = context.fold.train
    fold = dataclasses.replace(context.fold, train=train[:-4], purged=train[-4:])
    attempt = failures.border_not_purged(context._replace(fold=fold))
    assert len(attempt.training) == len(train)
    assert len(failures.honest(context._replace(fold=fold)).training) == len(train) - 4


def test_the_threshold_is_the_one_that_earned_most() -> None:
    def sample(*results: float) -> Sample:
        made = make_samples(random_bars(1, 600))[0]
        return dataclasses.replace(made, results=np.array(results))

    scores = [np.array([0.2, 0.9]), np.array([0.1, 0.3])]
    assert choose_threshold([sample(0.0, 0.0, 1.0), sample(0.0, 0.0, 1.0)], scores) == NEVER
    early = choose_threshold([sample(0.0, 1.0, -1.0), sample(0.0, 0.0, 1.0)], scores)
    assert 0.3 <= early < 0.9  # leave the first at its second bar, the second never


def test_parts_come_apart_as_they_were_put_together(context: failures.Context) -> None:
    part = Part.of(context.samples[:5])
    flat = np.concatenate(part.labels)
    for one, labels in zip(part.split(flat), part.labels, strict=True):
        np.testing.assert_array_equal(one, labels)
