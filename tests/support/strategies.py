"""Random models and windows. Sizes come from hypothesis, numbers from a seeded generator: never constant."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lstmcore import layers as L

SEEDS = st.integers(0, 2**32 - 1)

#: The backends that have every layer.
BACKENDS = ("numpy", "c")

#: How strongly an LSTM feeds back: the standard deviation of its weights times √hidden. Trained models stay below 3.
GAINS = st.sampled_from([0.1, 0.5, 1.0, 3.0])


def make(
    cls: type[L.Layer],
    name: str,
    rng: np.random.Generator,
    *,
    gain: float = 0.5,
    dtype: Any = "f4",
    **settings: Any,
) -> Any:
    """A layer of `cls` with normal weights of the size that `gain` says."""
    fields = [f for f in dataclasses.fields(cls) if f.name not in ("name", "weights")]
    full = {f.name: settings.get(f.name, f.default) for f in fields}
    fan_in = full.get("hidden_size") or full.get("in_features") or 1
    weights = {
        key: (rng.normal(size=shape) * gain / np.sqrt(fan_in)).astype(dtype)
        for key, shape in cls.weight_shapes(**full).items()
    }
    for key in ("running_var", "scale"):
        if key in weights:
            weights[key] = (0.5 + rng.random(weights[key].shape)).astype(dtype)
    return cls(name, weights=weights, **settings)


@st.composite
def lstm_layers(draw: st.DrawFn, max_hidden: int = 130, return_sequences: bool | None = None) -> L.LSTM:
    """An LSTM of input 1..40, hidden 1..max_hidden, layers 1..3, with or without bias."""
    sequences = draw(st.booleans()) if return_sequences is None else return_sequences
    layer: L.LSTM = make(
        L.LSTM,
        "lstm",
        np.random.default_rng(draw(SEEDS)),
        gain=draw(GAINS),
        input_size=draw(st.integers(1, 40)),
        hidden_size=draw(st.integers(1, max_hidden)),
        num_layers=draw(st.integers(1, 3)),
        bias=draw(st.booleans()),
        return_sequences=sequences,
    )
    return layer


@st.composite
def recurrent_layers(draw: st.DrawFn, kinds: tuple[type[L.Recurrent], ...] = (L.LSTM, L.GRU, L.RNN)) -> L.Recurrent:
    """What torch has of these kinds, in float64: input and hidden 1..9, layers 1..3, one or both directions."""
    kind = draw(st.sampled_from(kinds))
    settings: dict[str, Any] = {name: draw(st.booleans()) for name in ("bias", "return_sequences", "bidirectional")}
    settings["num_layers"] = draw(st.integers(1, 3))
    settings["hidden_size"] = draw(st.integers(1, 9))
    if settings["bidirectional"] and settings["num_layers"] == 1:
        settings["merge"] = draw(st.sampled_from(["concat", "sum", "mean", "mul"]))
    if kind is L.LSTM and settings["hidden_size"] > 1:
        settings["proj_size"] = draw(st.integers(0, settings["hidden_size"] - 1))
    if kind is L.RNN:
        settings["activations"] = draw(st.sampled_from(["tanh", "relu"]))
    rng = np.random.default_rng(draw(SEEDS))
    layer: L.Recurrent = make(
        kind, "layer", rng, gain=draw(GAINS), dtype="f8", input_size=draw(st.integers(1, 9)), **settings
    )
    return layer


ACTIVATIONS = (
    L.ReLU("relu"),
    L.LeakyReLU("leaky_relu", 0.1),
    L.ELU("elu", 0.7),
    L.GELU("gelu"),
    L.GELU("gelu_tanh", "tanh"),
    L.Tanh("tanh"),
    L.Sigmoid("sigmoid"),
    L.Softmax("softmax"),
)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[L.Layer], int]:
    """Layers of a whole model, every kind among them, and a window length that it takes."""
    rng = np.random.default_rng(draw(SEEDS))
    steps = draw(st.integers(1, 70))
    lstm = draw(lstm_layers(max_hidden=40))
    layers: list[L.Layer] = [lstm]
    if draw(st.booleans()):
        layers.insert(0, make(L.Scaler, "scaler", rng, num_features=lstm.input_size))
    width, sequence = lstm.hidden_size, lstm.return_sequences
    if draw(st.booleans()):
        layers.append(make(L.BatchNorm1d, "norm", rng, num_features=width, affine=draw(st.booleans())))
    layers.append(L.Dropout("dropout", 0.3))
    layers += [a for a in ACTIVATIONS if draw(st.integers(0, 4)) == 0]
    if sequence and draw(st.booleans()):
        layers.append(L.Flatten("flatten", steps))
        width *= steps
    outputs = draw(st.integers(1, 40))
    layers.append(make(L.Linear, "fc", rng, in_features=width, out_features=outputs, bias=draw(st.booleans())))
    if draw(st.booleans()):
        layers.append(make(L.BatchNorm1d, "norm_out", rng, num_features=outputs))
    if outputs == 1 and draw(st.booleans()):
        layers.append(L.Squeeze("squeeze"))
    return layers, steps


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    """float32 numbers of size one."""
    return rng.normal(size=shape).astype(np.float32)


def states(layer: L.LSTM, rng: np.random.Generator, *batch: int) -> tuple[Any, Any]:
    """Random initial states (L, *batch, H)."""
    shape = (layer.num_layers, *batch, layer.hidden_size)
    return normal(rng, *shape), normal(rng, *shape)


def start(layer: L.Recurrent, rng: np.random.Generator, *batch: int) -> Any:
    """Random initial states as a call takes them, float64: (h, c) of an LSTM, else h."""
    h = rng.normal(size=(layer.states, *batch, layer.state_width))
    return (h, rng.normal(size=(layer.states, *batch, layer.cell_width))) if layer.cell_width else h
