"""The C backend: the core in `csrc/`, bound with cffi. Computes in float32."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmcore.backends import Runner
from lstmcore.backends.c_binding import Bound, address, check, ffi, floats, function, kernel_name, kernels_here, lib
from lstmcore.backends.streams import Slider, answer_shape
from lstmcore.errors import BackendError
from lstmcore.folding import affine_of, fold
from lstmcore.layers import (
    ELU,
    GELU,
    LSTM,
    Array,
    BatchNorm1d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    Recurrent,
    ReLU,
    Scaler,
    Shape,
    Sigmoid,
    Softmax,
    Squeeze,
    Tanh,
)

__all__ = ["CRunner", "compile_model", "default_kernel", "kernels_built", "kernels_here"]

RUN_BOUND = function("lstmcore_run_bound")


def kernels_built() -> list[str]:
    """The kernels of this build, best first."""
    return [kernel_name(k) for k in range(lib.lstmcore_kernel_count()) if lib.lstmcore_kernel_built(k)]


def default_kernel() -> str:
    """The kernel that a model gets unless one is named: LSTMCORE_KERNEL, or else the best that runs here.

    Raises:
        BackendError: LSTMCORE_KERNEL names a kernel that does not exist or cannot run here.
    """
    return str(ffi.string(lib.lstmcore_model_kernel(_new_model(None, 1))).decode())


def compile_model(layers: Sequence[Layer], features: int, output: Shape, kernel: str | None) -> Runner:
    """See `backends.compile_model`."""
    return CRunner(layers, features, output, kernel)


def _new_model(kernel: str | None, input_size: int) -> Any:
    out = ffi.new("lstmcore_model **")
    name = ffi.NULL if kernel is None else ffi.new("char[]", kernel.encode())
    asked = f"kernel {kernel!r}" if kernel is not None else f"LSTMCORE_KERNEL={os.environ.get('LSTMCORE_KERNEL')!r}"
    check(lib.lstmcore_model_new(name, input_size, out), asked)
    return ffi.gc(out[0], lib.lstmcore_model_free)


class CRunner(Runner):
    """One packed model, and a session for each thread that runs it."""

    backend = "c"

    def __init__(self, layers: Sequence[Layer], features: int, output: Shape, kernel: str | None) -> None:
        layers = fold(layers)
        self._model = _new_model(kernel, features)
        for layer in layers:
            if type(layer) not in ADD or (isinstance(layer, Recurrent) and not layer.plain):
                raise BackendError(f"{layer.label}: the c backend does not have this layer yet")
            for code in ADD[type(layer)](self._model, layer):
                check(code, layer.label)
        self.kernel = str(ffi.string(lib.lstmcore_model_kernel(self._model)).decode())
        self._layers, self._output = layers, output
        self._local = threading.local()
        self._session()  # memory that is short is told of now, not at the first tick

    def run(self, windows: Array, h: Array | None, c: Array | None) -> Array:
        n, steps, _ = windows.shape
        answers = np.empty((n, *self._answer_shape(steps)), np.float32)
        handle = self._session().handle
        code = lib.lstmcore_run_many(handle, floats(windows), n, steps, floats(h), floats(c), floats(answers))
        check(code, "run")
        return answers

    def run_window(self, window: Array) -> Array:
        self._session().bind(window.shape, self._answer_shape(len(window)))
        answer = self.run_again(window)
        assert answer is not None, "the shape was bound just now"
        return answer

    def run_again(self, window: Array) -> Array | None:
        try:
            answer: Array | None = self._local.session.ask(window)
        except AttributeError:  # this thread has answered no window yet
            return None
        return answer

    def slider(self, window: int | None, streams: int) -> Slider:
        carries = any(isinstance(layer, LSTM) for layer in self._layers)
        if not (carries if window is None else lib.lstmcore_model_slides(self._model)):
            return super().slider(window, streams)
        from lstmcore.backends.c_streams import CSlider

        layers, output, features = self.given
        return CSlider(self._model, layers, answer_shape(output, window), features, window, streams)

    def run_windows(self, series: Array, window: int, stride: int, answers: Array) -> None:
        if not lib.lstmcore_model_slides(self._model):
            super().run_windows(series, window, stride, answers)
            return
        handle = self._session().handle
        x, y = floats(series), floats(answers)
        check(lib.lstmcore_run_windows(handle, x, len(series), window, stride, y), "run_windows")

    def _answer_shape(self, steps: int) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else steps for n in self._output)

    def _session(self) -> Session:
        try:
            session: Session = self._local.session
        except AttributeError:
            session = self._local.session = Session(self._model)
        return session


class Session:
    """A thread's own memory in the core, and the buffers of one window bound to it.

    Copying a window into memory that the core knows takes less time than making a pointer to the caller's.
    """

    __slots__ = ("ask", "handle", "shape")

    def __init__(self, model: Any) -> None:
        out = ffi.new("lstmcore_session **")
        check(lib.lstmcore_session_new(model, out), "a session's memory")
        self.handle = out[0]
        self.shape: tuple[int, ...] = ()

    def bind(self, shape: tuple[int, ...], answer: tuple[int, ...]) -> None:
        """Make room for windows of `shape` where it is not there yet, and tell the core where it is."""
        if shape == self.shape:
            return
        x, y = np.empty(shape, np.float32), np.empty(answer, np.float32)
        check(lib.lstmcore_bind(self.handle, floats(x), len(x), floats(y)), "bind")
        self.shape = shape
        # The answer as the caller's own: an array, or for the shape () a number.
        own = y.copy if answer else functools.partial(y.__getitem__, ())
        bound = Bound(RUN_BOUND, address(self.handle), x, y, None, own, "", np.ndarray, None, yields=True)
        #: Answers a float32 window of `shape`; None: it is something else.
        self.ask: Callable[[Array], Array | None] = bound.ask

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            lib.lstmcore_session_free(self.handle)


def _add_lstm(model: Any, layer: LSTM) -> list[int]:
    w = layer.weights
    codes = []
    for k in range(layer.num_layers):
        inner = k + 1 < layer.num_layers
        matrices = (floats(w[f"{key}_l{k}"]) for key in ("weight_ih", "weight_hh", "bias_ih"))
        codes.append(lib.lstmcore_model_add_lstm(model, layer.hidden_size, *matrices, inner or layer.return_sequences))
    return codes


def _add_linear(model: Any, layer: Linear) -> list[int]:
    w = layer.weights
    return [lib.lstmcore_model_add_linear(model, layer.out_features, floats(w["weight"]), floats(w["bias"]))]


def _add_affine(model: Any, scale: Array, shift: Array) -> int:
    scale, shift = (np.ascontiguousarray(a, np.float32) for a in (scale, shift))
    return int(lib.lstmcore_model_add_affine(model, floats(scale), floats(shift)))


def _add_batch_norm(model: Any, layer: BatchNorm1d) -> list[int]:
    wide = layer.map_weights(lambda w: w.astype(np.float64))
    return [_add_affine(model, *affine_of(wide))]


def _add_scaler(model: Any, layer: Scaler) -> list[int]:
    """Two roundings, as in the equation: subtracting a scaled mean would lose the digits that the mean shares."""
    mean, scale = (layer.weights[key].astype(np.float64) for key in ("mean", "scale"))
    codes = [_add_affine(model, np.ones_like(mean), -mean)]
    return codes if np.all(scale == 1) else [*codes, _add_affine(model, 1 / scale, np.zeros_like(mean))]


def _activation(kind: str, setting: str | None = None) -> Callable[[Any, Any], list[int]]:
    def add(model: Any, layer: Layer) -> list[int]:
        alpha = getattr(layer, setting) if setting else 0.0
        return [lib.lstmcore_model_add_activation(model, getattr(lib, f"LSTMCORE_{kind}"), alpha)]

    return add


def _add_gelu(model: Any, layer: GELU) -> list[int]:
    return _activation("GELU" if layer.approximate == "none" else "GELU_TANH")(model, layer)


#: How each layer that folding leaves is given to the core: the codes that came back.
ADD: dict[type[Layer], Callable[[Any, Any], list[int]]] = {
    LSTM: _add_lstm,
    Linear: _add_linear,
    BatchNorm1d: _add_batch_norm,
    Scaler: _add_scaler,
    ReLU: _activation("RELU"),
    LeakyReLU: _activation("LEAKY_RELU", "negative_slope"),
    ELU: _activation("ELU", "alpha"),
    GELU: _add_gelu,
    Tanh: _activation("TANH"),
    Sigmoid: _activation("SIGMOID"),
    Softmax: lambda model, layer: [lib.lstmcore_model_add_softmax(model)],
    Flatten: lambda model, layer: [lib.lstmcore_model_add_flatten(model, layer.steps)],
    Squeeze: lambda model, layer: [],
}
