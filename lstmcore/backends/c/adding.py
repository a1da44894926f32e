"""How each layer that folding leaves is given to the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmcore.backends.c.binding import ffi, floats, lib
from lstmcore.folding import affine_of
from lstmcore.layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    Activation,
    Array,
    BatchNorm1d,
    Flatten,
    Last,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Recurrent,
    ReLU,
    Scaler,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)
from lstmcore.layers.activations import Activation as Function

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "norm_ih", "norm_hh", "norm_c", "norm_c_bias")


def _add_recurrent(model: Any, layer: Recurrent) -> list[int]:
    add = _PLAIN[type(layer)] if layer.plain else _variant
    return [
        add(model, layer, layer.cell(k), layer.return_sequences or k + 1 < layer.num_layers)
        for k in range(layer.num_layers)
    ]


def _lstm(model: Any, layer: Recurrent, w: dict[str, Array], all_steps: bool) -> int:
    arrays = (floats(w[key]) for key in ("weight_ih", "weight_hh", "bias_ih"))
    return int(lib.lstmcore_model_add_lstm(model, layer.hidden_size, *arrays, all_steps))


def _gru(model: Any, layer: Recurrent, w: dict[str, Array], all_steps: bool) -> int:
    arrays = (floats(w[key]) for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return int(lib.lstmcore_model_add_gru(model, layer.hidden_size, *arrays, all_steps))


def _rnn(model: Any, layer: Recurrent, w: dict[str, Array], all_steps: bool) -> int:
    arrays = (floats(w[key]) for key in ("weight_ih", "weight_hh", "bias_ih"))
    kind = getattr(lib, f"LSTMCORE_{layer.activations.upper()}")
    return int(lib.lstmcore_model_add_rnn(model, layer.hidden_size, *arrays, kind, all_steps))


_PLAIN: dict[type[Layer], Callable[[Any, Recurrent, dict[str, Array], bool], int]] = {LSTM: _lstm, GRU: _gru, RNN: _rnn}


def _variant(model: Any, layer: Recurrent, w: dict[str, Array], all_steps: bool) -> int:
    """Every other form, as csrc/lstmcore.h's lstmcore_variant says it."""
    how = ffi.new("lstmcore_variant *")
    how.cell = getattr(lib, f"LSTMCORE_{type(layer).__name__}")
    how.hidden, how.clip = layer.hidden_size, layer.clip
    names = {"gate candidate output": 3, "gate candidate": 2, "candidate": 1}
    (order,) = (text.split() for text, count in names.items() if count == len(layer.functions))
    for name, function in zip(order, layer.functions, strict=True):
        _set(getattr(how, name), function)
    if isinstance(layer, LSTM):
        how.proj, how.coupled, how.norm_eps = layer.proj_size, layer.coupled, layer.norm_eps
    if isinstance(layer, GRU):
        how.reset_after = layer.reset_after
    arrays = {**w, "peephole": w["weight_peephole"]} if "weight_peephole" in w else w
    kept = {key: floats(arrays[key]) for key in (*WEIGHTS, "peephole") if key in arrays}
    for key, pointer in kept.items():
        setattr(how, key, pointer)
    return int(lib.lstmcore_model_add_variant(model, how, all_steps))


def _set(to: Any, function: Function) -> None:
    to.kind = getattr(lib, f"LSTMCORE_{function.name.upper()}")
    to.alpha, to.beta = (*function.numbers, 0.0, 0.0)[:2]


def _add_linear(model: Any, layer: Linear) -> list[int]:
    w = layer.weights
    return [lib.lstmcore_model_add_linear(model, layer.out_features, floats(w["weight"]), floats(w["bias"]))]


def _add_affine(model: Any, scale: Array, shift: Array) -> int:
    scale, shift = (np.ascontiguousarray(a, np.float32) for a in (scale, shift))
    return int(lib.lstmcore_model_add_affine(model, floats(scale), floats(shift)))


def _add_batch_norm(model: Any, layer: BatchNorm1d) -> list[int]:
    wide = layer.map_weights(lambda w: w.astype(np.float64))
    return [_add_affine(model, *affine_of(wide))]


def _add_layer_norm(model: Any, layer: LayerNorm) -> list[int]:
    arrays = (floats(layer.weights.get(key)) for key in ("weight", "bias"))
    return [lib.lstmcore_model_add_layer_norm(model, *arrays, layer.eps)]


def _add_scaler(model: Any, layer: Scaler) -> list[int]:
    """The division alone: the mean has been subtracted by `Runner.take`."""
    scale = layer.weights["scale"].astype(np.float64)
    zero = 0.0 if np.any(scale != 1) else -0.0  # x + -0 is x, also where x is -0
    return [_add_affine(model, 1 / scale, np.full_like(scale, zero))]


def _add_function(model: Any, function: Function) -> list[int]:
    alpha, beta = (*function.numbers, 0.0, 0.0)[:2]
    kind = getattr(lib, f"LSTMCORE_{function.name.upper()}")
    return [lib.lstmcore_model_add_activation(model, kind, alpha, beta)]


#: How each layer that folding leaves is given to the core: the codes that came back.
ADD: dict[type[Layer], Callable[[Any, Any], list[int]]] = {
    LSTM: _add_recurrent,
    GRU: _add_recurrent,
    RNN: _add_recurrent,
    Linear: _add_linear,
    BatchNorm1d: _add_batch_norm,
    LayerNorm: _add_layer_norm,
    Scaler: _add_scaler,
    ReLU: lambda model, layer: _add_function(model, Function("relu")),
    LeakyReLU: lambda model, layer: _add_function(model, Function("leaky_relu", (layer.negative_slope,))),
    ELU: lambda model, layer: _add_function(model, Function("elu", (layer.alpha,))),
    GELU: lambda model, layer: _add_function(model, Function("gelu" if layer.approximate == "none" else "gelu_tanh")),
    Tanh: lambda model, layer: _add_function(model, Function("tanh")),
    Sigmoid: lambda model, layer: _add_function(model, Function("sigmoid")),
    Activation: lambda model, layer: _add_function(model, layer.equation),
    Softmax: lambda model, layer: [lib.lstmcore_model_add_softmax(model)],
    Last: lambda model, layer: [lib.lstmcore_model_add_last(model)],
    Flatten: lambda model, layer: [lib.lstmcore_model_add_flatten(model, layer.steps)],
    Squeeze: lambda model, layer: [],
}
