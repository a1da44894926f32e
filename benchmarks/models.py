"""The models that everything is measured with, with random weights: speed does not depend on their values."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lstmcore import Model
from lstmcore import layers as L


def layer(cls: type[L.Layer], name: str, rng: np.random.Generator, **settings: Any) -> L.Layer:
    """A layer with normal weights of the size that training leaves."""
    defaults = {f.name: f.default for f in dataclasses.fields(cls) if f.name not in ("name", "weights")}
    shapes = cls.weight_shapes(**(defaults | settings))
    weights = {key: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32) for key, shape in shapes.items()}
    if "running_var" in weights:
        weights["running_var"] = np.abs(weights["running_var"]) + np.float32(0.5)
    return cls(name, weights=weights, **settings)


def quant() -> Model:
    """The order-book model: 50 ticks of 10 features, LSTM 64, BatchNorm, Dense 32, Dense 1."""
    rng = np.random.default_rng(64)
    return Model(
        [
            layer(L.LSTM, "lstm", rng, input_size=10, hidden_size=64),
            layer(L.BatchNorm1d, "norm", rng, num_features=64),
            L.Dropout("drop1", 0.3),
            layer(L.Linear, "fc1", rng, in_features=64, out_features=32),
            L.ReLU("relu"),
            L.Dropout("drop2", 0.2),
            layer(L.Linear, "fc2", rng, in_features=32, out_features=1),
            L.Sigmoid("sigmoid"),
        ]
    )


def exit_() -> Model:
    """The exit model: 50 bars of 8 features, two LSTM layers of 64, Dense 32, Dense 1."""
    rng = np.random.default_rng(264)
    return Model(
        [
            layer(L.LSTM, "lstm", rng, input_size=8, hidden_size=64, num_layers=2),
            layer(L.Linear, "classifier.0", rng, in_features=64, out_features=32),
            L.ReLU("classifier.1"),
            L.Dropout("classifier.2", 0.5),
            layer(L.Linear, "classifier.3", rng, in_features=32, out_features=1),
            L.Sigmoid("classifier.4"),
            L.Squeeze("squeeze"),
        ]
    )


MODELS = {"quant": quant, "exit": exit_}
