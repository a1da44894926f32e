"""Model: layers with their weights, checked to fit, immutable, ready to answer windows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from lstmcore import answering, scaling, summary
from lstmcore.backends import compile_model
from lstmcore.backends.runner import Runner
from lstmcore.errors import UnsupportedError
from lstmcore.given_states import State
from lstmcore.inputs import as_flag
from lstmcore.layers import Array, Flatten, Input, Layer, Recurrent, Shape
from lstmcore.layers.wiring import Wiring, wire
from lstmcore.ports import Given

if TYPE_CHECKING:
    from lstmcore.streaming import SlidingWindow, Stateful
    from lstmcore.trace import Trace


class Model:
    """A list of layers that answers windows of market data (or of anything else).

    Args:
        layers: What a window goes through, in order. Names must differ. (Or what a reader of files has wired.)
        inputs: What the layers read by name, `layers.Input` each; None for one sequence of ticks, "input".
        outputs: The layers that answer, by their names, or a mapping from the answers' own names to these; None for
            the last one.
        backend: "c", "numba", "numpy", or "auto" for the first of these that runs here.
        kernel: For the c backend, one kernel by name, such as "avx2"; None for the environment variable
            LSTMCORE_KERNEL or else the best that runs here.

    Raises:
        ValueError: Layers that do not fit after each other, that nobody reads, or that are not there; the text names
            them.
        TypeError: Something that is no layer, input or name.
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
        "_requested",
        "_run_again",
        "_runner",
        "_wiring",
        "steps",
    )

    _wiring: Wiring
    _requested: tuple[str, str | None]
    _runner: Runner
    _run_again: Callable[[Any], Array | None]

    #: The one window length a Flatten layer allows, or None: any length.
    steps: int | None

    def __init__(
        self,
        layers: Iterable[Layer] | Wiring,
        *,
        inputs: Iterable[Input] | None = None,
        outputs: Mapping[str, str] | Iterable[str] | None = None,
        backend: str = "auto",
        kernel: str | None = None,
    ) -> None:
        if isinstance(layers, Wiring) and (inputs is not None or outputs is not None):
            raise TypeError("inputs, outputs: these layers are wired already, so leave both out")
        wiring = layers if isinstance(layers, Wiring) else wire(layers, inputs, outputs)
        fixed = {layer.steps for layer in wiring.layers if isinstance(layer, Flatten)}
        runner = compile_model(wiring, backend, kernel)
        values = {
            "_wiring": wiring,
            "_requested": (backend, kernel),
            "_runner": runner,
            "_run_again": runner.run_again,  # looked up once: an attribute takes time
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
        window: Given,
        state: State | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: Literal[False] = False,
    ) -> Any: ...

    @overload
    def __call__(
        self,
        window: Given,
        state: State | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: Literal[True],
    ) -> tuple[Any, Any]: ...

    def __call__(
        self,
        window: Given,
        state: State | None = None,
        lengths: npt.ArrayLike | None = None,
        *,
        return_state: bool = False,
    ) -> Any:
        """Answer one window, (T, F) -> (outputs,), or a batch of windows, (N, T, F) -> (N, outputs).

        Args:
            window: Numbers of any real dtype. A scaler's mean is subtracted in the given precision, up to float64; then
                they are rounded to float32 (with the numpy backend, to the model's dtype).
                The columns of a frame are taken in its order, whatever their names. A model with several inputs takes
                a mapping: of each sequence as above, all of one length, and of each vector (F,), or (N, F) for a batch.
                One with several outputs answers with a dict.
            state: Initial states instead of zeros (or instead of what a layer has learned): (h, c) as torch takes
                them, each (num_layers, hidden), or (num_layers, N, hidden) for a batch; of a bidirectional layer
                2*num_layers; h alone of a GRU or RNN. Where the model has several recurrent layers, a mapping from
                their names to such states.
            lengths: How many ticks of each window count, from its first on: (N,), or one number. Where every step
                answers, the answers after them are zeros.
            return_state: Return the states at the end too, as (answer, state): what a call takes as `state`. A layer
                that reads its input backwards ends with its first tick.

        Raises:
            ValueError: A wrong rank, feature count, length or name of an input; the text says what was expected and
                what came. With `return_state`, a model without recurrent layers, or the numba backend, which gives none
                back.
            TypeError: Something that does not hold numbers; for several inputs, no mapping.

        NaN and infinity propagate to the answer, as in torch.
        """
        if state is None and lengths is None and return_state is False:
            answer = self._run_again(window)
            if answer is not None:
                return answer
        return answering.answer(self, window, state, lengths, as_flag(return_state, "return_state"))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return self._wiring.layers

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the model takes: the ticks of a window, and whatever else."""
        return self._wiring.inputs

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """The answers to one window: (outputs,), () after a Squeeze, or ("T", outputs) where every step answers."""
        return MappingProxyType(self._wiring.answers)

    @property
    def input_size(self) -> int:
        """Features per tick. Raises UnsupportedError where the model has several inputs, of which `inputs` tells."""
        if len(self.inputs) > 1:
            raise UnsupportedError(f"the model has several inputs, {summary.of_inputs(self)}; one is expected here")
        return self.inputs[0].size

    @property
    def output_shape(self) -> Shape:
        """The one of `outputs`. Raises UnsupportedError where there are several."""
        if len(self.outputs) > 1:
            raise UnsupportedError(f"the model has several outputs, {summary.of_outputs(self)}; one is expected here")
        return next(iter(self.outputs.values()))

    @property
    def wiring(self) -> Wiring:
        """Who reads whom."""
        return self._wiring

    @property
    def recurrent_layers(self) -> tuple[Recurrent, ...]:
        """The layers that carry state from step to step."""
        return tuple(layer for layer in self.layers if isinstance(layer, Recurrent))

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
        return next((layer.dtype for layer in self.layers if layer.dtype is not None), np.dtype(np.float32))

    @property
    def parameters(self) -> Mapping[str, Array]:
        """Every weight by its full name, as in torch's state_dict: "lstm.weight_ih_l0"."""
        return MappingProxyType({f"{layer.name}.{key}": w for layer in self.layers for key, w in layer.weights.items()})

    def predict_windows(
        self,
        series: Given,
        window: int,
        stride: int = 1,
        *,
        threads: int = 1,
        out: Any = None,
    ) -> Any:
        """Answer every window of a series, with the bits that each window alone would give: (rows, F) -> (N, outputs).

        Window n holds the rows n*stride, ..., n*stride + window - 1, as in `windows.windows`, and
        N = (rows - window) // stride + 1. Many windows go in lockstep, which takes less time than one by one.

        Args:
            series: (rows, F), the oldest row first; also a memory map, which is read piece by piece. Its file must
                stay as long as it is: where it is cut short meanwhile, the system ends the process (SIGBUS). Of several
                inputs a mapping: sequences of as many rows, and of each vector (N, F), a row for each window.
            window: T.
            stride: Ticks from the start of one window to the start of the next.
            threads: How many threads share the work; the answers do not depend on it.
            out: An array, or a memory map, for the answers, of exactly their shape and dtype. It must not share memory
                with the series, nor be a memory map of the same file. Of several outputs, a mapping of such.

        Raises:
            ValueError: A series of another shape or too short, an argument out of range, or an `out` that does not fit,
                is of another subclass of arrays, or shares memory with the series.
            TypeError: A series that does not hold numbers.
        """
        from lstmcore.streaming.series import predict_windows

        return predict_windows(self, series, window, stride, threads=threads, out=out)

    def trace(self, window: Given) -> Trace:
        """Everything that happens inside while one window is read: gates, cell and hidden states, every tick.

        The window is (T, F), or a mapping of several inputs. The reference's equations in float64, whatever the
        backend: it differs from what the model answers by the rounding of float32, and takes far longer.

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
            ValueError: A model that takes windows of one length only, or with a layer that looks at later ticks, which
                the text names; an `on_nan` that is neither.
        """
        from lstmcore.streaming import Stateful

        return Stateful(self, on_nan)

    def with_backend(self, backend: str, kernel: str | None = None) -> Model:
        """The same layers run by another backend or kernel."""
        return self._like(self.layers, backend, kernel)

    def with_scaler(self, mean: npt.ArrayLike, scale: npt.ArrayLike, *, input: str | None = None) -> Model:
        """The model with (x - mean) / scale put before it, each feature: scikit-learn's `mean_` and `scale_`.

        The scale is rounded to the model's dtype; a mean that this would change is kept in float64.

        Args:
            mean, scale: (F,), of the features of one input.
            input: Its name, which a model with several must be told.

        Raises:
            ValueError: A length other than the feature count, a scale of 0, a scaler that is there already, or no such
                input; no `input`, of a model with several.
            TypeError: Something that does not hold numbers.
        """
        return self._like(scaling.scaled(self, mean, scale, input))

    def astype(self, dtype: npt.DTypeLike) -> Model:
        """The model with its weights rounded to float32, or widened to float64 (for the numpy backend).

        A scaler's mean that rounding would change stays in float64.
        """
        return self._like(layer.astype(dtype) for layer in self.layers)

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

    def export_onnx(self, path: str | os.PathLike[str], *, states: bool = False, lengths: bool = False) -> None:
        """Write an ONNX file in float32: input "window" (N, T, F), output "answer" (N, outputs).

        Several inputs or outputs keep their own names.

        With `states` also the inputs "h0" and, of an LSTM, "c0" (num_layers * directions, N, hidden), as in a call with
        `state=`, and the outputs "hn" and "cn", as `return_state=True` gives them; "NAME.h0" and so on for each of
        several recurrent layers. With `lengths` also the input "lengths" (N,) int32, as in a call with `lengths=`.

        Raises:
            ValueError: `states` for a model without a recurrent layer; or two values that would have one name.
            UnsupportedError: The onnx package is not installed; or a layer that does not keep to lengths.
        """
        from lstmcore.formats.onnx import onnx

        onnx.write(self, path, states=as_flag(states, "states"), lengths=as_flag(lengths, "lengths"))

    def _like(self, layers: Iterable[Layer], *requested: str | None) -> Model:
        backend, kernel = requested or self._requested
        return _rebuild(wire(layers, self.inputs, self._wiring.outputs), str(backend), kernel)

    def __eq__(self, other: object) -> bool:
        return self._wiring == other._wiring if isinstance(other, Model) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.layers)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._wiring, *self._requested)

    def __repr__(self) -> str:
        return summary.text(self)

    def summary(self) -> list[tuple[str, str, str, str, str]]:
        """A row a layer: name, kind, the shape that comes out, parameters, settings."""
        return summary.rows(self)


def _rebuild(wiring: Wiring, backend: str, kernel: str | None) -> Model:
    return Model(wiring, backend=backend, kernel=kernel)
