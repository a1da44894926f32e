"""A model for one fold: trained by lstmcore.train, and the threshold above which its score means leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import exits
import numpy as np
from bars import Series
from samples import Sample

from lstmcore import train
from lstmcore.layers import Array
from lstmcore.metrics import auc
from lstmcore.windows import Fold

QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)  # of the validation scores: the thresholds to choose among
TRADES_A_BATCH, WINDOWS_A_BATCH = 16, 256  # a trade gives some 27 answers, a window one


@dataclass(frozen=True)
class Part:
    """Trades as a model is to see them."""

    samples: Sequence[Sample]
    features: Sequence[Array]  # for each trade (open bars, 8)

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Part:
        """These trades with their own features."""
        return cls(samples, [sample.features for sample in samples])

    @property
    def labels(self) -> list[Array]:
        """For each trade (open bars,)."""
        return [sample.labels for sample in self.samples]

    def sequences(self, history: int | None = None) -> train.Sequences:
        """For lstmcore.train; `history`: how many of a trade's last bars an answer may see, None: all."""
        return train.Sequences(self.features, self.labels, history=history)

    def split(self, flat: Array) -> list[Array]:
        """One value a bar, all trades behind each other -> an array for each trade."""
        return np.split(flat, np.cumsum([len(rows) for rows in self.features])[:-1])


@dataclass(frozen=True)
class Recipe:
    """How a model is made. The defaults are the study's; failures.py changes one thing at a time."""

    cell: str = "lstm"
    epochs: int = 30
    history: int | None = None
    dropout: float = 0.3
    patience: int = 5
    stop_early: bool = True
    weight_decay: float = 1e-2

    def fit(
        self, training: train.Sequences | train.Windows, validation: train.Sequences | train.Windows, seed: int
    ) -> train.Fitted:
        """The trained model."""
        module = train.exit_model(
            8, cell=self.cell, dropout=self.dropout, head_dropout=min(self.dropout, 0.2), seed=seed
        )
        whole_trades = isinstance(training, train.Sequences) and self.history is None
        settings = train.Settings(
            epochs=self.epochs,
            batch_size=TRADES_A_BATCH if whole_trades else WINDOWS_A_BATCH,
            patience=self.patience,
            weight_decay=self.weight_decay,
            seed=seed,
        )
        return train.fit(module, training, validation if self.stop_early else None, settings=settings, progress=False)


def choose_threshold(samples: Sequence[Sample], scores: Sequence[Series], first: int = 0) -> float:
    """The threshold that would have earned most on these trades; exits.NEVER where none beats staying in.

    `first` is the bar of a trade from which on there are scores that mean something.
    """
    candidates = [*np.quantile(np.concatenate([own[first:] for own in scores]), QUANTILES), exits.NEVER]
    earned = [
        np.mean([s.results[exits.by_score(own, float(one))] for s, own in zip(samples, scores, strict=True)])
        for one in candidates
    ]
    return float(candidates[int(np.argmax(earned))])


def trade_auc(part: Part, scores: Sequence[Array]) -> float:
    """The AUC over all bars of these trades."""
    return auc(np.concatenate(part.labels), np.concatenate(scores))


def settings_of(recipe: Recipe, fold: Fold, seed: int) -> dict[str, Any]:
    """All that a model depends on, the trades themselves aside."""
    return asdict(recipe) | {"seed": seed, **fold.to_dict()}
