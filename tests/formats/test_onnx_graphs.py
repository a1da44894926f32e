"""Graphs as exporters and people write them: whatever way the axes go, the layers are the same."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcore import UnsupportedError
from lstmcore import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import answers, assert_close, assert_same, model, read_back, weights, windows  # noqa: E402

from lstmcore.formats.onnx.onnx_attributes import ATTRIBUTES, HONOURED, NO_EFFECT, REFUSED  # noqa: E402
from lstmcore.formats.onnx.onnx_constants import FOLD  # noqa: E402
from lstmcore.formats.onnx.onnx_ops import HANDLERS  # noqa: E402

node = helper.make_node


def kinds(made):
    return [type(layer).__name__ for layer in made.layers]


def lstm(prefix, x, directions=1, **attributes):
    """An LSTM node whose weights' names begin with `prefix`; it makes `prefix`Y and `prefix`H."""
    names = [x, *(f"{prefix}{key}" for key in "WRB")]
    if directions == 2:
        attributes["direction"] = "bidirectional"
    return node("LSTM", names, [f"{prefix}Y", f"{prefix}H"], hidden_size=4, **attributes)


def named(prefix, w):
    return {f"{prefix}{key}": value for key, value in w.items() if key != "P"}


def test_keras_by_way_of_tf2onnx(tmp_path):
    """Zero states made from the batch size, the last step by Slice and Squeeze, Dense on each step by two Reshapes."""
    rng = np.random.default_rng(1)
    constants = named("a", weights(rng, "LSTM")) | {
        "D": rng.normal(size=(4, 5)).astype("f4"),
        "d": rng.normal(size=5).astype("f4"),
        "E": rng.normal(size=(5, 2)).astype("f4"),
        "e": rng.normal(size=2).astype("f4"),
        "zero": np.array([0]), "one": np.array([1]), "minus": np.array([-1]), "end": np.array([np.iinfo("i8").max]),
        "four": np.array([4]), "five": np.array([5]), "flat": np.array([-1, 4]), "steps": np.array([1, 2]),
    }  # fmt: skip
    nodes = [
        node("Shape", ["window"], ["shape"]),
        node("Slice", ["shape", "zero", "one", "zero"], ["N"]),
        node("Concat", ["one", "N", "four"], ["state"], axis=0),
        node("ConstantOfShape", ["state"], ["zeros"]),
        node("Transpose", ["window"], ["x"], perm=[1, 0, 2]),
        node("LSTM", ["x", "aW", "aR", "aB", "", "zeros", "zeros"], ["aY"], hidden_size=4, name="model/lstm/LSTM__1"),
        node("Squeeze", ["aY", "one"], ["y"]),
        node("Transpose", ["y"], ["first"], perm=[1, 0, 2]),
        node("Shape", ["first"], ["long"]),
        node("Gather", ["long", "zero"], ["batch"]),
        node("Gather", ["long", "one"], ["time"]),
        node("Concat", ["batch", "time", "five"], ["back"], axis=0),
        node("Reshape", ["first", "flat"], ["rows"]),
        node("MatMul", ["rows", "D"], ["product"], name="model/dense/MatMul"),
        node("Reshape", ["product", "back"], ["dense"]),
        node("Add", ["dense", "d"], ["biased"], name="model/dense/BiasAdd"),
        node("Slice", ["biased", "minus", "end", "one"], ["last"]),
        node("Squeeze", ["last", "one"], ["vector"]),
        node("MatMul", ["vector", "E"], ["scores"], name="model/out/MatMul"),
        node("Add", ["scores", "e"], ["answer"]),
    ]
    made = assert_same(tmp_path, model(nodes, constants), windows(rng))
    assert kinds(made) == ["LSTM", "Linear", "Linear"]
    assert [layer.name for layer in made.layers] == ["lstm", "dense", "out"]
    assert not made.layers[0].return_sequences


