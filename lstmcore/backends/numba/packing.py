"""What the numba backend makes of a model's layers: a list of operations, and all weights packed into one array."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore.backends.numba import program
from lstmcore.backends.numba.program import TILE
from lstmcore.backends.numba.vectors import LANES
from lstmcore.backends.program import Differs, Either, Program, Where
from lstmcore.backends.runner import PassedOver
from lstmcore.folding import affine_of
from lstmcore.layers import (
    ELU,
    GELU,
    GRU,
    KINDS,
    LSTM,
    RNN,
    Add,
    Array,
    BatchNorm1d,
    Concat,
    Dropout,
    Flatten,
    Last,
    Layer,
    LeakyReLU,
    Linear,
    Masking,
    Mean,
    Mul,
    Recurrent,
    ReLU,
    Reverse,
    Scaler,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)


class Operation(NamedTuple):
    """What is known of an operation before the window's length; offsets are those of packed weights."""

    kind: int
    units: int = 0  # what comes out of a layer with a state, or a Linear
    blocks: int = 0
    weight: int = 0
    recurrent: tuple[int, ...] = ()  # of a GRU's r and z, and apart those of n
    reads: tuple[int, ...] = ()  # values, as those of a `Program`


class Packed:
    """A program's operations, and the weights of all of them in one array."""

    def __init__(self, of: Program) -> None:
        self._parts: list[Array] = []
        self._size = 0
        self.operations = [OPERATIONS[type(op.layer)](self, op.layer)._replace(reads=op.reads) for op in of.ops]
        self.inputs, self.outputs = of.inputs, of.outputs
        reads = [n for op in of.ops for n in op.reads] + of.outputs
        #: How often each value is read, or is an output.
        self.readers = [reads.count(n) for n in range(len(of.inputs) + len(of.ops))]
        self.weights = aligned(self._size)
        np.concatenate([np.empty(0, np.float32), *self._parts], out=self.weights)

    def add(self, weights: Array) -> int:
        """Where in `weights` these will stand."""
        at = self._size
        self._parts.append(np.pad(weights.ravel(), (0, -weights.size % LANES)))
        self._size += self._parts[-1].size
        return at


def round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def aligned(size: int) -> Array:
    """Zeros that begin at a cache line: vectors across two lines take twice as long to load."""
    line = LANES * 4
    memory = np.zeros(size + LANES, np.float32)
    first = -memory.ctypes.data % line // 4
    return memory[first : first + size]


