"""The numba backend: kernels that numba compiles here, for machines without a C compiler. Computes in float32.

Weights are packed as in the C core. For every thread, and the length of its windows, a program says which operation of
`kernels.py` reads what and writes where in the thread's memory.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore import stopping
from lstmcore.backends.numba import kernels, program
from lstmcore.backends.numba.packing import Operation, Packed, aligned, check_layers, round_up
from lstmcore.backends.numba.program import TILE
from lstmcore.backends.numba.vectors import LANES
from lstmcore.backends.numpy import start_of
from lstmcore.backends.runner import Runner
from lstmcore.folding import fold
from lstmcore.layers import Array, Layer, Recurrent, Shape

#: The kinds of layers that carry a state.
WITH_STATE = (program.LSTM, program.GRU, program.GRU_BEFORE, program.RNN_TANH, program.RNN_RELU)


@functools.cache
def compiled() -> Callable[[Array, Array, Array], None]:
    """`run` of the kernels for this processor, loaded from numba's cache or compiled. Nothing else is ever compiled."""
    run = kernels.run
    try:
        run.enable_caching()
    except RuntimeError as error:
        hint = "every process compiles the numba backend anew; NUMBA_CACHE_DIR names a folder that can be written"
        warnings.warn(f"{hint}: {error}", RuntimeWarning, stacklevel=2)
    run.compile("void(int64[:, ::1], float32[::1], float32[::1])")
    run.disable_compile()
    ready: Callable[[Array, Array, Array], None] = run
    return ready


def origin() -> str:
    """Where the code that `compiled` gave came from."""
    stats = kernels.run.stats
    if stats.cache_hits:
        return f"loaded from {stats.cache_path}"
    return f"compiled and kept in {stats.cache_path}" if stats.cache_path else "compiled, and not kept"


