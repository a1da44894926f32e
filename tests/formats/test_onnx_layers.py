"""Every kind of layer written as ONNX: ONNX Runtime answers as the Model does; it is read as the same model."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcore import Model, UnsupportedError
from lstmcore import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx_files import answers, assert_close, make, read_back, windows  # noqa: E402

from lstmcore.formats.onnx.onnx import build  # noqa: E402
from lstmcore.formats.onnx.onnx_gates import FUNCTIONS  # noqa: E402
from lstmcore.layers.activations import TABLE  # noqa: E402

GATED = tuple(FUNCTIONS.values())
NUMBERS = (0.3, 0.45)


def with_numbers(name):
    """A function's text, with numbers of its own where it takes some."""
    count = len(TABLE[name].numbers)
    return f"{name}({','.join(map(str, NUMBERS[:count]))})" if count else name


@st.composite
def recurrent_layers(draw, rng, name, features, sequences, inputs=()):
    """LSTM, GRU or RNN with any of the settings that ONNX has."""
    kind = draw(st.sampled_from([L.LSTM, L.GRU, L.RNN]))
    options = {
        "input_size": features,
        "hidden_size": draw(st.integers(1, 8)),
        "num_layers": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
        "return_sequences": sequences,
        "bidirectional": draw(st.booleans()),
        "learned_state": draw(st.booleans()),
    }
    if options["bidirectional"] and options["num_layers"] == 1:
        options["merge"] = draw(st.sampled_from(["concat", "sum", "mean", "mul"]))
    if draw(st.booleans()):
        gate = draw(st.sampled_from(["sigmoid", "hard_sigmoid(0.25,0.4)"]))
        others = draw(
            st.lists(st.sampled_from(["tanh", "softsign", "elu(0.7)", "scaled_tanh(0.8,0.6)"]), min_size=2, max_size=2)
        )
        # Gates stay between 0 and 1: with others, states grow without bound and so does the rounding.
        options["activations"] = " ".join(([] if kind is L.RNN else [gate]) + others[: 1 + (kind is L.LSTM)])
    if kind is L.LSTM:
        options |= {"peepholes": draw(st.booleans()), "coupled": draw(st.booleans())}
    elif draw(st.booleans()):
        options["clip"] = 0.7
    if kind is L.GRU:
        options["reset_after"] = draw(st.booleans())
    return make(rng, kind, name, inputs=inputs, **options)


