"""What a backend makes of a model: the interface behind which its implementation stands."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from lstmcore import stopping
from lstmcore.backends.program import Program
from lstmcore.backends.sliders import ReferenceSteps, Slider, WholeWindows, answer_shape
from lstmcore.errors import BackendError
from lstmcore.layers import Array, Shape

WINDOWS_AT_ONCE = 256  # that are copied out of a series, of as many
NUMBERS_AT_ONCE = 1 << 20


class PassedOver(BackendError):
    """A backend that is not here, or lacks an op: "auto" takes the next one."""


class Runner(abc.ABC):
    """A model made ready to run by one backend. Several threads may call one Runner at once."""

    backend: str
    kernel: str | None = None
    dtype: np.dtype[Any] = np.dtype(np.float32)  # what `run` takes and returns
    program: Program  # of the layers, not folded
    output: Shape  # of an answer
    mean: Array | None = None  # (F,), the scaler's, which no op of `program` subtracts; None: zero

    @property
    def features(self) -> int:
        """Of a tick."""
        return self.program.features

    def take(self, ticks: Array) -> Array:
        """Real numbers (..., F) of any dtype as all methods below expect them: less `mean`, in `dtype`.

        C-contiguous and aligned, as the core reads them.

        A float64 price is not rounded before the mean is subtracted. float32 numbers give the same difference, bit for
        bit, whether it is formed in float32 or in float64 and then rounded: float64 has more than twice their digits.
        """
        with np.errstate(over="ignore"):
            if self.mean is not None:
                wide = ticks.dtype.itemsize > 8  # a longdouble: no wider than what streams take
                ticks = np.subtract(ticks.astype(np.float64) if wide else ticks, self.mean)
            return np.require(ticks, self.dtype, ["C", "A"])

    @abc.abstractmethod
    def run(
        self, windows: Array, state: Array | None, lengths: Array | None = None, ends: Array | None = None
    ) -> Array:
        """Answer every window.

        `windows` is (N, T, F), from `take`, N and T at least 1. `state` is what the windows begin with, (N, S) in
        `dtype`: of each recurrent op of the program h, then c; or None for zeros or what a layer has learned. `lengths`
        (N,) uintp says how many ticks of each window count; where every step answers, the answers after them are zeros.
        `ends` (N, S), unless it is None, is where the states at the end go, laid out as `state`.
        Returns (N, *output) in `dtype`.
        """

    def run_window(self, window: Array) -> Array:
        """Answer one window (T, F), from `take`, from a zero state: (*output,)."""
        answer: Array = self.run(window[np.newaxis], None)[0]
        return answer

    def run_again(self, window: Any) -> Array | None:
        """The same for an ndarray as it was given, with the shape of the last window and a dtype that suits; else None.

        That shape has been checked, so nothing is left to refuse.
        """
        return None

    def slider(self, window: int | None, streams: int) -> Slider:
        """Sequences of which every window of `window` ticks is answered; None: their states are carried on.

        Raises ValueError, naming the layer, where the states of such a model cannot be carried.
        """
        answer = answer_shape(self.output, window)
        if window is None:
            return ReferenceSteps(self.program, answer, self.dtype, streams)
        return WholeWindows(self, answer, window, streams)

    def answers(self, count: int, steps: int) -> Array:
        """Room for the answers to so many windows of so many steps: zeros."""
        return np.zeros((count, *(n if isinstance(n, int) else steps for n in self.output)), self.dtype)

    def run_windows(self, series: Array, window: int, stride: int, answers: Array) -> None:
        """Answer every window of a series (rows, F), from `take`, in `answers` (N, *output)."""
        views = np.lib.stride_tricks.sliding_window_view(series, window, axis=0)[::stride].transpose(0, 2, 1)
        at_once = max(1, min(WINDOWS_AT_ONCE, NUMBERS_AT_ONCE // (window * series.shape[1])))
        for n in range(0, len(views), at_once):
            stopping.check()
            some = slice(n, n + at_once)
            answers[some] = self.run(np.ascontiguousarray(views[some]), None)
