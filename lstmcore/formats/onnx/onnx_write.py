"""A Model as an ONNX graph: the nodes of every kind of layer, NODES."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lstmcore import layers
from lstmcore._version import __version__
from lstmcore.errors import UnsupportedError
from lstmcore.folding import affine_of, fold
from lstmcore.formats.onnx.onnx_graph import Graph, value_info
from lstmcore.formats.onnx.onnx_write_recurrent import recurrent
from lstmcore.layers import Array, Layer
from lstmcore.layers.activations import Activation
from lstmcore.layers.wiring import Wiring
from lstmcore.summary import check_single
from lstmcore.text import quoted

if TYPE_CHECKING:
    from lstmcore.model import Model

#: What ONNX Runtime 1.18 and OpenVINO 2024.4 read; nothing newer is needed.
OPSET, IR_VERSION = 17, 8


def build(model: Model, *, states: bool = False, lengths: bool = False) -> onnx.ModelProto:
    """`model` as a float32 ONNX model; a chain of layers is folded as the c backend folds it.

    Its input is "window" (N, T, F), its output "answer" (N, ...) in the Model's shape; where it has several, each has
    the Model's name for it, and a vector is (N, F). N and T are free; T is fixed behind a Flatten. With `states` there
    are more inputs, the initial states "h0" and, of an LSTM, "c0", each (num_layers * directions, N, hidden_size), and
    as many outputs, the final states "hn" and "cn"; where the model has several recurrent layers, "NAME.h0" and so on
    for each. What a layer has learned to begin with is then not in the file. With `lengths` there is the input
    "lengths" (N,) of int32: how many ticks of each window count.

    Raises:
        ValueError: `states` for a model without a recurrent layer; a name that two inputs or outputs have.
        UnsupportedError: A layer that no operator of ONNX is, or that has none for `lengths`; named in the text.
    """
    if states and not model.recurrent_layers:
        raise ValueError("states: the model has no recurrent layer, and so no states")
    if lengths:
        _check_lengths(model)
    wiring = fold(model.wiring)
    names = ["window"] if len(wiring.inputs) == 1 else [one.name for one in wiring.inputs]
    inputs = [
        value_info(name, ("N", *(model.steps or n if n == "T" else n for n in one.shape)))
        for name, one in zip(names, wiring.inputs, strict=True)
    ]
    answers = _output_names(wiring)
    outputs = [value_info(name, ("N", *shape)) for name, shape in zip(answers, model.outputs.values(), strict=True)]
    given: dict[str, dict[str, str]] = {layer.name: {} for layer in model.recurrent_layers}
    for stack in model.recurrent_layers if states else ():
        prefix = f"{stack.name}." if len(given) > 1 else ""
        for letter, width in stack.state_widths.items():
            shape = (stack.states, "N", width)
            given[stack.name][letter] = f"{prefix}{letter}0"
            inputs.append(value_info(f"{prefix}{letter}0", shape))
            outputs.append(value_info(f"{prefix}{letter}n", shape))
    if lengths:
        inputs.append(value_info("lengths", ("N",), onnx.TensorProto.INT32))
    graph = Graph()
    ends: dict[str, list[str]] = {}  # the final states that go out
    values = list(names)
    for layer, read in zip(wiring.layers, wiring.reads, strict=True):
        graph.scope = layer.name
        x = [values[n] for n in read]
        if isinstance(layer, layers.Recurrent):
            begins = given[layer.name]
            made, finals = recurrent(graph, x[0], layer, begins, "lengths" if lengths else "")
            values.append(made)
            ends |= {f"{name[:-1]}n": finals[letter] for letter, name in begins.items()}
        elif isinstance(layer, layers.Reverse) and lengths:
            values.append(graph.apply("ReverseSequence", x[0], _long(graph, "lengths"), batch_axis=0, time_axis=1))
        elif type(layer) not in NODES:
            raise UnsupportedError(f"{layer.label}: ONNX has no operator for it")
        else:
            values.append(NODES[type(layer)](graph, layer, *x))
    _check_names([value.name for value in (*inputs, *outputs)], graph)
    graph.finish(dict(zip(answers, (values[n] for n in wiring.ends), strict=True)))
    for name, finals_of in ends.items():
        graph.give(name, "Concat", *finals_of, axis=0)
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "lstmcore", inputs, outputs, graph.initializers),
        producer_name="lstmcore",
        producer_version=__version__,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _output_names(wiring: Wiring) -> list[str]:
    return ["answer"] if len(wiring.outputs) == 1 else list(wiring.outputs)


def _check_names(ports: Sequence[str], graph: Graph) -> None:
    """Refuse a name that two values of the file would have."""
    own = [name for node in graph.nodes for name in node.output] + [tensor.name for tensor in graph.initializers]
    for name, times in Counter([*ports, *own]).items():
        if times > 1:
            raise ValueError(f"{quoted(name)}: two values of an ONNX file would have this name; give another")


def _check_lengths(model: Model) -> None:
    """Refuse what ONNX would do to the rows behind a window's ticks, which the Model does not have."""
    check_single(model, "lengths")
    for layer in model.layers:
        if isinstance(layer, layers.Last | layers.Flatten):
            raise UnsupportedError(
                f"{layer.label}: takes ticks by their place, so `lengths` cannot be an input in ONNX"
            )
    if "T" in model.output_shape and not isinstance(model.layers[-1], layers.Recurrent):
        label = model.layers[-1].label
        raise UnsupportedError(f"{label}: answers every tick; behind `lengths`, ONNX's answers would not be zero")
    if not model.recurrent_layers:
        raise UnsupportedError("no recurrent layer, so `lengths` cannot be an input")


