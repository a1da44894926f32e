"""ONNX models made by hand, with random weights, and the answers of ONNX Runtime and of the Model that was read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from lstmcore import Model
from lstmcore.formats.onnx.onnx import read
from lstmcore.layers import Layer

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OPSET = 17

Array = np.ndarray[Any, Any]


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    *,
    shape: Any = ("N", "T", 3),
    output: str = "answer",
    opset: int = OPSET,
    more_inputs: list[onnx.ValueInfoProto] | None = None,
    kind: int = TensorProto.FLOAT,
    **options: Any,
) -> onnx.ModelProto:
    """Nodes from "window" to `output`, as a model, with those of the constants that they read."""
    inputs = [helper.make_tensor_value_info("window", kind, shape), *(more_inputs or [])]
    outputs = [helper.make_tensor_value_info(output, kind, None)]
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def weights(
    rng: np.random.Generator, op: str, features: int = 3, hidden: int = 4, directions: int = 1, gain: float = 1.0
) -> dict[str, Array]:
    """W, R, B and P, normal and so never constant."""
    rows = GATES[op] * hidden
    shapes = {"W": (rows, features), "R": (rows, hidden), "B": (2 * rows,), "P": (3 * hidden,)}
    return {
        name: (gain * rng.normal(size=(directions, *shape))).astype(np.float32)
        for name, shape in shapes.items()
        if name != "P" or op == "LSTM"
    }


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """ONNX Runtime on one thread, without rewriting the graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answers(proto: onnx.ModelProto, **inputs: Array) -> Array:
    """Its answer."""
    answer: Array = session(proto).run(None, inputs)[0]
    return answer


def read_back(folder: Path, proto: onnx.ModelProto) -> Model:
    """The model as the reader takes it from a file, in float64."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    layers = read(path)
    assert_own_dtype(layers, proto)
    return Model(layers, backend="numpy").astype(np.float64)


def assert_own_dtype(layers: list[Layer], proto: onnx.ModelProto) -> None:
    """A file without float64 has made no float64 weights: numbers that were put together have been rounded."""
    constants = [attribute.t for node in proto.graph.node for attribute in node.attribute if attribute.HasField("t")]
    kinds = {tensor.data_type for tensor in (*proto.graph.initializer, *constants)}
    kinds |= {value.type.tensor_type.elem_type for value in proto.graph.input}
    if TensorProto.DOUBLE not in kinds:
        assert {str(w.dtype) for layer in layers for w in layer.weights.values()} <= {"float32"}


def assert_close(got: Array, expected: Array) -> None:
    """Within float32's rounding; `expected` is computed in float64."""
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max(initial=0)))


def assert_same(folder: Path, proto: onnx.ModelProto, x: Array, *, time_first: bool = False, **inputs: Array) -> Model:
    """ONNX Runtime and the Model that was read give the same answers to windows (N, T, F)."""
    made = read_back(folder, proto)
    got = answers(proto, window=np.ascontiguousarray(x.swapaxes(0, 1)) if time_first else x, **inputs)
    expected = made(x.astype(np.float64), lengths=inputs.get("lengths"))
    assert_close(got.reshape(expected.shape), expected)
    return made


def windows(rng: np.random.Generator, n: int = 3, t: int = 7, f: int = 3) -> Array:
    """float32 windows."""
    return rng.normal(size=(n, t, f)).astype(np.float32)


def make(rng: np.random.Generator, kind: type[Layer], name: str, *, inputs: Any = (), **options: Any) -> Layer:
    """A layer with random weights, of the size that training leaves."""
    fields = {f.name: f.default for f in dataclasses.fields(kind) if f.name not in ("name", "weights", "inputs")}
    weights = {}
    for key, shape in kind.weight_shapes(**fields | options).items():
        w = rng.normal(size=shape) / np.sqrt(shape[-1])
        weights[key] = (np.abs(w) + 0.2 if key in ("running_var", "scale") else w).astype(np.float32)
    return kind(name, weights=weights, inputs=inputs, **options)
