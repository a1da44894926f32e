"""Model files answered by the runtimes that they are made for, and the lengths at which their answers may change."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstmcore
from lstmcore import terminal
from lstmcore.commands import stateful_files
from lstmcore.formats.guard.trials import sizes
from lstmcore.formats.states import Carried
from lstmcore.layers import Array, Recurrent
from lstmcore.text import clean

LONGEST = 2000  # ticks of the longest window that is tried; numbers from here on are not taken for lengths
MOST = 64  # elements of a tensor that are looked at
KERAS = (".keras", ".h5", ".hdf5")

#: A window (T, F) or windows (N, T, F) answered: (...) or (N, ...).
Answer = Callable[[Array], Any]


class Runtime(NamedTuple):
    """How a file answers."""

    answer: Answer
    steps: int | None  # the one window length that it takes; None: any
    states: Carried | None = None  # what goes in and comes out: then the answers are rows, see `stateful_files`


def onnx_file(path: str, time_first: bool, model: lstmcore.Model) -> Runtime:
    """ONNX Runtime's answers, to be compared with those of `model`.

    A file for a fixed number of windows answers each window by as many copies of it.
    """
    from lstmcore.measure.peers import onnxruntime_session

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")

    def run(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Exception as error:  # ONNX Runtime's own have no class in common
            raise ValueError(f"{path}: ONNX Runtime: {clean(error, 500)}") from error

    session = run(lambda: onnxruntime_session(path, 1))
    inputs = session.get_inputs()
    if len(inputs) > 1 or len(session.get_outputs()) > 1:
        return _with_states(path, time_first, model, session, run)
    if len(inputs[0].shape) != 3:
        shapes = {x.name: x.shape for x in inputs}
        raise ValueError(f"{path}: expected one input of windows, three axes, got {clean(shapes, 500)}")
    batch, steps = (
        n if isinstance(n, int) and n > 0 else None for n in inputs[0].shape[:2][:: -1 if time_first else 1]
    )
    dtype = np.float64 if inputs[0].type == "tensor(double)" else np.float32

    def answer(x: Array) -> Any:
        if x.ndim == 2:
            return answer(np.repeat(x[np.newaxis], batch or 1, 0))[0]
        if batch not in (None, len(x)):
            return np.stack([answer(window) for window in x])
        out = run(lambda: session.run(None, {inputs[0].name: (x.swapaxes(0, 1) if time_first else x).astype(dtype)})[0])
        return out.swapaxes(0, 1) if time_first and out.ndim == 3 else out

    return Runtime(answer, steps)


def _with_states(path: str, time_first: bool, model: lstmcore.Model, session: Any, run: Callable[..., Any]) -> Runtime:
    """A file of several inputs or outputs, which have to be states that lstmcore understands."""
    from lstmcore.formats.onnx import onnx  # noqa: F401  # says what to install
    from lstmcore.formats.onnx.onnx_read import read_all

    found = read_all(path)
    inputs = {x.name: x for x in session.get_inputs()}
    if found.states is None or len(inputs) > 1 + len(found.states.flow.inputs):
        raise ValueError(f"{path}: expected one input of windows, and states, got {clean(list(inputs), 300)}")
    if time_first != (found.letters[0] == "T") and len(found.letters) == 3:
        raise ValueError(
            f"time-first: {path} takes ({', '.join(found.letters)}){'; give --time-first' if not time_first else ''}"
        )
    stateful_files.check_alike(path, [x for x in found.layers if isinstance(x, Recurrent)], model)
    of_window = inputs[found.window]
    fixed = {
        letter: size
        for letter, size in zip(found.letters, of_window.shape, strict=True)
        if isinstance(size, int) and size > 0
    }
    free = any(not isinstance(size, int) for port in found.states.flow.inputs for size in inputs[port.name].shape)
    batch = fixed.get("N", 1 if "N" not in found.letters or (found.states.flow.inputs and not free) else None)
    names = [output.name for output in session.get_outputs()]
    answer = stateful_files.of_file(
        lambda feed: dict(zip(names, run(lambda: session.run(None, dict(feed))), strict=True)),
        found.states,
        (found.window, found.answer),
        found.letters,
        batch,
        np.float64 if of_window.type == "tensor(double)" else np.float32,
        model.backend != "numba",
    )
    if model.backend == "numba":
        terminal.note("note: the numba backend gives no states at the end: answers alone are compared")
    return Runtime(answer, fixed.get("T", None if "T" in found.letters else 1), found.states)


def keras_file(path: str) -> tuple[Answer, int | None] | str:
    """Keras's answer, and the one window length that the file takes (None: any); or why Keras does not have one."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if importlib.util.find_spec("keras") is None:
        return "Keras is not installed"
    with contextlib.suppress(ImportError, ValueError):
        found = next((name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)), None)
        if found:
            os.environ.setdefault("KERAS_BACKEND", found)
    try:
        with _quiet():
            keras = importlib.import_module("keras")
            model = keras.saving.load_model(path, compile=False)
            shape = model.input_shape
    except Exception as error:  # whatever Keras, or the library that it computes with, raises
        return f"Keras does not load it: {clean(error, 300)}"
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise ValueError(f"{path}: expected one input of windows, three axes, got {clean(shape, 300)}")

    def answer(x: Array) -> Any:
        try:
            with _quiet():
                out = keras.ops.convert_to_numpy(model(x if x.ndim == 3 else x[np.newaxis], training=False))
        except Exception as error:
            raise ValueError(f"{path}: Keras: {clean(error, 500)}") from error
        return out if x.ndim == 3 else out[0]

    return answer, shape[1]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keras warns of old formats and of masks that end, which is not what is asked here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def lengths_of(*files: str) -> Sequence[int]:
    """1, and lengths up to `LONGEST` below, at and beyond the numbers in files of ONNX and Keras.

    Those beside the numbers come first, then those that sums, products and quotients of a few numbers give. Of other
    files no number is known.
    """
    numbers: set[float] = set()
    for file in files:
        suffix = Path(file).suffix.lower()
        found = _onnx_numbers(file) if suffix == ".onnx" else _keras_numbers(file) if suffix in KERAS else ()
        numbers.update(n for n in found if abs(n) < LONGEST)
    tried = {size: n for size, n in sizes(numbers).items() if size <= LONGEST}
    return list({1: None, **dict.fromkeys(sorted(tried, key=lambda size: abs(size - abs(tried[size])) > 1))})


