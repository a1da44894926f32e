"""What the first process leaves for the second: for each fold a model file and torch's answers beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Answers:
    """Torch's answer at every bar of every test trade, the trades' bars one behind the other."""

    entry_date: npt.NDArray[np.datetime64]  # (trades,)
    float32: npt.NDArray[np.float32]  # (bars,)
    float64: npt.NDArray[np.float64]  # (bars,); the same weights and features, computed in float64

    def save(self, path: Path) -> None:
        """Write a .npz file."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read a .npz file."""
        with np.load(path) as arrays:
            return cls(**arrays)


def model_file(out: Path, fold: int) -> Path:
    """Where a fold's model is; folds count from 1."""
    return out / f"fold_{fold}.safetensors"


def answers_file(out: Path, fold: int) -> Path:
    """Where torch's answers to a fold's test trades are."""
    return out / f"fold_{fold}.npz"


def train_report(out: Path) -> Path:
    """A list with an object a fold: dates, trades, bars, AUC on the training part."""
    return out / "train.json"


def score_report(out: Path) -> Path:
    """A list with an object a fold: trades, bars, AUC on the test part, differences, times."""
    return out / "score.json"
