"""Arithmetic on each element, as handlers; see `onnx_ops`. What becomes of it is in `onnx_builder`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lstmcore import layers
from lstmcore.formats.onnx import onnx_patterns as patterns
from lstmcore.formats.onnx.onnx_axes import reduce
from lstmcore.formats.onnx.onnx_join import aligned
from lstmcore.formats.onnx.onnx_nodes import Node, Refused
from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_value import Tensor
from lstmcore.layers import Array, Layer


def constant(op: Op, value: Any, what: str) -> Array:
    """A constant of float numbers."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        op.refuse(f"input {what}: expected a constant of float numbers")
    return value


def number(op: Op, value: Any, what: str, default: float) -> float:
    """A constant that is one number."""
    if value is None:
        return default
    if not isinstance(value, np.ndarray) or value.size != 1:
        op.refuse(f"input {what}: expected one constant number")
    return float(value.reshape(()))


def per_feature(x: Tensor, value: Array) -> tuple[Tensor, Array]:
    """A constant that is broadcast against `x`: one number, or one for each feature."""
    if value.size == 1:
        if value.ndim > len(x.axes):
            x = x.unsqueeze(range(value.ndim - len(x.axes)))
        return x, value.reshape(()).astype(np.float64)
    x = x.settled()
    if value.ndim > len(x.axes):
        x = x.unsqueeze(range(value.ndim - len(x.axes)))
    at = len(x.axes) - value.ndim
    for axis, size in zip(x.axes[at:], value.shape, strict=True):
        if size != 1 and (x.real(axis) != ("F",) or size != x.size("F")):
            raise Refused(f"a constant of shape {value.shape} beside {x.show()} of shape {x.shape}")
    return x, value.reshape(-1).astype(np.float64)


def _affine(x: Tensor, scale: Array, shift: Array) -> Tensor:
    return x.map(lambda node: x.context.builder.affine(node, scale, shift))


ONE, ZERO = np.ones(()), np.zeros(())


def _zip(a: Tensor, b: Tensor, function: Callable[[Node, Node], Node]) -> Tensor:
    a, b = aligned(a, b)
    parts = np.empty(a.parts.shape, object)
    for (index, x), y in zip(np.ndenumerate(a.parts), b.parts.flat, strict=True):
        parts[index] = function(x, y)
    wide = a if a.size("F") >= b.size("F") else b
    return Tensor(a.context, parts, wide.axes)


def add(op: Op, a: Any, b: Any, sign: float = 1.0) -> Tensor:
    """a + sign·b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        builder = a.context.builder
        return _zip(a, b, lambda x, y: builder.add(x, y, sign))
    if isinstance(a, Tensor):
        x, shift = per_feature(a, constant(op, b, "B"))
        return _affine(x, ONE, sign * shift)
    x, shift = per_feature(b, constant(op, a, "A"))
    return _affine(x, np.array(sign), shift)


def multiply(op: Op, a: Any, b: Any) -> Tensor:
    """a·b."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        builder = a.context.builder
        return _zip(a, b, lambda x, y: builder.multiply(x, y))
    x, scale = per_feature(a, constant(op, b, "B")) if isinstance(a, Tensor) else per_feature(b, constant(op, a, "A"))
    return _affine(x, scale, ZERO)


def divide(op: Op, a: Any, b: Any) -> Tensor:
    """a/b."""
    if isinstance(b, Tensor):
        inverse = function("reciprocal")(op, b)
        return multiply(op, a, inverse)
    x, scale = per_feature(a, constant(op, b, "B"))
    if np.any(scale == 0):
        op.refuse("divides by zero")
    return _affine(x, 1 / scale, ZERO)


def _power(op: Op, x: Any, exponent: Any) -> Tensor:
    times = number(op, exponent, "B", 1.0)
    if not isinstance(x, Tensor) or times not in (1.0, 2.0, 3.0, 0.5):
        op.refuse(f"raises to the power of {times}")
    if times == 0.5:
        return function("sqrt")(op, x)
    return x.map(lambda node: node if times == 1 else x.context.builder.multiply(*[node] * int(times)))


def _sum(op: Op, *inputs: Any) -> Tensor:
    total = inputs[0]
    for value in inputs[1:]:
        total = add(op, total, value) if isinstance(total, Tensor) or isinstance(value, Tensor) else total + value
    return total  # type: ignore[no-any-return]


def _mean(op: Op, *inputs: Any) -> Tensor:
    return _affine(_sum(op, *inputs), np.array(1 / len(inputs)), ZERO)


def _extreme(kind: str) -> Callable[..., Tensor]:
    def handler(op: Op, *inputs: Any) -> Tensor:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        numbers = [number(op, value, "inputs", 0.0) for value in inputs if not isinstance(value, Tensor)]
        if len(tensors) != 1 or not numbers:
            op.refuse(f"takes the {kind} of several tensors; only of one and a constant")
        x, _ = per_feature(tensors[0], np.zeros((1,) * max(np.ndim(value) for value in inputs)))
        bound = max(numbers) if kind == "largest" else min(numbers)
        low, high = (bound, math.inf) if kind == "largest" else (-math.inf, bound)
        return _cut(op, x, low, high)

    return handler


def _cut(op: Op, x: Tensor, low: float, high: float) -> Tensor:
    return x.map(lambda node: patterns.clip(op.context.builder, node, low, high))


