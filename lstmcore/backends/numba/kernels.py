"""The kernels of the numba backend: every layer, over vectors of sixteen floats.

`run` takes one window through all layers, and only it is called from Python. All that it works on lies in two arrays:
packed weights, and a thread's memory. The program says where in them: `program.py`.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np

from lstmcore.backends.numba.activations import ONE, ZERO, activation, gelu, sigmoid, softmax, tanh
from lstmcore.backends.numba.program import (
    ADD,
    AFFINE,
    BLOCKS,
    CANDIDATE,
    CHUNK,
    COPY,
    COUNT,
    DIFFERS,
    DIVIDE,
    GATES,
    GELU,
    GRU_BEFORE,
    INPUTS,
    KIND,
    LINEAR,
    LSTM,
    MASK,
    MASK_ROW,
    MULTIPLY,
    PRODUCT,
    RECURRENT,
    RESET,
    RNN_RELU,
    RNN_TANH,
    ROWS,
    SOFTMAX,
    TILE,
    UNITS,
    WEIGHT,
    WHERE,
    X_ROW,
    Y_ROW,
    C,
    X,
    Y,
)
from lstmcore.backends.numba.vectors import LANES, Vector, fma, jit, load, load_in_all_lanes, maximum, splat, store


@jit
def tile(weights: Any, at: int, memory: Any, x_at: int, inputs: int, sums: tuple[Vector, ...]) -> tuple[Vector, ...]:
    """Add W·x to four vectors. Every sum is formed in the order of the inputs, with one multiply-add a term."""
    a, b, c, d = sums
    for k in range(inputs):
        x = load_in_all_lanes(memory, x_at + k)
        a = fma(x, load(weights, at), a)
        b = fma(x, load(weights, at + LANES), b)
        c = fma(x, load(weights, at + 2 * LANES), c)
        d = fma(x, load(weights, at + 3 * LANES), d)
        at += TILE
    return a, b, c, d


@jit
def load_tile(array: Any, at: int) -> tuple[Vector, ...]:
    return load(array, at), load(array, at + LANES), load(array, at + 2 * LANES), load(array, at + 3 * LANES)


@jit
def project(
    weights: Any, at: int, inputs: int, blocks: int, down: bool, memory: Any,
    x_at: int, x_row: int, rows: int, y_at: int, y_row: int,
) -> None:  # fmt: skip
    """W·x + b of every row, block by block: a block's weights stay in the nearest cache while the rows pass."""
    for n in range(blocks):
        block = blocks - 1 - n if down else n
        bias_at = at + block * (1 + inputs) * TILE  # the bias, and behind it the weights
        bias = load_tile(weights, bias_at)
        for t in range(rows):
            a, b, c, d = tile(weights, bias_at + TILE, memory, x_at + t * x_row, inputs, bias)
            y = y_at + t * y_row + block * TILE
            store(memory, y, a)
            store(memory, y + LANES, b)
            store(memory, y + 2 * LANES, c)
            store(memory, y + 3 * LANES, d)


@jit
def cells(weights: Any, at: int, memory: Any, units: int, gates_at: int, h_at: int, c_at: int, new_h_at: int) -> None:
    """One step of 16 units. The gates hold W·x + b; R·h is formed apart, and added at the end."""
    zero = splat(ZERO)
    from_input = load_tile(memory, gates_at)
    from_hidden = tile(weights, at, memory, h_at, units, (zero, zero, zero, zero))
    i = sigmoid(from_input[0] + from_hidden[0])
    f = sigmoid(from_input[1] + from_hidden[1])
    g = tanh(from_input[2] + from_hidden[2])
    o = sigmoid(from_input[3] + from_hidden[3])
    c = load(memory, c_at)
    c = f * c + i * g
    h = o * tanh(c)
    store(memory, c_at, c)
    store(memory, new_h_at, h)


@jit
def lstm_step(op: Any, weights: Any, memory: Any, gates_at: int, h_at: int, new_h_at: int, down: bool) -> None:
    units, blocks = op[UNITS], op[BLOCKS]
    for n in range(blocks):
        block = blocks - 1 - n if down else n
        at, c_at = op[RECURRENT] + block * units * TILE, op[C] + block * LANES
        cells(weights, at, memory, units, gates_at + block * TILE, h_at, c_at, new_h_at + block * LANES)


@jit
def product(op: Any, at: int, vectors: int, weights: Any, memory: Any, h_at: int, y_at: int, down: bool) -> None:
    """R·h of one step, with its bias, in `vectors` vectors and what fills up the last tile."""
    blocks = (vectors * LANES + TILE - 1) // TILE
    project(weights, at, op[UNITS], blocks, down, memory, h_at, 0, 1, y_at, 0)


@jit
def gru_step(op: Any, weights: Any, memory: Any, gates_at: int, h_at: int, new_h_at: int, down: bool) -> None:
    """The reset gate works on the candidate's product and bias or, in `GRU_BEFORE`, on the h that is multiplied."""
    blocks, reset_at, before = (op[UNITS] + LANES - 1) // LANES, op[RESET], op[KIND] == GRU_BEFORE
    product_at, candidate_at = op[PRODUCT], op[PRODUCT] + 2 * blocks * LANES
    product(op, op[RECURRENT], 2 * blocks, weights, memory, h_at, product_at, down)
    for n in range(blocks):
        r = sigmoid(load(memory, gates_at + 3 * n * LANES) + load(memory, product_at + 2 * n * LANES))
        store(memory, reset_at + n * LANES, r * load(memory, h_at + n * LANES) if before else r)
    product(op, op[CANDIDATE], blocks, weights, memory, reset_at if before else h_at, candidate_at, down)
    for n in range(blocks):
        input_at = gates_at + 3 * n * LANES
        z = sigmoid(load(memory, input_at + LANES) + load(memory, product_at + (2 * n + 1) * LANES))
        from_hidden = load(memory, candidate_at + n * LANES)
        if not before:
            from_hidden = load(memory, reset_at + n * LANES) * from_hidden
        candidate = tanh(load(memory, input_at + 2 * LANES) + from_hidden)
        h = load(memory, h_at + n * LANES)
        store(memory, new_h_at + n * LANES, (ONE - z) * candidate + z * h)


