"""What ONNX Runtime answers with an exported model is what the Model answers."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from lstmcore import Model, UnsupportedError
from lstmcore.formats.gates import ORDERS, reorder
from lstmcore.layers import (
    ELU,
    GELU,
    LSTM,
    BatchNorm1d,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    ReLU,
    Scaler,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)

onnx = pytest.importorskip("onnx", reason="needs onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lstmcore.formats.onnx.onnx import build  # noqa: E402

#: A name and the kind for each layer without weights.
PLAIN = (
    (Dropout, {"p": 0.3}),
    (ReLU, {}),
    (LeakyReLU, {"negative_slope": 0.2}),
    (ELU, {"alpha": 0.7}),
    (GELU, {"approximate": "none"}),
    (GELU, {"approximate": "tanh"}),
    (Tanh, {}),
    (Sigmoid, {}),
    (Softmax, {}),
)


def make(rng, cls, name, **options):
    """A layer with random weights, as training leaves them."""
    weights = {}
    for key, shape in cls.weight_shapes(**options).items():
        w = rng.normal(size=shape) / shape[-1] ** 0.5
        weights[key] = (np.abs(w) + 0.1 if key in ("running_var", "scale") else w).astype(np.float32)
    return cls(name, weights=weights, **options)


def lstm(rng, name, features, hidden, layers=1, bias=True, sequences=False):
    options = {"input_size": features, "hidden_size": hidden, "num_layers": layers, "bias": bias}
    return make(rng, LSTM, name, **options, return_sequences=sequences)


def linear(rng, name, features, outputs, bias=True):
    return make(rng, Linear, name, in_features=features, out_features=outputs, bias=bias)


def batch_norm(rng, name, features, affine=True):
    return make(rng, BatchNorm1d, name, num_features=features, eps=1e-3, affine=affine)


def run(proto, **inputs):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["answer"], inputs)[0]


def assert_same(model, proto, x, state=None):
    """Within float32's rounding of the answer in float64, and nothing in the file that is not used."""
    used = {name for node in proto.graph.node for name in node.input}
    assert {value.name for value in proto.graph.initializer} <= used
    expected = model.astype(np.float64)(x.astype(np.float64), state)
    inputs = {} if state is None else dict(zip(("h0", "c0"), state, strict=True))
    got = run(proto, window=x, **inputs)
    assert got.dtype == np.float32
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-6 * max(1, np.abs(expected).max()))


def windows(n, t, f, seed=0):
    return np.random.default_rng(seed).normal(size=(n, t, f)).astype(np.float32)


