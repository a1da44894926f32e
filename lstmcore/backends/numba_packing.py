"""What the numba backend makes of a model's layers: a list of operations, and all weights packed into one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore.backends import numba_kernels as kernels
from lstmcore.backends.numba_kernels import LANES, TILE
from lstmcore.errors import BackendError
from lstmcore.folding import affine_of
from lstmcore.layers import (
    ELU,
    GELU,
    LSTM,
    Array,
    BatchNorm1d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Scaler,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)


class Operation(NamedTuple):
    """What is known of an operation before the window's length; offsets are those of packed weights."""

    kind: int
    units: int = 0  # LSTM and Linear: what comes out
    blocks: int = 0
    weight: int = 0
    recurrent: int = 0
    all_steps: bool = True


class Packed:
    """A model's operations, and the weights of all of them in one array."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._parts: list[Array] = []
        self._size = 0
        for layer in layers:
            if type(layer) not in OPERATIONS or (isinstance(layer, LSTM) and (layer.learned_state or not layer.plain)):
                raise BackendError(f"{layer.label}: the numba backend does not have this layer; c and numpy have")
        self.operations = [operation for layer in layers for operation in OPERATIONS[type(layer)](self, layer)]
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
    """(G*units, K) -> [block][K][TILE]: in a block 16 units with their four gates, or 64 with their only one."""
    gates = len(matrix) // units
    blocks = -(-units * gates // TILE)
    padded = np.zeros((gates, blocks * TILE // gates, matrix.shape[1]), np.float32)
    padded[:, :units] = matrix.reshape(gates, units, -1)
    return padded.reshape(gates, blocks, TILE // gates, -1).transpose(1, 3, 0, 2), blocks


def _with_bias(bias: Array, matrix: Array) -> Array:
    return np.column_stack([bias, matrix])


def _lstm(packed: Packed, layer: LSTM) -> list[Operation]:
    operations = []
    w = layer.weights
    for k in range(layer.num_layers):
        tiles, blocks = _tiles(_with_bias(w[f"bias_ih_l{k}"], w[f"weight_ih_l{k}"]), layer.hidden_size)
        recurrent, _ = _tiles(w[f"weight_hh_l{k}"], layer.hidden_size)
        offsets = packed.add(tiles), packed.add(recurrent)
        all_steps = layer.return_sequences or k + 1 < layer.num_layers
        operations.append(Operation(kernels.LSTM, layer.hidden_size, blocks, *offsets, all_steps))
    return operations


def _linear(packed: Packed, layer: Linear) -> list[Operation]:
    tiles, blocks = _tiles(_with_bias(layer.weights["bias"], layer.weights["weight"]), layer.out_features)
    return [Operation(kernels.LINEAR, layer.out_features, blocks, packed.add(tiles))]


def _affine(packed: Packed, mean: Array, scale: Array, shift: Array) -> list[Operation]:
    rows = np.zeros((3, round_up(len(mean), LANES)), np.float32)
    rows[:, : len(mean)] = mean, scale, shift
    return [Operation(kernels.AFFINE, weight=packed.add(rows))]


def _batch_norm(packed: Packed, layer: BatchNorm1d) -> list[Operation]:
    scale, shift = affine_of(layer.map_weights(lambda w: w.astype(np.float64)))
    return _affine(packed, np.zeros_like(scale), scale, shift)


def _scaler(packed: Packed, layer: Scaler) -> list[Operation]:
    mean, scale = (layer.weights[key].astype(np.float64) for key in ("mean", "scale"))
    return _affine(packed, mean, 1 / scale, np.zeros_like(mean))


def _setting(kind: int, name: str) -> Callable[[Packed, Any], list[Operation]]:
    return lambda packed, layer: [Operation(kind, weight=packed.add(np.array([getattr(layer, name)], np.float32)))]


def _plain(kind: int) -> Callable[[Packed, Any], list[Operation]]:
    return lambda packed, layer: [Operation(kind)]


#: What each layer that folding leaves comes to.
OPERATIONS: dict[type[Layer], Callable[[Packed, Any], list[Operation]]] = {
    LSTM: _lstm,
    Linear: _linear,
    BatchNorm1d: _batch_norm,
    Scaler: _scaler,
    ReLU: _plain(kernels.RELU),
    LeakyReLU: _setting(kernels.LEAKY_RELU, "negative_slope"),
    ELU: _setting(kernels.ELU, "alpha"),
    GELU: lambda packed, layer: [Operation(kernels.GELU if layer.approximate == "none" else kernels.GELU_TANH)],
    Tanh: _plain(kernels.TANH),
    Sigmoid: _plain(kernels.SIGMOID),
    Softmax: _plain(kernels.SOFTMAX),
    Flatten: _plain(kernels.COPY),
    Squeeze: _plain(kernels.COPY),  # a sequence becomes one row
}
