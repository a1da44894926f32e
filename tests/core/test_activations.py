"""Activations: the text that names them, and every function against torch's, its edges among them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from answers import answer
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BACKENDS, make

from lstmcore import layers as L
from lstmcore.layers.activations import MAX_TEXT, TABLE, Activation, parse, text

torch = pytest.importorskip("torch", reason="torch is not installed; parity with it cannot be tested")
F = torch.nn.functional

#: Each function by its text, and the same of torch; every name of the table is here.
SAME: dict[str, Any] = {
    "linear": lambda x: x,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "leaky_relu(0.3)": lambda x: F.leaky_relu(x, 0.3),
    "elu": F.elu,
    "elu(0.4)": lambda x: F.elu(x, 0.4),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "affine(-1.5,0.25)": lambda x: -1.5 * x + 0.25,
    "thresholded_relu(0.5)": lambda x: F.threshold(x, 0.5, 0.0),
    "thresholded_relu": lambda x: F.threshold(x, 1.0, 0.0),
    "scaled_tanh(1.7159,0.6667)": lambda x: 1.7159 * torch.tanh(0.6667 * x),
    f"hard_sigmoid({1 / 6!r},0.5)": F.hardsigmoid,
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "softsign": F.softsign,
    "softplus": F.softplus,
    "silu": F.silu,
    "selu": F.selu,
    "relu6": F.relu6,
    "exponential": torch.exp,
    "hard_tanh": F.hardtanh,
    "mish": F.mish,
    "hard_silu": F.hardswish,
}

EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 3, -3, 6, -2.5, 2.5, 20, -20, 90, -90, 800, -800, 1e30, -1e30]


def test_every_function_is_compared() -> None:
    assert {parse(name, 1, "")[0].name for name in SAME} == set(TABLE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SAME)
def test_against_torch(name: str, dtype: Any) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    special = np.array([*EDGES, tiny, -tiny, 3 * tiny, np.finfo(dtype).tiny, np.finfo(dtype).max, np.finfo(dtype).min])
    x = np.concatenate([special, np.random.default_rng(0).normal(size=500) * 4, np.linspace(-7, 7, 281)]).astype(dtype)
    if name == "gelu" and dtype is np.float32:
        x = x[~(x > 1e31)]  # of which torch's float32 equation, unlike its float64 one, makes NaN and infinity
    theirs = SAME[name](torch.tensor(x)).numpy()
    with np.errstate(all="ignore"):
        ours = parse(name, 1, "test")[0](x)
    assert ours.dtype == dtype
    # torch's softplus ends at 20, and its mish with it, where log(1 + e^-x) is 2e-9.
    rtol = 1e-6 if dtype is np.float32 else 1e-9 if name in ("softplus", "mish") else 1e-12
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=4 * rtol if "gelu" in name else rtol)
    zeros = np.flatnonzero(x == 0)
    np.testing.assert_array_equal(ours[zeros], theirs[zeros])


@pytest.mark.parametrize("name", SAME)
def test_each_function_is_another(name: str) -> None:
    x = np.linspace(-9, 9, 50)
    own = parse(name, 1, "test")[0](x)
    for other in SAME:
        if other != name:
            assert np.abs(parse(other, 1, "test")[0](x) - own).max() > 1e-4, other


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SAME)
def test_as_a_layer(backend: str, name: str) -> None:
    """Of sequences and of vectors; NaN and infinity give no warning."""
    linear = make(L.Linear, "fc", np.random.default_rng(0), in_features=3, out_features=4)
    x = np.random.default_rng(1).normal(size=(5, 3)).astype("f4") * 3
    x[1, 1], x[2, 0], x[3, 2] = np.nan, np.inf, -np.inf
    with np.errstate(all="ignore"):
        inner = answer([linear], x)
        expected = parse(name, 1, "test")[0](inner)
    layer = L.Activation("act", name)
    np.testing.assert_allclose(answer([linear, layer], x, backend=backend), expected, rtol=1e-5, atol=1e-6)
    last = answer([linear, L.Last("last"), layer], x, backend=backend)
    np.testing.assert_allclose(last, expected[-1], rtol=1e-5, atol=1e-6)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def activations(draw: st.DrawFn) -> Activation:
    name = draw(st.sampled_from(sorted(TABLE)))
    return Activation(name, tuple(draw(FINITE) for _ in TABLE[name].numbers))


@given(st.lists(activations(), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_text_is_read_back(functions: list[Activation]) -> None:
    assert parse(text(functions), len(functions), "test") == tuple(functions)
    assert parse("  ".join(map(str, functions)), len(functions), "test") == tuple(functions)


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("hard_sigmoid", "hard_sigmoid(0.2,0.5)"),
        ("hard_sigmoid()", "hard_sigmoid(0.2,0.5)"),
        ("hard_sigmoid(0.3)", "hard_sigmoid(0.3,0.5)"),
        ("hard_sigmoid(1,-2e-3)", "hard_sigmoid(1.0,-0.002)"),
        ("leaky_relu", "leaky_relu(0.01)"),
        ("tanh", "tanh"),
    ],
)
def test_numbers_that_are_left_out(written: str, full: str) -> None:
    assert text(parse(written, 1, "test")) == full
    assert L.Activation("a", written) == L.Activation("a", full)  # one text for one thing
    lstm = {"input_size": 1, "hidden_size": 1}
    a, b = (make(L.LSTM, "l", np.random.default_rng(0), activations=f"{t} tanh tanh", **lstm) for t in (written, full))
    assert a == b
    assert hash(a) == hash(b)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "expected 1 activation, got ''"),
        ("tanh tanh", "expected 1 activation, got 'tanh tanh'"),
        ("hard_sigmoid(0.2, 0.5)", "expected 1 activation, got 'hard_sigmoid(0.2, 0.5)'"),
        ("x" * (MAX_TEXT + 1), "expected 1 activation, got 'xxx"),
        ("Tanh", "unknown activation 'Tanh'; known are linear, sigmoid, tanh,"),
        ("swish", "unknown activation 'swish'"),
        ("tanh(", "unknown activation 'tanh('"),
        ("tanh(1)", "'tanh(1)': expected no numbers"),
        ("elu(1,2)", "'elu(1,2)': expected finite numbers for alpha"),
        ("elu(nan)", "'elu(nan)': expected finite numbers for alpha"),
        ("affine(inf,0)", "'affine(inf,0)': expected finite numbers for alpha, beta"),
        ("affine(1e999,0)", "expected finite numbers for alpha, beta"),
        ("affine(1,)", "'affine(1,)': expected finite numbers for alpha, beta"),
        ("affine(one)", "'affine(one)': expected finite numbers for alpha, beta"),
    ],
)
def test_what_is_refused(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^Activation: setting 'function': .*{re.escape(message)}"):
        L.Activation("act", written)


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (L.LSTM, "sigmoid tanh", "LSTM: setting 'activations': expected 3 activations, got 'sigmoid tanh'"),
        (L.GRU, "sigmoid tanh tanh", "GRU: setting 'activations': expected 2 activations"),
        (L.RNN, "sigmoid tanh", "RNN: setting 'activations': expected 1 activation, got"),
        (L.RNN, "softmax", "RNN: setting 'activations': unknown activation 'softmax'; known are"),
    ],
)
def test_gates_that_are_refused(kind: type[L.Recurrent], written: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make(kind, "layer", np.random.default_rng(0), input_size=1, hidden_size=1, activations=written)


def test_a_type_that_is_no_text() -> None:
    with pytest.raises(ValueError, match="setting 'function': expected text, got 3"):
        L.Activation("act", 3)  # type: ignore[arg-type]
