"""What torch does not have of LSTM, GRU and RNN: against the equations written out once more, and ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from answers import answer, check
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operators import onnxruntime_answer
from strategies import BACKENDS, SEEDS, make, start
from tolerances import FLOAT32, WRONG

from lstmcore import layers as L

#: Functions of one number by the text that settings have.
BY_HAND: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda x: (1 + math.tanh(x / 2)) / 2,
    "tanh": math.tanh,
    "relu": lambda x: x if x > 0 else 0.0,
    "hard_sigmoid(0.3,0.4)": lambda x: min(1.0, max(0.0, 0.3 * x + 0.4)),
    "softsign": lambda x: x / (1 + abs(x)),
    "affine(0.7,-0.1)": lambda x: 0.7 * x - 0.1,
    "scaled_tanh(1.2,0.6)": lambda x: 1.2 * math.tanh(0.6 * x),
    "leaky_relu(0.2)": lambda x: x if x > 0 else 0.2 * x,
    "silu": lambda x: x * (1 + math.tanh(x / 2)) / 2,
}


def dot(row: Any, column: list[float]) -> float:
    return sum(float(a) * b for a, b in zip(row, column, strict=True))


def normalised(values: list[float], gain: Any, eps: float) -> list[float]:
    mean = sum(values) / len(values)
    variance = sum((v - mean) * (v - mean) for v in values) / len(values)
    return [float(g) * (v - mean) / math.sqrt(variance + eps) for g, v in zip(gain, values, strict=True)]


def cell_by_hand(layer: Any, w: dict[str, Any], x: list[float], h: list[float], c: list[float]) -> Any:
    """One step of one layer and direction, unit by unit: the new h and c."""
    units, names = range(layer.hidden_size), layer.activations.split()
    f, *others = [BY_HAND[name] for name in names]
    rows = range(len(w["weight_ih"]))
    both = [w.get(f"bias_{which}", np.zeros(len(rows))) for which in ("ih", "hh")]
    wx, rh = [dot(row, x) for row in w["weight_ih"]], [dot(row, h) for row in w["weight_hh"]]

    def cut(a: float) -> float:
        return min(layer.clip, max(-layer.clip, a)) if layer.clip else a

    if isinstance(layer, L.RNN):
        return [f(cut(wx[n] + rh[n] + both[0][n] + both[1][n])) for n in units], []
    H = layer.hidden_size
    if isinstance(layer, L.GRU):
        r, z = ([f(cut(wx[n + at] + rh[n + at] + both[0][n + at] + both[1][n + at])) for n in units] for at in (0, H))
        if layer.reset_after:
            seen = [r[n] * (rh[n + 2 * H] + both[1][n + 2 * H]) for n in units]
        else:
            reset = [r[n] * h[n] for n in units]
            seen = [dot(w["weight_hh"][n + 2 * H], reset) + both[1][n + 2 * H] for n in units]
        new = [others[0](cut(wx[n + 2 * H] + both[0][n + 2 * H] + seen[n])) for n in units]
        return [new[n] - z[n] * new[n] + z[n] * h[n] for n in units], []
    if layer.layer_norm:
        wx, rh = normalised(wx, w["norm_ih"], layer.norm_eps), normalised(rh, w["norm_hh"], layer.norm_eps)
    a = [wx[n] + rh[n] + both[0][n] + both[1][n] for n in rows]
    peephole = w.get("weight_peephole", np.zeros(3 * H))
    g, out = others
    i = [f(cut(a[n] + peephole[n] * c[n])) for n in units]
    keep = [1 - i[n] if layer.coupled else f(cut(a[n + H] + peephole[n + H] * c[n])) for n in units]
    c = [keep[n] * c[n] + i[n] * g(cut(a[n + 2 * H])) for n in units]
    o = [f(cut(a[n + 3 * H] + peephole[n + 2 * H] * c[n])) for n in units]
    shown = c
    if layer.layer_norm:
        shown = [v + b for v, b in zip(normalised(c, w["norm_c"], layer.norm_eps), w["norm_c_bias"], strict=True)]
    h = [o[n] * out(float(shown[n])) for n in units]
    return ([dot(row, h) for row in w["weight_hr"]] if layer.proj_size else h), c


def by_hand(layer: Any, x: Any, state: Any) -> Any:
    """A whole layer over one window."""
    steps, row = [list(map(float, tick)) for tick in x], 0
    finals: list[list[float]] = []
    h_0, c_0 = state if layer.cell_width else (state, np.zeros((layer.states, 0)))
    for k in range(layer.num_layers):
        outputs, finals = [], []
        for suffix in layer.suffixes:
            h, c = list(map(float, h_0[row])), list(map(float, c_0[row]))
            found = []
            for tick in steps[::-1] if suffix else steps:
                h, c = cell_by_hand(layer, layer.cell(k, suffix), tick, h, c)
                found.append(h)
            outputs.append(found[::-1] if suffix else found)
            finals.append(h)
            row += 1
        steps = [list(chain(*parts)) for parts in zip(*outputs, strict=True)]
    return np.array(steps if layer.return_sequences else list(chain(*finals)))


@st.composite
def variations(draw: st.DrawFn) -> L.Recurrent:
    """Small layers with everything that settings allow together."""
    kind = draw(st.sampled_from([L.LSTM, L.LSTM, L.GRU, L.RNN]))
    flags = ["bias", "return_sequences", "bidirectional"]
    flags += {L.LSTM: ["peepholes", "coupled", "layer_norm"], L.GRU: ["reset_after"], L.RNN: []}[kind]
    more: dict[str, Any] = {name: draw(st.booleans()) for name in flags}
    more["num_layers"] = draw(st.integers(1, 2))
    more["hidden_size"] = draw(st.integers(1, 4))
    if kind is L.LSTM:
        more["proj_size"] = draw(st.integers(0, more["hidden_size"] - 1))
        more["norm_eps"] = draw(st.sampled_from([1e-5, 0.1]))
    more["clip"] = draw(st.sampled_from([0.0, 0.3, 1.0]))
    more["activations"] = " ".join(draw(st.sampled_from(sorted(BY_HAND))) for _ in kind.usual.split())
    rng = np.random.default_rng(draw(SEEDS))
    layer: L.Recurrent = make(kind, "layer", rng, gain=1.0, dtype="f8", input_size=draw(st.integers(1, 3)), **more)
    return layer


@pytest.mark.parametrize("backend", BACKENDS)
@given(layer=variations(), steps=st.integers(1, 6), seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_against_the_equations_by_hand(backend: str, layer: L.Recurrent, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, state = rng.normal(size=(steps, layer.input_size)), start(layer, rng)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = by_hand(layer, x, state)
    assume(np.abs(exact).max() < 1e6)  # gates without bounds feed themselves, beyond what float32 holds
    check(backend, [layer], exact, x, state)


CHANGES: list[tuple[Any, dict[str, Any]]] = [
    (L.LSTM, {"coupled": True}), (L.LSTM, {"clip": 0.4}), (L.LSTM, {"activations": "hard_sigmoid tanh tanh"}),
    (L.LSTM, {"activations": "sigmoid relu tanh"}), (L.LSTM, {"activations": "sigmoid tanh relu"}),
    (L.GRU, {"reset_after": False}), (L.GRU, {"clip": 0.4}), (L.GRU, {"activations": "sigmoid relu"}),
    (L.GRU, {"activations": "hard_sigmoid tanh"}), (L.RNN, {"clip": 0.4}), (L.RNN, {"activations": "relu"}),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "change"), CHANGES)
def test_every_setting_matters(backend: str, kind: Any, change: dict[str, Any]) -> None:
    layer = make(kind, "layer", np.random.default_rng(1), gain=1.5, dtype="f8", input_size=3, hidden_size=5)
    x = np.random.default_rng(2).normal(size=(8, 3))
    assert np.abs(answer([layer.replace(**change)], x, backend=backend) - answer([layer], x)).max() > WRONG


def test_a_coupled_gate_leaves_its_rows_unused() -> None:
    layer = make(L.LSTM, "l", np.random.default_rng(1), dtype="f8", input_size=3, hidden_size=5, coupled=True)
    w = {key: value.copy() for key, value in layer.weights.items()}
    for value in w.values():
        value[5:10] = 99
    x = np.random.default_rng(2).normal(size=(8, 3))
    np.testing.assert_array_equal(answer([layer.replace(weights=w)], x), answer([layer], x))


NODES: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (L.LSTM, {}, {}),
    (L.LSTM, {"peepholes": True}, {}),
    (L.LSTM, {"coupled": True}, {"input_forget": 1}),
    (L.LSTM, {"peepholes": True, "coupled": True}, {"input_forget": 1}),
    (L.LSTM, {"activations": "sigmoid tanh relu"}, {"activations": ["Sigmoid", "Tanh", "Relu"]}),
    (L.LSTM, {"activations": "hard_sigmoid(0.3,0.4) scaled_tanh(1.2,0.6) affine(0.7,-0.1)"},
     {"activations": ["HardSigmoid", "ScaledTanh", "Affine"], "activation_alpha": [0.3, 1.2, 0.7],
      "activation_beta": [0.4, 0.6, -0.1]}),
    (L.LSTM, {"activations": "sigmoid leaky_relu(0.2) elu(0.7)"},
     {"activations": ["Sigmoid", "LeakyRelu", "Elu"], "activation_alpha": [0.2, 0.7]}),
    (L.LSTM, {"activations": "sigmoid softsign softplus"}, {"activations": ["Sigmoid", "Softsign", "Softplus"]}),
    (L.LSTM, {"activations": "sigmoid thresholded_relu(0.3) tanh"},
     {"activations": ["Sigmoid", "ThresholdedRelu", "Tanh"], "activation_alpha": [0.3]}),
    (L.GRU, {"reset_after": True}, {"linear_before_reset": 1}),
    (L.GRU, {"reset_after": False}, {"linear_before_reset": 0}),
    (L.GRU, {"reset_after": False, "activations": "hard_sigmoid(0.3,0.4) softsign"},
     {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    (L.RNN, {}, {}),
    (L.RNN, {"activations": "relu"}, {"activations": ["Relu"]}),
]  # fmt: skip


@pytest.mark.parametrize("clip", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("kind", "ours", "theirs"), NODES)
def test_against_onnxruntime(
    kind: Any, ours: dict[str, Any], theirs: dict[str, Any], directions: int, clip: float
) -> None:
    """The cell that clip 0.3 does not cut grows beyond it."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed; parity cannot be tested")
    rng = np.random.default_rng(3)
    layer = make(
        kind, "layer", rng, gain=1.0, dtype="f8", input_size=3, hidden_size=4, bidirectional=directions == 2,
        clip=clip, return_sequences=True, **ours,
    )  # fmt: skip
    x, state = rng.normal(size=(2, 6, 3)), start(layer, rng, 2)
    attributes = theirs | ({"clip": clip} if clip else {})
    for key in ("activations", "activation_alpha", "activation_beta"):
        if key in attributes:
            attributes[key] = list(attributes[key]) * directions
    steps, last = onnxruntime_answer(layer, x, attributes, state=state)
    np.testing.assert_allclose(answer([layer], x, state), np.concatenate(list(steps), -1), rtol=0, atol=FLOAT32)
    final = answer([layer.replace(return_sequences=False)], x, state)
    np.testing.assert_allclose(final, np.concatenate(list(last), -1), rtol=0, atol=FLOAT32)
