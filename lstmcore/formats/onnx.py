"""ONNX: a Model written as a graph that any ONNX runtime answers with."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import layers
from lstmcore._version import __version__
from lstmcore.errors import UnsupportedError
from lstmcore.files import write_whole
from lstmcore.folding import affine_of, fold
from lstmcore.formats.gates import reorder

try:
    import onnx
except ImportError as error:
    raise UnsupportedError('writing ONNX needs the onnx package: pip install "lstmcore[onnx]"') from error

if TYPE_CHECKING:
    from lstmcore.model import Model

#: What ONNX Runtime 1.18 and OpenVINO 2024.4 read; nothing newer is needed.
OPSET, IR_VERSION = 17, 8


def write(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` as an ONNX file; see `build`."""
    write_whole(path, build(model).SerializeToString())


def build(model: Model, *, states: bool = False) -> onnx.ModelProto:
    """`model` as a float32 ONNX model, its layers folded as the c backend folds them.

    Its input is "window" (N, T, F), its output "answer" (N, ...) in the Model's shape. N and T are free; T is
    fixed behind a Flatten. With `states` there are two more inputs, the initial states "h0" and "c0", each
    (num_layers, N, hidden_size).

    Raises:
        ValueError: `states` for a model with none or several LSTM layers.
    """
    if states and len(model.recurrent_layers) != 1:
        raise ValueError(f"states: expected a model with one LSTM layer, got {len(model.recurrent_layers)}")
    graph = _Graph()
    inputs = [_tensor("window", ("N", model.steps or "T", model.input_size))]
    if states:
        (lstm,) = model.recurrent_layers
        inputs += [_tensor(name, (lstm.num_layers, "N", lstm.hidden_size)) for name in ("h0", "c0")]
    value = "window"
    for layer in fold(model.layers):
        if isinstance(layer, layers.LSTM):
            value = _lstm(graph, value, layer, states)
        else:
            value = NODES[type(layer)](graph, value, layer)
    graph.nodes[-1].output[0] = "answer"
    answer = _tensor("answer", ("N", *model.output_shape))
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "lstmcore", inputs, [answer], graph.initializers),
        producer_name="lstmcore",
        producer_version=__version__,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _tensor(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


class _Graph:
    """Nodes and constants as they are added, each with a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node; the names of its outputs."""
        names = [f"{op}_{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(onnx.helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def apply(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; its name."""
        return self.node(op, *inputs, **attributes)[0]

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant; its name."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name


def _lstm(graph: _Graph, x: str, layer: layers.LSTM, states: bool) -> str:
    h_0 = c_0 = [""] * layer.num_layers
    if states:
        h_0, c_0 = (_split(graph, name, layer.num_layers) for name in ("h0", "c0"))
    x = graph.apply("Transpose", x, perm=[1, 0, 2])  # (T, N, F): runtimes implement layout=0 alone
    for k in range(layer.num_layers):
        w = {key: reorder(layer.weights[f"{key}_l{k}"], "torch", "onnx") for key in LSTM_WEIGHTS}
        bias = np.concatenate([w["bias_ih"], w["bias_hh"]])
        weights = [graph.constant(a[np.newaxis]) for a in (w["weight_ih"], w["weight_hh"], bias)]
        every, last, _ = graph.node("LSTM", x, *weights, "", h_0[k], c_0[k], outputs=3, hidden_size=layer.hidden_size)
        if k == layer.num_layers - 1 and not layer.return_sequences:
            return graph.apply("Squeeze", last, graph.constant([0], np.int64))  # (N, H)
        x = graph.apply("Squeeze", every, graph.constant([1], np.int64))  # (T, N, H)
    return graph.apply("Transpose", x, perm=[1, 0, 2])


LSTM_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _split(graph: _Graph, states: str, count: int) -> list[str]:
    """(L, N, H) -> each layer's (1, N, H)."""
    return [states] if count == 1 else graph.node("Split", states, outputs=count, axis=0)


def _linear(graph: _Graph, x: str, layer: layers.Linear) -> str:
    product = graph.apply("MatMul", x, graph.constant(layer.weights["weight"].T))
    return graph.apply("Add", product, graph.constant(layer.weights["bias"]))


def _batch_norm(graph: _Graph, x: str, layer: layers.BatchNorm1d) -> str:
    a, b = affine_of(layer.map_weights(lambda w: w.astype(np.float64)))
    return graph.apply("Add", graph.apply("Mul", x, graph.constant(a)), graph.constant(b))


def _scaler(graph: _Graph, x: str, layer: layers.Scaler) -> str:
    centred = graph.apply("Sub", x, graph.constant(layer.weights["mean"]))
    scale = layer.weights["scale"]
    return graph.apply("Div", centred, graph.constant(scale)) if np.any(scale != 1) else centred


def _gelu(graph: _Graph, x: str, layer: layers.GELU) -> str:
    """x * (1 + s) / 2, written out because the Gelu operator is newer than OPSET."""
    if layer.approximate == "none":
        s = graph.apply("Erf", graph.apply("Mul", x, graph.constant(math.sqrt(0.5))))
    else:
        cube = graph.apply("Mul", graph.apply("Mul", x, graph.apply("Mul", x, x)), graph.constant(0.044715))
        inner = graph.apply("Mul", graph.apply("Add", x, cube), graph.constant(math.sqrt(2 / math.pi)))
        s = graph.apply("Tanh", inner)
    product = graph.apply("Mul", x, graph.apply("Add", s, graph.constant(1)))
    return graph.apply("Mul", product, graph.constant(0.5))


#: The nodes of every kind of layer that folding leaves.
NODES: dict[type[layers.Layer], Callable[[_Graph, str, Any], str]] = {
    layers.Linear: _linear,
    layers.BatchNorm1d: _batch_norm,
    layers.Scaler: _scaler,
    layers.ReLU: lambda graph, x, layer: graph.apply("Relu", x),
    layers.LeakyReLU: lambda graph, x, layer: graph.apply("LeakyRelu", x, alpha=layer.negative_slope),
    layers.ELU: lambda graph, x, layer: graph.apply("Elu", x, alpha=layer.alpha),
    layers.GELU: _gelu,
    layers.Tanh: lambda graph, x, layer: graph.apply("Tanh", x),
    layers.Sigmoid: lambda graph, x, layer: graph.apply("Sigmoid", x),
    layers.Softmax: lambda graph, x, layer: graph.apply("Softmax", x, axis=-1),
    layers.Flatten: lambda graph, x, layer: graph.apply("Flatten", x, axis=1),
    layers.Squeeze: lambda graph, x, layer: graph.apply("Squeeze", x, graph.constant([-1], np.int64)),
}
