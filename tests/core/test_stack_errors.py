"""Layers that make no model: every refusal, with what it says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from strategies import make

import lstmcore
from lstmcore import layers as L

RNG = np.random.default_rng(0)


def lstm(name: str, *read: str, kind: type[L.Recurrent] = L.LSTM, **more: Any) -> Any:
    sizes = {"input_size": 3, "hidden_size": 4, "return_sequences": True}
    return make(kind, name, RNG, inputs=read, **(sizes | more))


def fc(name: str, *read: str, size: int = 4, out: int = 1) -> Any:
    return make(L.Linear, name, RNG, inputs=read, in_features=size, out_features=out)


def scaler(*read: str) -> Any:
    return make(L.Scaler, "scaler", RNG, inputs=read, num_features=3)


a, b = lstm("a"), lstm("b", "input")
vector = lstm("v", "input", return_sequences=False)

STACKS: list[tuple[list[L.Layer], str]] = [
    ([a, L.ReLU("input")], "a layer has the name 'input', which is the model's own input's"),
    ([a, L.ReLU("r", inputs=("b",))], "r (ReLU): input 'b': expected 'input' or a layer before it"),
    ([a.replace(inputs=("b",)), b], "a (LSTM): input 'b': expected 'input' or a layer before it"),
    ([a, L.Tanh("t", inputs=("t",))], "t (Tanh): input 't': expected 'input' or a layer before it"),
    ([a, b], "a (LSTM): no layer reads what comes out of it"),
    ([a, L.ReLU("r"), L.Tanh("t", inputs=("a",))], "r (ReLU): no layer reads what comes out of it"),
    ([a, b, L.ReLU("r", inputs=("a", "b"))], "r (ReLU): expected one input, got 2: a, b"),
    ([a, b, lstm("c", "a", "b")], "c (LSTM): expected one input, got 2: a, b"),
    ([a, L.Add("sum")], "sum (Add): expected at least two inputs, got one"),
    ([a, L.Concat("join", inputs=("a",))], "join (Concat): expected at least two inputs, got one"),
    ([a, L.Add("sum", inputs=("a", "input"))],
     "sum (Add): expected 'input' of shape (T, 4), but what comes in is (T, 3)"),
    ([a, vector, L.Mul("m", inputs=("a", "v"))], "m (Mul): expected 'v' of shape (T, 4), but what comes in is (4,)"),
    ([a, vector, L.Mean("m", inputs=("v", "a"))], "m (Mean): expected 'a' of shape (4,), but what comes in is (T, 4)"),
    ([a, vector, L.Concat("m", inputs=("a", "v"))],
     "m (Concat): expected 'v' of shape (T, any), but what comes in is (4,)"),
    ([vector, a.replace(inputs=("input",)), fc("fc"), L.Squeeze("q"), L.Concat("m", inputs=("v", "q"))],
     "m (Concat): expected features in the last axis, but what comes in is (T,)"),
    ([vector, fc("fc"), L.Squeeze("q"), L.Concat("j", inputs=("q", "q"))],
     "j (Concat): expected features in the last axis, but what comes in is ()"),
    ([a, fc("fc"), L.Squeeze("q"), L.Concat("j", inputs=("q", "q"))],
     "j (Concat): expected features in the last axis, but what comes in is (T,)"),
    ([vector, L.Last("last")], "last (Last): expected a sequence (T, features), but what comes in is (4,)"),
    ([vector, L.Reverse("back")], "back (Reverse): expected a sequence (T, features), but what comes in is (4,)"),
    ([vector, L.Masking("mask")], "mask (Masking): expected a sequence (T, features), but what comes in is (4,)"),
    ([a, fc("fc"), L.Squeeze("q"), L.Last("last")],
     "last (Last): expected a sequence (T, features), but what comes in is (T,)"),
    ([vector, lstm("w", kind=L.GRU)], "w (GRU): expected a sequence (T, 3), but what comes in is (4,)"),
    ([a, lstm("w", kind=L.RNN)], "w (RNN): expected 3 features in the last axis, but what comes in is (T, 4)"),
    ([lstm("d", bidirectional=True), fc("fc")],
     "fc (Linear): expected 4 features in the last axis, but what comes in is (T, 8)"),
    ([a, make(L.LayerNorm, "ln", RNG, num_features=3)], "ln (LayerNorm): expected 3 features"),
    ([a, L.Flatten("f", 1 << 19)], f"f (Flatten): expected at most {1 << 20} values in {1 << 19} steps"),
    ([a, L.Flatten("f", 5), L.Flatten("g", 6, inputs=("a",)), L.Concat("j", inputs=("f", "g"))],
     "Flatten layers for windows of several lengths: [5, 6]"),
    ([a, scaler("input"), L.Add("sum", inputs=("a", "a"))],
     "expected a Scaler to be the one layer that reads an input"),
    ([scaler(), a, b, L.Add("sum", inputs=("a", "b"))],
     "expected a Scaler to be the one layer that reads an input"),
    ([L.Reverse("r"), L.Last("last")], "no layer says how many features a tick has"),
    ([L.Add("sum", inputs=("input", "input")), L.Last("l")], "no layer says how many features a tick has"),
    ([L.Concat("two", inputs=("input", "input")), a],
     "a (LSTM): expected 3 features in the last axis, but what comes in is (T, 2)"),
    ([a, b.map_weights(lambda w: w.astype("f8")), L.Add("sum", inputs=("a", "b"))], "layers of several dtypes"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "text"), STACKS, ids=[text[:50] for _, text in STACKS])
def test_layers_that_do_not_make_a_model(layers: list[L.Layer], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        lstmcore.Model(layers, backend="numpy")


def test_a_join_that_is_too_wide() -> None:
    wide = fc("wide", "input", size=1, out=1 << 19)
    names = ("wide", "wide", "wide")
    with pytest.raises(L.ShapeError, match=rf"j \(Concat\): expected at most {1 << 20} features together"):
        lstmcore.Model([wide, L.Concat("j", inputs=names)], backend="numpy")


def test_what_is_no_layer() -> None:
    with pytest.raises(TypeError, match=r"expected one of lstmcore's layers, LSTM, GRU, RNN, Linear"):
        lstmcore.Model([object()], backend="numpy")  # type: ignore[list-item]
    with pytest.raises(TypeError, match="expected one of lstmcore's layers"):
        lstmcore.Model([L.Layer("base")], backend="numpy")


@pytest.mark.parametrize("inputs", ["a", ["a"], (1,), None])
def test_inputs_are_a_tuple_of_names(inputs: Any) -> None:
    with pytest.raises(ValueError, match=r"r \(ReLU\): inputs: expected a tuple of layers' names, got "):
        L.ReLU("r", inputs=inputs)


SETTINGS: list[tuple[type[L.Layer], dict[str, Any], str]] = [
    (L.LSTM, {"merge": "max"}, "LSTM: setting 'merge': expected one of ('concat', 'sum', 'mean', 'mul'), got 'max'"),
    (L.GRU, {"merge": "sum"}, "GRU: setting 'merge': 'sum' needs bidirectional"),
    (L.GRU, {"merge": "mul", "bidirectional": True, "num_layers": 2},
     "GRU: setting 'merge': a stack of several layers is joined by 'concat'"),
    (L.LSTM, {"clip": -1.0}, "LSTM: setting 'clip': expected at least 0, got -1.0"),
    (L.RNN, {"clip": float("inf")}, "RNN: setting 'clip': expected a finite number, got inf"),
    (L.LSTM, {"proj_size": -1}, "LSTM: setting 'proj_size': expected an integer from 0 to"),
    (L.LSTM, {"norm_eps": -1e-9}, "LSTM: setting 'norm_eps': expected at least 0"),
    (L.LSTM, {"peepholes": 1}, "LSTM: setting 'peepholes': expected true or false, got 1"),
    (L.LSTM, {"coupled": "yes"}, "LSTM: setting 'coupled': expected true or false, got 'yes'"),
    (L.LSTM, {"bidirectional": None}, "LSTM: setting 'bidirectional': expected true or false, got None"),
    (L.LSTM, {"learned_state": 0}, "LSTM: setting 'learned_state': expected true or false, got 0"),
    (L.GRU, {"reset_after": None}, "GRU: setting 'reset_after': expected true or false, got None"),
    (L.GRU, {"activations": 3}, "GRU: setting 'activations': expected text, got 3"),
    (L.RNN, {"num_layers": 1025}, "RNN: setting 'num_layers': expected an integer from 1 to 1024"),
    (L.RNN, {"hidden_size": 2.0}, "RNN: setting 'hidden_size': expected an integer from 1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "text"), SETTINGS, ids=[text[:50] for *_, text in SETTINGS])
def test_settings_that_are_refused(kind: type[L.Layer], change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        kind("layer", **({"input_size": 3, "hidden_size": 2} | change))


@pytest.mark.parametrize(
    ("kind", "more", "key", "shape"),
    [
        (L.LSTM, {"bidirectional": True}, "weight_ih_l0_reverse", (16, 3)),
        (L.LSTM, {"bidirectional": True, "num_layers": 2}, "weight_ih_l1", (16, 8)),
        (L.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}, "weight_ih_l1_reverse", (16, 4)),
        (L.LSTM, {"proj_size": 2}, "weight_hh_l0", (16, 2)),
        (L.LSTM, {"proj_size": 2}, "weight_hr_l0", (2, 4)),
        (L.LSTM, {"peepholes": True}, "weight_peephole_l0", (12,)),
        (L.LSTM, {"layer_norm": True}, "norm_c_bias_l0", (4,)),
        (L.LSTM, {"learned_state": True, "proj_size": 2}, "h_0_l0", (2,)),
        (L.LSTM, {"learned_state": True}, "c_0_l0", (4,)),
        (L.GRU, {"learned_state": True, "bidirectional": True}, "h_0_l0_reverse", (4,)),
        (L.GRU, {}, "bias_hh_l0", (12,)),
        (L.RNN, {}, "weight_hh_l0", (4, 4)),
    ],
)
def test_weights_that_settings_call_for(kind: Any, more: dict[str, Any], key: str, shape: tuple[int, ...]) -> None:
    good = lstm("layer", kind=kind, **more)
    assert good.weights[key].shape == shape
    label = f"layer ({kind.__name__}): "
    without = {name: w for name, w in good.weights.items() if name != key}
    with pytest.raises(ValueError, match=re.escape(f"{label}weight '{key}' is missing; expected shape {shape}")):
        good.replace(weights=without)
    wrong = {**good.weights, key: np.zeros((*shape, 1), "f4")}
    with pytest.raises(
        ValueError, match=re.escape(f"{label}weight '{key}': expected shape {shape}, got {(*shape, 1)}")
    ):
        good.replace(weights=wrong)
    if more:
        with pytest.raises(ValueError, match=re.escape(f"{label}unexpected weight")):
            kind("layer", 3, 4, weights=good.weights)
