"""Backends: families of implementations behind one interface, `Runner`."""

from __future__ import annotations

import abc
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore.errors import BackendError
from lstmcore.layers import Array, Layer, Shape

#: In the order in which "auto" takes them.
NAMES = ("c", "numba", "numpy")


class Runner(abc.ABC):
    """A model made ready to run by one backend. Several threads may call one Runner at once."""

    backend: str
    kernel: str | None = None
    dtype: np.dtype[Any] = np.dtype(np.float32)  # what `run` takes and returns

    @abc.abstractmethod
    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        """Answer every window.

        `windows` is (N, T, F) in `dtype`, C-contiguous, N and T at least 1. `h` and `c` are the initial states,
        (N, S) in `dtype`, the layers' states one behind the other, or None for zeros.
        Returns (N, *output) in `dtype`.
        """

    def run_window(self, window: Array) -> Array:
        """Answer one window (T, F) in `dtype`, C-contiguous, from a zero state: (*output,)."""
        answer: Array = self.run(window[np.newaxis], None, None)[0]
        return answer

    def run_again(self, window: Array) -> Array | None:
        """The same for an array in `dtype`, with any strides, that has the shape of the last window; else None.

        That shape has been checked, so nothing is left to convert or to refuse.
        """
        return None


def check_name(name: str) -> None:
    """Raise ValueError for a backend that does not exist."""
    if name not in ("auto", *NAMES):
        raise ValueError(f"backend {name!r}: expected one of {('auto', *NAMES)}")


def compile_model(layers: Sequence[Layer], output: Shape, backend: str, kernel: str | None) -> Runner:
    """Make `layers` ready to run. Raises BackendError where the backend or kernel cannot run here."""
    check_name(backend)
    if kernel is not None and backend not in ("auto", "c"):
        raise ValueError(f"kernel {kernel!r}: only the c backend has kernels, and the backend is {backend!r}")
    if backend != "auto":
        return _compiler(backend)(layers, output, kernel)
    for name in NAMES:
        try:
            compiler = _compiler(name)
        except BackendError as error:
            warnings.warn(f"backend {name} is passed over: {error}", RuntimeWarning, stacklevel=3)
            continue
        return compiler(layers, output, kernel)
    raise AssertionError("the numpy backend is always there")


def _compiler(name: str) -> Callable[[Sequence[Layer], Shape, str | None], Runner]:
    try:
        module = importlib.import_module(f"lstmcore.backends.{name}")
    except ImportError as error:
        hint = '; pip install "lstmcore[numba]" brings it' if error.name == "numba" else ""
        raise BackendError(f"backend {name!r} cannot be imported here: {error}{hint}") from error
    compiler: Callable[[Sequence[Layer], Shape, str | None], Runner] = module.compile_model
    return compiler
