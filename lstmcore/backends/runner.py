"""What a backend makes of a model: the interface behind which its implementation stands."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstmcore import stopping
from lstmcore.backends.program import Program
from lstmcore.backends.sliders import ReferenceSteps, Slider, WholeWindows
from lstmcore.errors import BackendError
from lstmcore.layers import Array, Input, Shape
from lstmcore.ports import sizes_of

WINDOWS_AT_ONCE = 256  # that are copied out of a series, of as many
NUMBERS_AT_ONCE = 1 << 20


class PassedOver(BackendError):
    """A backend that is not here, or lacks an op: "auto" takes the next one."""


class Runner(abc.ABC):
    """A model made ready to run by one backend. Several threads may call one Runner at once.

    Arrays come in and go out in the order of the model's inputs and outputs.
    """

    backend: str
    kernel: str | None = None
    dtype: np.dtype[Any] = np.dtype(np.float32)  # what `run` takes and returns
    program: Program  # of the layers, not folded
    outputs: Mapping[str, Shape]  # the answers to one window
    means: tuple[Array | None, ...]  # (F,) for each input, a scaler's, which no op of `program` subtracts; None: zero

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the model takes."""
        return self.program.inputs

    @property
    def single(self) -> bool:
        """Whether one array comes in and one goes out."""
        return len(self.inputs) == len(self.outputs) == 1

    def take(self, x: Array, which: int = 0) -> Array:
        """Real numbers (..., F) of any dtype for an input, as all methods below expect them: less its mean, in `dtype`.

        C-contiguous and aligned, as the core reads them.

        A float64 price is not rounded before the mean is subtracted. float32 numbers give the same difference, bit for
        bit, whether it is formed in float32 or in float64 and then rounded: float64 has more than twice their digits.
        """
        mean = self.means[which]
        with np.errstate(over="ignore"):
            if mean is not None:
                wide = x.dtype.itemsize > 8  # a longdouble: no wider than what streams take
                x = np.subtract(x.astype(np.float64) if wide else x, mean)
            return np.require(x, self.dtype, ["C", "A"])

    def take_all(self, arrays: Sequence[Array]) -> list[Array]:
        """`take` for every input."""
        return [self.take(x, n) for n, x in enumerate(arrays)]

    @abc.abstractmethod
    def run(
        self,
        windows: Sequence[Array],
        state: Array | None,
        lengths: Array | None = None,
        ends: Array | None = None,
    ) -> list[Array]:
        """Answer every window.

        `windows` are (N, T, F), of a vector (N, F), from `take`, N and T at least 1. `state` is what the windows begin
        with, (N, S) in `dtype`: of each recurrent op of the program h, then c; or None for zeros or what a layer has
        learned. `lengths` (N,) uintp says how many ticks of each window count; where every step answers, the answers
        after them are zeros. `ends` (N, S), unless it is None, is where the states at the end go, laid out as `state`.
        Returns (N, *output) in `dtype` for each output.
        """

    def run_window(self, window: Sequence[Array]) -> list[Array]:
        """Answer one window, (T, F) or of a vector (F,), from `take`, from a zero state: (*output,) for each output."""
        return [answer[0] for answer in self.run([x[np.newaxis] for x in window], None)]

    def run_again(self, window: Any) -> Array | None:
        """The same for an ndarray as it was given, of a model with one input and output, with the shape of the last
        window and a dtype that suits; else None.

        That shape has been checked, so nothing is left to refuse.
        """
        return None

    def slider(self, window: int | None, streams: int) -> Slider:
        """Sequences of which every window of `window` ticks is answered; None: their states are carried on.

        Raises ValueError, naming the layer, where the states of such a model cannot be carried.
        """
        if window is None:
            return ReferenceSteps(self, streams)
        return WholeWindows(self, window, streams)

    def answers(self, count: int, steps: int) -> list[Array]:
        """Room for the answers to so many windows of so many steps: zeros."""
        return [np.zeros((count, *sizes_of(output, steps)), self.dtype) for output in self.outputs.values()]

    def steps_of(self, windows: Sequence[Array]) -> int:
        """The ticks of windows (N, T, F)."""
        return next(int(x.shape[1]) for one, x in zip(self.inputs, windows, strict=True) if one.rank == "sequence")

    def run_windows(self, series: Sequence[Array], window: int, stride: int, answers: Sequence[Array]) -> None:
        """Answer every window of a series, (rows, F), of a vector (N, F), from `take`, in answers (N, *output)."""
        views = [
            np.lib.stride_tricks.sliding_window_view(x, window, axis=0)[::stride].transpose(0, 2, 1)
            if one.rank == "sequence"
            else x
            for one, x in zip(self.inputs, series, strict=True)
        ]
        numbers = sum(window * one.size for one in self.inputs)
        at_once = max(1, min(WINDOWS_AT_ONCE, NUMBERS_AT_ONCE // numbers))
        for n in range(0, len(answers[0]), at_once):
            stopping.check()
            some = slice(n, n + at_once)
            for y, answer in zip(answers, self.run([np.ascontiguousarray(x[some]) for x in views], None), strict=True):
                y[some] = answer