@pytest.mark.parametrize("how", ["Split", "Gather", "Slice", "Reduce"])
@pytest.mark.parametrize("merge", ["sum", "mean", "mul", "concat"])
@pytest.mark.parametrize("output", ["Y", "H"])
def test_directions_joined_by_hand(tmp_path, output, merge, how):
    rng = np.random.default_rng(2)
    at = 1 if output == "Y" else 0
    constants = named("a", weights(rng, "LSTM", directions=2)) | {
        "at": np.array([at]), "zero": np.array(0), "one": np.array(1), "0": np.array([0]), "1": np.array([1]),
        "2": np.array([2]), "half": np.array(0.5, "f4"),
    }  # fmt: skip
    nodes = [node("Transpose", ["window"], ["x"], perm=[1, 0, 2]), lstm("a", "x", 2)]
    y = f"a{output}"
    if how == "Reduce":
        if merge == "concat":
            return
        op = {"sum": "ReduceSum", "mean": "ReduceMean", "mul": "ReduceProd"}[merge]
        nodes.append(
            node(op, [y, "at"], ["out"], keepdims=0)
            if merge == "sum"
            else node(op, [y], ["out"], axes=[at], keepdims=0)
        )
    else:
        if how == "Split":
            nodes.append(node("Split", [y], ["s0", "s1"], axis=at))
        elif how == "Slice":
            nodes += [node("Slice", [y, a, b, "at"], [s]) for a, b, s in (("0", "1", "s0"), ("1", "2", "s1"))]
        if how == "Gather":
            nodes += [node("Gather", [y, i], [o], axis=at) for i, o in (("zero", "forward"), ("one", "backward"))]
        else:
            nodes += [node("Squeeze", [s, "at"], [o]) for s, o in (("s0", "forward"), ("s1", "backward"))]
        if merge == "concat":
            nodes.append(node("Concat", ["forward", "backward"], ["out"], axis=-1))
        else:
            op = {"sum": "Add", "mean": "Add", "mul": "Mul"}[merge]
            nodes.append(node(op, ["forward", "backward"], ["total" if merge == "mean" else "out"]))
            if merge == "mean":
                nodes.append(node("Mul", ["total", "half"], ["out"]))
    nodes.append(node("Transpose", ["out"], ["answer"], perm=[1, 0, 2] if output == "Y" else [0, 1]))
    made = assert_same(tmp_path, model(nodes, constants), windows(rng))
    (layer,) = made.layers
    assert (layer.bidirectional, layer.merge, layer.return_sequences) == (True, merge, output == "Y")


@pytest.mark.parametrize("reverse", ["Slice", "ReverseSequence"])
def test_two_layers_that_are_one_bidirectional(tmp_path, reverse):
    """Keras's Bidirectional, written as two LSTMs, one of them between two reversals."""
    rng = np.random.default_rng(3)
    constants = named("a", weights(rng, "LSTM")) | named("b", weights(rng, "LSTM")) | {
        "minus": np.array([-1]), "end": np.array([np.iinfo("i8").min]), "zero": np.array([0]), "one": np.array([1]),
    }  # fmt: skip

    def reversal(x, y):
        if reverse == "Slice":
            return [node("Slice", [x, "minus", "end", "zero", "minus"], [y])]
        return [node("ReverseSequence", [x, "lens"], [y], time_axis=0, batch_axis=1)]

    counts = [
        node("Shape", ["x"], ["shape"]),
        node("Slice", ["shape", "zero", "one"], ["T"]),
        node("Slice", ["shape", "one", "two"], ["N"]),
        node("Expand", ["T", "N"], ["lens"]),
    ] * (reverse == "ReverseSequence")
    nodes = [
        node("Transpose", ["window"], ["x"], perm=[1, 0, 2]),
        *counts,
        *reversal("x", "turned"),
        lstm("a", "x"),
        lstm("b", "turned"),
        node("Squeeze", ["aY", "one"], ["forward"]),
        node("Squeeze", ["bY", "one"], ["late"]),
        *reversal("late", "backward"),
        node("Concat", ["forward", "backward"], ["both"], axis=2),
        node("Transpose", ["both"], ["answer"], perm=[1, 0, 2]),
    ]
    made = assert_same(tmp_path, model(nodes, constants | {"two": np.array([2])}), windows(rng))
    assert kinds(made) == ["LSTM"]
    assert made.layers[0].bidirectional