def compile_model(layers: Sequence[Layer], features: int, output: Shape, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return NumbaRunner(layers, output)


class NumbaRunner(Runner):
    """A model's packed weights, and a session for each thread that runs it."""

    backend = "numba"

    def __init__(self, layers: Sequence[Layer], output: Shape) -> None:
        check_layers(layers)
        self._run = compiled()
        layers = fold(layers)
        self._model = Packed(layers)
        starts = [start_of(layer, self.dtype) for layer in layers if isinstance(layer, Recurrent)]
        h, c = zip(*starts, strict=True) if starts else ((), ())
        #: What a window begins with unless it is told otherwise, h and c, (S,) each: what was learned, or zeros.
        self._start = tuple(np.concatenate([np.empty(0, self.dtype), *(s.ravel() for s in some)]) for some in (h, c))
        self._output = output
        self._local = threading.local()

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        session = self._taken(windows.shape[1:])
        answers = np.empty((len(windows), *session.y.shape), np.float32)
        for n, window in enumerate(windows):
            if h is not None and c is not None:
                session.start(h[n], c[n])
            stopping.check()
            session.x[...] = window
            session.run(self._run)
            answers[n] = session.y
        if h is not None:  # the next window begins as usual
            session.start(*self._start)
        self._local.session = session
        return answers

    def run_window(self, window: Array) -> Array:
        session = self._taken(window.shape)
        session.x[...] = window
        session.run(self._run)
        answer = session.answer()
        self._local.session = session
        return answer

    def run_again(self, window: Any) -> Array | None:
        session: Session | None = getattr(self._local, "session", None)
        if session is None or type(window) is not np.ndarray or window.dtype != self.dtype:
            return None
        if session.shape != window.shape:
            return None
        return self.run_window(window if self.mean is None else self.take(window))

    def _taken(self, shape: tuple[int, ...]) -> Session:
        """This thread's session, out of the way of handlers of signals, which may call the model too, at any moment.

        Who has taken it puts it back; after an error it need not, and the next call makes another one.
        """
        session: Session | None = self._local.__dict__.pop("session", None)
        if session is None or session.shape != shape:
            answer = tuple(n if isinstance(n, int) else shape[0] for n in self._output)
            session = Session(self._model, shape, answer)
            session.start(*self._start)
        return session


class Rows(NamedTuple):
    """A matrix in a thread's memory; rows of `width` numbers begin every `stride` floats."""

    at: int
    rows: int
    width: int
    stride: int

    def of(self, memory: Array) -> Array:
        """(rows, width)"""
        whole = memory[self.at : self.at + self.rows * self.stride].reshape(self.rows, self.stride)
        return whole[:, : self.width]


class Session:
    """A thread's memory for windows of one shape, and the program that works on it."""

    def __init__(self, model: Packed, shape: tuple[int, ...], answer: tuple[int, ...]) -> None:
        self.shape = shape
        self._size = 0
        self._h: list[Rows] = []  # where each layer's initial states stand, (1, units)
        self._c: list[Rows] = []
        steps, features = shape
        any_stride = model.operations[0].kind in (*WITH_STATE, program.LINEAR, program.COPY)
        stride = features if any_stride else round_up(features, LANES)
        x = rows = Rows(self._room(steps * stride), steps, features, stride)
        self._gates = self._room(program.CHUNK * TILE * max(operation.blocks for operation in model.operations))
        written = np.zeros((len(model.operations), len(program.FIELDS)), np.int64)
        for fields, operation in zip(written, model.operations, strict=True):
            rows = self._place(fields, operation, rows)
        self._memory = aligned(self._size)
        self._weights = model.weights
        self._program = written
        #: The program in pieces of bounded work, where it is much.
        self._pieces = list(program.cut(written))
        self.x = x.of(self._memory)
        self.y = rows.of(self._memory).reshape(answer)
        #: The answer as the caller's own: an array, or for the shape () a number.
        self.answer: Callable[[], Array] = self.y.copy if answer else functools.partial(self.y.__getitem__, ())

    def run(self, run: Callable[[Array, Array, Array], None]) -> None:
        """Answer the window in x. Between two pieces Ctrl-C is heard."""
        if len(self._pieces) == 1:
            run(self._program, self._weights, self._memory)
            return
        for piece in self._pieces:
            stopping.check()
            run(piece.program, self._weights, self._memory)
            if piece.goes_on is not None:  # the next piece begins with the c that this one leaves
                c, row = piece.goes_on
                self._memory[c + row : c + 2 * row] = self._memory[c : c + row]

    def start(self, h: Array, c: Array) -> None:
        """Set the initial states, the layers' values one behind the other. They stay until they are set again."""
        for values, places in ((h, self._h), (c, self._c)):
            at = 0
            for place in places:
                place.of(self._memory)[0] = values[at : at + place.width]
                at += place.width

    def _room(self, size: int) -> int:
        at = self._size
        self._size += round_up(size, LANES)
        return at

    def _place(self, fields: Array, operation: Operation, x: Rows) -> Rows:
        """Fill in one row of the program. Returns the rows that the operation leaves."""
        kind, units, blocks = operation.kind, operation.units, operation.blocks
        recurrent, candidate = (*operation.recurrent, 0, 0)[:2]
        y, cell, product, reset = x, 0, 0, 0
        if kind in WITH_STATE:
            stride = round_up(units, LANES)
            y = Rows(self._room((1 + x.rows) * stride), 1 + x.rows, units, stride)
            self._h.append(y._replace(rows=1))
            if kind == program.LSTM:
                cell = self._room(3 * stride) + stride  # room for a piece, then as the kernels have it
                self._c.append(Rows(cell + stride, 1, units, stride))
            else:  # one step's products, of at most three gates, each filling up its last tile
                product, reset = self._room(3 * stride + TILE), self._room(stride)
        elif kind == program.LINEAR:
            stride = blocks * TILE
            y = Rows(self._room(x.rows * stride), x.rows, units, stride)
        elif kind == program.COPY:
            size = x.rows * x.width
            y = Rows(self._room(size), 1, size, round_up(size, LANES))
        values = {
            program.KIND: kind, program.ROWS: x.rows, program.INPUTS: x.width, program.UNITS: units,
            program.BLOCKS: blocks, program.X: x.at, program.X_ROW: x.stride, program.Y: y.at, program.Y_ROW: y.stride,
            program.WEIGHT: operation.weight, program.GATES: self._gates, program.C: cell, program.PRODUCT: product,
            program.RESET: reset, program.RECURRENT: recurrent, program.CANDIDATE: candidate,
        }  # fmt: skip
        for field, value in values.items():
            fields[field] = value
        if kind not in WITH_STATE:
            return y
        first = 1 if operation.all_steps else x.rows
        return Rows(y.at + first * y.stride, y.rows - first, units, y.stride)
