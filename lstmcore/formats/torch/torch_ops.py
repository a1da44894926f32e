"""What each operation of torch does to the layers found so far: the table HANDLERS, operation -> handler.

A handler takes the call and its arguments. Those that depend on the window are each a `Value`: the layer that they
come out of, and what the tensor's axes stand for. It adds a layer, moves axes, or refuses by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lstmcore.formats.torch import torch_axes as axes
from lstmcore.formats.torch import torch_joins as joins
from lstmcore.formats.torch.torch_activations import ACTIVATIONS
from lstmcore.formats.torch.torch_axes import features_last
from lstmcore.formats.torch.torch_recurrent import cell, recurrent
from lstmcore.formats.torch.torch_value import F, Op, Value, array, show
from lstmcore.layers import BatchNorm1d, Dropout, LayerNorm, Linear, Softmax

#: Operations that take the shape and dtype of a tensor, not what is in it.
TAKES_SHAPE_OF = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")


def _linear(op: Op, x: Value, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Value:
    x = features_last(op, x)
    if x.axes[-1] != F:
        op.refuse(f"works along the last axis of {show(x.axes)}; it has to be the features")
    weights = {"weight": array(weight)} | ({} if bias is None else {"bias": array(bias)})
    out_features, in_features = weight.shape
    layer = Linear(op.name, in_features, out_features, bias is not None, weights=weights)
    return x.then(layer, out_features)


def _batch_norm(
    op: Op,
    x: Value,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Value:
    if mean is None or var is None:
        op.refuse("has no running statistics, so that its answers depend on the whole batch")
    if training:
        op.refuse("is in training mode; call module.eval() first")
    if x.axes[1] != F:
        op.refuse(f"normalises axis 1 of {show(x.axes)}, which is not the features")
    tensors = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    weights = {key: array(t) for key, t in tensors.items() if t is not None}
    return x.then(BatchNorm1d(op.name, len(mean), eps, weight is not None, weights=weights))


def _layer_norm(
    op: Op,
    x: Value,
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    x = features_last(op, x)
    over = x.axes[len(x.axes) - len(normalized_shape) :]
    if over != (F,):
        op.refuse(f"normalises over {show(over)}; only over the features is supported")
    weights = {key: array(t) for key, t in {"weight": weight, "bias": bias}.items() if t is not None}
    features = x.sizes["F"]
    return x.then(LayerNorm(op.name, features, eps, weight is not None, bias is not None, weights=weights))


def _softmax(op: Op, x: Value, dim: int, dtype: torch.dtype | None = None) -> Value:
    if x.axes[dim] != F:
        hint = ", as attention does" if "T" in x.axes[dim] else ""
        op.refuse(f"runs over axis {dim} of {show(x.axes)}{hint}; only over the features is supported")
    return x.then(Softmax(op.name))


def _dropout(op: Op, x: Value, p: float, train: bool) -> Value:
    if train:
        op.refuse("drops values at inference too; give F.dropout training=self.training")
    return x.then(Dropout(op.name, float(p)))


def _same(op: Op, x: Value, *args: Any, **kwargs: Any) -> Value:
    return x


ATTENTION = "is attention; lstmcore has recurrent layers only"
BY_TENSOR = (
    "picks by numbers in a tensor; take out[:, -1], and for windows of several lengths give lengths= at the call"
)
CONVOLUTION = "is a convolution; lstmcore has recurrent layers only"
EMBEDDING = "is an embedding; lstmcore takes numbers, not categories"
POOLING = "pools over time; lstmcore has no equation for that, but answers with out[:, -1]"

#: Every operation that may stand between the window and the answer.
HANDLERS: Mapping[str, Callable[..., Any]] = {
    **ACTIVATIONS,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), cell),
    "linear": _linear,
    "matmul": joins.matmul,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "softmax": _softmax,
    **dict.fromkeys(("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _dropout),
    "add": joins.add,
    "sub": joins.sub,
    "rsub": joins.rsub,
    "mul": joins.mul,
    "div": joins.div,
    "neg": joins.neg,
    **dict.fromkeys(("cat", "concat", "concatenate"), joins.cat),
    "stack": joins.stack,
    "sum": axes.over_directions("sum"),
    "mean": axes.over_directions("mean"),
    "prod": axes.over_directions("mul"),
    "select": axes.select,
    "slice": axes.slice_,
    "flip": axes.flip,
    **dict.fromkeys(("unbind", "chunk", "split", "split_with_sizes", "unsafe_chunk", "unsafe_split"), axes.pieces),
    **dict.fromkeys(("permute", "transpose", "t", "numpy_T", "mT"), axes.permute),
    **dict.fromkeys(("swapaxes", "swapdims", "movedim"), axes.permute),
    **dict.fromkeys(("view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten"), axes.reshape),
    **dict.fromkeys(("to", "_to_copy", "type_as", "contiguous", "clone", "detach", "alias"), _same),
}

#: Operations that are refused with a reason of their own.
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("bmm", "einsum", "scaled_dot_product_attention"), ATTENTION),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d"), CONVOLUTION),
    **dict.fromkeys(("index", "index_select", "gather", "take_along_dim"), BY_TENSOR),
    **dict.fromkeys(("max", "min", "amax", "amin", "logsumexp"), POOLING),
    **dict.fromkeys(("avg_pool1d", "max_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d"), POOLING),
    "embedding": EMBEDDING,
}

#: Operations that take several values that depend on the window.
JOINS = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
         "add", "sub", "mul", "div", "cat", "concat", "concatenate", "stack", "matmul")  # fmt: skip

#: Operations that know what to do with one direction of a bidirectional layer.
TAKES_HALVES = ("select", "slice", "permute", "transpose", "view", "reshape", "flatten", "squeeze", "unsqueeze",
                "to", "contiguous", "clone", "detach", "alias", "add", "mul", "cat", "concat", "concatenate",
                "stack")  # fmt: skip

#: Operations that know what to do with h_n of several layers or directions.
TAKES_PARTS = ("select", "slice", "permute", "transpose", "swapaxes", "movedim", "mT", "view", "reshape", "flatten",
               "squeeze", "unsqueeze", "unflatten", "unbind", "chunk", "split", "split_with_sizes",
               "to", "contiguous", "clone", "detach", "alias", "sum", "mean", "prod")  # fmt: skip
