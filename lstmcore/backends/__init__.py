"""Backends: families of implementations behind one interface, `Runner`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from lstmcore.backends.program import Program, lower
from lstmcore.backends.runner import PassedOver, Runner
from lstmcore.errors import BackendError
from lstmcore.inputs import as_choice
from lstmcore.layers import Array, Layer, Scaler, Shape
from lstmcore.layers.base import held
from lstmcore.text import quoted

#: In the order in which "auto" takes them.
NAMES = ("c", "numba", "numpy")

#: Makes a Runner of layers and their program, for a kernel.
Compiler = Callable[[Sequence[Layer], Program, str | None], Runner]


def compile_model(layers: Sequence[Layer], features: int, output: Shape, backend: str, kernel: str | None) -> Runner:
    """Make `layers` ready to run on ticks of `features`. Raises BackendError where backend or kernel cannot run."""
    as_choice(backend, "backend", ("auto", *NAMES))
    if not isinstance(kernel, str | None):
        raise TypeError(f"kernel: expected a name, such as 'avx2', or None, got {quoted(kernel)}")
    if kernel is not None and backend not in ("auto", "c"):
        raise ValueError(f"kernel {kernel!r}: only the c backend has kernels, and the backend is {backend!r}")
    centred, mean = _centred(layers)
    program = lower(centred, features)
    if backend == "auto":
        runner = _best_runner(centred, program, kernel)
    else:
        try:
            runner = _runner(backend, centred, program, kernel)
        except PassedOver as error:  # there is no next one
            raise BackendError(*error.args) from error.__cause__
    runner.program, runner.output = program, output
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


def _best_runner(layers: Sequence[Layer], program: Program, kernel: str | None) -> Runner:
    for name in NAMES:
        try:
            return _runner(name, layers, program, kernel)
        except PassedOver as error:  # noqa: PERF203 - there are three
            warnings.warn(f"backend {name} is passed over: {error}", RuntimeWarning, stacklevel=4)
    raise AssertionError("the numpy backend is always there, and has everything")


def _runner(name: str, layers: Sequence[Layer], program: Program, kernel: str | None) -> Runner:
    try:
        module = importlib.import_module(f"lstmcore.backends.{name}")
    except ImportError as error:
        hint = '; pip install "lstmcore[numba]" brings it' if error.name == "numba" else ""
        raise PassedOver(f"backend {name!r} cannot be imported here: {error}{hint}") from error
    compiler: Compiler = module.compile_model
    return compiler(layers, program, kernel)
