"""How a program is given to the core."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmcore.backends.c.binding import check, ffi, floats, lib
from lstmcore.backends.program import Differs, Either, Program, Where
from lstmcore.folding import affine_of
from lstmcore.layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    Array,
    BatchNorm1d,
    Concat,
    Flatten,
    Last,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Mean,
    Mul,
    Recurrent,
    ReLU,
    Reverse,
    Scaler,
    Sigmoid,
    Softmax,
    Tanh,
)
from lstmcore.layers.activations import Activation as Function

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "norm_ih", "norm_hh", "norm_c", "norm_c_bias")


class Builder:
    """A model of the core under construction. `lib` is the core's functions: benchmarks have those of others."""

    def __init__(self, kernel: str | None, lib: Any = lib) -> None:
        self.lib = lib
        out = ffi.new("lstmcore_model **")
        name = ffi.NULL if kernel is None else ffi.new("char[]", kernel.encode())
        env = f"LSTMCORE_KERNEL={os.environ.get('LSTMCORE_KERNEL')!r}"
        check(lib.lstmcore_model_new(name, out), env if kernel is None else f"kernel {kernel!r}")
        self.model = ffi.gc(out[0], lib.lstmcore_model_free)
        self._out = ffi.new("lstmcore_value *")

    def add(self, name: str, *arguments: Any) -> int:
        """Call lstmcore_model_add_`name`; the value that it makes."""
        self._check(getattr(self.lib, f"lstmcore_model_add_{name}")(self.model, *arguments, self._out))
        return int(self._out[0])

    def _check(self, code: int) -> None:
        if code:
            check(code, ffi.string(self.lib.lstmcore_model_error(self.model)).decode())

    def build(self, program: Program) -> Any:
        """The program, of folded layers, as a sealed model."""
        lib = self.lib
        ranks = {"sequence": lib.LSTMCORE_SEQUENCE, "vector": lib.LSTMCORE_VECTOR}
        values = [
            self.add("input", f"input {n}".encode(), ranks[one.rank], one.size, lib.LSTMCORE_FLOAT32)
            for n, one in enumerate(program.inputs)
        ]
        for op in program.ops:
            values.append(ADD[type(op.layer)](self, op.layer, *(values[n] for n in op.reads)))
        for n, output in enumerate(program.outputs):
            if output < len(program.inputs):  # the core answers with what layers make
                values[output] = self.function(values[output], Function("linear"))
            self._check(lib.lstmcore_model_add_output(self.model, f"output {n}".encode(), values[output]))
        self._check(lib.lstmcore_model_seal(self.model))
        return self.model

    def recurrent(self, layer: Recurrent, value: int, mask: int | None = None) -> int:
        """An LSTM, GRU or RNN of one layer and direction."""
        cell = layer.cell(0)
        made = _PLAIN[type(layer)](self, layer, value, cell) if layer.plain else _variant(self, layer, value, cell)
        if layer.learned_state:
            self._check(
                self.lib.lstmcore_model_set_start(self.model, made, floats(cell["h_0"]), floats(cell.get("c_0")))
            )
        if mask is not None:
            self._check(self.lib.lstmcore_model_set_mask(self.model, made, mask))
        return made

    def affine(self, value: int, scale: Array, shift: Array) -> int:
        """x*scale + shift, each feature."""
        scale, shift = (np.ascontiguousarray(a, np.float32) for a in (scale, shift))
        return self.add("affine", value, floats(scale), floats(shift))

    def function(self, value: int, function: Function) -> int:
        """An activation of each element."""
        how = ffi.new("lstmcore_function *")
        _set(how, function)
        return self.add("activation", value, how[0])

    def join(self, how: str, *values: int) -> int:
        """Several values as one."""
        return self.add("join", getattr(self.lib, f"LSTMCORE_{how}"), ffi.new("lstmcore_value[]", values), len(values))


def _lstm(to: Builder, layer: Recurrent, value: int, w: dict[str, Array]) -> int:
    return to.add("lstm", value, layer.hidden_size, *(floats(w[key]) for key in ("weight_ih", "weight_hh", "bias_ih")))


