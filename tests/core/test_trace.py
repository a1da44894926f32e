"""`Model.trace`: it answers as the model does, and what it shows are the equations' own values."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, recurrent_layers, stacks
from tolerances import FLOAT64

import lstmcore
from lstmcore import Model
from lstmcore import layers as L
from lstmcore.demo.run import MODEL
from lstmcore.reference import sigmoid
from lstmcore.trace import Steps

COMMON = settings(max_examples=25, deadline=None)


def one_layer(cls: type[L.Recurrent], seed: int = 0, **more: Any) -> tuple[Any, Any]:
    """A layer in float64 and a window of eight ticks."""
    rng = np.random.default_rng(seed)
    layer = make(cls, "layer", rng, gain=2.0, dtype="f8", input_size=3, hidden_size=5, **more)
    return layer, rng.normal(size=(8, 3))


def before(steps: Steps, states: Any, which: int = 0) -> Any:
    """What each step began with: (T, H), in the order of the ticks."""
    start = steps.start[which][np.newaxis]
    return np.concatenate([states[1:], start]) if steps.backward else np.concatenate([start, states[:-1]])


@COMMON
@given(layer=recurrent_layers(), ticks=st.integers(1, 12), seed=SEEDS)
def test_any_layer_answers_as_the_numpy_backend_does(layer: L.Recurrent, ticks: int, seed: int) -> None:
    model = Model([layer], backend="numpy")
    window = np.random.default_rng(seed).normal(size=(ticks, model.input_size))
    trace = model.trace(window)
    np.testing.assert_allclose(trace.answer, model(window), atol=FLOAT64, rtol=FLOAT64)
    assert len(trace) == layer.num_layers * (1 + layer.bidirectional)
    for steps in trace:
        assert list(steps.gates) == list(layer.gates)
        assert {gate.shape for gate in steps.gates.values()} == {(ticks, layer.hidden_size)}
        assert steps.h.shape == (ticks, layer.state_width)
        if isinstance(layer, L.LSTM):
            assert steps.c is not None
            np.testing.assert_allclose(
                steps.c, steps.f * before(steps, steps.c, 1) + steps.i * steps.g, atol=FLOAT64, rtol=FLOAT64
            )
            if not layer.proj_size:
                np.testing.assert_allclose(steps.h, steps.o * np.tanh(steps.c), atol=FLOAT64)
        elif isinstance(layer, L.GRU):
            h = before(steps, steps.h)
            np.testing.assert_allclose(steps.h, (1 - steps.z) * steps.n + steps.z * h, atol=FLOAT64)
        else:
            np.testing.assert_array_equal(steps.h, steps.n)


@COMMON
@given(stack=stacks(), seed=SEEDS)
def test_a_whole_model(stack: tuple[list[L.Layer], int], seed: int) -> None:
    layers, ticks = stack
    model = Model(layers, backend="numpy").astype("f8")
    window = np.random.default_rng(seed).normal(size=(ticks, model.input_size))
    trace = model.trace(window)
    np.testing.assert_allclose(trace.answer, model(window), atol=FLOAT64, rtol=FLOAT64)
    assert list(trace.outputs) == [layer.name for layer in layers]
    assert trace.outputs[layers[-1].name] is trace.answer


@pytest.mark.parametrize(("letter", "rows"), [("i", 0), ("f", 1), ("g", 2), ("o", 3)])
def test_each_gate_is_its_own_sum(letter: str, rows: int) -> None:
    layer, window = one_layer(L.LSTM)
    trace = Model([layer]).trace(window)
    w = {key: np.split(value, 4)[rows] for key, value in layer.cell(0).items()}
    inside = window @ w["weight_ih"].T + w["bias_ih"] + before(trace[0], trace.h) @ w["weight_hh"].T + w["bias_hh"]
    expected = np.tanh(inside) if letter == "g" else sigmoid(inside)
    np.testing.assert_allclose(getattr(trace, letter), expected, atol=FLOAT64)


VARIATIONS = [
    (L.LSTM, {"peepholes": True}),
    (L.LSTM, {"coupled": True}),
    (L.LSTM, {"layer_norm": True}),
    (L.LSTM, {"proj_size": 2, "peepholes": True, "coupled": True}),
    (L.LSTM, {"activations": "hard_sigmoid softsign relu", "clip": 0.7}),
    (L.LSTM, {"learned_state": True, "bidirectional": True}),
    (L.LSTM, {"bias": False}),
    (L.GRU, {"reset_after": False}),
    (L.GRU, {"activations": "hard_sigmoid softsign", "clip": 0.7}),
    (L.RNN, {"activations": "softsign", "clip": 0.7}),
    (L.RNN, {"learned_state": True, "bidirectional": True, "merge": "sum"}),
]


@pytest.mark.parametrize(("cls", "more"), VARIATIONS, ids=lambda value: str(value))
def test_variations(cls: type[L.Recurrent], more: dict[str, Any]) -> None:
    layer, window = one_layer(cls, return_sequences=True, **more)
    model = Model([layer], backend="numpy")
    trace = model.trace(window)
    np.testing.assert_allclose(trace.answer, model(window), atol=FLOAT64)
    for steps in trace:
        if steps.c is not None:  # whatever else is other than usual, the cell keeps and adds
            kept = steps.f * before(steps, steps.c, 1)
            np.testing.assert_allclose(steps.c, kept + steps.i * steps.g, atol=FLOAT64)


def test_branches_and_both_directions() -> None:
    rng = np.random.default_rng(0)
    settings_ = {"input_size": 3, "hidden_size": 4, "return_sequences": True}
    model = Model(
        [
            make(L.LSTM, "up", rng, bidirectional=True, num_layers=2, inputs=("input",), **settings_),
            L.Reverse("turned", inputs=("input",)),
            make(L.GRU, "down", rng, inputs=("turned",), **settings_),
            L.Reverse("back", inputs=("down",)),
            L.Concat("both", inputs=("up", "back")),
            L.Last("last"),
            make(L.Linear, "fc", rng, in_features=12, out_features=2),
        ]
    )
    window = rng.normal(size=(9, 3))
    trace = model.trace(window)
    np.testing.assert_allclose(trace.answer, model(window), atol=2e-6)
    assert [steps.name for steps in trace] == ["up_l0", "up_l0_reverse", "up_l1", "up_l1_reverse", "down"]
    assert [steps.backward for steps in trace] == [False, True, False, True, False]
    np.testing.assert_array_equal(trace["up_l1_reverse"].x[:, 4:], trace["up_l0_reverse"].h)
    assert trace["down"].gates.keys() == {"r", "z", "n"}


def test_the_shipped_model_in_float64_beside_the_backend_that_runs() -> None:
    model = lstmcore.load(MODEL)
    window = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    trace = model.trace(window)
    assert trace.answer.dtype == np.float64
    np.testing.assert_allclose(trace.answer, model(window), atol=2e-6)
    assert trace.i.shape == trace.c.shape == (50, 64)
    assert repr(trace).count("\n") == 1


def test_a_nan_goes_through() -> None:
    layer, window = one_layer(L.LSTM)
    window[3] = np.nan
    trace = Model([layer]).trace(window)
    assert np.isfinite(trace.h[:3]).all()
    assert np.isnan(trace.h[3:]).all()


def test_what_is_refused() -> None:
    layer, window = one_layer(L.LSTM)
    model = Model([layer])
    with pytest.raises(ValueError, match=r"window: expected one window \(T, 3\), got a batch of shape \(2, 8, 3\)"):
        model.trace(np.stack([window, window]))
    with pytest.raises(ValueError, match=r"expected .* got 2 features"):
        model.trace(window[:, :2])
    with pytest.raises(lstmcore.UnsupportedError, match=r"skip \(Masking\): a trace has a row for every tick"):
        Model([L.Masking("skip"), layer]).trace(window)


def test_names_that_are_not_there() -> None:
    layer, window = one_layer(L.GRU)
    trace = Model([layer]).trace(window)
    with pytest.raises(AttributeError, match=r"'f': the trace of a layer has its gates \(r, z, n\)"):
        _ = trace.f
    with pytest.raises(KeyError, match="'lstm': the traced layers are 'layer'"):
        trace["lstm"]
    stack, window = one_layer(L.LSTM, num_layers=2)
    two = Model([stack]).trace(window)
    with pytest.raises(
        AttributeError, match=r"'i': it is there for 'layer_l0', 'layer_l1'; name one, as in trace\['layer_l0'\]\.i"
    ):
        _ = two.i
    for number in (2, -3):
        with pytest.raises(IndexError, match=f"^{number}: the trace has 2 recurrent layers, counted from 0"):
            two[number]
    assert two[:1] == (two["layer_l0"],)
    with pytest.raises(AttributeError, match="'i': no recurrent layer has it; of gates, the model has none"):
        _ = Model([make(L.Linear, "fc", np.random.default_rng(0), in_features=3, out_features=1)]).trace(window).i


def test_only_what_is_there_is_proposed() -> None:
    stack, window = one_layer(L.GRU, num_layers=2)
    trace = Model([stack]).trace(window)
    with pytest.raises(AttributeError) as caught:
        _ = trace.f
    assert str(caught.value) == (
        "'f': no recurrent layer has it; of gates, 'layer_l0' has r, z, n; 'layer_l1' has r, z, n"
    )
    with pytest.raises(AttributeError, match="'c': no recurrent layer has it"):
        _ = trace.c
    with pytest.raises(AttributeError, match=r"'layer_l0', 'layer_l1'; name one, as in trace\['layer_l0'\]\.state"):
        _ = trace.state
    with pytest.raises(AttributeError, match=r"gates \(r, z, n\), and x, h, state$"):
        _ = trace[0].f
    rng = np.random.default_rng(0)
    gru = make(L.GRU, "gru", rng, input_size=3, hidden_size=4, return_sequences=True)
    mixed = Model([gru, make(L.LSTM, "lstm", rng, input_size=4, hidden_size=2)]).trace(window)
    with pytest.raises(AttributeError, match=r"^'c': it is there for 'lstm'; name one, as in trace\['lstm'\]\.c$"):
        _ = mixed.c


def test_a_trace_can_be_copied() -> None:
    layer, window = one_layer(L.LSTM)
    trace = Model([layer]).trace(window)
    np.testing.assert_array_equal(copy.deepcopy(trace).f, trace.f)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(trace)).c, trace.c)