@st.composite
def models(draw):
    """Layers of every kind, some of them in branches."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    features = draw(st.integers(1, 5))
    made = [make(rng, L.Scaler, "scaler", num_features=features)] if draw(st.booleans()) else []
    made.append(draw(recurrent_layers(rng, "first", features, True)))
    width = made[-1].width
    if width > 5 and draw(st.booleans()):  # over fewer features, a norm amplifies rounding hundreds of times
        made.append(
            make(rng, L.LayerNorm, "norm", num_features=width, affine=draw(st.booleans()), bias=draw(st.booleans()))
        )
    if draw(st.booleans()):
        made.append(L.Reverse("reverse"))
    made.append(L.Activation("function", with_numbers(draw(st.sampled_from(sorted(TABLE))))))
    ending = draw(st.sampled_from(["sequence", "last", "recurrent", "branches"]))
    if ending == "last":
        made.append(L.Last("last"))
    elif ending == "recurrent":
        made.append(draw(recurrent_layers(rng, "second", width, False)))
        width = made[-1].width
    elif ending == "branches":
        sequences = draw(st.booleans())
        a = make(rng, L.GRU, "a", input_size=width, hidden_size=4, return_sequences=sequences, inputs=("function",))
        b = make(rng, L.LSTM, "b", input_size=width, hidden_size=4, return_sequences=sequences, inputs=("function",))
        c = make(rng, L.Linear, "c", in_features=4, out_features=4, inputs=("a",))
        kind = draw(st.sampled_from([L.Add, L.Mul, L.Mean, L.Concat]))
        made += [a, b, c, kind("joined", inputs=("a", "b", "c"))]
        width = 12 if kind is L.Concat else 4
    made.append(
        make(rng, L.Linear, "fc", in_features=width, out_features=draw(st.integers(1, 3)), bias=draw(st.booleans()))
    )
    if made[-1].out_features == 1 and draw(st.booleans()):
        made.append(L.Squeeze("squeeze"))
    return Model(made, backend="numpy")


def assert_written(model, proto, x, tmp_path):
    wide = model.astype(np.float64)
    expected = wide(x.astype(np.float64))
    # Norms and unbounded functions amplify rounding; how much, the model's own float32 answers say.
    inherent = np.abs(model(x) - expected).max()
    got = answers(proto, window=x)
    assert got.shape == expected.shape
    limit = max(5e-6 * max(1, np.abs(expected).max()), 4 * inherent)
    np.testing.assert_allclose(got, expected, rtol=0, atol=limit)
    np.testing.assert_allclose(read_back(tmp_path, proto)(x.astype(np.float64)), expected, rtol=0, atol=limit)


@settings(max_examples=120, deadline=None)
@given(model=models(), n=st.integers(1, 3), t=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_random_models(tmp_path_factory, model, n, t, seed):
    x = windows(np.random.default_rng(seed), n, t, model.input_size)
    assert_written(model, build(model), x, tmp_path_factory.mktemp("onnx"))


def single_layers():
    rng = np.random.default_rng(1)
    sizes = {"input_size": 3, "hidden_size": 4}
    for kind in (L.LSTM, L.GRU, L.RNN):
        for merge in ("", "concat", "sum", "mean", "mul"):
            for sequences in (True, False):
                both = {"bidirectional": True, "merge": merge} if merge else {}
                yield make(rng, kind, "layer", **sizes, **both, return_sequences=sequences, learned_state=bool(merge))
    for name in GATED:
        if name != "affine":
            yield make(rng, L.LSTM, "layer", **sizes, activations=f"sigmoid {with_numbers(name)} tanh")
    yield make(rng, L.LSTM, "layer", **sizes, num_layers=3, peepholes=True, coupled=True, learned_state=True)
    yield make(rng, L.GRU, "layer", **sizes, num_layers=2, reset_after=False, clip=0.5)
    yield make(rng, L.RNN, "layer", **sizes, num_layers=2, activations="relu", bidirectional=True)
    yield make(rng, L.LayerNorm, "layer", num_features=3)
    yield make(rng, L.LayerNorm, "layer", num_features=3, bias=False)
    yield make(rng, L.Linear, "layer", in_features=3, out_features=2, bias=False)


@pytest.mark.parametrize("layer", list(single_layers()), ids=repr)
def test_each_layer_is_read_as_the_same_layer(tmp_path, layer):
    model = Model([layer], backend="numpy")
    proto = build(model)
    x = windows(np.random.default_rng(2))
    assert_written(model, proto, x, tmp_path)
    (got,) = read_back(tmp_path, proto).astype(np.float32).layers
    assert (type(got), got.name) == (type(layer), "layer")
    settings, expected = got.settings(), layer.settings()
    if isinstance(layer, L.Recurrent | L.Linear):  # two biases are one, and a bias of zeros is one
        settings["bias"] = expected["bias"]
    assert settings == expected
    for key, w in layer.weights.items():
        if not key.startswith("bias"):
            np.testing.assert_array_equal(got.weights[key], w, err_msg=key)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_each_function_is_read_as_the_same_function(tmp_path, name):
    identity = L.Linear("identity", 3, 3, False, weights={"weight": np.eye(3, dtype=np.float32)})
    model = Model([identity, L.Activation("function", with_numbers(name))], backend="numpy")
    proto = build(model)
    x = np.linspace(-9, 9, 384, dtype=np.float32).reshape(2, 64, 3)
    expected = model.astype(np.float64)(x.astype(np.float64))
    np.testing.assert_allclose(answers(proto, window=x), expected, rtol=2e-6, atol=1e-6)
    got = read_back(tmp_path, proto)
    np.testing.assert_allclose(got(x.astype(np.float64)), expected, rtol=1e-6, atol=1e-7)
    assert len(got.layers) == (1 if name == "linear" else 4 if name == "scaled_tanh" else 2)


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.RNN])
@pytest.mark.parametrize("merge", ["", "concat", "sum"])
def test_lengths_and_states_as_inputs(tmp_path, kind, merge):
    rng = np.random.default_rng(3)
    both = {"bidirectional": True, "merge": merge} if merge else {}
    levels = 1 if merge == "sum" else 2
    layer = make(rng, kind, "layer", input_size=3, hidden_size=4, num_layers=levels, return_sequences=True, **both)
    x, lengths = windows(rng), np.array([7, 2, 4], np.int32)
    model = Model([layer], backend="numpy").astype(np.float64)
    proto = build(model, lengths=True)
    expected = model(x.astype(np.float64), lengths=lengths)
    assert_close(answers(proto, window=x, lengths=lengths), expected)
    assert_close(read_back(tmp_path, proto)(x.astype(np.float64), lengths=lengths), expected)
    model.export_onnx(tmp_path / "lengths.onnx", lengths=True)
    assert onnx.load(tmp_path / "lengths.onnx") == proto
    states = {
        key: rng.normal(size=(layer.states, 3, 4)).astype("f4") for key in ("h0", "c0")[: 2 if kind is L.LSTM else 1]
    }
    given = tuple(states.values()) if kind is L.LSTM else states["h0"]
    assert_close(answers(build(model, states=True), window=x, **states), model(x.astype(np.float64), given))
    assert read_back(tmp_path, build(model, states=True)) == read_back(tmp_path, build(model))


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.RNN])
def test_any_two_swapped_gates_are_seen(kind):
    rng = np.random.default_rng(4)
    right = make(rng, kind, "layer", input_size=3, hidden_size=4, bidirectional=True)
    x = windows(rng)
    expected = Model([right], backend="numpy").astype(np.float64)(x.astype(np.float64))
    gates = len(kind.gates)
    for a in range(gates):
        for b in range(a):
            order = list(range(gates))
            order[a], order[b] = b, a
            swapped = right.map_weights(lambda w, order=order: np.concatenate([np.split(w, gates)[k] for k in order]))
            assert np.abs(answers(build(Model([swapped], backend="numpy")), window=x) - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (L.LSTM, {"proj_size": 2}, "setting 'proj_size'"),
        (L.LSTM, {"layer_norm": True}, "setting 'layer_norm'"),
        (L.GRU, {"activations": "sigmoid mish"}, "activation mish"),
        (L.Masking, {}, "no operator"),
    ],
)
def test_what_onnx_lacks_is_named(kind, options, text):
    rng = np.random.default_rng(5)
    sizes = {"input_size": 3, "hidden_size": 4} if kind is not L.Masking else {}
    layers = [make(rng, kind, "it", **sizes, **options)]
    if kind is L.Masking:
        layers.append(make(rng, L.RNN, "rnn", input_size=3, hidden_size=4))
    with pytest.raises(UnsupportedError, match=rf"it \({kind.__name__}\): .*{text}"):
        build(Model(layers, backend="numpy"))


def test_lengths_where_onnx_would_answer_otherwise():
    rng = np.random.default_rng(6)
    lstm = make(rng, L.LSTM, "lstm", input_size=3, hidden_size=4, return_sequences=True)
    fc = make(rng, L.Linear, "fc", in_features=4, out_features=1)
    for layers, text in (
        ([lstm, L.Last("last")], r"last \(Last\)"),
        ([lstm, L.Tanh("tanh")], r"tanh \(Tanh\): answers every tick"),
        ([lstm, fc, L.Squeeze("squeeze")], r"squeeze \(Squeeze\): answers every tick"),
        ([make(rng, L.Linear, "fc", in_features=3, out_features=1), L.Flatten("flatten", 3)], "Flatten"),
    ):
        with pytest.raises(UnsupportedError, match=text):
            build(Model(layers, backend="numpy"), lengths=True)
