"""A thread's memory for windows of one shape, and the program that works on it: a row of integers an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lstmcore import stopping
from lstmcore.backends.numba import program
from lstmcore.backends.numba.packing import Operation, Packed, aligned, round_up
from lstmcore.backends.numba.program import TILE
from lstmcore.backends.numba.vectors import LANES
from lstmcore.layers import Array

#: The kinds of operations that carry a state.
WITH_STATE = (program.LSTM, program.GRU, program.GRU_BEFORE, program.RNN_TANH, program.RNN_RELU)
JOINS = (program.ADD, program.MULTIPLY, program.LARGER, program.MEAN)


class Rows(NamedTuple):
    """A matrix in a thread's memory; rows of `width` numbers begin every `stride` floats."""

    at: int
    rows: int
    width: int
    stride: int
    alone: bool = False  # one operation reads it, and may work where it is

    def of(self, memory: Array) -> Array:
        """(rows, width)"""
        whole = memory[self.at : self.at + self.rows * self.stride].reshape(self.rows, self.stride)
        return whole[:, : self.width]


class Session:
    """One thread's. A stateful operation's rows have one more before them, for the h that it begins with."""

    def __init__(self, model: Packed, steps: int, answers: Sequence[tuple[int, ...]]) -> None:
        self.steps = steps
        self._size = 0
        self._states: list[Rows] = []  # where each operation's initial h and c are, (1, units)
        self._written: list[dict[int, int]] = []
        values = [
            self._new(steps if one.rank == "sequence" else 1, one.size)._replace(alone=readers == 1)
            for one, readers in zip(model.inputs, model.readers, strict=False)
        ]
        xs = list(values)
        blocks = max((operation.blocks for operation in model.operations), default=0)
        self._gates = self._room(program.CHUNK * TILE * blocks)
        for operation, readers in zip(model.operations, model.readers[len(xs) :], strict=True):
            rows = self._place(operation, [values[n] for n in operation.reads])
            values.append(rows._replace(alone=rows.alone and readers == 1))
        self._memory = aligned(self._size)
        self._weights = model.weights
        table = [[row.get(f, 0) for f in program.FIELDS] for row in self._written]
        self._program = np.array(table, np.int64).reshape(-1, len(program.FIELDS))
        #: The program in pieces of bounded work, where it is much.
        self._pieces = list(program.cut(self._program))
        self.xs = [x.of(self._memory) for x in xs]
        self.ys = [values[n].of(self._memory).reshape(answer) for n, answer in zip(model.outputs, answers, strict=True)]

    def run(self, run: Callable[[Array, Array, Array], None]) -> None:
        """Answer the window in `xs`. Between two pieces Ctrl-C is heard."""
        if len(self._pieces) == 1:
            run(self._program, self._weights, self._memory)
            return
        for piece in self._pieces:
            stopping.check()
            run(piece.program, self._weights, self._memory)
            if piece.goes_on is not None:  # the next piece begins with the c that this one leaves
                c, row = piece.goes_on
                self._memory[c + row : c + 2 * row] = self._memory[c : c + row]

    def start(self, state: Array) -> None:
        """Set the initial states, each operation's h, then its c. They stay until they are set again."""
        at = 0
        for place in self._states:
            place.of(self._memory)[0] = state[at : at + place.width]
            at += place.width

    def _room(self, size: int) -> int:
        at = self._size
        self._size += round_up(size, LANES)
        return at

    def _new(self, rows: int, width: int, stride: int | None = None) -> Rows:
        stride = round_up(width, LANES) if stride is None else stride
        return Rows(self._room(rows * stride), rows, width, stride, True)

    def _write(self, kind: int, x: Rows, y: Rows, **fields: int) -> None:
        """Append an operation over the rows of x, into those of y."""
        self._written.append(
            {
                program.KIND: kind, program.ROWS: x.rows, program.INPUTS: x.width, program.X: x.at,
                program.X_ROW: x.stride, program.Y: y.at, program.Y_ROW: y.stride, program.GATES: self._gates,
            } | {getattr(program, name): value for name, value in fields.items()}
        )  # fmt: skip

    def _place(self, operation: Operation, reads: Sequence[Rows]) -> Rows:
        """Write what an operation comes to. Returns the rows that it leaves."""
        kind, x = operation.kind, reads[0]
        if kind in WITH_STATE:
            return self._place_steps(operation, x, *reads[1:])
        if kind in JOINS:
            return self._place_join(kind, reads)
        if kind == program.LAST:
            return x._replace(at=x.at + (x.rows - 1) * x.stride, rows=1)
        if kind == program.LINEAR:
            y = self._new(x.rows, operation.units, operation.blocks * TILE)
            self._write(kind, x, y, UNITS=operation.units, BLOCKS=operation.blocks, WEIGHT=operation.weight)
        elif kind == program.CONCAT:
            y, at = self._new(x.rows, sum(part.width for part in reads)), 0
            for part in reads:
                self._write(program.COPY, part, y._replace(at=y.at + at))
                at += part.width
        elif kind == program.REVERSE:
            y = self._new(x.rows, x.width)
            self._write(program.COPY, x._replace(at=x.at + (x.rows - 1) * x.stride, stride=-x.stride), y)
        elif kind == program.COPY:
            y = self._new(1, x.rows * x.width)
            self._write(kind, x, y._replace(stride=x.width))
        elif kind == program.DIFFERS:
            y = self._new(x.rows, 1)
            self._write(kind, x, y, WEIGHT=operation.weight)
        else:
            y = x if x.alone else self._copy(x)
            if kind == program.WHERE:
                self._write(kind, reads[1]._replace(width=x.width), y)
            else:
                self._write(kind, y, y, WEIGHT=operation.weight)
        return y

    def _copy(self, x: Rows) -> Rows:
        y = self._new(x.rows, x.width)
        self._write(program.COPY, x, y)
        return y

    def _place_join(self, kind: int, reads: Sequence[Rows]) -> Rows:
        y = self._copy(reads[0])
        for part in reads[1:]:
            self._write(program.ADD if kind == program.MEAN else kind, part, y)
        if kind == program.MEAN:
            self._write(program.DIVIDE, y, y, COUNT=len(reads))
        return y

    def _place_steps(self, operation: Operation, x: Rows, mask: Rows | None = None) -> Rows:
        kind, units = operation.kind, operation.units
        recurrent, candidate = (*operation.recurrent, 0, 0)[:2]
        cell, product, reset = 0, 0, 0
        y = self._new(1 + x.rows, units)
        self._states.append(y._replace(rows=1))
        if kind == program.LSTM:
            cell = self._room(3 * y.stride) + y.stride  # room for a piece, then as the kernels have it
            self._states.append(Rows(cell + y.stride, 1, units, y.stride))
        else:  # one step's products, of at most three gates, each filling up its last tile
            product, reset = self._room(3 * y.stride + TILE), self._room(y.stride)
        self._write(
            kind, x, y, UNITS=units, BLOCKS=operation.blocks, WEIGHT=operation.weight, C=cell, PRODUCT=product,
            RESET=reset, RECURRENT=recurrent, CANDIDATE=candidate,
            MASK=0 if mask is None else mask.at, MASK_ROW=0 if mask is None else mask.stride,
        )  # fmt: skip
        return y._replace(at=y.at + y.stride, rows=x.rows)
