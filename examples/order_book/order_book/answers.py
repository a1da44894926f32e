"""What the fitted models said, in memory and in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import lstmcore
from lstmcore.files import replacing
from lstmcore.layers import Array

SEQUENCE = ("RNN", "GRU", "LSTM")
FILE = "answers.npz"


@dataclass(frozen=True)
class Answers:
    """Every model's answers to two parts. Scores are probabilities, (n,)."""

    stacking: dict[str, Array] = field(default_factory=dict)
    test: dict[str, Array] = field(default_factory=dict)
    deployed: dict[str, dict[str, float]] = field(default_factory=dict)  # a sequence model: torch's AUC beside C's
    history: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    models: dict[str, lstmcore.Model] = field(default_factory=dict)

    def save(self, folder: Path, digest: str) -> None:
        """Write all but the models, which are files of their own, and what it was made from."""
        about = json.dumps({"digest": digest, "deployed": self.deployed, "history": self.history})
        scores = {f"{part}/{name}": s for part in ("stacking", "test") for name, s in getattr(self, part).items()}
        with replacing(folder / FILE) as file:
            np.savez(file, about=np.array(about), **scores)

    @classmethod
    def load(cls, folder: Path, digest: str) -> Answers | None:
        """What a folder holds, if it was made from the same."""
        if not (folder / FILE).is_file():
            return None
        with np.load(folder / FILE) as arrays:
            about = json.loads(str(arrays["about"]))
            parts: dict[str, dict[str, Array]] = {"stacking": {}, "test": {}}
            for key in arrays.files:
                part, _, name = key.partition("/")
                if name:
                    parts[part][name] = arrays[key]
        if about["digest"] != digest:
            return None
        loaded = {name: lstmcore.load(model_file(folder, name), backend="c") for name in SEQUENCE}
        return cls(**parts, deployed=about["deployed"], history=about["history"], models=loaded)


def model_file(folder: Path, name: str) -> Path:
    """Where a sequence model is."""
    return folder / f"{name.lower()}.safetensors"
