"""The C backend: the core in `csrc/`, bound with cffi. Computes in float32."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore.backends.c.adding import ADD
from lstmcore.backends.c.binding import (
    STOP,
    Bound,
    address,
    check,
    ffi,
    floats,
    function,
    kernel_name,
    kernels_here,
    lib,
)
from lstmcore.backends.numpy import start_of
from lstmcore.backends.runner import Runner
from lstmcore.backends.sliders import Slider, answer_shape
from lstmcore.folding import fold
from lstmcore.layers import Array, Layer, Recurrent, Shape

__all__ = ["CRunner", "compile_model", "default_kernel", "kernels_built", "kernels_here"]

BIND, RUN_BOUND = function("lstmcore_bind"), function("lstmcore_run_bound")


def kernels_built() -> list[str]:
    """The kernels of this build, best first."""
    return [kernel_name(k) for k in range(lib.lstmcore_kernel_count()) if lib.lstmcore_kernel_built(k)]


def default_kernel() -> str:
    """The kernel that a model gets unless one is named: LSTMCORE_KERNEL, or else the best that runs here.

    Raises:
        BackendError: LSTMCORE_KERNEL names a kernel that does not exist or cannot run here.
    """
    return str(ffi.string(lib.lstmcore_model_kernel(_new_model(None, 1))).decode())


def compile_model(layers: Sequence[Layer], features: int, output: Shape, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return CRunner(layers, features, output, kernel)


def _learned(layers: Sequence[Layer]) -> tuple[Array, Array] | None:
    """The states h and c, (1, S) each, that a window begins with where layers have learned some; None: zeros."""
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    if not any(layer.learned_state for layer in recurrent):
        return None
    states = [start_of(layer, np.dtype(np.float32)) for layer in recurrent]
    h, c = (np.concatenate([part.ravel() for part in parts])[np.newaxis] for parts in zip(*states, strict=True))
    return h, c


def _new_model(kernel: str | None, input_size: int) -> Any:
    out = ffi.new("lstmcore_model **")
    name = ffi.NULL if kernel is None else ffi.new("char[]", kernel.encode())
    asked = f"kernel {kernel!r}" if kernel is not None else f"LSTMCORE_KERNEL={os.environ.get('LSTMCORE_KERNEL')!r}"
    check(lib.lstmcore_model_new(name, input_size, out), asked)
    return ffi.gc(out[0], lib.lstmcore_model_free)


class CRunner(Runner):
    """One packed model, and a session for each thread that runs it."""

    backend = "c"

    def __init__(self, layers: Sequence[Layer], features: int, output: Shape, kernel: str | None) -> None:
        layers = fold(layers)
        self._model = _new_model(kernel, features)
        for layer in layers:
            for code in ADD[type(layer)](self._model, layer):
                check(code, layer.label)
        self.kernel = str(ffi.string(lib.lstmcore_model_kernel(self._model)).decode())
        self._layers, self._output = layers, output
        self._start = _learned(layers)
        self._local = threading.local()
        self._local.session = Session(self._model)  # memory that is short is told of now, not at the first tick

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        n, steps, _ = windows.shape
        if h is None and self._start is not None:
            h, c = (np.repeat(state, n, axis=0) for state in self._start)
        answers = np.empty((n, *self._answer_shape(steps)), np.float32)
        session = self._taken()
        handle = session.handle
        code = lib.lstmcore_run_many(handle, floats(windows), n, steps, floats(h), floats(c), floats(answers))
        self._local.session = session
        check(code, "run")
        return answers

    def run_window(self, window: Array) -> Array:
        if self._start is not None:
            return super().run_window(window)
        session = self._taken()
        bound = session.bind(window.shape, self._answer_shape(len(window)), self.mean)
        answer: Array = bound.ask_taken(window)
        self._local.session = session
        return answer

    def run_again(self, window: Any) -> Array | None:
        session = getattr(self._local, "session", None)
        return None if session is None else session.ask(window)

    def slider(self, window: int | None, streams: int) -> Slider:
        carries = any(isinstance(layer, Recurrent) for layer in self._layers)
        if not (carries if window is None else self._slides()):
            return super().slider(window, streams)
        from lstmcore.backends.c.streams import CSlider

        layers, output, features = self.given
        start = None if self._start is None else np.concatenate(self._states())
        return CSlider(self._model, layers, answer_shape(output, window), features, window, streams, start)

    def _slides(self) -> bool:
        """Windows in flight begin at zero: not so where a layer has learned to begin elsewhere."""
        return self._start is None and bool(lib.lstmcore_model_slides(self._model))

    def _states(self) -> list[Array]:
        """What each layer's sequence begins with, h and c of one layer behind the other."""
        states = [start_of(layer, self.dtype) for layer in self._layers if isinstance(layer, Recurrent)]
        return [row for h, c in states for rows in zip(h, c, strict=True) for row in rows]

    def run_windows(self, series: Array, window: int, stride: int, answers: Array) -> None:
        if not self._slides():
            super().run_windows(series, window, stride, answers)
            return
        session = self._taken()
        code = lib.lstmcore_run_windows(session.handle, floats(series), len(series), window, stride, floats(answers))
        self._local.session = session
        check(code, "run_windows")

    def _answer_shape(self, steps: int) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else steps for n in self._output)

    def _taken(self) -> Session:
        """This thread's session, out of the way of handlers of signals, which may call the model too, at any moment.

        Who has taken it puts it back; after an error it need not, and the next call makes another one.
        """
        session: Session | None = self._local.__dict__.pop("session", None)
        return Session(self._model) if session is None or session.running else session


class Session:
    """A thread's own memory in the core, and the buffers of one window bound to it.

    Copying a window into memory that the core knows takes less time than making a pointer to the caller's.
    """

    __slots__ = ("_bound", "ask", "handle", "shape")

    def __init__(self, model: Any) -> None:
        out = ffi.new("lstmcore_session **")
        check(lib.lstmcore_session_new(model, out), "a session's memory")
        check(lib.lstmcore_session_watch(out[0], STOP, ffi.NULL), "watch")
        #: Freed with the last name for it. Who calls the core with it has one, for the call may outlive the thread's
        #: other names: those of daemon threads go when the program ends, while such a thread is still in the core.
        self.handle = ffi.gc(out[0], lib.lstmcore_session_free)
        self.shape: tuple[int, ...] = ()
        self._bound: Bound | None = None
        #: Answers a float32 or float64 window of `shape`, as it was given; None: it is something else.
        self.ask: Callable[[Array], Array | None] = _no_answer

    @property
    def running(self) -> bool:
        """Whether `ask` is under way."""
        return self._bound is not None and self._bound.running

    def bind(self, shape: tuple[int, ...], answer: tuple[int, ...], mean: Array | None) -> Bound:
        """What answers windows of `shape`; it is made where the last one was for another shape."""
        if self._bound is not None and shape == self.shape:
            return self._bound
        x, y = np.empty(shape, np.float32), np.empty(answer, np.float32)
        # The answer as the caller's own: an array, or for the shape () a number.
        own = y.copy if answer else functools.partial(y.__getitem__, ())
        bound = Bound(
            RUN_BOUND, address(self.handle), x, y, None, own, _refuse, np.ndarray, self.handle,
            yields=True, mean=mean, bind=BIND,
        )  # fmt: skip
        self._bound, self.ask, self.shape = bound, bound.ask, shape
        return bound


def _refuse(code: int) -> None:
    check(code, "run")


def _no_answer(window: Array) -> None:
    return None
