"""Functions that exporters write as several nodes: how each is known again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lstmcore import layers
from lstmcore.formats.onnx.onnx_builder import Builder, Pattern
from lstmcore.formats.onnx.onnx_nodes import Function, Node, Product, Sum

#: How far a constant may be from what it stands for: exporters write it in float32, a few with fewer digits.
TOLERANCE = 1e-6


def near(a: float, b: float) -> bool:
    """Whether a constant is the one that a function has."""
    return math.isclose(a, b, rel_tol=TOLERANCE)


def affine_of(node: Node) -> tuple[float, float, Node] | None:
    """(scale, shift, x) of a node that is scale·x + shift with single numbers."""
    if isinstance(node, Sum):
        if len(node.inputs) != 1 or node.constant.ndim or node.coefficients[0].ndim:
            return None
        return float(node.coefficients[0]), float(node.constant), node.inputs[0]
    return 1.0, 0.0, node


def is_function(node: Node, name: str) -> bool:
    """Whether `node` is the function of this name."""
    return isinstance(node, Function) and node.function == name


def _pair(factors: Sequence[Node]) -> Sequence[tuple[Node, Node]]:
    return [(factors[0], factors[1]), (factors[1], factors[0])] if len(factors) == 2 else []


def gelu(builder: Builder, factors: Sequence[Node]) -> tuple[float, Node] | None:
    """x·(1 + erf(x/√2)), and the form with tanh, Hendrycks & Gimpel 2016."""
    for x, gate in _pair(factors):
        parts = affine_of(gate)
        if parts is None or parts[1] == 0 or not near(parts[0], parts[1]):
            continue
        if is_function(parts[2], "erf"):
            inner = affine_of(parts[2].inputs[0])
            if inner is not None and inner[2] is x and inner[1] == 0 and near(inner[0], math.sqrt(0.5)):
                return 2 * parts[0], builder.layer(layers.GELU, [x], x.features, x.sequence, approximate="none")
        if is_function(parts[2], "tanh") and _is_gelu_tanh(parts[2].inputs[0], x):
            return 2 * parts[0], builder.layer(layers.GELU, [x], x.features, x.sequence, approximate="tanh")
    return None


def _is_gelu_tanh(inner: Node, x: Node) -> bool:
    """Whether `inner` is √(2/π)·(x + 0.044715·x³), or that with x factored out."""
    k = math.sqrt(2 / math.pi)
    if isinstance(inner, Sum) and len(inner.inputs) == 2 and not np.any(inner.constant):
        if any(c.ndim for c in inner.coefficients):
            return False
        found = dict(zip(inner.inputs, map(float, inner.coefficients), strict=True))
        cube = next((node for node in found if _is_power(node, x, 3)), None)
        return x in found and cube is not None and near(found[x], k) and near(found[cube], k * 0.044715)
    outer = affine_of(inner)
    if outer is None or outer[1] != 0 or not isinstance(outer[2], Product):
        return False
    for a, b in _pair(outer[2].inputs):
        parts = affine_of(b)
        if a is x and parts is not None and _is_power(parts[2], x, 2):
            return near(outer[0] * parts[1], k) and near(outer[0] * parts[0], k * 0.044715)
    return False


def _is_power(node: Node, x: Node, power: int) -> bool:
    return isinstance(node, Product) and len(node.inputs) == power and all(factor is x for factor in node.inputs)


def gated(builder: Builder, factors: Sequence[Node]) -> tuple[float, Node] | None:
    """x·sigmoid(x), x·tanh(softplus(x)), x·hard_sigmoid(x), x·relu6(x + 3), x/(1 + |x|)."""
    for x, gate in _pair(factors):
        if is_function(gate, "sigmoid") and gate.inputs[0] is x:
            return 1.0, builder.function("silu", x)
        if is_function(gate, "tanh") and is_function(gate.inputs[0], "softplus") and gate.inputs[0].inputs[0] is x:
            return 1.0, builder.function("mish", x)
        if isinstance(gate, Function) and is_function(gate, "hard_sigmoid") and gate.inputs[0] is x:
            alpha, beta = gate.numbers
            if near(alpha, 1 / 6) and near(beta, 0.5):
                return 1.0, builder.function("hard_silu", x)
        if is_function(gate, "relu6") and affine_of(gate.inputs[0]) == (1.0, 3.0, x):
            return 6.0, builder.function("hard_silu", x)
        if is_function(gate, "reciprocal"):
            parts = affine_of(gate.inputs[0])
            one_more = parts is not None and parts[:2] == (1.0, 1.0)
            if parts is not None and one_more and is_function(parts[2], "abs") and parts[2].inputs[0] is x:
                return 1.0, builder.function("softsign", x)
    return None


def layer_norm(builder: Builder, factors: Sequence[Node]) -> tuple[float, Node] | None:
    """(x - mean(x)) / √(mean((x - mean(x))²) + eps), Ba et al. 2016."""
    for d, gate in _pair(factors):
        if not is_function(gate, "reciprocal") or not is_function(gate.inputs[0], "sqrt"):
            continue
        parts = affine_of(gate.inputs[0].inputs[0])
        if parts is None or not near(parts[0], 1) or not is_function(parts[2], "mean"):
            continue
        if not _is_power(parts[2].inputs[0], d, 2) or not isinstance(d, Sum) or len(d.inputs) != 2:
            continue
        if np.any(d.constant) or [c.tolist() for c in d.coefficients] != [1.0, -1.0]:
            continue
        x, mean = d.inputs
        if is_function(mean, "mean") and mean.inputs[0] is x:
            return 1.0, builder.layer(
                layers.LayerNorm, [x], x.features, x.sequence,
                num_features=x.features, eps=parts[1], affine=False, bias=False,
            )  # fmt: skip
    return None


def logarithm(builder: Builder, x: Node) -> Node:
    """log(x), which is softplus where x is 1 + e^y."""
    parts = affine_of(x)
    if parts is not None and parts[:2] == (1.0, 1.0) and is_function(parts[2], "exponential"):
        return builder.function("softplus", parts[2].inputs[0])
    return builder.function("log", x)


def where(builder: Builder, condition: Node, a: Node, b: Node) -> Node:
    """a where the condition holds, else b: a softplus that is x itself where x is large."""
    if isinstance(condition, Function) and is_function(condition, "greater") and is_function(b, "softplus"):
        x, bound = condition.inputs[0], condition.numbers[0]
        if x is a and x is b.inputs[0] and bound >= 15:  # from where on the two are the same in float32
            return b
    return builder.function("where", condition, a, b)


def clip(builder: Builder, x: Node, low: float, high: float) -> Node:
    """x cut to [low, high], also where exporters write one bound after the other."""
    inner = (x.inputs[0], 0.0, math.inf) if is_function(x, "relu") else builder.cuts.get(x)
    if inner is not None and max(low, inner[1]) < min(high, inner[2]):
        x, low, high = inner[0], max(low, inner[1]), min(high, inner[2])
    if (low, high) == (-math.inf, math.inf):
        return x
    made = _clip(builder, x, low, high)
    builder.cuts[made] = (x, low, high)
    return made


def _clip(builder: Builder, x: Node, low: float, high: float) -> Node:
    """As the function that has these bounds, or in parts whose rounding is relative to what is cut."""
    named = {(0.0, 6.0): "relu6", (-1.0, 1.0): "hard_tanh", (0.0, math.inf): "relu"}.get((low, high))
    if named is not None:
        return builder.function(named, x)
    if not low < high:
        return builder.function(f"clip to [{low}, {high}]", x)
    parts = affine_of(x)
    if (low, high) == (0.0, 1.0) and parts is not None:
        return builder.function("hard_sigmoid", parts[2], numbers=parts[:2])
    if low == -high:
        return _scaled(builder, builder.function("hard_tanh", _scaled(builder, x, 1 / high)), high)
    if low < 0 < high:
        return builder.add(_from_zero(builder, x, low), _from_zero(builder, x, high))
    near, far = (low, high) if low >= 0 else (high, low)
    cut = _from_zero(builder, builder.affine(x, np.ones(()), np.array(-near)), far - near)
    return builder.affine(cut, np.ones(()), np.array(near))


def _from_zero(builder: Builder, x: Node, bound: float) -> Node:
    """x cut to what lies between 0 and `bound`, which may be negative or infinite."""
    if math.isinf(bound):
        sign = math.copysign(1, bound)
        return _scaled(builder, builder.function("relu", _scaled(builder, x, sign)), sign)
    return _scaled(builder, builder.function("relu6", _scaled(builder, x, 6 / bound)), bound / 6)


def _scaled(builder: Builder, x: Node, scale: float) -> Node:
    return builder.affine(x, np.array(scale), np.zeros(()))


PATTERNS: Sequence[Pattern] = (gelu, gated, layer_norm)
