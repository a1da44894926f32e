"""Backends: families of implementations behind one interface, `Runner`."""

from __future__ import annotations

import abc
import importlib
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from lstmcore import stopping
from lstmcore.backends.streams import ReferenceSteps, Slider, WholeWindows, answer_shape
from lstmcore.errors import BackendError
from lstmcore.inputs import as_choice
from lstmcore.layers import Array, Layer, Recurrent, Scaler, Shape
from lstmcore.layers.base import held
from lstmcore.text import quoted

WINDOWS_AT_ONCE = 256  # that are copied out of a series, of as many
NUMBERS_AT_ONCE = 1 << 20

#: In the order in which "auto" takes them.
NAMES = ("c", "numba", "numpy")


class Runner(abc.ABC):
    """A model made ready to run by one backend. Several threads may call one Runner at once."""

    backend: str
    kernel: str | None = None
    dtype: np.dtype[Any] = np.dtype(np.float32)  # what `run` takes and returns
    given: tuple[Sequence[Layer], Shape, int]  # the layers, the answer's shape, the features of a tick
    mean: Array | None = None  # (F,), the scaler's, which no layer of `given` subtracts; None: zero

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
    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        """Answer every window.

        `windows` is (N, T, F), from `take`, N and T at least 1. `h` and `c` are the initial states,
        (N, S) in `dtype`, the layers' states one behind the other, or None for zeros or what a layer has learned.
        Returns (N, *output) in `dtype`.
        """

    def run_window(self, window: Array) -> Array:
        """Answer one window (T, F), from `take`, from a zero state: (*output,)."""
        answer: Array = self.run(window[np.newaxis], None, None)[0]
        return answer

    def run_again(self, window: Any) -> Array | None:
        """The same for an ndarray as it was given, with the shape of the last window and a dtype that suits; else None.

        That shape has been checked, so nothing is left to refuse.
        """
        return None

    def slider(self, window: int | None, streams: int) -> Slider:
        """Sequences of which every window of `window` ticks is answered; None: their states are carried on."""
        layers, output, features = self.given
        answer = answer_shape(output, window)
        if window is None and any(isinstance(layer, Recurrent) for layer in layers):
            return ReferenceSteps(layers, answer, features, self.dtype, streams)
        return WholeWindows(self, answer, features, window or 1, streams)

    def run_windows(self, series: Array, window: int, stride: int, answers: Array) -> None:
        """Answer every window of a series (rows, F), from `take`, in `answers` (N, *output)."""
        views = np.lib.stride_tricks.sliding_window_view(series, window, axis=0)[::stride].transpose(0, 2, 1)
        at_once = max(1, min(WINDOWS_AT_ONCE, NUMBERS_AT_ONCE // (window * series.shape[1])))
        for n in range(0, len(views), at_once):
            stopping.check()
            some = slice(n, n + at_once)
            answers[some] = self.run(np.ascontiguousarray(views[some]), None, None)


Compiler = Callable[[Sequence[Layer], int, Shape, str | None], Runner]


def compile_model(layers: Sequence[Layer], features: int, output: Shape, backend: str, kernel: str | None) -> Runner:
    """Make `layers` ready to run on ticks of `features`. Raises BackendError where backend or kernel cannot run."""
    as_choice(backend, "backend", ("auto", *NAMES))
    if not isinstance(kernel, str | None):
        raise TypeError(f"kernel: expected a name, such as 'avx2', or None, got {quoted(kernel)}")
    if kernel is not None and backend not in ("auto", "c"):
        raise ValueError(f"kernel {kernel!r}: only the c backend has kernels, and the backend is {backend!r}")
    module = _module(backend) if backend != "auto" else _best_module()
    if hasattr(module, "check_layers"):
        module.check_layers(layers)  # as the user has them: a graph's chains have layers of other names
    layers, mean = _centred(layers)
    compiler: Compiler = module.compile_model
    runner: Runner
    from lstmcore.backends import graph

    if graph.is_graph(layers):
        # numpy computes in the model's dtype, which a chain without weights does not know
        dtypes = [layer.dtype for layer in layers if layer.dtype is not None]
        own = dtypes[0] if dtypes and compiler.__module__.endswith(".numpy") else None
        runner = graph.GraphRunner(layers, features, lambda x, size, out: compiler(x, size, out, kernel), own)
    else:
        runner = compiler(layers, features, output, kernel)
    runner.given = layers, output, features
    if mean is not None:
        runner.mean = held(mean, runner.dtype)
        runner.mean.flags.writeable = False
    return runner


def _centred(layers: Sequence[Layer]) -> tuple[Sequence[Layer], Array | None]:
    """The layers with a scaler that only divides, and the mean that `Runner.take` subtracts; None where it is zero."""
    scaler = layers[0]
    if not isinstance(scaler, Scaler) or not np.any(scaler.weights["mean"]):
        return layers, None
    scale, mean = scaler.weights["scale"], scaler.weights["mean"]
    return [scaler.replace(weights={"mean": np.zeros_like(scale), "scale": scale}), *layers[1:]], mean


def _best_module() -> ModuleType:
    for name in NAMES:
        try:
            return _module(name)
        except BackendError as error:  # noqa: PERF203 - there are three
            warnings.warn(f"backend {name} is passed over: {error}", RuntimeWarning, stacklevel=4)
    raise AssertionError("the numpy backend is always there")


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"lstmcore.backends.{name}")
    except ImportError as error:
        hint = '; pip install "lstmcore[numba]" brings it' if error.name == "numba" else ""
        raise BackendError(f"backend {name!r} cannot be imported here: {error}{hint}") from error