def test_learned_states_expanded_to_the_batch(tmp_path):
    rng = np.random.default_rng(4)
    constants = named("a", weights(rng, "LSTM")) | {
        "h": rng.normal(size=(1, 1, 4)).astype("f4"), "c": rng.normal(size=(1, 1, 4)).astype("f4"),
        "one": np.array([1]), "four": np.array([4]), "zero": np.array([0]),
    }  # fmt: skip
    nodes = [
        node("Transpose", ["window"], ["x"], perm=[1, 0, 2]),
        node("Shape", ["window"], ["N"], start=0, end=1),
        node("Concat", ["one", "N", "four"], ["shape"], axis=0),
        node("Expand", ["h", "shape"], ["h0"]),
        node("Expand", ["c", "shape"], ["c0"]),
        node("LSTM", ["x", "aW", "aR", "aB", "", "h0", "c0"], ["", "aH"], hidden_size=4),
        node("Squeeze", ["aH", "zero"], ["answer"]),
    ]
    (layer,) = assert_same(tmp_path, model(nodes, constants), windows(rng)).layers
    np.testing.assert_array_equal(layer.weights["h_0_l0"], constants["h"][0, 0])
    np.testing.assert_array_equal(layer.weights["c_0_l0"], constants["c"][0, 0])


@pytest.mark.parametrize("shape", [("N", "T", 3), (None, None, None), (3, 7, 3), (1, 7, 3), ("N", 7, 3)])
def test_inputs_of_free_and_fixed_sizes(tmp_path, shape):
    rng = np.random.default_rng(5)
    constants = named("a", weights(rng, "LSTM")) | {"zero": np.array([0])}
    nodes = [
        node("Transpose", ["window"], ["x"], perm=[1, 0, 2]),
        lstm("a", "x"),
        node("Squeeze", ["aH", "zero"], ["answer"]),
    ]
    made = assert_same(tmp_path, model(nodes, constants, shape=shape), windows(rng, n=1 if shape[0] == 1 else 3))
    assert made.steps is None
    first = model([lstm("a", "window"), nodes[-1]], constants, shape=shape)  # (T, N, F)
    n, t = (size if isinstance(size, int) else 5 for size in (shape[1], shape[0]))
    assert_same(tmp_path, first, windows(rng, n, t), time_first=True)


def test_one_feature_without_an_axis_and_one_window_without_a_batch(tmp_path):
    rng = np.random.default_rng(6)
    constants = named("a", weights(rng, "LSTM", features=1)) | {"two": np.array([2]), "zero": np.array([0])}
    nodes = [
        node("Unsqueeze", ["window", "two"], ["wide"]),
        node("Transpose", ["wide"], ["x"], perm=[1, 0, 2]),
        lstm("a", "x"),
        node("Squeeze", ["aH", "zero"], ["answer"]),
    ]
    proto, x = model(nodes, constants, shape=("N", "T")), windows(rng, f=1)
    assert_close(answers(proto, window=x[..., 0]), read_back(tmp_path, proto)(x))
    constants = named("a", weights(rng, "LSTM")) | {"one": np.array([1])}
    nodes = [node("Unsqueeze", ["window", "one"], ["x"]), lstm("a", "x"), node("Squeeze", ["aH"], ["answer"])]
    proto, x = model(nodes, constants, shape=("T", 3)), windows(rng)
    assert_close(answers(proto, window=x[0]), read_back(tmp_path, proto)(x[0]))


def test_gemm_with_all_attributes(tmp_path):
    rng = np.random.default_rng(7)
    constants = {
        "B": rng.normal(size=(21, 5)).astype("f4"), "C": rng.normal(size=(1, 5)).astype("f4"),
        "D": rng.normal(size=(2, 5)).astype("f4"), "E": rng.normal(size=1).astype("f4"),
    }  # fmt: skip
    nodes = [
        node("Flatten", ["window"], ["flat"]),
        node("Transpose", ["flat"], ["turned"]),
        node("Gemm", ["turned", "B", "C"], ["y"], alpha=0.7, beta=1.3, transA=1),
        node("Gemm", ["y", "D", "E"], ["answer"], alpha=1.1, transB=1),
    ]
    made = assert_same(tmp_path, model(nodes, constants, shape=("N", 7, 3)), windows(rng))
    assert kinds(made) == ["Flatten", "Linear", "Linear"]
    assert made.steps == 7