@st.composite
def models(draw):
    """LSTMs, each with layers behind it that treat every step alike, then a head; all kinds of layers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    sizes = st.integers(1, 12)
    features = draw(sizes)
    layers = []
    if draw(st.booleans()):
        layers.append(make(rng, Scaler, "scaler", num_features=features))

    def some_layers(features):
        for _ in range(draw(st.integers(0, 3))):
            name = f"layer{len(layers)}"
            kind = draw(st.sampled_from(["linear", "batch norm", "plain"]))
            if kind == "linear":
                layers.append(linear(rng, name, features, outputs := draw(sizes), draw(st.booleans())))
                features = outputs
            elif kind == "batch norm":
                layers.append(batch_norm(rng, name, features, draw(st.booleans())))
            else:
                cls, options = draw(st.sampled_from(PLAIN))
                layers.append(cls(name, **options))
        return features

    for k in range(count := draw(st.integers(1, 2))):
        sequences = k < count - 1 or draw(st.booleans())
        hidden = draw(sizes)
        bias, stacked = draw(st.booleans()), draw(st.integers(1, 3))
        layers.append(lstm(rng, f"lstm{k}", features, hidden, stacked, bias, sequences))
        features = some_layers(hidden)
    if sequences and draw(st.booleans()):
        layers.append(Flatten("flatten", steps := draw(st.integers(1, 9))))
        features = some_layers(steps * features)
    if features == 1 and draw(st.booleans()):
        layers.append(Squeeze("squeeze"))
    return Model(layers, backend="numpy")


@settings(max_examples=60, deadline=None)
@given(model=models(), n=st.integers(1, 4), t=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_random_models(model, n, t, seed):
    proto = build(model)
    x = windows(n, model.steps or t, model.input_size, seed)
    assert_same(model, proto, x)
    if len(model.recurrent_layers) == 1:
        (layer,) = model.recurrent_layers
        size = (layer.num_layers, n, layer.hidden_size)
        state = tuple(np.random.default_rng(seed + k).normal(size=size).astype(np.float32) for k in (1, 2))
        assert_same(model, build(model, states=True), x, state)


@pytest.mark.parametrize(("cls", "options"), PLAIN, ids=lambda value: str(value))
def test_each_function_from_end_to_end(cls, options):
    identity = Linear("identity", 4, 4, False, weights={"weight": np.eye(4, dtype=np.float32)})
    model = Model([identity, cls("function", **options)], backend="numpy")
    x = np.linspace(-30, 30, 4096, dtype=np.float32)
    x = np.concatenate([x, x / 10]).reshape(8, -1, 4)
    expected = model.astype(np.float64)(x)
    np.testing.assert_allclose(run(build(model), window=x), expected, rtol=1e-6, atol=5e-7)


@pytest.mark.parametrize("sequences", [True, False])
def test_batch_norm_and_scaler_where_nothing_takes_them_in(sequences):
    rng = np.random.default_rng(5)
    scaler = make(rng, Scaler, "scaler", num_features=4)
    behind = batch_norm(rng, "bn", 6)
    model = Model([scaler, Tanh("tanh"), lstm(rng, "lstm", 4, 6, sequences=sequences), behind], backend="numpy")
    assert_same(model, build(model), windows(3, 9, 4))


def test_any_two_swapped_gates_are_seen():
    rng = np.random.default_rng(7)
    right = lstm(rng, "lstm", 5, 6)
    x = windows(2, 9, 5)
    model = Model([right], backend="numpy")
    for a, b in itertools.combinations(range(4), 2):
        order = [0, 1, 2, 3]
        order[a], order[b] = b, a
        swapped = right.map_weights(lambda w, order=order: np.concatenate([np.split(w, 4)[k] for k in order]))
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_same(model, build(Model([swapped], backend="numpy")), x)


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize(("source", "target"), list(itertools.product(ORDERS["LSTM"], repeat=2)))
def test_gates_are_put_in_the_target_order(source, target, kind):
    orders = ORDERS[kind]
    stacked = np.repeat(np.array([ord(gate) for gate in orders[source]]), 3)[:, np.newaxis]
    moved = reorder(stacked, kind, source, target)
    assert "".join(map(chr, moved[::3, 0])) == orders[target]
    np.testing.assert_array_equal(reorder(moved, kind, target, source), stacked)


def test_names_shapes_and_versions():
    rng = np.random.default_rng(1)
    model = Model([lstm(rng, "lstm", 5, 6, 2), linear(rng, "fc", 6, 3)], backend="numpy")
    proto = build(model, states=True)

    def shapes(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    assert shapes(proto.graph.input) == {"window": ["N", "T", 5], "h0": [2, "N", 6], "c0": [2, "N", 6]}
    assert shapes(proto.graph.output) == {"answer": ["N", 3], "hn": [2, "N", 6], "cn": [2, "N", 6]}
    assert (proto.ir_version, proto.opset_import[0].version) == (8, 17)
    every = Model([lstm(rng, "lstm", 5, 1, sequences=True), Squeeze("squeeze")], backend="numpy")
    assert shapes(build(every).graph.output) == {"answer": ["N", "T"]}
    flat = Model([lstm(rng, "lstm", 5, 2, sequences=True), Flatten("flatten", 4)], backend="numpy")
    assert shapes(build(flat).graph.input) == {"window": ["N", 4, 5]}
    assert shapes(build(flat).graph.output) == {"answer": ["N", 8]}


def test_float64_models_are_rounded_once():
    rng = np.random.default_rng(2)
    model = Model([lstm(rng, "lstm", 5, 6), linear(rng, "fc", 6, 3)], backend="numpy").astype(np.float64)
    model = Model([layer.map_weights(lambda w: w * (1 + 1e-9)) for layer in model.layers], backend="numpy")
    assert_same(model, build(model), windows(2, 6, 5))


def test_states_need_a_recurrent_layer():
    with pytest.raises(ValueError, match="no recurrent layer"):
        build(Model([linear(np.random.default_rng(1), "fc", 5, 2)], backend="numpy"), states=True)


def test_export_onnx_writes_the_file(tmp_path):
    rng = np.random.default_rng(4)
    model = Model([lstm(rng, "lstm", 5, 6), linear(rng, "fc", 6, 1)], backend="numpy")
    model.export_onnx(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert_same(model, proto, windows(3, 8, 5))


def test_without_onnx_the_error_says_what_to_install(monkeypatch, tmp_path):
    rng = np.random.default_rng(4)
    model = Model([lstm(rng, "lstm", 5, 6)], backend="numpy")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "lstmcore.formats.onnx.onnx")
    monkeypatch.delattr("lstmcore.formats.onnx.onnx")
    with pytest.raises(UnsupportedError, match=r'needs the onnx package: pip install "lstmcore\[onnx\]"'):
        model.export_onnx(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
