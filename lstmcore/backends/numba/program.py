"""What a program of the numba backend consists of: a row of integers for each operation, and their columns.

`runner.py` writes programs, `kernels.py` runs them. Offsets and sizes are in floats; an operation uses the fields
that it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lstmcore.backends.numba.vectors import LANES
from lstmcore.layers import Array

#: What is summed side by side, in four vectors: the gates of 16 units of an LSTM, or 64 outputs of a Linear.
TILE = 4 * LANES
#: Steps whose input products are formed at once, and which stay in the nearest caches until the steps use them.
CHUNK = 32

FIELDS = (
    KIND, ROWS, INPUTS, UNITS, BLOCKS, X, X_ROW, Y, Y_ROW, WEIGHT, RECURRENT, GATES, C, PRODUCT, CANDIDATE, RESET,
    MASK, MASK_ROW, COUNT,
) = tuple(range(19))  # fmt: skip

#: The layers with a state come first. `GRU_BEFORE` is the GRU whose reset gate works on h, before the product.
LSTM, GRU, GRU_BEFORE, RNN_TANH, RNN_RELU = range(5)
#: Those from `SOFTMAX` on work where they read; the joins before it where a copy of the first of their values is.
LINEAR, COPY, DIFFERS, ADD, MULTIPLY, LARGER, DIVIDE, WHERE = range(5, 13)
SOFTMAX, AFFINE, RELU, LEAKY_RELU, ELU, GELU, GELU_TANH, TANH, SIGMOID = range(13, 22)
#: These come to others, or to another look at the same rows: see `session.py`.
MEAN, CONCAT, LAST, REVERSE = range(22, 26)

#: Multiply-adds that one call takes, some tens of milliseconds, so that Ctrl-C is heard; and what an element counts as.
WORK_AT_ONCE, ELEMENT = 1 << 27, 32


class Piece(NamedTuple):
    """Some operations, or some rows of one."""

    program: Array  # (N, len(FIELDS)) int64
    goes_on: tuple[int, int] | None = None  # where an LSTM's c is that goes on from an earlier piece, and its length


def cut(program: Array) -> Iterator[Piece]:
    """A program, (N, len(FIELDS)) int64, in pieces of bounded work; one piece if that is little.

    The steps of a recurrent operation go on from the h in the row before, where the last piece left it, and from a c
    that is taken from behind the place where the piece works: that is where the first piece worked.
    """
    work = [int(max(op[INPUTS], op[X_ROW]) * ELEMENT + (op[INPUTS] + op[UNITS]) * op[BLOCKS] * TILE) for op in program]
    if sum(n * int(op[ROWS]) for n, op in zip(work, program, strict=True)) <= WORK_AT_ONCE:
        yield Piece(program)
        return
    for op, each in zip(program, work, strict=True):
        at_once = max(1, WORK_AT_ONCE // each)
        for begin in range(0, int(op[ROWS]), at_once):
            piece = op.copy()
            piece[ROWS] = min(at_once, op[ROWS] - begin)
            piece[X] += begin * op[X_ROW]
            piece[Y] += begin * op[Y_ROW]
            piece[MASK] += begin * op[MASK_ROW]
            goes_on = None
            if begin and op[KIND] == LSTM:
                piece[C] -= op[Y_ROW]
                goes_on = int(piece[C]), int(op[Y_ROW])
            yield Piece(np.array([piece]), goes_on)
