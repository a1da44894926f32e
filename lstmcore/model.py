"""Model: layers with their weights, checked to fit, immutable, ready to answer windows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from lstmcore.backends import compile_model
from lstmcore.backends.runner import Runner
from lstmcore.inputs import State, as_flag, as_lengths, as_numbers, as_states, as_windows, states_of
from lstmcore.layers import INPUT, Array, Flatten, Layer, Recurrent, Scaler, Shape, show
from lstmcore.layers.base import held
from lstmcore.layers.wiring import check_layers, unused_name
from lstmcore.text import NAME, clean

if TYPE_CHECKING:
    from lstmcore.streaming import SlidingWindow, Stateful
    from lstmcore.trace import Trace


class Model:
    """A list of layers that answers windows of market data (or of anything else).

    Args:
        layers: What a window goes through, in order. Names must differ.
        backend: "c", "numba", "numpy", or "auto" for the first of these that runs here.
        kernel: For the c backend, one kernel by name, such as "avx2"; None for the environment variable
            LSTMCORE_KERNEL or else the best that runs here.

    Raises:
        ValueError: Layers that do not fit behind each other; the text names them.
        BackendError: A backend or kernel that cannot run here.

    A Model cannot be changed; `with_backend`, `with_scaler` and `astype` return new ones.
    Threads may share it. It can be pickled.

    >>> import numpy as np
    >>> from lstmcore import layers as L
    >>> identity = L.Linear("same", 2, 2, weights={"weight": np.eye(2, dtype="f4"), "bias": np.zeros(2, "f4")})
    >>> Model([identity, L.ReLU("relu")])([[1, -1], [-2, 2]])
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """

    __slots__ = (
        "__weakref__",
        "_layers",
        "_requested",
        "_run_again",
        "_runner",
        "input_size",
        "output_shape",
        "steps",
    )

    _layers: tuple[Layer, ...]
    _requested: tuple[str, str | None]
    _runner: Runner
    _run_again: Callable[[Any], Array | None]

    #: Features per tick.
    input_size: int
    #: The answer to one window: (outputs,), () behind a Squeeze, or ("T", outputs) where every step answers.
    output_shape: Shape
    #: The one window length a Flatten layer allows, or None: any length.
    steps: int | None

    def __init__(self, layers: Iterable[Layer], *, backend: str = "auto", kernel: str | None = None) -> None:
        layers = tuple(layers)
        shapes = check_layers(layers)
        fixed = {layer.steps for layer in layers if isinstance(layer, Flatten)}
        runner = compile_model(layers, int(shapes[0][-1]), shapes[-1], backend, kernel)
        values = {
            "_layers": layers,
            "_requested": (backend, kernel),
            "_runner": runner,
            "_run_again": runner.run_again,  # looked up once: an attribute takes time
            "input_size": shapes[0][-1],
            "output_shape": shapes[-1],
            "steps": fixed.pop() if fixed else None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Model cannot be changed: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Model cannot be changed: {name}")

    @overload
    def __call__(
        self,
        window: npt.ArrayLike,
        state: State | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: Literal[False] = False,
    ) -> Array: ...

    @overload
    def __call__(
        self,
        window: npt.ArrayLike,
        state: State | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: Literal[True],
    ) -> tuple[Array, Any]: ...

    def __call__(
        self,
        window: npt.ArrayLike,
        state: State | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: bool = False,
    ) -> Any:
        """Answer one window, (T, F) -> (outputs,), or a batch of windows, (N, T, F) -> (N, outputs).

        Args:
            window: Numbers of any real dtype. A scaler's mean is subtracted in the given precision, up to float64; then
                they are rounded to float32 (with the numpy backend, to the model's dtype).
                The columns of a frame are taken in its order, whatever their names.
            state: Initial states instead of zeros (or instead of what a layer has learned): (h, c) as torch takes
                them, each (num_layers, hidden), or (num_layers, N, hidden) for a batch; of a bidirectional layer
                2*num_layers; h alone of a GRU or RNN. Where the model has several recurrent layers, a mapping from
                their names to such states.
            lengths: How many ticks of each window count, from its first on: (N,), or one number. Where every step
                answers, the answers behind them are zeros.
            return_state: Return the states at the end too, as (answer, state): what a call takes as `state`. A layer
                that reads its input backwards ends with its first tick.

        Raises:
            ValueError: A wrong rank, feature count or length; the text says what was expected and what came. With
                `return_state`, a model without recurrent layers, or the numba backend, which gives none back.
            TypeError: Something that does not hold numbers.

        NaN and infinity propagate to the answer, as in torch.
        """
        if state is None and lengths is None and return_state is False:
            answer = self._run_again(window)
            if answer is not None:
                return answer
        runner = self._runner
        x = runner.take(as_windows(window, self.input_size, self.steps))
        if x.ndim == 2 and state is None and lengths is None and not as_flag(return_state, "return_state"):
            return runner.run_window(x)
        batch = x if x.ndim == 3 else x[np.newaxis]
        begin = as_states(state, self.recurrent_layers, x, runner.dtype)
        counts = None if lengths is None else self._lengths(lengths, batch)
        ends = self._room_for_states(batch) if return_state else None
        answers = runner.run(batch, begin, counts, ends) if len(batch) else runner.answers(*batch.shape[:2])
        answer = answers if x.ndim == 3 else answers[0]
        return answer if ends is None else (answer, states_of(ends, self.recurrent_layers, x.ndim == 3))

    def _room_for_states(self, batch: Array) -> Array:
        layers = self.recurrent_layers
        if not layers:
            raise ValueError("return_state: the model has no recurrent layer, and so no states")
        size = sum(layer.states * (layer.state_width + layer.cell_width) for layer in layers)
        return np.zeros((len(batch), size), self._runner.dtype)

    def _lengths(self, lengths: npt.ArrayLike, batch: Array) -> Array:
        if self.steps is not None:
            raise ValueError(f"lengths: the model answers windows of {self.steps} ticks (Flatten), no shorter ones")
        return as_lengths(lengths, batch).astype(np.uintp)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return self._layers

    @property
    def recurrent_layers(self) -> tuple[Recurrent, ...]:
        """The layers that carry state from step to step."""
        return tuple(layer for layer in self._layers if isinstance(layer, Recurrent))

    @property
    def backend(self) -> str:
        """The backend that answers: "c", "numba" or "numpy"."""
        return self._runner.backend

    @property
    def kernel(self) -> str | None:
        """The kernel of the c backend that answers; None with other backends."""
        return self._runner.kernel

    @property
    def dtype(self) -> np.dtype[Any]:
        """The weights' dtype. The c and numba backends compute in float32 whatever it is."""
        return next((layer.dtype for layer in self._layers if layer.dtype is not None), np.dtype(np.float32))

    @property
    def parameters(self) -> Mapping[str, Array]:
        """Every weight by its full name, as in torch's state_dict: "lstm.weight_ih_l0"."""
        return MappingProxyType(
            {f"{layer.name}.{key}": w for layer in self._layers for key, w in layer.weights.items()}
        )

    def predict_windows(
        self,
        series: npt.ArrayLike,
        window: int,
        stride: int = 1,
        *,
        threads: int = 1,
        out: Array | None = None,
    ) -> Array:
        """Answer every window of a series, with the bits that each window alone would give: (rows, F) -> (N, outputs).

        Window n holds the rows n*stride, ..., n*stride + window - 1, as in `windows.windows`, and
        N = (rows - window) // stride + 1. Many windows go in lockstep, which takes less time than one by one.

        Args:
            series: (rows, F), the oldest row first; also a memory map, which is read piece by piece. Its file must
                stay as long as it is: where it is cut short meanwhile, the system ends the process (SIGBUS).
            window: T.
            stride: Ticks from the start of one window to the start of the next.
            threads: How many threads share the work; the answers do not depend on it.
            out: An array, or a memory map, for the answers, of exactly their shape and dtype. It must not share memory
                with the series, nor be a memory map of the same file.

        Raises:
            ValueError: A series of another shape or too short, an argument out of range, or an `out` that does not fit,
                is of another subclass of arrays, or shares memory with the series.
            TypeError: A series that does not hold numbers.
        """
        from lstmcore.streaming.series import predict_windows

        return predict_windows(self, series, window, stride, threads=threads, out=out)

    def trace(self, window: npt.ArrayLike) -> Trace:
        """Everything that happens inside while one window, (T, F), is read: gates, cell and hidden states, every tick.

        The reference's equations in float64, whatever the backend: it differs from what the model answers by the
        rounding of float32, and takes far longer.

        Raises:
            ValueError: A window of another shape, or a batch.
            TypeError: Something that does not hold numbers.
            UnsupportedError: A Masking layer, which skips ticks.

        >>> import numpy as np
        >>> from lstmcore import layers as L
        >>> shapes = L.LSTM.weight_shapes(input_size=1, hidden_size=2)
        >>> lstm = L.LSTM("lstm", 1, 2, weights={key: np.full(shape, 0.5, "f4") for key, shape in shapes.items()})
        >>> trace = Model([lstm]).trace([[1.0], [-1.0], [0.0]])
        >>> trace
        Trace: window (3, 1), answer [0.7751 0.7751]
          lstm (LSTM): i f g o c h (3, 2)
        >>> trace.f.round(3)  # the forget gate of both units, tick by tick
        array([[0.818, 0.818],
               [0.734, 0.734],
               [0.83 , 0.83 ]])
        >>> trace["lstm"].c is trace[0].c is trace.c
        True
        """
        from lstmcore.trace import trace

        return trace(self, window)

    @property
    def runner(self) -> Runner:
        """The model as its backend runs it."""
        return self._runner

    def sliding(
        self,
        window: int,
        *,
        catch_up: str = "push",
        spin: bool = False,
        cpu: int | None = None,
        on_nan: str = "propagate",
    ) -> SlidingWindow:
        """The answer to the last `window` ticks at every tick, from a zero state, with the bits of a whole window.

        Args:
            window: T, at least 1.
            catch_up: "push": what is not urgent is done when the next push comes, or when `catch_up()` is called
                before it. "thread": a native thread does it after every push.
            spin: The thread waits busily for the next push; else it sleeps, and to wake it costs a system call.
            cpu: The processor that the thread must run on; None: any.
            on_nan: "propagate": a NaN tick makes the answers NaN while it is in the window. "raise": `push` refuses
                NaN and infinity.

        Raises:
            ValueError: An argument out of its range, or a window that the model does not take.
            TypeError: A `window` or `cpu` that is no integer, such as 2.5.
            BackendError: A `cpu` where threads cannot be tied to one.
        """
        from lstmcore.streaming import SlidingWindow

        return SlidingWindow(self, window, catch_up=catch_up, spin=spin, cpu=cpu, on_nan=on_nan)

    def stateful(self, *, on_nan: str = "propagate") -> Stateful:
        """One sequence whose h and c are carried from tick to tick without an end.

        Args:
            on_nan: "propagate": after a NaN tick every answer is NaN, until `reset`. "raise": `push` refuses NaN and
                infinity.

        Raises:
            ValueError: A model that takes windows of one length only.
        """
        from lstmcore.streaming import Stateful

        return Stateful(self, on_nan)

    def with_backend(self, backend: str, kernel: str | None = None) -> Model:
        """The same layers run by another backend or kernel."""
        return Model(self._layers, backend=backend, kernel=kernel)

    def with_scaler(self, mean: npt.ArrayLike, scale: npt.ArrayLike) -> Model:
        """The model with (x - mean) / scale put before it, each feature: scikit-learn's `mean_` and `scale_`.

        The scale is rounded to the model's dtype; a mean that this would change is kept in float64.

        Raises:
            ValueError: A length other than the feature count, a scale of 0, or a scaler that is there already.
            TypeError: Something that does not hold numbers.
        """
        if isinstance(self._layers[0], Scaler):
            raise ValueError(f"the model has a scaler already: {self._layers[0].label}")
        weights = {
            "mean": held(as_numbers(mean, np.dtype(np.float64), "mean"), self.dtype),
            "scale": as_numbers(scale, self.dtype, "scale"),
        }
        scaler = Scaler(unused_name("scaler", self._layers), self.input_size, weights=weights)
        behind = (
            layer.replace(inputs=tuple(scaler.name if name == INPUT else name for name in layer.inputs))
            for layer in self._layers
        )
        return self._like((scaler, *behind))

    def astype(self, dtype: npt.DTypeLike) -> Model:
        """The model with its weights rounded to float32, or widened to float64 (for the numpy backend).

        A scaler's mean that rounding would change stays in float64.
        """
        return self._like(layer.astype(dtype) for layer in self._layers)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file: weights under torch's names, the architecture in the metadata.

        The file is written beside `path` and then moved there, so a reader never sees half of it. A file that is
        there already is replaced, and its mode stays; where `path` is a symbolic link, the file that it points to is.

        Raises:
            ValueError: A name that does not end in .safetensors.
            FileNotFoundError: No such folder.
        """
        from lstmcore.formats import safetensors

        safetensors.save(self, path)

    def export_onnx(self, path: str | os.PathLike[str], *, lengths: bool = False) -> None:
        """Write an ONNX file in float32: input "window" (N, T, F), output "answer" (N, outputs).

        With `lengths` also the input "lengths" (N,) int32, as in a call with `lengths=`.

        Raises:
            UnsupportedError: The onnx package is not installed; or a layer that does not keep to lengths.
        """
        from lstmcore.formats.onnx import onnx

        onnx.write(self, path, lengths=as_flag(lengths, "lengths"))

    def _like(self, layers: Iterable[Layer]) -> Model:
        backend, kernel = self._requested
        return Model(layers, backend=backend, kernel=kernel)

    def __eq__(self, other: object) -> bool:
        return self._layers == other._layers if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._layers)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._layers, *self._requested)

    def __repr__(self) -> str:
        count = sum(w.size for w in self.parameters.values())
        steps = "T" if self.steps is None else self.steps
        runs_on = self.backend + (f" ({self.kernel})" if self.kernel else "")
        head = (
            f"Model: window ({steps}, {self.input_size}) -> {show(self.output_shape)}, "
            f"{count:,} parameters, {self.dtype}, backend {runs_on}"
        )
        rows = [[clean(cell, NAME) for cell in row[:4]] + [clean(row[4])] for row in self.summary()]
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)) for row in rows]
        return "\n".join([head, *(f"  {line}".rstrip() for line in lines)])

    def summary(self) -> list[tuple[str, str, str, str, str]]:
        """A row a layer: name, kind, the shape that comes out, parameters, settings."""
        rows = []
        for layer, shape in zip(self._layers, check_layers(self._layers)[1:], strict=True):
            count = sum(w.size for w in layer.weights.values())
            settings = ", ".join(f"{k}={v}" for k, v in layer.shown().items())
            rows.append((layer.name, type(layer).__name__, show(shape), f"{count:,}", settings))
        return rows


def _rebuild(layers: tuple[Layer, ...], backend: str, kernel: str | None) -> Model:
    return Model(layers, backend=backend, kernel=kernel)
