"""The C backend: the core in `csrc/`, bound with cffi. Computes in float32."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore.backends.c.adding import Builder
from lstmcore.backends.c.binding import (
    STOP,
    Bound,
    address,
    check,
    ffi,
    floats,
    function,
    inputs,
    kernel_name,
    kernels_here,
    lib,
    outputs,
    plan_of,
)
from lstmcore.backends.program import Program, lower
from lstmcore.backends.runner import Runner
from lstmcore.backends.sliders import Slider
from lstmcore.folding import fold
from lstmcore.layers import Array
from lstmcore.layers.wiring import Wiring
from lstmcore.ports import sizes_of

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
    return str(ffi.string(lib.lstmcore_model_kernel(Builder(None).model)).decode())


def compile_model(wiring: Wiring, program: Program, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return CRunner(wiring, kernel)


class CRunner(Runner):
    """One packed model, and a session for each thread that runs it."""

    backend = "c"
    folded: Program  # what the core runs
    model: Any  # its lstmcore_model

    def __init__(self, wiring: Wiring, kernel: str | None) -> None:
        self.folded = lower(fold(wiring))
        self.model = Builder(kernel).build(self.folded)
        self.kernel = str(ffi.string(lib.lstmcore_model_kernel(self.model)).decode())
        self._local = threading.local()
        self._local.session = Session(self.model)  # memory that is short is told of now, not at the first tick

    def run(
        self,
        windows: Sequence[Array],
        state: Array | None,
        lengths: Array | None = None,
        ends: Array | None = None,
    ) -> list[Array]:
        n, steps = len(windows[0]), self.steps_of(windows)
        answers = self.answers(n, steps)
        session = self._taken() if ends is None else self._taken("ending")
        counts = ffi.NULL if lengths is None else ffi.from_buffer("size_t[]", lengths)
        code = lib.lstmcore_run_many(
            session.handle, inputs(*windows), n, steps, counts, floats(state), outputs(*answers), floats(ends)
        )
        setattr(self._local, "session" if ends is None else "ending", session)
        check(code, "run")
        return answers

    def run_window(self, window: Sequence[Array]) -> list[Array]:
        if not self.single:
            return super().run_window(window)
        (x,), (output,), (mean,) = window, self.outputs.values(), self.means
        session = self._taken()
        bound = session.bind(x.shape, sizes_of(output, len(x)), mean)
        answer: Array = bound.ask_taken(x)
        self._local.session = session
        return [answer]

    def run_again(self, window: Any) -> Array | None:
        session = getattr(self._local, "session", None)
        return None if session is None else session.ask(window)

    def slider(self, window: int | None, streams: int) -> Slider:
        if window is not None and not lib.lstmcore_model_slides(self.model):
            return super().slider(window, streams)
        if window is None and not lib.lstmcore_model_carries(self.model):
            ops = enumerate(self.folded.ops)
            label = next(op.label for n, op in ops if plan_of(self.model, n).scope == lib.LSTMCORE_WHOLE_WINDOW)
            raise ValueError(
                f"{label}: what it puts out depends on ticks that have not come: a model with it cannot carry "
                f"states from tick to tick; `sliding` and whole windows can"
            )
        from lstmcore.backends.c.streams import CSlider

        return CSlider(self, window, streams)

    def run_windows(self, series: Sequence[Array], window: int, stride: int, answers: Sequence[Array]) -> None:
        session = self._taken()
        rows = next(len(x) for one, x in zip(self.inputs, series, strict=True) if one.rank == "sequence")
        code = lib.lstmcore_run_windows(session.handle, inputs(*series), rows, window, stride, outputs(*answers))
        self._local.session = session
        check(code, "run_windows")

    def _taken(self, name: str = "session") -> Session:
        """This thread's session, or the one that gives states at the end.

        It is out of the way of handlers of signals, which may call the model too, at any moment. Who has taken it puts
        it back; after an error it need not, and the next call makes another one.
        """
        session: Session | None = self._local.__dict__.pop(name, None)
        return Session(self.model, name == "ending") if session is None or session.running else session


class Session:
    """A thread's own memory in the core, and the buffers of one window bound to it.

    Copying a window into memory that the core knows takes less time than making a pointer to the caller's.
    """

    __slots__ = ("_bound", "ask", "handle", "shape")

    def __init__(self, model: Any, states: bool = False) -> None:
        out = ffi.new("lstmcore_session **")
        check(lib.lstmcore_session_new(model, states, out), "a session's memory")
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
