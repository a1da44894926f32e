"""Weights have the dtype of the file's, however many nodes they were put together from; numbers may be none."""

from __future__ import annotations

import numpy as np
import pytest

import lstmcore
from lstmcore import LstmcoreError

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import answers, assert_own_dtype, model, weights, windows  # noqa: E402

node = helper.make_node


def by_hand(x, scale, shift):
    """A layer norm as its nine nodes, and gain and bias where there are any."""
    nodes = [
        node("ReduceMean", [x], ["mean"], axes=[-1]),
        node("Sub", [x, "mean"], ["d"]),
        node("Mul", ["d", "d"], ["dd"]),
        node("ReduceMean", ["dd"], ["variance"], axes=[-1]),
        node("Add", ["variance", "eps"], ["safe"]),
        node("Sqrt", ["safe"], ["deviation"]),
        node("Div", ["d", "deviation"], ["n0"]),
    ]
    nodes += [node("Mul", ["n0", "gain"], ["n1"])] if scale else [node("Identity", ["n0"], ["n1"])]
    last = node("Add", ["n1", "bias"], ["answer"]) if shift else node("Identity", ["n1"], ["answer"])
    return [*nodes, last]


#: What may stand behind a layer of 4 features, "y", and makes the answer.
HEADS = {
    "matmul + add": [node("MatMul", ["y", "D"], ["p"]), node("Add", ["p", "bias"], ["answer"])],
    "add + matmul": [node("MatMul", ["y", "D"], ["p"]), node("Add", ["bias", "p"], ["answer"])],
    "matmul - constant": [node("MatMul", ["y", "D"], ["p"]), node("Sub", ["p", "bias"], ["answer"])],
    "matmul + one number": [node("MatMul", ["y", "D"], ["p"]), node("Add", ["p", "half"], ["answer"])],
    "matmul + a sum of constants": [
        node("Add", ["bias", "half"], ["b"]),
        node("MatMul", ["y", "D"], ["p"]),
        node("Add", ["p", "b"], ["answer"]),
    ],
    "gemm": [node("Gemm", ["y", "D", "bias"], ["answer"], alpha=0.3, beta=0.7)],
    "gemm + add": [node("Gemm", ["y", "D"], ["p"], alpha=0.3), node("Add", ["p", "bias"], ["answer"])],
    "scaled": [
        node("Mul", ["y", "gain"], ["p"]), node("Div", ["p", "bias"], ["q"]), node("Sub", ["half", "q"], ["answer"]),
    ],
    "matmul scaled": [
        node("MatMul", ["y", "D"], ["p"]), node("Add", ["p", "bias"], ["q"]), node("Mul", ["q", "gain"], ["answer"]),
    ],
    "batch norm": [node("BatchNormalization", ["y", "gain", "bias", "bias", "square"], ["answer"])],
    "batch norm without epsilon": [
        node("BatchNormalization", ["y", "gain", "bias", "bias", "square"], ["answer"], epsilon=0.0)
    ],
    "layer norm": [node("LayerNormalization", ["y", "gain"], ["p"]), node("Add", ["p", "bias"], ["answer"])],
    "layer norm by hand": by_hand("y", False, False),
    "layer norm by hand, gain": by_hand("y", True, False),
    "layer norm by hand, gain and bias": by_hand("y", True, True),
    "selu": [node("Selu", ["y"], ["answer"], alpha=1.1, gamma=0.7)],
    "power": [node("Pow", ["y", "two"], ["p"]), node("Mul", ["p", "gain"], ["answer"])],
}  # fmt: skip


def build(head, kind=TensorProto.FLOAT):
    """(x - bias3)·gain3, a GRU's last step, and a head."""
    rng = np.random.default_rng(4)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    w = {key: value.astype(dtype) for key, value in weights(rng, "GRU").items()}
    floats = {key: rng.uniform(0.5, 1.5, size).astype(dtype) for key, size in {
        "D": (4, 4), "gain": 4, "bias": 4, "square": 4, "gain3": 3, "bias3": 3}.items()}  # fmt: skip
    numbers = {"half": dtype.type(0.3), "two": dtype.type(2), "eps": dtype.type(1e-5)}
    nodes = [
        node("Sub", ["window", "bias3"], ["centred"]), node("Mul", ["centred", "gain3"], ["scaled"]),
        node("Transpose", ["scaled"], ["t"], perm=[1, 0, 2]),
        node("GRU", ["t", *"WRB"], ["Y", "H"], hidden_size=4), node("Squeeze", ["H", "zero"], ["y"]), *HEADS[head],
    ]  # fmt: skip
    return model(nodes, w | floats | numbers | {"zero": np.array([0])}, kind=kind)