def _long(graph: Graph, x: str) -> str:
    return graph.apply("Cast", x, to=onnx.TensorProto.INT64)


def _linear(graph: Graph, layer: layers.Linear, x: str) -> str:
    product = graph.apply("MatMul", x, graph.constant(layer.weights["weight"].T))
    return graph.apply("Add", product, graph.constant(layer.weights["bias"])) if layer.bias else product


def _batch_norm(graph: Graph, layer: layers.BatchNorm1d, x: str) -> str:
    a, b = affine_of(layer.map_weights(lambda w: w.astype(np.float64)))
    return graph.apply("Add", graph.apply("Mul", x, graph.constant(a)), graph.constant(b))


def _layer_norm(graph: Graph, layer: layers.LayerNorm, x: str) -> str:
    gain: Array = layer.weights.get("weight", np.ones(layer.num_features))
    inputs = [graph.constant(gain)] + ([graph.constant(layer.weights["bias"])] if "bias" in layer.weights else [])
    return graph.apply("LayerNormalization", x, *inputs, axis=-1, epsilon=layer.eps)


def _scaler(graph: Graph, layer: layers.Scaler, x: str) -> str:
    mean = layer.weights["mean"]
    if mean.dtype == np.float32:
        centred = graph.apply("Sub", x, graph.constant(mean))
    else:
        wide = graph.apply("Cast", x, to=onnx.TensorProto.DOUBLE)
        wide = graph.apply("Sub", wide, graph.constant(mean, np.float64))
        centred = graph.apply("Cast", wide, to=onnx.TensorProto.FLOAT)
    scale = layer.weights["scale"]
    return graph.apply("Div", centred, graph.constant(scale)) if np.any(scale != 1) else centred


def _gelu(graph: Graph, x: str) -> str:
    """x * (1 + s) / 2, written out because the Gelu operator is newer than OPSET."""
    return _half_gate(graph, x, graph.apply("Erf", graph.apply("Mul", x, graph.constant(math.sqrt(0.5)))))


def _gelu_tanh(graph: Graph, x: str) -> str:
    cube = graph.apply("Mul", graph.apply("Mul", x, graph.apply("Mul", x, x)), graph.constant(0.044715))
    inner = graph.apply("Mul", graph.apply("Add", x, cube), graph.constant(math.sqrt(2 / math.pi)))
    return _half_gate(graph, x, graph.apply("Tanh", inner))


def _half_gate(graph: Graph, x: str, s: str) -> str:
    product = graph.apply("Mul", x, graph.apply("Add", s, graph.constant(1)))
    return graph.apply("Mul", product, graph.constant(0.5))


def _operator(op: str, *keys: str, **fixed: float) -> Callable[..., str]:
    """A function that is one operator; its numbers are the attributes `keys`."""
    return lambda graph, x, *numbers: graph.apply(op, x, **fixed, **dict(zip(keys, numbers, strict=True)))


def _clip(low: float, high: float) -> Callable[..., str]:
    return lambda graph, x: graph.apply("Clip", x, graph.constant(low), graph.constant(high))