def _onnx_numbers(path: str) -> Iterator[int]:
    """The integers of small tensors and of attributes."""
    from lstmcore.formats.onnx import onnx  # noqa: F401  # says what to install
    from lstmcore.formats.onnx.onnx_file import parse
    from lstmcore.formats.onnx.onnx_tensors import DTYPES, Tensors

    proto, _ = parse(path)
    tensors = list(proto.graph.initializer)
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        for attribute in node.attribute:
            yield from (*attribute.ints, attribute.i)
            if attribute.HasField("t"):
                tensors.append(attribute.t)
    reader = Tensors(path)
    for tensor in tensors:
        # Of a type that is not read here there may be some that nothing needs
        if math.prod(tensor.dims) <= MOST and np.dtype(DTYPES.get(tensor.data_type, "<f4")).kind in "iu":
            values = reader.array(tensor, f"tensor {tensor.name!r:.200}").reshape(-1)
            yield from (int(n) for n in values if values.dtype.kind in "iu")


def _keras_numbers(path: str) -> Iterator[int]:
    """The integers of the architecture, seeds apart."""
    from lstmcore.formats.keras.keras import OPENERS

    with OPENERS[Path(path).suffix.lower()](path) as opened:
        left: list[Any] = [dict(opened.model.config)]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [inner for key, inner in value.items() if key not in ("seed", "shared_object_id")]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, int) and not isinstance(value, bool):
            yield value
