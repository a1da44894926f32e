"""The c and numba backends against the float64 reference, torch and ONNX Runtime."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from answers import rounded
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, lstm_layers, make, normal, stacks, states
from tolerances import FLOAT32, RELATIVE, TIMES_TORCH, WRONG

import lstmcore
from lstmcore import layers as L

torch = pytest.importorskip("torch", reason="torch is not installed; parity with it cannot be tested")

BACKENDS = ("c", "numba")
SLOW = settings(max_examples=60, deadline=None)


def reference(layers: list[L.Layer], x: Any, state: Any = None) -> Any:
    """The answer in float64."""
    return lstmcore.Model(layers, backend="numpy").astype(np.float64)(x.astype(np.float64), state)


def torch_error(layer: L.LSTM, x: Any, state: Any, exact: Any) -> float:
    """torch's largest float32 error on this model, over several orders of its units: the same function each time,
    summed in another order, so that one lucky run does not pass for accuracy."""
    rng = np.random.default_rng(0)
    hidden = layer.hidden_size
    orders = [np.arange(hidden), *(rng.permutation(hidden) for _ in range(9))]
    errors = (torch_answer(permute(layer, p), x, state, p) - exact[..., p] for p in orders)
    # and what rounding each weight another way does in float64: no engine can be blamed for less
    wide = layer.map_weights(lambda w: w.astype(np.float64))
    moved = (reference(rounded([wide], seed), x, state) - exact for seed in range(3))
    return max(float(np.abs(np.nan_to_num(error, nan=0)).max()) for error in (*errors, *moved))


def permute(layer: L.LSTM, order: Any) -> L.LSTM:
    """The layer with its hidden units (of every stacked layer) in another order."""
    rows = np.concatenate([gate * layer.hidden_size + order for gate in range(4)])
    weights = {}
    for key, w in layer.weights.items():
        w = w[rows]
        weights[key] = w[:, order] if "weight_hh" in key or ("weight_ih" in key and not key.endswith("l0")) else w
    permuted: L.LSTM = layer.replace(weights=weights)
    return permuted


def torch_answer(layer: L.LSTM, x: Any, state: Any, order: Any) -> Any:
    module = torch.nn.LSTM(
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=True
    ).eval()
    module.load_state_dict({key: torch.tensor(w) for key, w in layer.weights.items()})
    start = None if state is None else tuple(torch.tensor(s[..., order]) for s in state)
    with torch.no_grad():
        steps = module(torch.tensor(x), start)[0].numpy()
    return steps if layer.return_sequences else steps[:, -1]


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=lstm_layers(), steps=st.integers(1, 80), seed=SEEDS, with_state=st.booleans())
@SLOW
def test_lstm_against_float64_and_torch(backend: str, layer: L.LSTM, steps: int, seed: int, with_state: bool) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, 3, steps, layer.input_size)
    state = states(layer, rng, 3) if with_state else None
    exact = reference([layer], x, state)
    allowed = max(FLOAT32, TIMES_TORCH * torch_error(layer, x, state, exact))
    answer = lstmcore.Model([layer], backend=backend)(x, state)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, exact, rtol=0, atol=allowed)


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=lstm_layers(), steps=st.integers(1, 80), seed=SEEDS, with_state=st.booleans())
@settings(SLOW, max_examples=30)
def test_lstm_against_onnxruntime(backend: str, layer: L.LSTM, steps: int, seed: int, with_state: bool) -> None:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; parity cannot be tested")
    from lstmcore.formats.onnx import onnx

    rng = np.random.default_rng(seed)
    x = normal(rng, 2, steps, layer.input_size)
    state = states(layer, rng, 2) if with_state else None
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    proto = onnx.build(lstmcore.Model([layer], backend="numpy"), states=with_state)
    session = ort.InferenceSession(proto.SerializeToString(), options)
    feed = {"window": x} | ({} if state is None else {"h0": state[0], "c0": state[1]})
    theirs = session.run(None, feed)[0]
    exact = reference([layer], x, state)
    inherent = max(np.abs(theirs - exact).max(), torch_error(layer, x, state, exact))
    ours = lstmcore.Model([layer], backend=backend)(x, state)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=max(FLOAT32, TIMES_TORCH * inherent))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("swapped", list(combinations(range(4), 2)), ids=lambda p: "ifgo"[p[0]] + "ifgo"[p[1]])
def test_swapped_gates_are_noticed(backend: str, swapped: tuple[int, int]) -> None:
    """Parity would mean nothing if these tests could not tell one gate from another."""
    rng = np.random.default_rng(1)
    layer = make(L.LSTM, "lstm", rng, gain=1.0, input_size=5, hidden_size=19)
    order = list(range(4))
    order[swapped[0]], order[swapped[1]] = order[swapped[1]], order[swapped[0]]
    wrong = layer.map_weights(lambda w: np.concatenate([np.split(w, 4)[gate] for gate in order]))
    x = normal(rng, 20, 5)
    difference = np.abs(lstmcore.Model([wrong], backend=backend)(x) - reference([layer], x)).max()
    assert difference > WRONG


@pytest.mark.parametrize("backend", BACKENDS)
@given(model=stacks(), seed=SEEDS)
@SLOW
def test_whole_models_against_float64(backend: str, model: tuple[list[L.Layer], int], seed: int) -> None:
    layers, steps = model
    lstm = next(layer for layer in layers if isinstance(layer, L.LSTM))
    x = normal(np.random.default_rng(seed), 2, steps, lstm.input_size)
    exact = reference(layers, x)
    own = np.abs(lstmcore.Model(layers, backend="numpy")(x) - exact).max()  # the same equations in float32
    scale = max(1.0, np.abs(exact).max())
    answer = lstmcore.Model(layers, backend=backend)(x)
    assert answer.shape == exact.shape
    np.testing.assert_allclose(answer, exact, rtol=0, atol=max(RELATIVE * scale, TIMES_TORCH * own))


def test_several_lstm_layers_with_states() -> None:
    """Two nn.LSTM in a row: their states are given by name."""
    rng = np.random.default_rng(3)
    first = make(L.LSTM, "first", rng, input_size=4, hidden_size=9, num_layers=2, return_sequences=True)
    second = make(L.LSTM, "second", rng, input_size=9, hidden_size=5)
    x = normal(rng, 3, 12, 4)
    given_states = {"second": states(second, rng, 3), "first": states(first, rng, 3)}
    exact = reference([first, second], x, given_states)
    for backend in BACKENDS:
        answer = lstmcore.Model([first, second], backend=backend)(x, given_states)
        np.testing.assert_allclose(answer, exact, rtol=0, atol=FLOAT32)
    assert np.abs(exact - reference([first, second], x)).max() > WRONG


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@given(layer=lstm_layers(max_hidden=20, return_sequences=True), seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_nan_and_infinity_propagate_as_in_torch(backend: str, special: float, layer: L.LSTM, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, 1, 10, layer.input_size)
    x[0, rng.integers(10), rng.integers(layer.input_size)] = special
    theirs = torch_answer(layer, x, None, np.arange(layer.hidden_size))
    ours = lstmcore.Model([layer], backend=backend)(x)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    exact = reference([layer], x)
    assert np.isnan(exact).sum() == np.isnan(ours).sum()
    allowed = max(FLOAT32, TIMES_TORCH * torch_error(layer, x, None, exact))
    np.testing.assert_allclose(ours, exact, rtol=0, atol=allowed)
