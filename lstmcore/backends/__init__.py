"""Backends: families of implementations behind one interface, `Runner`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lstmcore.backends.program import Program, lower
from lstmcore.backends.runner import PassedOver, Runner
from lstmcore.errors import BackendError
from lstmcore.inputs import as_choice
from lstmcore.layers import Array, Layer, Scaler
from lstmcore.layers.base import held
from lstmcore.layers.wiring import Wiring
from lstmcore.text import quoted

#: In the order in which "auto" takes them.
NAMES = ("c", "numba", "numpy")

#: Makes a Runner of layers and their program, for a kernel.
Compiler = Callable[[Wiring, Program, str | None], Runner]


def compile_model(wiring: Wiring, backend: str, kernel: str | None) -> Runner:
    """Make layers ready to run. Raises BackendError where backend or kernel cannot run."""
    as_choice(backend, "backend", ("auto", *NAMES))
    if not isinstance(kernel, str | None):
        raise TypeError(f"kernel: expected a name, such as 'avx2', or None, got {quoted(kernel)}")
    if kernel is not None and backend not in ("auto", "c"):
        raise ValueError(f"kernel {kernel!r}: only the c backend has kernels, and the backend is {backend!r}")
    centred, means = _centred(wiring)
    program = lower(centred)
    if backend == "auto":
        runner = _best_runner(centred, program, kernel)
    else:
        try:
            runner = _runner(backend, centred, program, kernel)
        except PassedOver as error:  # there is no next one
            raise BackendError(*error.args) from error.__cause__
    runner.program, runner.outputs = program, wiring.answers
    runner.means = tuple(None if mean is None else _held(mean, runner.dtype) for mean in means)
    return runner


def _held(mean: Array, dtype: np.dtype[Any]) -> Array:
    mean = held(mean, dtype)
    mean.flags.writeable = False
    return mean


def _centred(wiring: Wiring) -> tuple[Wiring, list[Array | None]]:
    """The layers with scalers that only divide, and of each input the mean that `Runner.take` subtracts; None: zero."""
    layers: list[Layer] = list(wiring.layers)
    means: list[Array | None] = [None] * len(wiring.inputs)
    for n, layer in enumerate(layers):
        if isinstance(layer, Scaler) and np.any(layer.weights["mean"]):
            scale, (read,) = layer.weights["scale"], wiring.reads[n]
            means[read] = layer.weights["mean"]
            layers[n] = layer.replace(weights={"mean": np.zeros_like(scale), "scale": scale})
    return replace(wiring, layers=tuple(layers)), means


def _best_runner(wiring: Wiring, program: Program, kernel: str | None) -> Runner:
    for name in NAMES:
        try:
            return _runner(name, wiring, program, kernel)
        except PassedOver as error:  # noqa: PERF203 - there are three
            warnings.warn(f"backend {name} is passed over: {error}", RuntimeWarning, stacklevel=4)
    raise AssertionError("the numpy backend is always there, and has everything")


def _runner(name: str, wiring: Wiring, program: Program, kernel: str | None) -> Runner:
    try:
        module = importlib.import_module(f"lstmcore.backends.{name}")
    except ImportError as error:
        hint = '; pip install "lstmcore[numba]" brings it' if error.name == "numba" else ""
        raise PassedOver(f"backend {name!r} cannot be imported here: {error}{hint}") from error
    compiler: Compiler = module.compile_model
    return compiler(wiring, program, kernel)