def _tiles(matrix: Array, units: int) -> tuple[Array, int]:
    """(G*units, K) -> [block][K][TILE] and the number of blocks.

    Every 16 units are a vector of each gate, one behind the other, and four vectors a block: of 16 units and their four
    gates, or of 64 with their only one.
    """
    gates, inputs = len(matrix) // units, matrix.shape[1]
    padded = np.zeros((gates, round_up(units, LANES), inputs), np.float32)
    padded[:, :units] = matrix.reshape(gates, units, inputs)
    vectors = padded.reshape(gates, -1, LANES, inputs).transpose(1, 0, 2, 3).reshape(-1, LANES, inputs)
    filled = np.zeros((round_up(len(vectors), TILE // LANES), LANES, inputs), np.float32)
    filled[: len(vectors)] = vectors
    tiles = filled.reshape(-1, TILE // LANES, LANES, inputs).transpose(0, 3, 1, 2)
    return tiles, len(tiles)


def _with_bias(bias: Array, matrix: Array) -> Array:
    return np.column_stack([bias, matrix])


def _kind(layer: Recurrent) -> int:
    if isinstance(layer, GRU):
        return program.GRU if layer.reset_after else program.GRU_BEFORE
    if isinstance(layer, RNN):
        return program.RNN_TANH if layer.activations == "tanh" else program.RNN_RELU
    return program.LSTM


def _recurrent(packed: Packed, layer: Recurrent) -> Operation:
    w, hidden = layer.cell(0), layer.hidden_size
    tiles, blocks = _tiles(_with_bias(w["bias_ih"], w["weight_ih"]), hidden)
    if isinstance(layer, LSTM):  # the sums of its recurrent product begin at zero
        parts = [w["weight_hh"]]
    else:  # a GRU's candidate is multiplied apart
        matrix = _with_bias(w["bias_hh"], w["weight_hh"])
        parts = np.split(matrix, [2 * hidden]) if isinstance(layer, GRU) else [matrix]
    at, *others = [packed.add(part) for part in (tiles, *(_tiles(part, hidden)[0] for part in parts))]
    return Operation(_kind(layer), hidden, blocks, at, tuple(others))


def _linear(packed: Packed, layer: Linear) -> Operation:
    tiles, blocks = _tiles(_with_bias(layer.weights["bias"], layer.weights["weight"]), layer.out_features)
    return Operation(program.LINEAR, layer.out_features, blocks, packed.add(tiles))


def _affine(packed: Packed, scale: Array, shift: Array) -> Operation:
    rows = np.zeros((2, round_up(len(scale), LANES)), np.float32)
    rows[:, : len(scale)] = scale, shift
    return Operation(program.AFFINE, weight=packed.add(rows))


def _batch_norm(packed: Packed, layer: BatchNorm1d) -> Operation:
    return _affine(packed, *affine_of(layer.map_weights(lambda w: w.astype(np.float64))))


def _scaler(packed: Packed, layer: Scaler) -> Operation:
    """The division alone: the mean has been subtracted by `Runner.take`."""
    scale = layer.weights["scale"].astype(np.float64)
    return _affine(packed, 1 / scale, np.zeros_like(scale))


def _setting(kind: int, name: str) -> Callable[[Packed, Any], Operation]:
    return lambda packed, layer: Operation(kind, weight=packed.add(np.array([getattr(layer, name)], np.float32)))


def _plain(kind: int) -> Callable[[Packed, Any], Operation]:
    return lambda packed, layer: Operation(kind)


#: What each op comes to.
OPERATIONS: dict[type[Layer], Callable[[Packed, Any], Operation]] = {
    LSTM: _recurrent,
    GRU: _recurrent,
    RNN: _recurrent,
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    Scaler: _scaler,
    ReLU: _plain(program.RELU),
    LeakyReLU: _setting(program.LEAKY_RELU, "negative_slope"),
    ELU: _setting(program.ELU, "alpha"),
    GELU: lambda packed, layer: Operation(program.GELU if layer.approximate == "none" else program.GELU_TANH),
    Tanh: _plain(program.TANH),
    Sigmoid: _plain(program.SIGMOID),
    Softmax: _plain(program.SOFTMAX),
    Add: _plain(program.ADD),
    Mul: _plain(program.MULTIPLY),
    Mean: _plain(program.MEAN),
    Either: _plain(program.LARGER),
    Concat: _plain(program.CONCAT),
    Differs: _setting(program.DIFFERS, "number"),
    Where: _plain(program.WHERE),
    Last: _plain(program.LAST),
    Reverse: _plain(program.REVERSE),
    Flatten: _plain(program.COPY),
}
#: Layers of a model that come to other ops, or to none.
LOWERED = (Dropout, Masking, Squeeze)


def check_layers(layers: Sequence[Layer]) -> None:
    """Raise PassedOver, naming the layer, where there is one that the backend does not have."""
    for layer in layers:
        how = _variations(layer)
        if not how and (type(layer) in OPERATIONS or isinstance(layer, LOWERED)):
            continue
        kinds = ", ".join(kind.__name__ for kind in OPERATIONS if kind in KINDS.values())
        has = "the usual LSTM, GRU and RNN (tanh, relu), without clip" if how else kinds
        what = f"this layer with {how}" if how else "this layer"
        raise PassedOver(
            f"{layer.label}: the numba backend does not have {what}; it has {has}; backends c and numpy have them all"
        )


def _variations(layer: Layer) -> str:
    """What sets a recurrent layer apart from those that the kernels have: "peepholes=True"; "" of others."""
    if not isinstance(layer, Recurrent) or layer.plain:
        return ""
    fields = {f.name: f for f in dataclasses.fields(layer)}
    own = [name for name, f in fields.items() if f.metadata.get("variation", False) and name != "reset_after"]
    shown = {name: getattr(layer, name) for name in (*own, "activations", "clip")}
    return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value != layer.usual_setting(name))