def _gru(to: Builder, layer: Recurrent, value: int, w: dict[str, Array]) -> int:
    arrays = (floats(w[key]) for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return to.add("gru", value, layer.hidden_size, *arrays)


def _rnn(to: Builder, layer: Recurrent, value: int, w: dict[str, Array]) -> int:
    arrays = (floats(w[key]) for key in ("weight_ih", "weight_hh", "bias_ih"))
    return to.add("rnn", value, layer.hidden_size, *arrays, getattr(lib, f"LSTMCORE_{layer.activations.upper()}"))


_PLAIN: dict[type[Layer], Callable[[Builder, Recurrent, int, dict[str, Array]], int]] = {
    LSTM: _lstm,
    GRU: _gru,
    RNN: _rnn,
}


def _variant(to: Builder, layer: Recurrent, value: int, w: dict[str, Array]) -> int:
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
    return to.add("variant", value, how)


def _set(to: Any, function: Function) -> None:
    to.kind = getattr(lib, f"LSTMCORE_{function.name.upper()}")
    to.alpha, to.beta = (*function.numbers, 0.0, 0.0)[:2]


def _linear(to: Builder, layer: Linear, value: int) -> int:
    w = layer.weights
    return to.add("linear", value, layer.out_features, floats(w["weight"]), floats(w["bias"]))


def _batch_norm(to: Builder, layer: BatchNorm1d, value: int) -> int:
    return to.affine(value, *affine_of(layer.map_weights(lambda w: w.astype(np.float64))))


def _layer_norm(to: Builder, layer: LayerNorm, value: int) -> int:
    return to.add("layer_norm", value, *(floats(layer.weights.get(key)) for key in ("weight", "bias")), layer.eps)


def _scaler(to: Builder, layer: Scaler, value: int) -> int:
    """The division alone: the mean has been subtracted by `Runner.take`."""
    scale = layer.weights["scale"].astype(np.float64)
    zero = 0.0 if np.any(scale != 1) else -0.0  # x + -0 is x, also where x is -0
    return to.affine(value, 1 / scale, np.full_like(scale, zero))


def _gelu(to: Builder, layer: GELU, value: int) -> int:
    return to.function(value, Function("gelu" if layer.approximate == "none" else "gelu_tanh"))


#: How each op is given to the core: the value that it makes of those that it reads.
ADD: dict[type[Layer], Callable[..., int]] = {
    LSTM: Builder.recurrent,
    GRU: Builder.recurrent,
    RNN: Builder.recurrent,
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    LayerNorm: _layer_norm,
    Scaler: _scaler,
    ReLU: lambda to, layer, value: to.function(value, Function("relu")),
    LeakyReLU: lambda to, layer, value: to.function(value, Function("leaky_relu", (layer.negative_slope,))),
    ELU: lambda to, layer, value: to.function(value, Function("elu", (layer.alpha,))),
    GELU: _gelu,
    Tanh: lambda to, layer, value: to.function(value, Function("tanh")),
    Sigmoid: lambda to, layer, value: to.function(value, Function("sigmoid")),
    Activation: lambda to, layer, value: to.function(value, layer.equation),
    Softmax: lambda to, layer, value: to.add("softmax", value),
    Concat: lambda to, layer, *values: to.join("CONCAT", *values),
    Add: lambda to, layer, *values: to.join("SUM", *values),
    Mean: lambda to, layer, *values: to.join("MEAN", *values),
    Mul: lambda to, layer, *values: to.join("PRODUCT", *values),
    Either: lambda to, layer, *values: to.join("MAXIMUM", *values),
    Differs: lambda to, layer, value: to.add("differs", value, layer.number),
    Where: lambda to, layer, value, mask: to.add("where", value, mask),
    Last: lambda to, layer, value: to.add("last", value),
    Reverse: lambda to, layer, value: to.add("reverse", value),
    Flatten: lambda to, layer, value: to.add("flatten", value, layer.steps),
}
