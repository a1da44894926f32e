"""The numba backend: kernels that numba compiles here, for machines without a C compiler. Computes in float32.

Weights are packed as in the C core. For every thread, and the length of its windows, a program says which operation of
`numba_kernels.py` reads what and writes where in the thread's memory.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmcore.backends import Runner
from lstmcore.backends import numba_kernels as kernels
from lstmcore.backends.numba_kernels import LANES, TILE
from lstmcore.backends.numba_packing import Operation, Packed, aligned, round_up
from lstmcore.folding import fold
from lstmcore.layers import Array, Layer, Shape


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
    return run


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
        self._run = compiled()
        self._model = Packed(fold(layers))
        self._output = output
        self._local = threading.local()

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        session = self._session(windows.shape[1:])
        answers = np.empty((len(windows), *session.y.shape), np.float32)
        try:
            for n, window in enumerate(windows):
                if h is not None and c is not None:
                    session.start(h[n], c[n])
                session.x[...] = window
                self._run(*session.arguments)
                answers[n] = session.y
        finally:  # the next window begins at zero, whatever happened here
            if h is not None:
                session.start(np.zeros_like(h[0]), np.zeros_like(h[0]))
        return answers

    def run_window(self, window: Array) -> Array:
        self._session(window.shape)
        answer = self.run_again(window)
        assert answer is not None, "the thread has a session for this shape now"
        return answer

    def run_again(self, window: Any) -> Array | None:
        session: Session | None = getattr(self._local, "session", None)
        if session is None or type(window) is not np.ndarray or window.dtype != self.dtype:
            return None
        if session.shape != window.shape:
            return None
        session.x[...] = window
        self._run(*session.arguments)
        return session.answer()

    def _session(self, shape: tuple[int, ...]) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None or session.shape != shape:
            answer = tuple(n if isinstance(n, int) else shape[0] for n in self._output)
            session = self._local.session = Session(self._model, shape, answer)
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
        self._states: list[tuple[Rows, Rows]] = []
        steps, features = shape
        any_stride = model.operations[0].kind in (kernels.LSTM, kernels.LINEAR, kernels.COPY)
        stride = features if any_stride else round_up(features, LANES)
        x = rows = Rows(self._room(steps * stride), steps, features, stride)
        self._gates = self._room(kernels.CHUNK * TILE * max(operation.blocks for operation in model.operations))
        program = np.zeros((len(model.operations), len(kernels.FIELDS)), np.int64)
        for fields, operation in zip(program, model.operations, strict=True):
            rows = self._place(fields, operation, rows)
        self._memory = aligned(self._size)
        self.arguments = program, model.weights, self._memory
        self.x = x.of(self._memory)
        self.y = rows.of(self._memory).reshape(answer)
        #: The answer as the caller's own: an array, or for the shape () a number.
        self.answer: Callable[[], Array] = self.y.copy if answer else functools.partial(self.y.__getitem__, ())

    def start(self, h: Array, c: Array) -> None:
        """Set the initial states, each (S,). They stay until they are set again."""
        at = 0
        for h_0, c_0 in self._states:
            h_0.of(self._memory)[0] = h[at : at + h_0.width]
            c_0.of(self._memory)[0] = c[at : at + c_0.width]
            at += h_0.width

    def _room(self, size: int) -> int:
        at = self._size
        self._size += round_up(size, LANES)
        return at

    def _place(self, fields: Array, operation: Operation, x: Rows) -> Rows:
        """Fill in one row of the program. Returns the rows that the operation leaves."""
        kind, units, blocks, weight, recurrent, all_steps = operation
        y, cell = x, 0
        if kind == kernels.LSTM:
            stride = blocks * LANES
            cell = self._room(2 * stride)
            y = Rows(self._room((1 + x.rows) * stride), 1 + x.rows, units, stride)
            self._states.append((y, Rows(cell + stride, 1, units, stride)))
        elif kind == kernels.LINEAR:
            stride = blocks * TILE
            y = Rows(self._room(x.rows * stride), x.rows, units, stride)
        elif kind == kernels.COPY:
            size = x.rows * x.width
            y = Rows(self._room(size), 1, size, round_up(size, LANES))
        values = {
            kernels.KIND: kind, kernels.ROWS: x.rows, kernels.INPUTS: x.width, kernels.UNITS: units,
            kernels.BLOCKS: blocks, kernels.X: x.at, kernels.X_ROW: x.stride, kernels.Y: y.at, kernels.Y_ROW: y.stride,
            kernels.WEIGHT: weight, kernels.RECURRENT: recurrent, kernels.GATES: self._gates, kernels.C: cell,
        }  # fmt: skip
        for field, value in values.items():
            fields[field] = value
        if kind != kernels.LSTM:
            return y
        first = 1 if all_steps else x.rows
        return Rows(y.at + first * y.stride, y.rows - first, units, y.stride)