@jit
def rnn_step(op: Any, weights: Any, memory: Any, gates_at: int, h_at: int, new_h_at: int, down: bool) -> None:
    blocks, product_at = (op[UNITS] + LANES - 1) // LANES, op[PRODUCT]
    product(op, op[RECURRENT], blocks, weights, memory, h_at, product_at, down)
    for at in range(0, blocks * LANES, LANES):
        total = load(memory, gates_at + at) + load(memory, product_at + at)
        store(memory, new_h_at + at, maximum(ZERO, total) if op[KIND] == RNN_RELU else tanh(total))


@jit
def recurrent(op: Any, weights: Any, memory: Any) -> None:
    """Every step's h goes behind the initial h, which is the first row of Y. Behind C stands the initial c."""
    blocks, row, kind = op[BLOCKS], op[Y_ROW], op[KIND]
    if kind == LSTM:
        for n in range(op[C], op[C] + row, LANES):
            store(memory, n, load(memory, n + row))
    for begin in range(0, op[ROWS], CHUNK):
        rows, x_at, gates_row = min(CHUNK, op[ROWS] - begin), op[X] + begin * op[X_ROW], blocks * TILE
        project(weights, op[WEIGHT], op[INPUTS], blocks, False, memory, x_at, op[X_ROW], rows, op[GATES], gates_row)
        for t in range(rows):
            h_at, gates_at = op[Y] + (begin + t) * row, op[GATES] + t * gates_row
            if op[MASK_ROW] > 0 and memory[op[MASK] + (begin + t) * op[MASK_ROW]] == 0:
                for n in range(h_at, h_at + row):
                    memory[n + row] = memory[n]
                continue
            down = t % 2 != 0  # odd steps go downwards: the weights used last are still in the nearest cache
            if kind == LSTM:
                lstm_step(op, weights, memory, gates_at, h_at, h_at + row, down)
            elif kind >= RNN_TANH:
                rnn_step(op, weights, memory, gates_at, h_at, h_at + row, down)
            else:
                gru_step(op, weights, memory, gates_at, h_at, h_at + row, down)


@jit
def affine(op: Any, weights: Any, memory: Any) -> None:
    """x·scale + shift, in place: two rows of weights, each padded to whole vectors."""
    row, padded = op[X_ROW], (op[INPUTS] + LANES - 1) // LANES * LANES
    for x_at in range(op[X], op[X] + op[ROWS] * row, row):
        for n in range(0, padded, LANES):
            scale, shift = load(weights, op[WEIGHT] + n), load(weights, op[WEIGHT] + padded + n)
            store(memory, x_at + n, fma(load(memory, x_at + n), scale, shift))


@jit
def join(kind: int, y: Any, x: Any) -> Any:
    if kind == ADD:
        return y + x
    if kind == MULTIPLY:
        return y * x
    return y if y > x or y != y else x


@jit
def rows_of(op: Any, weights: Any, memory: Any) -> None:
    """What is made of rows number by number: copies, joins, masks."""
    kind, width, setting = op[KIND], op[INPUTS], weights[op[WEIGHT]]
    for t in range(op[ROWS]):
        x_at, y_at = op[X] + t * op[X_ROW], op[Y] + t * op[Y_ROW]
        if kind == DIFFERS:
            differs = False
            for n in range(x_at, x_at + width):
                differs = differs or memory[n] != setting
            memory[y_at] = 1 if differs else 0
        elif kind == WHERE:
            if memory[x_at] == 0:
                for n in range(y_at, y_at + width):
                    memory[n] = 0
        else:
            for n in range(width):
                x = memory[x_at + n]
                if kind == DIVIDE:
                    x = memory[y_at + n] / np.float32(op[COUNT])
                elif kind != COPY:
                    x = join(kind, memory[y_at + n], x)
                memory[y_at + n] = x


def made(sources: int) -> Any:
    """`run`, known to numba's cache by `sources` too: of the files, it looks at this one alone."""

    @nb.njit(error_model="numpy", nogil=True)
    def run(program: Any, weights: Any, memory: Any) -> None:
        """One window through all operations of `program`, (N, len(FIELDS)) int64."""
        _ = sources  # what a function takes from around it is a part of its key in the cache
        for op in program:
            kind, begin, row = op[KIND], op[X], op[X_ROW]
            end = begin + op[ROWS] * row
            if kind <= RNN_RELU:
                recurrent(op, weights, memory)
            elif kind == LINEAR:
                inputs, blocks = op[INPUTS], op[BLOCKS]
                project(weights, op[WEIGHT], inputs, blocks, False, memory, begin, row, op[ROWS], op[Y], op[Y_ROW])
            elif kind < SOFTMAX:
                rows_of(op, weights, memory)
            elif kind == AFFINE:
                affine(op, weights, memory)
            elif kind == SOFTMAX:
                for x_at in range(begin, end, row):
                    softmax(memory[x_at : x_at + op[INPUTS]])
            elif kind == GELU:
                gelu(memory[begin:end])
            else:
                setting = load_in_all_lanes(weights, op[WEIGHT])
                for n in range(begin, end, LANES):
                    store(memory, n, activation(kind, load(memory, n), setting))

    return run


run = made(zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))))