def test_a_scaler_is_one_before_the_model_and_an_affine_norm_behind_it(tmp_path):
    rng = np.random.default_rng(8)
    constants = {
        "mean": (60000 + rng.normal(size=3)).astype("f4"), "scale": (1 + rng.random(3)).astype("f4"),
        "W": rng.normal(size=(3, 4)).astype("f4"), "gain": rng.normal(size=4).astype("f4"),
        "tiny": np.array(0.25, "f4"), "W2": rng.normal(size=(4, 4)).astype("f4"),
    }  # fmt: skip
    nodes = [
        node("Sub", ["window", "mean"], ["centred"]),
        node("Div", ["centred", "scale"], ["x"]),
        node("MatMul", ["x", "W"], ["y"]),
        node("Tanh", ["y"], ["t"]),
        node("Mul", ["gain", "t"], ["g"]),
        node("Sub", ["tiny", "g"], ["z"]),
        node("MatMul", ["z", "W2"], ["w"]),
        node("Neg", ["w"], ["answer"]),
    ]
    x = windows(rng) + constants["mean"]
    made = assert_same(tmp_path, model(nodes, constants), x)
    assert kinds(made) == ["Scaler", "Linear", "Tanh", "BatchNorm1d", "Linear", "Activation"]
    for key in ("mean", "scale"):
        np.testing.assert_array_equal(made.layers[0].weights[key].astype("f4"), constants[key])


def test_local_functions_are_put_in(tmp_path):
    rng = np.random.default_rng(9)
    body = [
        node("LeakyRelu", ["a"], ["b"]),
        node("Mul", ["a", "b"], ["c"]),
    ]
    body[0].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    opset = helper.make_opsetid("", 17)
    inner = helper.make_function("local", "Gate", ["a"], ["c"], body, [opset], ["slope"])
    calls = [
        node("Gate", ["x"], ["y"], domain="local", slope=0.3),
        node("Gate", ["y"], ["z"], domain="local", slope=0.1),
    ]
    outer = helper.make_function("local", "Twice", ["x"], ["z"], calls, [opset, helper.make_opsetid("local", 1)])
    nodes = [node("MatMul", ["window", "W"], ["x"]), node("Twice", ["x"], ["answer"], domain="local")]
    proto = model(nodes, {"W": rng.normal(size=(3, 4)).astype("f4")}, functions=[inner, outer])
    proto.opset_import.append(helper.make_opsetid("local", 1))
    made = assert_same(tmp_path, proto, windows(rng))
    assert [layer.negative_slope for layer in made.layers if isinstance(layer, L.LeakyReLU)] == [0.3, 0.1]


def test_a_residual_stack_of_recurrent_layers(tmp_path):
    rng = np.random.default_rng(10)
    constants = named("a", weights(rng, "LSTM", features=4)) | named("b", weights(rng, "LSTM", features=4)) | {
        "W": rng.normal(size=(3, 4)).astype("f4"), "one": np.array([1]), "last": np.array(-1),
    }  # fmt: skip
    nodes = [
        node("MatMul", ["window", "W"], ["in"]),
        node("Transpose", ["in"], ["x"], perm=[1, 0, 2]),
        lstm("a", "x"), node("Squeeze", ["aY", "one"], ["y"]), node("Add", ["y", "x"], ["sum"]),
        lstm("b", "sum"), node("Squeeze", ["bY", "one"], ["z"]), node("Add", ["sum", "z"], ["total"]),
        node("Gather", ["total", "last"], ["answer"], axis=0),
    ]  # fmt: skip
    made = assert_same(tmp_path, model(nodes, constants), windows(rng))
    assert sorted(kinds(made)) == ["Add", "Add", "LSTM", "LSTM", "Last", "Linear"] or "Last" in kinds(made)


