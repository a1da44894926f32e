"""What each operator of ONNX does to tensors that depend on the window: the table HANDLERS, operator -> handler.

A handler takes the node and its inputs, each a `Tensor`, an array, or None where it is absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from lstmcore import layers
from lstmcore.formats.onnx.onnx_arithmetic import ELEMENTWISE, constant, layer, number
from lstmcore.formats.onnx.onnx_axes import AXES
from lstmcore.formats.onnx.onnx_constants import CASTS
from lstmcore.formats.onnx.onnx_nodes import Node
from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_recurrent import recurrent
from lstmcore.formats.onnx.onnx_value import Tensor, each
from lstmcore.layers import Array


def linear(op: Op, x: Tensor, weight: Array, bias: Array | None) -> Tensor:
    """x·Wᵀ + b with W (O, I) and b (O,)."""
    x = x.features_last()
    outputs, inputs = weight.shape
    if x.size("F") != inputs or not outputs:
        op.damaged(f"weights of shape {weight.shape} for {x.size('F')} features")
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    builder = op.context.builder

    def make(node: Node) -> Node:
        return builder.layer(
            layers.Linear, [node], outputs, node.sequence, weights,
            in_features=inputs, out_features=outputs, bias=bias is not None,
        )  # fmt: skip

    return Tensor(x.context, each(make, x.parts), (*x.axes[:-1], ("F",)))


def _gemm(op: Op, a: Any, b: Any, c: Any = None) -> Tensor:
    if not isinstance(a, Tensor) or len(a.axes) != 2:
        op.refuse("input A: expected what depends on the window, of rank 2")
    weight = constant(op, b, "B")
    if weight.ndim != 2:
        op.damaged(f"input B: expected rank 2, got shape {weight.shape}")
    x = a.transpose([1, 0]) if op.get("transA", 0) else a
    factors = {name: op.get(name, 1.0) for name in ("alpha", "beta")}
    for name, factor in factors.items():
        if not math.isfinite(factor):
            op.refuse(f"attribute {name}: expected a finite number, got {factor}")
    weight = (weight if op.get("transB", 0) else weight.T) * weight.dtype.type(factors["alpha"])
    bias = None
    if c is not None:
        bias = constant(op, c, "C")
        if bias.shape not in ((), (1,), (len(weight),), (1, 1), (1, len(weight))):
            op.refuse(f"input C: expected one number for each of {len(weight)} outputs, got shape {bias.shape}")
        bias = np.broadcast_to(bias.reshape(-1), (len(weight),)) * bias.dtype.type(factors["beta"])
    return linear(op, x, weight, bias)


def _matmul(op: Op, a: Any, b: Any) -> Tensor:
    if not isinstance(a, Tensor) or not isinstance(b, np.ndarray):
        op.refuse("multiplies two values that depend on the window, or a constant from the left")
    weight = constant(op, b, "B")
    if weight.ndim == 1:
        made = linear(op, a, weight[np.newaxis], None)
        return made.with_axes(made.axes[:-1])
    if math.prod(weight.shape[:-2]) != 1:
        op.refuse(f"input B: expected one matrix, got shape {weight.shape}")
    return linear(op, a, weight.reshape(weight.shape[-2:]).T, None)


def _batch_norm(op: Op, data: Any, *constants: Any) -> Tensor:
    if not isinstance(data, Tensor):
        op.refuse("input X: does not depend on the window")
    # Up to opset 13, it is the further outputs that say so.
    if op.get("training_mode", 0) or (op.opset < 14 and any(op.node.output[1:])):
        what = "attribute training_mode" if op.opset >= 14 else f"{len(op.node.output)} outputs"
        op.refuse(f"{what}: its answers depend on the whole batch; export the model for inference")
    x = data.settled()
    features = x.size("F")
    if len(x.axes) < 2 or x.real(x.axes[1]) != x.real(("F",)):
        op.refuse(f"normalises axis 1 of {x.show()}, which is not the features")
    names = ("weight", "bias", "running_mean", "running_var")
    weights = {name: constant(op, value, name) for name, value in zip(names, constants, strict=True)}
    for name, w in weights.items():
        if w.shape != (features,):
            op.damaged(f"input {name}: expected shape ({features},), got {w.shape}")
    eps = op.get("epsilon", 1e-5)
    builder = op.context.builder
    return x.map(
        lambda node: builder.layer(
            layers.BatchNorm1d, [node], features, node.sequence, weights, num_features=features, eps=eps, affine=True
        )
    )


def _layer_norm(op: Op, data: Any, scale: Any, bias: Any = None) -> Tensor:
    if not isinstance(data, Tensor):
        op.refuse("input X: does not depend on the window")
    x = data.features_last()
    if op.axis(op.get("axis", -1), len(x.axes)) != len(x.axes) - 1:
        op.refuse("attribute axis: only a normalisation over the features, the last axis, is supported")
    if op.get("stash_type", 1) != 1:
        op.refuse("attribute stash_type: expected 1, float32")
    features = x.size("F")
    weights = {"weight": constant(op, scale, "Scale")}
    if bias is not None:
        weights["bias"] = constant(op, bias, "B")
    for name, w in weights.items():
        if w.shape != (features,):
            op.damaged(f"input {name}: expected shape ({features},), got {w.shape}")
    eps = op.get("epsilon", 1e-5)
    builder = op.context.builder
    return x.map(
        lambda node: builder.layer(
            layers.LayerNorm, [node], features, node.sequence, weights,
            num_features=features, eps=eps, affine=True, bias=bias is not None,
        )
    )  # fmt: skip


def _softmax(op: Op, x: Tensor) -> Tensor:
    rank = len(x.axes)
    axis = op.axis(op.get("axis", -1 if op.opset >= 13 else 1), rank)
    if op.opset < 13 and axis != rank - 1:
        op.refuse("attribute axis: runs over several axes at once, as up to opset 12; expected the last one")
    moved = x.transpose([*(n for n in range(rank) if n != axis), axis]).features_last()
    made = layer(op, moved, layers.Softmax)
    order = list(range(rank - 1))
    return made.transpose([*order[:axis], rank - 1, *order[axis:]])


def _dropout(op: Op, x: Tensor, ratio: Any = None, training: Any = None) -> Tensor:
    if training is not None and number(op, training, "training_mode", 0.0):
        op.refuse("input training_mode: drops values at inference too; export the model for inference")
    p = number(op, ratio, "ratio", op.get("ratio", 0.5))
    if not 0 <= p <= 1:
        op.damaged(f"ratio: expected 0 to 1, got {p}")
    return layer(op, x, layers.Dropout, p=float(str(np.float32(p))))


def _cast(op: Op, x: Tensor) -> Tensor:
    target = op.get("to", 0)
    if not CASTS.get(target, "").startswith("f"):
        op.refuse("attribute to: turns what depends on the window into something else than float numbers")
    return x


def _same(op: Op, x: Tensor) -> Tensor:
    return x


HANDLERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent),
        **AXES,
        **ELEMENTWISE,
        "Gemm": _gemm,
        "MatMul": _matmul,
        "BatchNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "Softmax": _softmax,
        "Dropout": _dropout,
        "Identity": _same,
        "Cast": _cast,
    }
)
