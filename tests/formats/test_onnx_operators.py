"""Uses of ONNX's operators that a reader could take for others: the answers are ONNX Runtime's, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcore import ModelFormatError, UnsupportedError
from lstmcore import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import answers, assert_close, assert_same, model, read_back, weights, windows  # noqa: E402

node = helper.make_node


def linear(*nodes, **constants):
    """x = window·W, and nodes behind it."""
    w = np.random.default_rng(1).normal(size=(3, 4)).astype("f4")
    return [node("MatMul", ["window", "W"], ["x"]), *nodes], {"W": w, **constants}


def refused(folder, proto, text, error=UnsupportedError):
    with pytest.raises(error, match=text):
        read_back(folder, proto)


BOUNDS = [(-5, 5), (0, 0.4), (-0.3, 0.4), (-1e6, 1e6), (-3, 1e6), (1e-3, 1e3), (-0.6, -0.2), (0.25, np.inf),
          (-np.inf, 0.25), (-0.25, np.inf), (-np.inf, -0.25), (-np.inf, 1e6)]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clip_keeps_its_precision_whatever_the_bounds(tmp_path, low, high):
    bounds = {"low": np.float32(low), "high": np.float32(high)}
    nodes, constants = linear(node("Clip", ["x", "low", "high"], ["answer"]), **bounds)
    proto = model(nodes, constants)
    x = windows(np.random.default_rng(2))
    narrow = assert_same(tmp_path, proto, x).astype(np.float32)
    assert_close(narrow(x), answers(proto, window=x).astype(np.float64))


@pytest.mark.parametrize("order", [("Max", "Min"), ("Min", "Max"), ("Relu", "Min"), ("Clip", "Clip")])
def test_one_bound_after_the_other(tmp_path, order):
    inputs = {"Max": ["low"], "Min": ["high"], "Relu": [], "Clip": ["low", "high"]}
    a, b = order
    chain = (node(a, ["x", *inputs[a]], ["y"]), node(b, ["y", *inputs[b]], ["answer"]))
    nodes, constants = linear(*chain, low=np.float32(0), high=np.float32(6))
    layers = assert_same(tmp_path, model(nodes, constants), 4 * windows(np.random.default_rng(3))).layers
    assert [getattr(layer, "function", "") for layer in layers] == ["", "relu6"]


def test_the_largest_of_a_tensor_and_a_constant_of_more_axes(tmp_path):
    chain = (node("Max", ["x", "c"], ["y"]), node("Squeeze", ["y", "zero"], ["answer"]))
    nodes, constants = linear(*chain, c=np.zeros((1, 1, 1, 1), "f4"), zero=np.array([0]))
    assert_same(tmp_path, model(nodes, constants), windows(np.random.default_rng(4)))


def test_a_batch_norm_that_is_trained_is_refused(tmp_path):
    rng = np.random.default_rng(5)
    statistics = {key: (0.2 + rng.random(4)).astype("f4") for key in "abcd"}

    def proto(outputs, opset):
        norm = node("BatchNormalization", ["t", *"abcd"], ["y", *outputs])
        chain = (
            node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            norm,
            node("Transpose", ["y"], ["answer"], perm=[0, 2, 1]),
        )
        nodes, constants = linear(*chain, **statistics)
        return model(nodes, constants, opset=opset)

    assert_same(tmp_path, proto([], 13), windows(rng))
    refused(tmp_path, proto(["mean", "var", "m", "v"], 13), "5 outputs: its answers depend on the whole batch")


@pytest.mark.parametrize("fmod", [0, 1])
def test_the_rest_of_a_division(tmp_path, fmod):
    kind = "f4" if fmod else "i8"
    a, b = np.array([-5, 5, -7, 7], kind), np.array([3, -3, -4, 4], kind)
    chain = (
        node("Mod", ["a", "b"], ["rest"], fmod=fmod),
        node("Cast", ["rest"], ["c"], to=1),
        node("Add", ["x", "c"], ["answer"]),
    )
    nodes, constants = linear(*chain, a=a, b=b)
    assert_same(tmp_path, model(nodes, constants), windows(np.random.default_rng(6)))


def test_half_precision_as_its_bits_in_int32_data(tmp_path):
    chain = (node("Cast", ["half"], ["c"], to=1), node("Add", ["x", "c"], ["answer"]))
    nodes, constants = linear(*chain)
    for kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        proto = model(nodes, constants)
        proto.graph.initializer.append(helper.make_tensor("half", kind, [4], [1.5, 2.25, -3, 1e-2]))
        assert proto.graph.initializer[-1].int32_data
        assert_same(tmp_path, proto, windows(np.random.default_rng(7)))


def test_numbers_whose_quotient_float32_does_not_hold(tmp_path):
    tiny = 1e-39 * np.arange(1, 5).astype("f4")
    chain = (node("Mul", ["x", "tiny"], ["y"]), node("Add", ["y", "one"], ["answer"]))
    nodes, constants = linear(*chain, tiny=tiny, one=np.float32(1))
    assert_same(tmp_path, model(nodes, constants), windows(np.random.default_rng(8)))
    nodes = [
        node("Mul", ["window", "tiny"], ["y"]),
        node("Add", ["y", "one"], ["x"]),
        node("MatMul", ["x", "W"], ["answer"]),
    ]
    constants["tiny"] = tiny[:3]
    assert_same(tmp_path, model(nodes, constants), windows(np.random.default_rng(8)))


def test_what_is_refused(tmp_path):
    def refuse(text, *chain, error=UnsupportedError, opset=17, **constants):
        refused(tmp_path, model(*linear(*chain, **constants), opset=opset), text, error)

    half, yes = np.float32(0.5), np.array(True)
    refuse("alpha: expected a number above 0", node("Celu", ["x"], ["answer"], alpha=-0.7))
    refuse("drops constants", node("Dropout", ["W", "half", "yes"], ["V"]), node("MatMul", ["window", "V"], ["answer"]),
           half=half, yes=yes)  # fmt: skip
    refuse("as an attribute and as an input", node("Unsqueeze", ["x", "three"], ["answer"], axes=[0]),
           error=ModelFormatError, three=np.array([3]))  # fmt: skip
    refuse("an input is missing", node("Concat", ["half", ""], ["c"], axis=0), node("Add", ["x", "c"], ["answer"]),
           error=ModelFormatError, half=np.ones(4, "f4"))  # fmt: skip


class TestLengths:
    """An input that says how many steps count is what every recurrent layer goes by, or it is refused."""

    def proto(self, inputs, *before, read="t", **attributes):
        constants = weights(np.random.default_rng(9), "LSTM") | {"zero": np.array([0])}
        lstm = node("LSTM", [read, "W", "R", "B", *inputs], ["", "h"], hidden_size=4, **attributes)
        nodes = [
            node("Transpose", ["window"], ["t"], perm=[1, 0, 2]),
            *before,
            lstm,
            node("Squeeze", ["h", "zero"], ["answer"]),
        ]
        return model(nodes, constants, more_inputs=[helper.make_tensor_value_info("lengths", TensorProto.INT64, ["N"])])

    def test_it_is_not_read(self, tmp_path):
        refused(tmp_path, self.proto([]), "does not depend on the input 'lengths'")

    def test_only_a_reversal_reads_it(self, tmp_path):
        turned = node("ReverseSequence", ["t", "lengths"], ["r"], time_axis=0, batch_axis=1)
        refused(tmp_path, self.proto([], turned, read="r"), "sequence_lens: other nodes of the model have it")

    def test_it_is_read(self, tmp_path):
        counts = node("Cast", ["lengths"], ["n"], to=6)
        turned = node("ReverseSequence", ["t", "lengths"], ["r"], time_axis=0, batch_axis=1)
        lengths = np.array([7, 4, 2])
        assert_same(
            tmp_path, self.proto(["n"], counts, turned, read="r"), windows(np.random.default_rng(10)), lengths=lengths
        )


def test_a_clip_of_zero_is_refused(tmp_path):
    constants = weights(np.random.default_rng(11), "RNN") | {"zero": np.array([0])}
    nodes = [
        node("Transpose", ["window"], ["t"], perm=[1, 0, 2]),
        node("RNN", ["t", "W", "R", "B"], ["", "h"], hidden_size=4, clip=0.0),
        node("Squeeze", ["h", "zero"], ["answer"]),
    ]
    refused(tmp_path, model(nodes, constants), "clip: expected a number above 0", ModelFormatError)


@pytest.mark.parametrize("kind", ["MatMul", "LSTM"])
def test_the_one_step_of_a_window_in_an_axis_with_others(tmp_path, kind):
    nodes, constants = linear()
    nodes = [node("Reshape", ["window", "rows"], ["r"]), node("MatMul", ["r", "W"], ["answer"])]
    constants["rows"] = np.array([-1, 3])
    if kind == "LSTM":
        constants = weights(np.random.default_rng(12), "LSTM") | {"rows": np.array([-1, 4])}
        nodes = [
            node("Transpose", ["window"], ["t"], perm=[1, 0, 2]),
            node("LSTM", ["t", "W", "R", "B"], ["Y"], hidden_size=4),
            node("Reshape", ["Y", "rows"], ["r"]),
            node("Relu", ["r"], ["answer"]),
        ]
    x = windows(np.random.default_rng(13), t=1)
    made = assert_same(tmp_path, model(nodes, constants, shape=("N", 1, 3)), x)
    assert made(x).shape == (3, 4)
    assert made(windows(np.random.default_rng(14), t=5)).shape == (3, 4)


def test_picking_whole_parts_of_features_in_another_order(tmp_path):
    rng = np.random.default_rng(15)
    chain = [
        node("Tanh", ["x"], ["a"]),
        node("Sigmoid", ["x"], ["b"]),
        node("Concat", ["x", "a", "b"], ["all"], axis=-1),
        node("Gather", ["all", "order"], ["answer"], axis=2),
    ]
    order = np.array([8, 9, 10, 11, 0, 1, 2, 3])
    made = assert_same(tmp_path, model(*linear(*chain, order=order)), windows(rng))
    assert isinstance(made.layers[-1], L.Concat)
    chain[-1:] = [
        node("MatMul", ["all", "V"], ["one"]),
        node("Concat", ["one", "one"], ["two"], axis=-1),
        node("Gather", ["two", "index"], ["left"], axis=2),
        node("Softmax", ["left"], ["answer"], axis=-1),
    ]
    proto = model(*linear(*chain, index=np.array(1), V=rng.normal(size=(12, 1)).astype("f4")))
    refused(tmp_path, proto, "flattens the steps")  # the softmax runs over what is left: the steps
    chain[3:] = [node("Gather", ["all", "order"], ["answer"], axis=2)]
    refused(tmp_path, model(*linear(*chain, order=np.array([8, 9, 11, 10, 0, 1, 2, 3]))), "takes 8 features of 12")
