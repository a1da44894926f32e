"""Backends: families of implementations behind one interface, `Runner`."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from lstmcore.backends.runner import Runner
from lstmcore.errors import BackendError
from lstmcore.inputs import as_choice
from lstmcore.layers import Array, Layer, Scaler, Shape
from lstmcore.layers.base import held
from lstmcore.text import quoted

#: In the order in which "auto" takes them.
NAMES = ("c", "numba", "numpy")

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