REFUSALS = [
    ([node("ReduceMean", ["x"], ["answer"], axes=[1], keepdims=0)], "ReduceMean.*pooling"),
    ([node("Softmax", ["x"], ["answer"], axis=1)], "Softmax.*features"),
    ([node("Erf", ["x"], ["answer"])], "Erf.*erf: has no layer"),
    ([node("MatMul", ["x", "x"], ["answer"])], "MatMul.*depend on the window"),
    ([node("Concat", ["x", "x"], ["answer"], axis=1)], "Concat.*only features"),
    ([node("Slice", ["x", "one", "two", "one"], ["answer"])], "Slice.*takes step 1"),
    ([node("Slice", ["x", "zero", "one", "two"], ["answer"])], "Slice.*takes feature 0"),
    ([node("Transpose", ["x"], ["answer"], perm=[0, 2, 1])], "windows first, then steps, then features"),
    ([node("Flatten", ["x"], ["answer"])], "fixed length"),
    ([node("Reshape", ["x", "wide"], ["answer"])], "Reshape.*mixes axes"),
    ([node("PRelu", ["x", "slopes"], ["answer"])], "PRelu.*differs from feature to feature"),
    ([node("Div", ["x", "nothing"], ["answer"])], "Div.*divides by zero"),
    ([node("Cast", ["x"], ["answer"], to=TensorProto.INT64)], "Cast.*attribute to"),
    ([node("Dropout", ["x", "ratio", "yes"], ["answer"])], "Dropout.*training_mode"),
    ([node("Dropout", ["x"], ["y", "mask"]), node("Cast", ["mask"], ["answer"], to=1)], "mask of a training step"),
    ([node("LayerNormalization", ["x", "slopes"], ["answer"], axis=1)], "LayerNormalization.*attribute axis"),
    ([node("Pow", ["x", "ratio"], ["answer"])], "Pow.*power of 0.3"),
    ([node("Where", ["yes", "x", "x"], ["answer"])], "Where.*chooses"),
    ([node("Identity", ["x"], ["answer"], name="it", other=1)], "'it'.*attribute 'other' is not known"),
]


@pytest.mark.parametrize(("nodes", "text"), REFUSALS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_has_no_layer_is_named(tmp_path, nodes, text):
    rng = np.random.default_rng(11)
    constants = {
        "W": rng.normal(size=(3, 4)).astype("f4"), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2]),
        "wide": np.array([0, -1, 2]), "slopes": rng.normal(size=4).astype("f4"), "nothing": np.zeros(4, "f4"),
        "ratio": np.array(0.3, "f4"), "yes": np.array(True),
    }  # fmt: skip
    proto = model([node("MatMul", ["window", "W"], ["x"]), *nodes], constants)
    with pytest.raises(UnsupportedError, match=text):
        read_back(tmp_path, proto)


def test_the_table_has_every_operator_that_is_read():
    assert set(ATTRIBUTES) == set(HANDLERS) | set(FOLD) | {"Shape"}
    assert not set(REFUSED) & set(ATTRIBUTES)
    schemas = {schema.name: schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    newest = {
        name: onnx.defs.get_schema(name, onnx.defs.onnx_opset_version(), "") for name in schemas if name in ATTRIBUTES
    }
    for name, row in ATTRIBUTES.items():
        every = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == name and s.domain == ""]
        known = {key for s in every for key in s.attributes}
        listed = {key for key in row if not key.startswith(("input ", "output "))}
        assert listed <= known
        # What the newest version has and the table lacks is refused by name; of layers with a state it lacks nothing.
        if name in ("LSTM", "GRU", "RNN"):
            assert listed == set(newest[name].attributes)
            given = [key.removeprefix("input ").rstrip("?") for key in row if key.startswith("input ")]
            assert given == [value.name for value in newest[name].inputs]
        for text in row.values():
            assert text in (HONOURED, NO_EFFECT) or len(text) > 10