def _clip(op: Op, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    return _cut(op, x, number(op, low, "min", -math.inf), number(op, high, "max", math.inf))


def function(name: str, **numbers: float) -> Callable[..., Tensor]:
    """A handler for a function of each element whose numbers are attributes, with ONNX's defaults."""

    def handler(op: Op, x: Tensor) -> Tensor:
        given = tuple(float(op.get(key, default)) for key, default in numbers.items())
        return x.map(lambda node: op.context.builder.function(name, node, numbers=given))

    return handler


def layer(op: Op, x: Tensor, kind: type[Layer], **settings: Any) -> Tensor:
    return x.map(lambda node: op.context.builder.layer(kind, [node], node.features, node.sequence, **settings))


def _gelu(op: Op, x: Tensor) -> Tensor:
    approximate = op.get("approximate", "none")
    if approximate not in ("none", "tanh"):
        op.damaged(f"attribute approximate: {approximate!r:.100}")
    return layer(op, x, layers.GELU, approximate=approximate)


def _selu(op: Op, x: Tensor) -> Tensor:
    alpha, gamma = op.get("alpha", 1.67326319217681884765625), op.get("gamma", 1.05070102214813232421875)
    if math.isclose(alpha, 1.6732632423543772, rel_tol=1e-6) and math.isclose(gamma, 1.0507009873554805, rel_tol=1e-6):
        return x.map(lambda node: op.context.builder.function("selu", node))
    return _affine(
        x.map(lambda node: op.context.builder.function("elu", node, numbers=(alpha,))), np.array(gamma), ZERO
    )


def _celu(op: Op, x: Tensor) -> Tensor:
    """alpha·ELU(x/alpha), which is what it says."""
    alpha = op.get("alpha", 1.0)
    if alpha <= 0:
        op.refuse(f"attribute alpha: expected a number above 0, got {alpha}")
    inner = _affine(x, np.array(1 / alpha), ZERO)
    elu = inner.map(lambda node: op.context.builder.function("elu", node, numbers=(1.0,)))
    return _affine(elu, np.array(alpha), ZERO)


def _prelu(op: Op, x: Tensor, slope: Any) -> Tensor:
    values = constant(op, slope, "slope")
    if values.size == 0 or np.any(values != values.flat[0]):
        op.refuse("input slope: differs from feature to feature; only one slope for all is supported")
    alpha = float(values.flat[0])
    return x.map(lambda node: op.context.builder.function("leaky_relu", node, numbers=(alpha,)))


def _swish(op: Op, x: Tensor) -> Tensor:
    alpha = op.get("alpha", 1.0)
    builder = op.context.builder
    return x.map(
        lambda node: builder.multiply(node, builder.function("sigmoid", builder.affine(node, np.array(alpha), ZERO)))
    )


def _log(op: Op, x: Tensor) -> Tensor:
    return x.map(lambda node: patterns.logarithm(op.context.builder, node))


def _greater(op: Op, a: Any, b: Any) -> Tensor:
    if not isinstance(a, Tensor):
        op.refuse("compares a constant with what depends on the window")
    bound = number(op, b, "B", 0.0)
    return a.map(lambda node: op.context.builder.function("greater", node, numbers=(bound,)))


def _where(op: Op, condition: Any, a: Any, b: Any) -> Tensor:
    if not all(isinstance(value, Tensor) for value in (condition, a, b)):
        op.refuse("chooses between constants and what depends on the window")
    a, b = aligned(a, b)
    condition, a = aligned(condition, a)
    if not condition.parts.shape == a.parts.shape == b.parts.shape:
        op.refuse("chooses between tensors of different shapes")
    parts = np.empty(a.parts.shape, object)
    for index in np.ndindex(parts.shape):
        parts[index] = patterns.where(op.context.builder, condition.parts[index], a.parts[index], b.parts[index])
    return Tensor(a.context, parts, a.axes)


def _sum_of(op: Op, nodes: Sequence[Node]) -> Node:
    total = nodes[0]
    for node in nodes[1:]:
        total = op.context.builder.add(total, node)
    return total


def _product_of(op: Op, nodes: Sequence[Node]) -> Node:
    return op.context.builder.multiply(*nodes)


def _mean_of(op: Op, nodes: Sequence[Node]) -> Node:
    return op.context.builder.affine(_sum_of(op, nodes), np.array(1 / len(nodes)), ZERO)


ELEMENTWISE: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "Add": add,
        "Sub": lambda op, a, b: add(op, a, b, -1.0),
        "Mul": multiply,
        "Div": divide,
        "Pow": _power,
        "Sum": _sum,
        "Mean": _mean,
        "Max": _extreme("largest"),
        "Min": _extreme("smallest"),
        "ReduceMean": lambda op, x, axes=None: reduce(op, x, axes, _mean_of),
        "ReduceSum": lambda op, x, axes=None: reduce(op, x, axes, _sum_of),
        "ReduceProd": lambda op, x, axes=None: reduce(op, x, axes, _product_of),
        "Clip": _clip,
        "Relu": function("relu"),
        "Sigmoid": function("sigmoid"),
        "Tanh": function("tanh"),
        "Softplus": function("softplus"),
        "Softsign": function("softsign"),
        "Mish": function("mish"),
        "HardSwish": function("hard_silu"),
        "LeakyRelu": function("leaky_relu", alpha=0.01),
        "Elu": function("elu", alpha=1.0),
        "ThresholdedRelu": function("thresholded_relu", alpha=1.0),
        "HardSigmoid": function("hard_sigmoid", alpha=0.2, beta=0.5),
        "Exp": function("exponential"),
        "Erf": function("erf"),
        "Sqrt": function("sqrt"),
        "Abs": function("abs"),
        "Reciprocal": function("reciprocal"),
        "Neg": lambda op, x: _affine(x, -ONE, ZERO),
        "Log": _log,
        "Gelu": _gelu,
        "Selu": _selu,
        "Celu": _celu,
        "PRelu": _prelu,
        "Swish": _swish,
        "Greater": _greater,
        "Where": _where,
    }
)