@pytest.mark.parametrize("head", HEADS)
def test_a_float32_file_has_float32_weights_and_a_float64_file_its_own(tmp_path, head):
    path, x = tmp_path / "model.onnx", windows(np.random.default_rng(1))
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE):
        proto = build(head, kind)
        path.write_bytes(proto.SerializeToString())
        made = lstmcore.load(path, backend="numpy")
        assert made.dtype == helper.tensor_dtype_to_np_dtype(kind)
        assert_own_dtype(made.layers, proto)
        if kind == TensorProto.DOUBLE:
            norms = [layer for layer in made.layers if type(layer).__name__ == "LayerNorm" and layer.weights]
            assert all(not np.array_equal(w, w.astype("f4")) for layer in norms for w in layer.weights.values())
        else:  # ONNX Runtime has no recurrent layers in float64
            np.testing.assert_allclose(made(x), answers(proto, window=x), rtol=0, atol=1e-5)


ODD = (np.nan, np.inf, -np.inf)
#: Nodes from "y" to the answer whose number may be odd.
WITH_NUMBERS = {
    **{f"{op} {key}": (lambda n, op=op, key=key: [node(op, ["y"], ["answer"], **{key: n})]) for op, key in (
        ("LeakyRelu", "alpha"), ("Elu", "alpha"), ("Celu", "alpha"), ("Selu", "alpha"), ("Selu", "gamma"),
        ("ThresholdedRelu", "alpha"), ("HardSigmoid", "alpha"), ("HardSigmoid", "beta"),
    )},
    **{f"{op} constant": (lambda n, op=op: [node(op, ["y", "n"], ["answer"])]) for op in (
        "Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu",
    )},
    "Clip min": lambda n: [node("Clip", ["y", "n"], ["answer"])],
    "Clip max": lambda n: [node("Clip", ["y", "", "n"], ["answer"])],
    "Gemm alpha": lambda n: [node("Gemm", ["y", "D", "bias"], ["answer"], alpha=n)],
    "Gemm beta": lambda n: [node("Gemm", ["y", "D", "bias"], ["answer"], beta=n)],
    "BatchNormalization epsilon":
        lambda n: [node("BatchNormalization", ["y", "bias", "bias", "bias", "bias"], ["answer"], epsilon=n)],
    "LayerNormalization epsilon": lambda n: [node("LayerNormalization", ["y", "bias"], ["answer"], epsilon=n)],
    "GRU clip": lambda n: [
        node("Unsqueeze", ["y", "zero"], ["t"]), node("GRU", ["t", "V", "R"], ["", "G"], hidden_size=4, clip=n),
        node("Squeeze", ["G", "zero"], ["answer"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", WITH_NUMBERS)
def test_numbers_that_are_none_are_refused_or_right(tmp_path, where, odd):
    rng = np.random.default_rng(2)
    w = weights(rng, "GRU")
    nodes = [
        node("Transpose", ["window"], ["x"], perm=[1, 0, 2]), node("GRU", ["x", *"WRB"], ["Y", "H"], hidden_size=4),
        node("Squeeze", ["H", "zero"], ["y"]), *WITH_NUMBERS[where](odd),
    ]  # fmt: skip
    constants = {
        **w, "V": weights(rng, "GRU", features=4)["W"], "D": rng.normal(size=(4, 4)).astype("f4"),
        "bias": rng.uniform(0.5, 1.5, 4).astype("f4"), "n": np.array(odd, "f4"), "zero": np.array([0]),
    }  # fmt: skip
    proto = model(nodes, constants)
    path, x = tmp_path / "model.onnx", windows(rng)
    path.write_bytes(proto.SerializeToString())
    try:
        made = lstmcore.load(path, backend="numpy")
    except LstmcoreError:
        return
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(made(x), answers(proto, window=x), rtol=0, atol=1e-5)
