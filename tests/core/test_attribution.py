"""`attribution.input_gradient` beside finite differences of the model's own answers, and beside torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, recurrent_layers

import lstmcore
from lstmcore import Model
from lstmcore import layers as L
from lstmcore.attribution import input_gradient
from lstmcore.demo.run import MODEL

LIMIT = 1e-6


def differences(model: Model, window: Any, output: int = 0) -> Any:
    """The gradient by central differences, (T, F); of the newest step where every step answers."""
    slopes = np.empty_like(window)
    for at in np.ndindex(window.shape):
        ends = []
        for by in (1e-5, -1e-5):
            moved = window.copy()
            moved[at] += by
            answer = model(moved)
            ends.append((answer[-1:] if "T" in model.output_shape else answer).reshape(-1)[output])
        slopes[at] = (ends[0] - ends[1]) / 2e-5
    return slopes


def check(layers: list[Any], window: Any, output: int = 0) -> None:
    model = Model(layers, backend="numpy").astype("f8")
    expected = differences(model, window, output)
    found = input_gradient(model.trace(window), output)
    assert found.shape == window.shape
    assert np.max(np.abs(expected)) > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=LIMIT * max(1, np.max(np.abs(expected))))


@settings(max_examples=20, deadline=None)
@given(layer=recurrent_layers(), ticks=st.integers(1, 5), seed=SEEDS)
def test_any_usual_recurrent_layer(layer: L.Recurrent, ticks: int, seed: int) -> None:
    if getattr(layer, "proj_size", 0):
        layer = make(L.LSTM, "layer", np.random.default_rng(seed), dtype="f8", input_size=3, hidden_size=4)
    if layer.activations == "relu":  # differences step over its corner
        layer = layer.replace(activations="tanh")
    window = np.random.default_rng(seed).normal(size=(ticks, layer.input_size))
    model = Model([layer], backend="numpy").astype("f8")
    assume(np.any(differences(model, window, layer.width - 1)))  # nothing moves a saturated unit
    check([layer], window, layer.width - 1)


HEADS = [
    [L.ReLU("act")],
    [L.LeakyReLU("act", 0.1)],
    [L.ELU("act", 0.7)],
    [L.Tanh("act")],
    [L.Sigmoid("act")],
    [L.Softmax("act")],
    [L.Dropout("act")],
]


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head[0]).__name__)
@pytest.mark.parametrize("sequences", [False, True])
def test_the_layers_of_a_head(head: list[L.Layer], sequences: bool) -> None:
    rng = np.random.default_rng(3)
    layers = [
        make(L.Scaler, "scaler", rng, num_features=3),
        make(L.GRU, "gru", rng, input_size=3, hidden_size=6, reset_after=False, return_sequences=sequences),
        make(L.BatchNorm1d, "norm", rng, num_features=6),
        *head,
        make(L.BatchNorm1d, "plain", rng, num_features=6, affine=False),
        make(L.Linear, "fc", rng, gain=2.0, in_features=6, out_features=2),
    ]
    check(layers, rng.normal(size=(5, 3)), output=1)


def test_flatten_and_squeeze() -> None:
    rng = np.random.default_rng(0)
    layers = [
        make(L.RNN, "rnn", rng, input_size=2, hidden_size=3, return_sequences=True),
        L.Flatten("flatten", 4),
        make(L.Linear, "fc", rng, in_features=12, out_features=1),
        L.Squeeze("squeeze"),
    ]
    check(layers, rng.normal(size=(4, 2)))


@pytest.mark.parametrize("join", [L.Add, L.Mul, L.Mean, L.Concat])
def test_branches(join: type[L.Merge]) -> None:
    rng = np.random.default_rng(0)
    sizes = {"input_size": 2, "hidden_size": 3, "return_sequences": True}
    layers = [
        make(L.LSTM, "a", rng, inputs=("input",), bidirectional=True, merge="mul", **sizes),
        L.Reverse("turned", inputs=("input",)),
        make(L.GRU, "b", rng, inputs=("turned",), **sizes),
        make(L.Linear, "c", rng, inputs=("input",), in_features=2, out_features=3),
        join("joined", inputs=("a", "b", "c")),
        L.Last("last"),
    ]
    check(layers, rng.normal(size=(4, 2)), output=2)


def test_the_shipped_model_beside_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from lstmcore.formats.torch.torch_build import to_module

    model = lstmcore.load(MODEL)
    window = np.random.default_rng(0).normal(size=(50, 10))
    x = torch.tensor(window[np.newaxis], requires_grad=True)
    to_module(model).double()(x).sum().backward()
    expected = x.grad[0].numpy()
    found = input_gradient(model.trace(window))
    np.testing.assert_allclose(found, expected, rtol=0, atol=LIMIT * np.abs(expected).max())


def test_what_is_refused() -> None:
    rng = np.random.default_rng(0)
    window = rng.normal(size=(4, 3))

    def gradient(*layers: Any, output: int = 0) -> Any:
        return input_gradient(Model(layers).trace(window), output)

    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=2)
    with pytest.raises(ValueError, match=r"output: expected 0 to 1, the answer being \(2,\), got 2"):
        gradient(lstm, output=2)
    with pytest.raises(lstmcore.UnsupportedError, match=r"gelu \(GELU\): its gradient is not written here"):
        gradient(lstm, L.GELU("gelu"))
    peepholes = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=2, peepholes=True, clip=1.0)
    with pytest.raises(lstmcore.UnsupportedError, match=r"lstm \(LSTM\): .* not written here with clip, peepholes"):
        gradient(peepholes)
    with pytest.raises(lstmcore.UnsupportedError, match=r"gru \(GRU\): .* with activations"):
        gradient(make(L.GRU, "gru", rng, input_size=3, hidden_size=2, activations="hard_sigmoid tanh"))
