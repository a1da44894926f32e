"""The ways in which such a study goes wrong, each committed: what its author would report, and what live trading gives.

Each is the study's LSTM with one thing done wrong. `reported` is what the wrong run shows of itself; `live` is the same
model in the process that trades, where the mistake can no longer be made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from bars import MARKETS, load
from features import trade_features
from fitting import Part, Recipe
from indicators import indicators
from samples import Sample

from lstmcore import train
from lstmcore.layers import Array
from lstmcore.windows import Fold

FULL_WINDOW = 20
OVERFIT_EPOCHS = 3  # times the recipe's


class Attempt(NamedTuple):
    """What one run trains with, chooses its threshold by, reports and meets."""

    recipe: Recipe
    training: train.Sequences | train.Windows
    validation: train.Sequences | train.Windows
    choose: Part  # for the threshold
    reported: Part
    live: Part
    reported_from: int = 0  # the first bar of a trade that is reported


class Context(NamedTuple):
    """What there is to go wrong with."""

    samples: Sequence[Sample]  # all trades of all years
    fold: Fold
    recipe: Recipe

    def part(self, rows: Array) -> Part:
        """The trades of these rows, as they are."""
        return Part.of([self.samples[n] for n in rows])

    def parts(self, see: Callable[[Sample], Array] | None = None) -> tuple[Part, Part, Part]:
        """Training, validation and test trades, their features made by `see`."""
        found = [self.part(rows) for rows in (self.fold.train, self.fold.validation, self.fold.test)]
        if see is not None:
            found = [Part(part.samples, [see(sample) for sample in part.samples]) for part in found]
        return found[0], found[1], found[2]


def honest(context: Context) -> Attempt:
    """The study's own way: nothing wrong."""
    training, validation, test = context.parts()
    return Attempt(context.recipe, training.sequences(), validation.sequences(), validation, test, test)


def test_labels_in_training(context: Context) -> Attempt:
    """The test block's trades are among those trained with, and training stops when they are fitted best."""
    fold = context.fold
    training = context.part(np.concatenate([fold.train, fold.validation, fold.test]))
    test = context.part(fold.test)
    ends = max(sample.dates[-1] for sample in test.samples)
    after = [n for n, sample in enumerate(context.samples) if sample.dates[0] > ends][: len(fold.test)]
    live = context.part(np.array(after, int))  # the next trades, which this model has not seen
    return Attempt(context.recipe, training.sequences(), test.sequences(), test, test, live)


def border_not_purged(context: Context) -> Attempt:
    """Trades still open where the next part begins stay in: their labels read some days of it."""
    fold = context.fold
    starts = np.array([context.samples[n].dates[0] for n in fold.purged], "datetime64[D]")
    early = starts < np.datetime64(fold.train_bounds[1], "D")
    training = context.part(np.sort(np.concatenate([fold.train, fold.purged[early]])))
    validation = context.part(np.sort(np.concatenate([fold.validation, fold.purged[~early]])))
    test = context.part(fold.test)
    return Attempt(context.recipe, training.sequences(), validation.sequences(), validation, test, test)


def ranks_of_all_years(context: Context) -> Attempt:
    """Each feature is turned into its rank among all bars of all years; live, among those known by then."""
    every = _sorted(context.samples)
    known = _sorted([context.samples[n] for n in context.fold.train])
    training, validation, test = context.parts(lambda sample: _ranks(sample.features, every))
    live = Part(test.samples, [_ranks(sample.features, known) for sample in test.samples])
    return Attempt(context.recipe, training.sequences(), validation.sequences(), validation, test, live)


def scaled_over_its_life(context: Context) -> Attempt:
    """Each trade's features are scaled by their mean and deviation over its whole life; live, over its bars so far."""
    training, validation, test = context.parts(lambda sample: whole_life(sample.features))
    live = Part(test.samples, [so_far(sample.features) for sample in test.samples])
    return Attempt(context.recipe, training.sequences(), validation.sequences(), validation, test, live)


def next_bar_in_window(context: Context) -> Attempt:
    """The window's last row is the next bar's; live, that row has not come yet."""
    by_market = {market: (bars, indicators(bars)) for market, bars in ((m, load(m)) for m in MARKETS)}
    training, validation, test = context.parts(lambda s: trade_features(*by_market[s.market], s.trade, ahead=1))
    return Attempt(
        context.recipe, training.sequences(), validation.sequences(), validation, test, Part.of(test.samples)
    )


def full_windows_only(context: Context) -> Attempt:
    """Trained and reported on bars that have twenty behind them; live, a trade begins with one."""
    recipe = dataclasses.replace(context.recipe, history=FULL_WINDOW)
    training, validation, test = context.parts()
    first = FULL_WINDOW - 1
    return Attempt(recipe, _whole_windows(training), _whole_windows(validation), validation, test, test, first)


def no_dropout(context: Context) -> Attempt:
    """No dropout, no weight decay, no early stopping; threshold and report from the trades it was trained with."""
    recipe = dataclasses.replace(
        context.recipe, dropout=0.0, weight_decay=0.0, stop_early=False, epochs=OVERFIT_EPOCHS * context.recipe.epochs
    )
    training, validation, test = context.parts()
    return Attempt(recipe, training.sequences(), validation.sequences(), training, training, test)


def whole_life(features: Array) -> Array:
    """(bars, 8): each column less its mean, by its deviation, both over all rows; 0 where it never changes."""
    deviation = features.std(axis=0)
    return ((features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def so_far(features: Array) -> Array:
    """(bars, 8): the same, where each row knows the rows up to its own."""
    return np.stack([whole_life(features[: n + 1])[-1] for n in range(len(features))])


def _sorted(samples: Sequence[Sample]) -> Array:
    return np.sort(np.concatenate([sample.features for sample in samples]), axis=0)


def _ranks(features: Array, known: Array) -> Array:
    columns = [np.searchsorted(known[:, k], features[:, k]) / len(known) for k in range(features.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)


def _whole_windows(part: Part) -> train.Windows:
    """The windows of FULL_WINDOW bars that lie within one trade."""
    within = np.concatenate([np.arange(len(rows)) for rows in part.features])
    series = train.Windows(np.concatenate(part.features), np.concatenate(part.labels), window=FULL_WINDOW)
    return series.take(np.flatnonzero(within >= FULL_WINDOW - 1))


FAILURES: dict[str, Callable[[Context], Attempt]] = {
    "honest run": honest,
    "test labels in training": test_labels_in_training,
    "border not purged": border_not_purged,
    "ranks of all years": ranks_of_all_years,
    "scaled over its life": scaled_over_its_life,
    "next bar in window": next_bar_in_window,
    "full windows only": full_windows_only,
    "no dropout": no_dropout,
}
