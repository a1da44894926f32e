"""GRU, RNN and LSTM, one or both directions, stacked, with states: against torch in float64."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from answers import answer, check, close
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BACKENDS, SEEDS, make, recurrent_layers, start
from tolerances import WRONG

import lstmcore
from lstmcore import layers as L

torch = pytest.importorskip("torch", reason="torch is not installed; parity with it cannot be tested")

JOINS = {
    "concat": lambda a, b: np.concatenate([a, b], -1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}


def torch_module(layer: L.Recurrent) -> Any:
    more: dict[str, Any] = {"proj_size": layer.proj_size} if isinstance(layer, L.LSTM) else {}
    if isinstance(layer, L.RNN):
        more["nonlinearity"] = layer.activations
    module = getattr(torch.nn, type(layer).__name__)(
        layer.input_size, layer.hidden_size, layer.num_layers, bias=layer.bias, batch_first=True,
        bidirectional=layer.bidirectional, **more,
    )  # fmt: skip
    module = module.double().eval()
    module.load_state_dict({key: torch.tensor(w) for key, w in layer.weights.items()})
    return module


def torch_answer(layer: L.Recurrent, x: Any, state: Any = None) -> Any:
    if state is not None:
        state = tuple(map(torch.tensor, state)) if layer.cell_width else torch.tensor(state)
    with torch.no_grad():
        steps, last = torch_module(layer)(torch.tensor(x), state)
    final = (last[0] if layer.cell_width else last).numpy()
    if not layer.bidirectional:
        return steps.numpy() if layer.return_sequences else final[-1]
    ends = np.split(steps.numpy(), 2, axis=-1) if layer.return_sequences else final[-2:]
    with np.errstate(invalid="ignore"):  # a product of 0 and an infinity
        return JOINS[layer.merge](*ends)


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=recurrent_layers(), steps=st.integers(1, 25), seed=SEEDS, with_state=st.booleans())
@settings(max_examples=70, deadline=None)
def test_against_torch(backend: str, layer: L.Recurrent, steps: int, seed: int, with_state: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, steps, layer.input_size))
    state = start(layer, rng, 3) if with_state else None
    check(backend, [layer], torch_answer(layer, x, state), x, state)


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=recurrent_layers(), seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_one_window_with_a_state_of_its_own(backend: str, layer: L.Recurrent, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, state = rng.normal(size=(6, layer.input_size)), start(layer, rng)
    check(backend, [layer], torch_answer(layer, x, state), x, state)


@given(layer=recurrent_layers(), seed=SEEDS, special=st.sampled_from([np.nan, np.inf, -np.inf]))
@settings(max_examples=40, deadline=None)
def test_nan_and_infinity_propagate_as_in_torch(layer: L.Recurrent, seed: int, special: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 8, layer.input_size))
    x[0, rng.integers(8), rng.integers(layer.input_size)] = special
    close(answer([layer], x), torch_answer(layer, x))


def one(kind: type[L.Recurrent], **more: Any) -> Any:
    """A layer whose gates, directions and rows all do different things."""
    sizes = {"input_size": 4, "hidden_size": 7, "return_sequences": True}
    return make(kind, "layer", np.random.default_rng(5), gain=1.0, dtype="f8", **sizes, **more)


def swapped(w: Any, parts: int, pair: tuple[int, int]) -> Any:
    """The rows of `parts` gates with two of them exchanged."""
    order = list(range(parts))
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return np.concatenate([np.split(w, parts)[n] for n in order])


GATES = [(kind, more, pair) for kind, more in [
    (L.LSTM, {}), (L.LSTM, {"bidirectional": True}), (L.LSTM, {"proj_size": 3}), (L.LSTM, {"layer_norm": True}),
    (L.GRU, {}), (L.GRU, {"reset_after": False}), (L.GRU, {"bidirectional": True}),
] for pair in combinations(range(len(kind.gates)), 2)]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "more", "pair"), GATES)
def test_swapped_gates_are_noticed(backend: str, kind: Any, more: dict[str, Any], pair: tuple[int, int]) -> None:
    """Parity would mean nothing if these tests could not tell one gate from another."""
    layer, x = one(kind, **more), np.random.default_rng(6).normal(size=(9, 4))
    exact = answer([layer], x)
    for key in layer.weights:
        if key.startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh", "norm_ih", "norm_hh")):
            w = {**layer.weights, key: swapped(layer.weights[key], len(kind.gates), pair)}
            assert np.abs(answer([layer.replace(weights=w)], x, backend=backend) - exact).max() > WRONG, key


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pair", list(combinations(range(3), 2)))
def test_swapped_peepholes_are_noticed(backend: str, pair: tuple[int, int]) -> None:
    layer, x = one(L.LSTM, peepholes=True), np.random.default_rng(6).normal(size=(9, 4))
    w = {**layer.weights, "weight_peephole_l0": swapped(layer.weights["weight_peephole_l0"], 3, pair)}
    assert np.abs(answer([layer.replace(weights=w)], x, backend=backend) - answer([layer], x)).max() > WRONG


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.RNN])
def test_swapped_directions_are_noticed(backend: str, kind: Any) -> None:
    layer, x = one(kind, bidirectional=True, num_layers=2), np.random.default_rng(6).normal(size=(9, 4))
    for k in range(2):
        w = dict(layer.weights)
        for key in layer.weights:
            if key.endswith(f"_l{k}"):
                w[key], w[f"{key}_reverse"] = w[f"{key}_reverse"], w[key]
        assert np.abs(answer([layer.replace(weights=w)], x, backend=backend) - answer([layer], x)).max() > WRONG


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_two_biases_of_a_gru_are_two(backend: str) -> None:
    """The reset gate works on bias_hh; without `reset_after` it does not."""
    for reset_after, differs in ((True, True), (False, False)):
        layer, x = one(L.GRU, reset_after=reset_after), np.random.default_rng(6).normal(size=(9, 4))
        w = dict(layer.weights)
        w["bias_ih_l0"], w["bias_hh_l0"] = w["bias_hh_l0"], w["bias_ih_l0"]
        difference = np.abs(answer([layer.replace(weights=w)], x, backend=backend) - answer([layer], x)).max()
        assert bool(difference > WRONG) is differs


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=recurrent_layers(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_learned_state_is_one_that_is_given(backend: str, layer: L.Recurrent, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, state = rng.normal(size=(2, 7, layer.input_size)), start(layer, rng)
    learned = with_learned(layer, state)
    check(backend, [learned], answer([layer], x, state), x)
    other = start(layer, rng, 2)  # a state that is given stands in its place
    check(backend, [learned], answer([layer], x, other), x, other)


def with_learned(layer: L.Recurrent, state: Any) -> L.Recurrent:
    """The layer with a state for one window among its weights."""
    named = {"h_0": state[0], "c_0": state[1]} if layer.cell_width else {"h_0": state}
    cells = [f"l{k}{suffix}" for k in range(layer.num_layers) for suffix in layer.suffixes]
    rows = {f"{key}_{cell}": w[n] for key, w in named.items() for n, cell in enumerate(cells)}
    learned: L.Recurrent = layer.replace(learned_state=True, weights={**layer.weights, **rows})
    return learned


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stateless", [False, True])
def test_streams_begin_with_the_learned_state(backend: str, stateless: bool) -> None:
    """Every window of a series, sliding ones, and a stream without an end, also after a reset and a restore."""
    rng = np.random.default_rng(4)
    kinds = (L.GRU,) if stateless else (L.LSTM, L.GRU)  # with c and without
    layers: list[L.Layer] = []
    for n, kind in enumerate(kinds):
        sizes = {"input_size": 3, "hidden_size": 3, "num_layers": 2, "return_sequences": n + 1 < len(kinds)}
        layers.append(make(kind, f"layer{n}", rng, gain=1.0, dtype="f8", learned_state=True, **sizes))
    model = lstmcore.Model(layers, backend=backend)
    x = rng.normal(size=(12, 3))
    windows = np.stack([model(x[n : n + 5]) for n in range(8)])
    zeros = [layer.map_weights(lambda w: w if w.ndim > 1 or len(w) > 3 else 0 * w) for layer in layers]
    assert np.abs(windows[0] - lstmcore.Model(zeros, backend=backend)(x[:5])).max() > WRONG
    np.testing.assert_array_equal(model.predict_windows(x, 5), windows)
    np.testing.assert_array_equal(model.sliding(5).push_many(x)[4:], windows)
    pool = lstmcore.SlidingPool(model, 5, 2)
    np.testing.assert_array_equal([pool.push(1, tick) for tick in x][4:], windows)
    stream = model.stateful()
    so_far = np.stack([model(x[: n + 1]) for n in range(12)])
    np.testing.assert_array_equal(stream.push_many(x), so_far)
    kept = stream.state()
    stream.reset()
    np.testing.assert_array_equal(stream.push_many(x[:5]), so_far[:5])
    other = model.stateful()
    other.restore(kept)
    stream.reset()
    stream.push_many(x)
    np.testing.assert_array_equal(other.push_many(x), stream.push_many(x))


NOT_PLAIN: list[tuple[Any, dict[str, Any]]] = [
    (L.LSTM, {"peepholes": True}), (L.LSTM, {"clip": 0.1}), (L.LSTM, {"activations": "sigmoid tanh relu"}),
    (L.LSTM, {"coupled": True}), (L.LSTM, {"layer_norm": True}), (L.LSTM, {"proj_size": 2}),
    (L.LSTM, {"learned_state": True}), (L.LSTM, {"bidirectional": True, "learned_state": True}),
    (L.GRU, {}), (L.GRU, {"reset_after": False}), (L.GRU, {"learned_state": True}),
    (L.RNN, {}), (L.RNN, {"activations": "relu"}), (L.RNN, {"learned_state": True}),
]  # fmt: skip


@pytest.mark.parametrize("backend", ["c", "numba"])
@pytest.mark.parametrize(("kind", "more"), NOT_PLAIN)
def test_no_backend_leaves_out_what_it_lacks(backend: str, kind: Any, more: dict[str, Any]) -> None:
    """It answers rightly or refuses the layer by name."""
    rng = np.random.default_rng(0)
    layer = make(kind, "first", rng, gain=1.0, input_size=2, hidden_size=3, **more)
    x = rng.normal(size=(6, 2)).astype("f4")
    try:
        model = lstmcore.Model([layer], backend=backend)
    except lstmcore.BackendError as error:
        found = re.match(r"first\w* \((LSTM|GRU|RNN)\): the (c|numba) backend does not have this layer", str(error))
        assert found is not None
        assert found.groups() == (kind.__name__, backend)
    else:
        np.testing.assert_allclose(model(x), answer([layer], x), rtol=0, atol=1e-5)
