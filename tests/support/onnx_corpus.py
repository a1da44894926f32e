"""Sound ONNX models with most of what the reader knows, to be damaged: as lstmcore and as exporters write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from lstmcore import Model
from lstmcore import layers as L
from lstmcore.formats.onnx.onnx import build

Array = np.ndarray[Any, Any]
ROWS = {"LSTM": 16, "GRU": 12, "RNN": 4}  # of the gates of four units


def layer(rng: np.random.Generator, cls: type[L.Layer], name: str, *, inputs: Any = (), **settings: Any) -> L.Layer:
    """A layer with random weights."""
    shapes = cls.weight_shapes(**settings)
    drawn = {key: rng.normal(size=shape) / np.sqrt(shape[-1]) for key, shape in shapes.items()}
    drawn = {key: np.abs(w) + 0.2 if key in ("running_var", "scale") else w for key, w in drawn.items()}
    return cls(name, weights={key: w.astype("f4") for key, w in drawn.items()}, inputs=inputs, **settings)


def own() -> onnx.ModelProto:
    """A model with most kinds of layers, as lstmcore writes it."""
    rng = np.random.default_rng(1)
    sizes: dict[str, Any] = {"hidden_size": 4, "num_layers": 1, "bias": True}
    layers = [
        layer(rng, L.Scaler, "scaler", num_features=3),
        layer(rng, L.LSTM, "lstm", input_size=3, **sizes, return_sequences=True, bidirectional=True,
              learned_state=True, peepholes=True),
        layer(rng, L.GRU, "gru", input_size=8, **sizes, return_sequences=True,
              activations="hard_sigmoid(0.3,0.4) tanh"),
        L.Reverse("reverse"),
        layer(rng, L.Linear, "a", in_features=4, out_features=4, bias=True),
        L.GELU("gelu"),
        L.Add("sum", inputs=("reverse", "gelu")),
        L.Last("last"),
        layer(rng, L.LayerNorm, "norm", num_features=4, eps=1e-5, affine=True, bias=True),
        layer(rng, L.Linear, "fc", in_features=4, out_features=1, bias=True),
        L.Squeeze("squeeze"),
    ]  # fmt: skip
    return build(Model(layers, backend="numpy"))


def counted() -> onnx.ModelProto:
    """A stack of two directions whose input says how many steps count."""
    rng = np.random.default_rng(2)
    stack = layer(rng, L.RNN, "rnn", input_size=3, hidden_size=4, num_layers=2, bias=True, bidirectional=True)
    return build(Model([stack], backend="numpy"), lengths=True)


def streaming() -> onnx.ModelProto:
    """A model whose states go in and come out."""
    rng = np.random.default_rng(5)
    sizes: dict[str, Any] = {"hidden_size": 4, "num_layers": 2, "bias": True}
    stacks = [
        layer(rng, L.LSTM, "encoder", input_size=3, **sizes, return_sequences=True, bidirectional=True),
        layer(rng, L.GRU, "decoder", input_size=8, **sizes),
    ]
    return build(Model(stacks, backend="numpy"), states=True)


def exported(kind: str) -> onnx.ModelProto:
    """Two directions, states of the batch's size, the last step, a norm and a head, in an exporter's many nodes."""
    rng = np.random.default_rng(3)
    node = helper.make_node
    rows = ROWS[kind]
    gates = {"W": (2, rows, 3), "R": (2, rows, 4), "B": (2, 2 * rows)}
    constants: dict[str, Any] = {key: rng.normal(size=shape).astype("f4") for key, shape in gates.items()}
    constants |= {"V": rng.normal(size=(2, 8)).astype("f4"), "c": rng.normal(size=2).astype("f4")}
    constants |= {key: (0.2 + rng.random(8)).astype("f4") for key in ("gain", "shift", "mean", "variance")}
    constants |= {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    constants |= {
        "all": np.array([0, 0, -1]),
        "last": np.array(-1),
        "index": np.array(1),
        "half": np.float32(0.5),
        "less": np.float32(-0.1),
    }
    inputs = ["t", "W", "R", "B", "", "state"] + ["state"] * (kind == "LSTM")
    nodes = [
        node("Transpose", ["window"], ["t"], perm=[1, 0, 2]),
        node("Shape", ["t"], ["sizes"]),
        node("Gather", ["sizes", "index"], ["n"], axis=0),
        node("Unsqueeze", ["n", "zero"], ["batch"]),
        node("Concat", ["two", "batch", "four"], ["state_shape"], axis=0),
        node("ConstantOfShape", ["state_shape"], ["state"], value=numpy_helper.from_array(np.full(1, 0.25, "f4"))),
        node(kind, inputs, ["every", "final"], name="/rnn/layer", hidden_size=4, direction="bidirectional", clip=9.0),
        node("Transpose", ["every"], ["sorted"], perm=[0, 2, 1, 3]),
        node("Reshape", ["sorted", "all"], ["merged"]),
        node("Transpose", ["merged"], ["first"], perm=[1, 0, 2]),
        node("Slice", ["first", "zero", "four", "two"], ["left"]),
        node("Split", ["first"], ["a", "b"], axis=2),
        node("Concat", ["left", "b"], ["joined"], axis=-1),
        node("Gather", ["joined", "last"], ["newest"], axis=1),
        node("BatchNormalization", ["newest", "gain", "shift", "mean", "variance"], ["normed"]),
        node("Gemm", ["normed", "V", "c"], ["head"], transB=1, alpha=0.5),
        node("Sigmoid", ["head"], ["gate"]),
        node("Mul", ["head", "gate"], ["silu"]),
        node("Clip", ["silu", "less", "half"], ["cut"]),
        node("Cast", ["cut"], ["answer"], to=1),
    ]
    return _model(nodes, constants, 17)


def called() -> onnx.ModelProto:
    """Local functions that call each other, with an attribute handed on."""
    rng = np.random.default_rng(4)
    node = helper.make_node
    body = [node("LeakyRelu", ["a"], ["b"]), node("Mul", ["a", "b"], ["c"])]
    body[0].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    opset, local = helper.make_opsetid("", 17), helper.make_opsetid("local", 1)
    inner = helper.make_function("local", "Gate", ["a"], ["c"], body, [opset], ["slope"])
    calls = [
        node("Gate", ["x"], ["y"], domain="local", slope=0.3),
        node("Gate", ["y"], ["z"], domain="local", slope=2.0),
    ]
    outer = helper.make_function("local", "Twice", ["x"], ["z"], calls, [opset, local])
    nodes = [node("MatMul", ["window", "W"], ["x"]), node("Twice", ["x"], ["answer"], domain="local")]
    proto = _model(nodes, {"W": rng.normal(size=(3, 4)).astype("f4")}, 17, functions=[inner, outer])
    proto.opset_import.append(local)
    return proto


def _model(nodes: list[onnx.NodeProto], constants: dict[str, Any], opset: int, **options: Any) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    window = helper.make_tensor_value_info("window", TensorProto.FLOAT, ("N", "T", 3))
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [window], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def models() -> Iterator[onnx.ModelProto]:
    """All that lie in one file."""
    yield from (own(), counted(), streaming(), exported("LSTM"), exported("GRU"), exported("RNN"), called())


def write(folder: Path) -> None:
    """All as files in `folder`, 0.onnx, 1.onnx, ...; the last has its weights in the file `data`."""
    several = list(models())
    for n, proto in enumerate(several):
        (folder / f"{n}.onnx").write_bytes(proto.SerializeToString())
    beside = exported("GRU")
    external_data_helper.convert_model_to_external_data(beside, location="data", size_threshold=64)
    onnx.save(beside, folder / f"{len(several)}.onnx")
