"""The numba backend: kernels that numba compiles here, for machines without a C compiler. Computes in float32.

Weights are packed as in the C core. For every thread, and the length of its windows, a program says which operation of
`kernels.py` reads what and writes where in the thread's memory.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore import stopping
from lstmcore.backends.numba import kernels
from lstmcore.backends.numba.packing import Packed, check_layers
from lstmcore.backends.numba.session import Session
from lstmcore.backends.numpy import start_of
from lstmcore.backends.program import Program, lower
from lstmcore.backends.runner import Runner
from lstmcore.folding import fold
from lstmcore.layers import Array
from lstmcore.layers.wiring import Wiring
from lstmcore.ports import sizes_of


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


def compile_model(wiring: Wiring, program: Program, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return NumbaRunner(wiring)


class NumbaRunner(Runner):
    """A model's packed weights, and a session for each thread that runs it."""

    backend = "numba"

    def __init__(self, wiring: Wiring) -> None:
        check_layers(wiring.layers)
        self._run = compiled()
        folded = lower(fold(wiring))
        self._model = Packed(folded)
        starts = [part for one in folded.recurrent for part in start_of(one.layer, self.dtype)]
        #: What a window begins with unless it is told otherwise, (S,): what was learned, or zeros.
        self._start = np.concatenate([np.empty(0, self.dtype), *starts])
        self._local = threading.local()

    def run(
        self,
        windows: Sequence[Array],
        state: Array | None,
        lengths: Array | None = None,
        ends: Array | None = None,
    ) -> list[Array]:
        if ends is not None:
            raise ValueError("return_state: the numba backend does not give states back; the backends c and numpy do")
        count, steps = len(windows[0]), self.steps_of(windows)
        answers = self.answers(count, steps)
        for n in range(count):
            length = steps if lengths is None else int(lengths[n])
            session = self._taken(length)
            if state is not None:
                session.start(state[n])
            stopping.check()
            for x, window in zip(session.xs, windows, strict=True):
                x[...] = window[n, :length] if window.ndim == 3 else window[n]
            session.run(self._run)
            for answer, y, output in zip(answers, session.ys, self.outputs.values(), strict=True):
                to = answer[n, :length] if "T" in output else answer[n, ...]
                to[...] = y
            if state is not None:  # the next window begins as usual
                session.start(self._start)
            self._local.session = session
        return answers

    def run_window(self, window: Sequence[Array]) -> list[Array]:
        steps = next(len(x) for one, x in zip(self.inputs, window, strict=True) if one.rank == "sequence")
        session = self._taken(steps)
        for x, given in zip(session.xs, window, strict=True):
            x[...] = given
        session.run(self._run)
        # The caller's own: arrays, or for the shape () a number.
        answers = [y.copy() if y.ndim else y[()] for y in session.ys]
        self._local.session = session
        return answers

    def run_again(self, window: Any) -> Array | None:
        session: Session | None = getattr(self._local, "session", None)
        if session is None or not self.single or type(window) is not np.ndarray or window.dtype != self.dtype:
            return None
        if session.xs[0].shape != window.shape:
            return None
        return self.run_window([window if self.means[0] is None else self.take(window)])[0]

    def _taken(self, steps: int) -> Session:
        """This thread's session, out of the way of handlers of signals, which may call the model too, at any moment.

        Who has taken it puts it back; after an error it need not, and the next call makes another one.
        """
        session: Session | None = self._local.__dict__.pop("session", None)
        if session is None or session.steps != steps:
            session = Session(self._model, steps, [sizes_of(output, steps) for output in self.outputs.values()])
            session.start(self._start)
        return session
