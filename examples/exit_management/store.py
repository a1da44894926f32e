"""What the first process leaves for the second, and the second for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lstmcore.files import replacing


@dataclass(frozen=True)
class Answers:
    """One model's answer at every bar of every test trade, the trades' bars one behind the other."""

    trades: npt.NDArray[np.str_]  # (trades,), Sample.name
    scores: npt.NDArray[np.float32]  # (bars,)

    def save(self, path: Path) -> None:
        """Write a .npz file."""
        with replacing(path) as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read a .npz file."""
        with np.load(path) as arrays:
            return cls(**arrays)


def model_file(out: Path, name: str) -> Path:
    """Where a model is; names are like lstm-fold2-seed0."""
    return out / "models" / f"{name}.safetensors"


def torch_answers(out: Path, name: str) -> Path:
    """Where torch's answers to a model's test trades are."""
    return out / "models" / f"{name}.torch.npz"


def core_answers(out: Path, name: str) -> Path:
    """Where the C backend's answers to the same trades are."""
    return out / "models" / f"{name}.core.npz"


def train_report(out: Path) -> Path:
    """A list with an object a model: name, cell, fold, seed, threshold, figures of the training."""
    return out / "models.json"


def score_report(out: Path) -> Path:
    """A list with an object a model: trades, bars, AUC on the test part, difference from torch, times."""
    return out / "scored.json"
