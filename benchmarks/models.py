"""The shapes that everything is measured with, with random weights: speed does not depend on their values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
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


def lstm(features: int, hidden: int, layers: int = 1, dense: bool = False) -> Model:
    """LSTM layers that answer with the last step's h, or behind it one Dense 1."""
    rng = np.random.default_rng(1000 * hidden + layers)
    stack = [layer(L.LSTM, "lstm", rng, input_size=features, hidden_size=hidden, num_layers=layers)]
    return Model([*stack, layer(L.Linear, "fc", rng, in_features=hidden, out_features=1)] if dense else stack)


def gru() -> Model:
    """The quant model with a GRU in the LSTM's place, and no BatchNorm."""
    rng = np.random.default_rng(364)
    return Model(
        [
            layer(L.GRU, "gru", rng, input_size=10, hidden_size=64),
            layer(L.Linear, "fc1", rng, in_features=64, out_features=32),
            L.ReLU("relu"),
            layer(L.Linear, "fc2", rng, in_features=32, out_features=1),
            L.Sigmoid("sigmoid"),
        ]
    )


@dataclasses.dataclass(frozen=True)
class Shape:
    """A model and what it is asked."""

    name: str  # of its file in benchmarks/results
    title: str
    build: Callable[[], Model]
    steps: int  # of a window
    carried: bool = False  # one step a call, h and c carried from call to call


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("quant", "quant: 50 x 10, hidden 64, head", quant, 50),
        Shape("exit", "exit: 50 x 8, 2 x 64, head", exit_, 50),
        Shape("hidden32", "50 x 10, hidden 32", lambda: lstm(10, 32), 50),
        Shape("hidden128", "100 x 32, hidden 128", lambda: lstm(32, 128), 100),
        Shape("a", "A: 50 x 100, 2 x 100, Dense 1", lambda: lstm(100, 100, 2, dense=True), 50),
        Shape("hidden256", "50 x 16, 2 x 256", lambda: lstm(16, 256, 2), 50),
        Shape("step", "one step, hidden 64, input 10, state carried", lambda: lstm(10, 64), 1, carried=True),
        Shape("gru", "GRU: 50 x 10, hidden 64, head", gru, 50),
    )
}

#: Next to nothing to compute: what a call costs.
CALL = Shape("call", "a call: one step, hidden 1, input 1", functools.partial(lstm, 1, 1), 1, carried=True)

#: One step of a layer and nothing around it, which benchmarks/against.py asks in C alone.
SMALL = {
    shape.name: shape
    for shape in (
        *(
            Shape(f"units{n}", f"one step, hidden {n}, input 8", functools.partial(lstm, 8, n), 1, carried=True)
            for n in (8, 16, 24, 32, 40, 64, 128)
        ),
        CALL,
    )
}
