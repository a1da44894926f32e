"""Every attribute and input of ONNX's LSTM, GRU and RNN, compared with ONNX Runtime where it has them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lstmcore import Model, ModelFormatError, UnsupportedError
from lstmcore import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import answers, assert_same, model, read_back, weights, windows  # noqa: E402

from lstmcore.formats.onnx.onnx import read  # noqa: E402
from lstmcore.formats.onnx.onnx_gates import FUNCTIONS, KINDS, NO_DEFAULTS  # noqa: E402
from lstmcore.layers.activations import TABLE  # noqa: E402

KIND = tuple(KINDS)
INPUTS = ("x", "W", "R", "B", "lengths", "h", "c", "P")


def recurrent(
    op, w, *, output="Y", given=(), directions=1, hidden=4, layout=0, bias=True, opset=17, extra=None, **attributes
):
    """Windows (N, T, F) through one recurrent node; its Y as (N, T, D*H), or Y_h as (N, D*H)."""
    names = [name if name in ("x", "W", "R", *given) or (name == "B" and bias) else "" for name in INPUTS]
    names = names[: 8 if op == "LSTM" else 6]
    while not names[-1]:
        names.pop()
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if layout:
        attributes["layout"] = 1
    nodes = [
        helper.make_node("Transpose", ["window"], ["x"], perm=[0, 1, 2] if layout else [1, 0, 2]),
        helper.make_node(op, names, ["Y", "Y_h"], name="recurrent", hidden_size=hidden, **attributes),
    ]
    perm = {("Y", 0): [2, 0, 1, 3], ("Y", 1): [0, 1, 2, 3], ("Y_h", 0): [1, 0, 2], ("Y_h", 1): [0, 1, 2]}[
        output, layout
    ]
    shape = [0, 0, -1] if output == "Y" else [0, -1]
    nodes += [
        helper.make_node("Transpose", [output], ["beside"], perm=perm),
        helper.make_node("Reshape", ["beside", "shape"], ["answer"]),
    ]
    constants = {key: value for key, value in w.items() if key in names} | {"shape": np.array(shape)}
    return model(nodes, constants, opset=opset, **(extra or {}))


@pytest.mark.parametrize("output", ["Y", "Y_h"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", KIND)
def test_directions_and_outputs(tmp_path, op, direction, output):
    rng = np.random.default_rng(1)
    directions = 2 if direction == "bidirectional" else 1
    w = weights(rng, op, directions=directions)
    proto = recurrent(
        op, w, output=output, directions=directions, **({} if directions == 2 else {"direction": direction})
    )
    made = assert_same(tmp_path, proto, windows(rng))
    kinds = [type(layer) for layer in made.layers]
    sequences = output == "Y"
    assert kinds == [L.Reverse] * (direction == "reverse") + [KINDS[op]] + [L.Reverse] * (
        direction == "reverse" and sequences
    )
    assert made.layers[-1 if direction != "reverse" else 1].bidirectional == (directions == 2)


@pytest.mark.parametrize("op", KIND)
@pytest.mark.parametrize("bias", [True, False])
def test_swapped_gates_are_seen(tmp_path, op, bias):
    rng = np.random.default_rng(2)
    w, x = weights(rng, op), windows(rng)
    proto = recurrent(op, w, bias=bias)
    layer = assert_same(tmp_path, proto, x).layers[0]
    got = answers(proto, window=x)
    gates = len(KINDS[op].gates)
    for a, b in itertools.combinations(range(gates), 2):
        order = list(range(gates))
        order[a], order[b] = b, a
        swapped = layer.map_weights(lambda v, order=order: np.concatenate([np.split(v, gates)[k] for k in order]))
        assert np.abs(Model([swapped], backend="numpy")(x.astype(float)) - got).max() > 1e-3
    for name in layer.weights:  # and each array is where it belongs
        moved = layer.replace(weights={**layer.weights, name: np.roll(layer.weights[name], 1, 0)})
        assert np.abs(Model([moved], backend="numpy")(x.astype(float)) - got).max() > 1e-3


@pytest.mark.parametrize("op", KIND)
@pytest.mark.parametrize("directions", [1, 2])
def test_layout_1_is_layout_0_with_other_axes(tmp_path, op, directions):
    """ONNX Runtime has no layout=1, so the model with layout=0 is the source."""
    rng = np.random.default_rng(3)
    w, x = weights(rng, op, directions=directions), windows(rng)
    states = {
        "h": rng.normal(size=(directions, 1, 4)).astype("f4"),
        "c": rng.normal(size=(directions, 1, 4)).astype("f4"),
    }
    states = {key: np.repeat(value, 3, 1) for key, value in states.items() if key == "h" or op == "LSTM"}
    fixed = {"shape": (3, "T", 3)}
    for output in ("Y", "Y_h"):
        options = {"given": tuple(states), "directions": directions, "output": output, "extra": fixed}
        source = recurrent(op, w | states, **options)
        other = recurrent(op, w | {key: s.swapaxes(0, 1) for key, s in states.items()}, layout=1, **options)
        assert read_back(tmp_path, other) == assert_same(tmp_path, source, x)


def test_peepholes(tmp_path):
    rng = np.random.default_rng(4)
    w, x = weights(rng, "LSTM", directions=2), windows(rng)
    made = assert_same(tmp_path, recurrent("LSTM", w, given=("P",), directions=2), x)
    layer = made.layers[0]
    got = answers(recurrent("LSTM", w, given=("P",), directions=2), window=x)
    for order in ([1, 0, 2], [0, 2, 1], [2, 1, 0]):  # i f o, any two of them swapped
        p = layer.weights["weight_peephole_l0"]
        moved = {**layer.weights, "weight_peephole_l0": np.concatenate([np.split(p, 3)[k] for k in order])}
        assert np.abs(Model([layer.replace(weights=moved)], backend="numpy")(x.astype(float)) - got).max() > 1e-3


@pytest.mark.parametrize("given", [(), ("P",)])
def test_input_forget(tmp_path, given):
    rng = np.random.default_rng(5)
    w, x = weights(rng, "LSTM"), windows(rng)
    made = assert_same(tmp_path, recurrent("LSTM", w, given=given, input_forget=1), x)
    assert made.layers[0].coupled
    plain = answers(recurrent("LSTM", w, given=given), window=x)
    assert np.abs(made(x) - plain).max() > 1e-3


@pytest.mark.parametrize("reset", [0, 1])
def test_linear_before_reset(tmp_path, reset):
    rng = np.random.default_rng(6)
    w, x = weights(rng, "GRU"), windows(rng)
    made = assert_same(tmp_path, recurrent("GRU", w, linear_before_reset=reset), x)
    assert made.layers[0].reset_after == bool(reset)
    other = answers(recurrent("GRU", w, linear_before_reset=1 - reset), window=x)
    assert np.abs(made(x) - other).max() > 1e-3


@pytest.mark.parametrize("op", KIND)
def test_clip(tmp_path, op):
    """A cell state of two steps is at most 2, so that it does not matter whether it is cut to 2 as well."""
    rng = np.random.default_rng(7)
    x = windows(rng, t=2 if op == "LSTM" else 7)
    clip = 2.0 if op == "LSTM" else 0.5
    w = weights(rng, op, gain=3.0)
    made = assert_same(tmp_path, recurrent(op, w, clip=clip), x)
    assert np.abs(made(x) - answers(recurrent(op, w), window=x)).max() > 1e-3


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("op", KIND)
def test_each_activation(tmp_path, op, name):
    rng = np.random.default_rng(8)
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[op]
    numbers = list(TABLE[FUNCTIONS[name]].numbers)
    values = {"activation_alpha": [0.3], "activation_beta": [0.45]}
    for at in range(len(usual)):
        names = [*usual]
        names[at] = name
        attributes = {key: values[key] for key in list(values)[: len(numbers)]}
        w = weights(rng, op, gain=0.3)
        assert_same(tmp_path, recurrent(op, w, activations=names, **attributes), windows(rng))
        if FUNCTIONS[name] not in NO_DEFAULTS:
            assert_same(tmp_path, recurrent(op, w, activations=names), windows(rng))
        elif numbers:
            with pytest.raises(UnsupportedError, match=r"activation_alpha: .* needs a number"):
                read_back(tmp_path, recurrent(op, w, activations=names))


def test_numbers_are_taken_by_the_functions_that_have_some(tmp_path):
    rng = np.random.default_rng(9)
    w = weights(rng, "LSTM", directions=2)
    names = ["HardSigmoid", "Tanh", "LeakyRelu", "Sigmoid", "ScaledTanh", "Softsign"]
    attributes = {"activation_alpha": [0.3, 0.4, 0.7], "activation_beta": [0.45, 0.9]}
    made = assert_same(tmp_path, recurrent("LSTM", w, directions=2, activations=names, **attributes), windows(rng))
    forward, backward = (layer for layer in made.layers if isinstance(layer, L.LSTM))
    assert forward.activations == "hard_sigmoid(0.3,0.45) tanh leaky_relu(0.4)"
    assert backward.activations == "sigmoid scaled_tanh(0.7,0.9) softsign"
    with pytest.raises(UnsupportedError, match=r"activation_alpha: 3 numbers; Tanh have use for 0"):
        read_back(
            tmp_path, recurrent("RNN", weights(rng, "RNN"), activations=["Tanh"], activation_alpha=[1.0, 2.0, 3.0])
        )


@pytest.mark.parametrize("op", KIND)
@pytest.mark.parametrize("directions", [1, 2])
def test_initial_states(tmp_path, op, directions):
    rng = np.random.default_rng(10)
    w, x = weights(rng, op, directions=directions), windows(rng)
    fixed = {"shape": (3, "T", 3)}
    for given in [("h",), ("h", "c"), ("c",)][: 3 if op == "LSTM" else 1]:
        rows = {key: rng.normal(size=(directions, 1, 4)).astype("f4") for key in given}
        states = {key: np.repeat(row, 3, 1) for key, row in rows.items()}
        proto = recurrent(op, w | states, given=given, directions=directions, extra=fixed)
        layer = assert_same(tmp_path, proto, x).layers[0]
        assert layer.learned_state
        zeros = {key: np.zeros_like(state) for key, state in states.items()}
        plain = recurrent(op, w | zeros, given=given, directions=directions, extra=fixed)
        assert not assert_same(tmp_path, plain, x).layers[0].learned_state
        states["h"] = rng.normal(size=(directions, 3, 4)).astype("f4")
        with pytest.raises(UnsupportedError, match="initial_h: differs from window to window"):
            read_back(tmp_path, recurrent(op, w | states, given=("h",), directions=directions, extra=fixed))


@pytest.mark.parametrize("op", KIND)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_sequence_lens_as_an_input(tmp_path, op, direction):
    rng = np.random.default_rng(11)
    directions = 2 if direction == "bidirectional" else 1
    w, x = weights(rng, op, directions=directions), windows(rng)
    lengths = np.array([7, 3, 1], np.int32)
    value = helper.make_tensor_value_info("lengths", TensorProto.INT32, ("N",))
    for output in ("Y", "Y_h"):
        options = {} if directions == 2 else {"direction": direction}
        proto = recurrent(
            op, w, given=("lengths",), directions=directions, output=output, extra={"more_inputs": [value]}, **options
        )
        assert_same(tmp_path, proto, x, lengths=lengths)


def test_sequence_lens_as_a_constant(tmp_path):
    rng = np.random.default_rng(12)
    w, x = weights(rng, "GRU"), windows(rng)
    fixed = {"shape": (3, 7, 3)}
    full = recurrent("GRU", w | {"lengths": np.full(3, 7, np.int32)}, given=("lengths",), extra=fixed)
    assert len(assert_same(tmp_path, full, x).layers) == 1
    short = recurrent("GRU", w | {"lengths": np.array([7, 6, 7], np.int32)}, given=("lengths",), extra=fixed)
    with pytest.raises(UnsupportedError, match=r"sequence_lens: \[7, 6, 7\] of 7 steps"):
        read_back(tmp_path, short)


def test_hidden_size_may_be_absent(tmp_path):
    rng = np.random.default_rng(13)
    proto = recurrent("LSTM", weights(rng, "LSTM"))
    node = proto.graph.node[1]
    del node.attribute[:]
    assert read_back(tmp_path, proto).layers[0].hidden_size == 4


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"hidden_size": 5}, ModelFormatError, r"input R: expected float numbers of shape \(1, 20, 5\)"),
        ({"direction": "sideways"}, ModelFormatError, "attribute direction"),
        ({"clip": -1.0}, ModelFormatError, "attribute clip"),
        ({"input_forget": 2}, ModelFormatError, "attribute input_forget"),
        ({"layout": 2}, ModelFormatError, "attribute layout"),
        ({"activations": ["Tanh"]}, ModelFormatError, "attribute activations: expected 3"),
        ({"activations": ["Sigmoid", "Sin", "Tanh"]}, UnsupportedError, "attribute activations: 'Sin'"),
        ({"output_sequence": 1}, UnsupportedError, "attribute 'output_sequence' is not known"),
        ({"clip": "no"}, ModelFormatError, "attribute clip: expected float"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changes, error, text):
    proto = recurrent("LSTM", weights(np.random.default_rng(14), "LSTM"))
    node = proto.graph.node[1]
    for key, value in changes.items():
        kept = [a for a in node.attribute if a.name != key]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(key, value)])
    with pytest.raises(error, match=rf"model\.onnx: node 'recurrent' \(LSTM\): {text}"):
        read_back(tmp_path, proto)


def test_the_cell_state_is_no_answer(tmp_path):
    rng = np.random.default_rng(15)
    proto = recurrent("LSTM", weights(rng, "LSTM"), output="Y_h")
    proto.graph.node[1].output.append("Y_c")
    read_back(tmp_path, proto)  # it may stand there
    proto.graph.node[2].input[0] = "Y_c"
    with pytest.raises(UnsupportedError, match=r"'answer': the cell state of node 'recurrent' .* is no answer"):
        read_back(tmp_path, proto)
    proto.graph.node[2].CopyFrom(helper.make_node("Add", ["Y_c", "Y_c"], ["beside"]))
    with pytest.raises(UnsupportedError, match=r"\(Add\): reads the cell state of node 'recurrent'"):
        read_back(tmp_path, proto)


@pytest.mark.parametrize("op", KIND)
def test_float64_models(tmp_path, op):
    rng = np.random.default_rng(16)
    w = {key: value.astype(np.float64) * (1 + 1e-9) for key, value in weights(rng, op).items()}
    made = read_back(tmp_path, recurrent(op, w, extra={"kind": TensorProto.DOUBLE}))
    assert made.dtype == np.float64
    np.testing.assert_array_equal(
        made.layers[0].weights["weight_ih_l0"][:4], w["W"][0][slice(4, 8) if op == "GRU" else slice(4)]
    )
    half = {key: value.astype(np.float16) for key, value in w.items()}
    path = tmp_path / "half.onnx"
    path.write_bytes(recurrent(op, half, extra={"kind": TensorProto.FLOAT16}).SerializeToString())
    (layer,) = read(path)
    assert layer.dtype == np.float32
    assert set(layer.weights["weight_hh_l0"].flat) == {np.float32(value) for value in half["R"].flat}