def _scaled(graph: Graph, x: str, scale: float, shift: float = 0.0) -> str:
    product = graph.apply("Mul", x, graph.constant(scale))
    return graph.apply("Add", product, graph.constant(shift)) if shift else product


def _mish(graph: Graph, x: str) -> str:
    """x * tanh(softplus(x)), written out because the Mish operator is newer than OPSET."""
    return graph.apply("Mul", x, graph.apply("Tanh", graph.apply("Softplus", x)))


#: The nodes of every function in `activations.TABLE`, which take its numbers.
FUNCTIONS: Mapping[str, Callable[..., str]] = MappingProxyType(
    {
        "linear": _operator("Identity"),
        "sigmoid": _operator("Sigmoid"),
        "tanh": _operator("Tanh"),
        "relu": _operator("Relu"),
        "leaky_relu": _operator("LeakyRelu", "alpha"),
        "elu": _operator("Elu", "alpha"),
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "affine": _scaled,
        "thresholded_relu": _operator("ThresholdedRelu", "alpha"),
        "scaled_tanh": lambda graph, x, a, b: _scaled(graph, graph.apply("Tanh", _scaled(graph, x, b)), a),
        "hard_sigmoid": _operator("HardSigmoid", "alpha", "beta"),
        "softsign": _operator("Softsign"),
        "softplus": _operator("Softplus"),
        "silu": lambda graph, x: graph.apply("Mul", x, graph.apply("Sigmoid", x)),
        "selu": _operator("Selu"),
        "relu6": _clip(0, 6),
        "exponential": _operator("Exp"),
        "hard_tanh": _clip(-1, 1),
        "mish": _mish,
        "hard_silu": _operator("HardSwish"),
    }
)


def _function(name: str) -> Callable[[Graph, Layer, str], str]:
    """A layer that is a function whose numbers are the layer's settings, in order."""
    return lambda graph, layer, x: FUNCTIONS[name](graph, x, *layer.settings().values())


def _activation(graph: Graph, layer: layers.Activation, x: str) -> str:
    function: Activation = layer.equation
    return FUNCTIONS[function.name](graph, x, *function.numbers)


def _pairwise(op: str) -> Callable[..., str]:
    """An operator of two inputs, one input after the other."""
    return lambda graph, layer, *inputs: functools.reduce(lambda a, b: graph.apply(op, a, b), inputs)


def _newest(graph: Graph, layer: Layer, x: str) -> str:
    return graph.apply("Gather", x, graph.constant(-1, np.int64), axis=1)


def _reverse(graph: Graph, layer: Layer, x: str) -> str:
    start, end, axis = ([-1], [np.iinfo(np.int64).min], [1])
    return graph.apply("Slice", x, *(graph.constant(n, np.int64) for n in (start, end, axis, [-1])))


#: The nodes of every kind of layer without a state.
NODES: Mapping[type[Layer], Callable[..., str]] = MappingProxyType(
    {
        layers.Linear: _linear,
        layers.BatchNorm1d: _batch_norm,
        layers.LayerNorm: _layer_norm,
        layers.Scaler: _scaler,
        layers.Dropout: lambda graph, layer, x: x,
        layers.ReLU: _function("relu"),
        layers.LeakyReLU: _function("leaky_relu"),
        layers.ELU: _function("elu"),
        layers.GELU: lambda graph, layer, x: (_gelu if layer.approximate == "none" else _gelu_tanh)(graph, x),
        layers.Tanh: _function("tanh"),
        layers.Sigmoid: _function("sigmoid"),
        layers.Softmax: lambda graph, layer, x: graph.apply("Softmax", x, axis=-1),
        layers.Activation: _activation,
        layers.Last: _newest,
        layers.Reverse: _reverse,
        layers.Flatten: lambda graph, layer, x: graph.apply("Flatten", x, axis=1),
        layers.Squeeze: lambda graph, layer, x: graph.apply("Squeeze", x, graph.constant([-1], np.int64)),
        layers.Add: _pairwise("Add"),
        layers.Mul: _pairwise("Mul"),
        layers.Mean: lambda graph, layer, *inputs: graph.apply("Mean", *inputs),
        layers.Concat: lambda graph, layer, *inputs: graph.apply("Concat", *inputs, axis=-1),
    }
)
