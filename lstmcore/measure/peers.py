"""Other libraries that answer the same windows, each at its fastest: what `lstmcore bench` sets beside it.

A peer takes a window (T, F) float32 and returns the answer to it as numpy arrays hold it, so that each is
timed at the same job. What a peer can do before the first window (fixed shapes, buffers bound once) is done
before.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lstmcore import terminal
from lstmcore.layers import Array
from lstmcore.model import Model
from lstmcore.terminal import need

#: The libraries, by the names that `--peers` takes, and the packages that each needs here.
PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "torch": ("torch",),
}
NAMES = tuple(PACKAGES)


class Peer(abc.ABC):
    """One library with one setting."""

    label: str
    settings: str
    threads: int | None  # None: as many as the library takes by itself

    @abc.abstractmethod
    def __call__(self, window: Array) -> Any:
        """The answer to one window (T, F) float32."""

    def ready(self) -> contextlib.AbstractContextManager[Any]:
        """What must hold around a burst of calls, and need not be paid for in each."""
        return contextlib.nullcontext()


def installed() -> list[str]:
    """The libraries that can be reached here."""
    found = importlib.util.find_spec
    return [name for name, packages in PACKAGES.items() if all(map(found, packages))]


def ask(names: Sequence[str]) -> None:
    """Raise ImportError where a package of these libraries is missing, before any of them is built."""
    for name in names:
        extra = "torch" if name == "torch" else "peers"
        terminal.ask(extra, *PACKAGES.get(name, ()))  # other names are refused by `build`


def build(name: str, model: Model, steps: int, threads: Sequence[int | None], compiled: bool = False) -> Iterator[Peer]:
    """A library with `model`'s weights, once for each setting worth trying.

    Args:
        name: One of `NAMES`.
        steps: T, the length of the windows.
        threads: Numbers of threads; None: as many as the library takes by itself.
        compiled: Also torch.compile, which needs a compiler and half a minute.

    Raises:
        ValueError: A name that is not one of `NAMES`.
        ImportError: A library that is not installed, or onnx, which it reads.
        UnsupportedError: A model that cannot be exported.
    """
    if name not in NAMES:
        raise ValueError(f"peer {name!r}: expected one of {', '.join(NAMES)}")
    if name == "torch":
        from lstmcore.formats.torch.torch_build import to_module

        torch = need("torch", "torch")
        module = to_module(model.astype(np.float32))
        modules = {"eager": module, "jit": script(module, (torch.zeros(1, steps, model.input_size),))}
        if compiled:
            modules["compile"] = torch.compile(module)
        yield from (Torch(m, kind, count) for count in threads for kind, m in modules.items())
        return
    onnx = fixed_onnx(model, steps)
    for count in threads:
        if name == "openvino":
            yield OpenVino(onnx, count)
        else:
            yield from onnxruntime(onnx, count, (1, steps, model.input_size))


def onnxruntime(onnx: bytes, threads: int | None, shape: tuple[int, int, int]) -> Iterator[Peer]:
    """ONNX Runtime with a graph of one input of this shape, once for each way to call it that is worth trying."""
    yield OnnxRuntime(onnx, threads)
    yield from (OnnxRuntimeBound(onnx, threads, shape, arena) for arena in (True, False))


def fixed_onnx(model: Model, steps: int) -> bytes:
    """The exported model for one window (1, steps, F): runtimes plan better for shapes they know."""
    from lstmcore.formats.onnx import onnx

    proto = onnx.build(model.astype(np.float32))
    for dim, size in zip(proto.graph.input[0].type.tensor_type.shape.dim, (1, steps), strict=False):
        dim.dim_value = size
    data: bytes = proto.SerializeToString()
    return data


def count_of(threads: int | None) -> str:
    """How `settings` says it."""
    return "default threads" if threads is None else f"{threads} thread{'s' * (threads > 1)}"


def onnxruntime_session(onnx: bytes | str, threads: int | None, arena: bool = True) -> Any:
    """An InferenceSession of a model or its file, on the CPU, every graph optimisation on.

    Args:
        onnx: The model's bytes, or a path.
        threads: As `build` takes them.
        arena: Whether what it allocates during a call comes from its arena, as it does by itself, or from malloc.
    """
    runtime = need("onnxruntime", "peers")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    return runtime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


class OnnxRuntime(Peer):
    """ONNX Runtime's `run`."""

    label = "ONNX Runtime"

    def __init__(self, onnx: bytes, threads: int | None, arena: bool = True) -> None:
        self.session = onnxruntime_session(onnx, threads, arena)
        self.settings, self.threads = f"run, {count_of(threads)}", threads
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            raise ValueError(f"ONNX: expected one input, got {[x.name for x in inputs]}")
        self.input, self.dtype = inputs[0].name, {"tensor(double)": np.float64}.get(inputs[0].type, np.float32)

    def __call__(self, window: Array) -> Any:
        x = window if window.dtype == self.dtype else window.astype(self.dtype)
        return self.session.run(None, {self.input: x[np.newaxis]})[0][0]


class OnnxRuntimeBound(OnnxRuntime):
    """ONNX Runtime with the input and output buffers bound once."""

    def __init__(self, onnx: bytes, threads: int | None, shape: tuple[int, int, int], arena: bool = True) -> None:
        super().__init__(onnx, threads, arena)
        self.settings = f"bound, {'' if arena else 'no arena, '}{count_of(threads)}"
        value = need("onnxruntime", "peers").OrtValue
        self.window = np.zeros(shape, np.float32)
        self.answer = np.zeros_like(self.session.run(None, {self.input: self.window})[0])
        self.binding = self.session.io_binding()
        self.values = value.ortvalue_from_numpy(self.window), value.ortvalue_from_numpy(self.answer)
        self.binding.bind_ortvalue_input(self.input, self.values[0])
        self.binding.bind_ortvalue_output(self.session.get_outputs()[0].name, self.values[1])

    def __call__(self, window: Array) -> Any:
        self.window[0] = window
        self.session.run_with_iobinding(self.binding)
        return self.answer[0]


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's Core, one for the process.

    The first model that a Core compiles gives the thread a stack for its signal handlers, and the Core takes it away
    at its end; of two that end in the order in which they began, the second leaves the thread the first one's, which
    is gone. The next signal (Ctrl-C, an alarm) then ends the process: seen with OpenVINO 2026.4.
    """
    return need("openvino", "peers").Core()


def openvino_compiled(model: Any, threads: int | None) -> Any:
    """A CompiledModel on the CPU, tuned for latency, in float32."""
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = str(threads)
    return openvino_core().compile_model(model, "CPU", config)


class OpenVino(Peer):
    """OpenVINO's infer request, its tensors bound once."""

    label = "OpenVINO"

    def __init__(self, onnx: bytes, threads: int | None) -> None:
        openvino = need("openvino", "peers")
        compiled = openvino_compiled(openvino_core().read_model(io.BytesIO(onnx)), threads)
        self.settings, self.threads = f"infer request, {count_of(threads)}", threads
        self.window = np.zeros(tuple(compiled.input(0).shape), np.float32)
        self.request = compiled.create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(self.window, shared_memory=True))
        self.request.infer()
        self.answer = self.request.get_output_tensor(0).data

    def __call__(self, window: Array) -> Any:
        self.window[0] = window
        self.request.infer(share_outputs=True)
        return self.answer[0]


class Torch(Peer):
    """A torch module under inference_mode."""

    label = "torch"

    def __init__(self, module: Any, kind: str, threads: int | None) -> None:
        self.torch = need("torch", "torch")
        self.module = module
        self.threads = threads
        self.settings = f"{kind}, {count_of(threads)}"

    def __call__(self, window: Array) -> Any:
        return self.module(self.torch.from_numpy(window)[None])[0].numpy()

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        # torch's number of threads is the process's; bursts of others are not to inherit it.
        before = self.torch.get_num_threads()
        self.torch.set_num_threads(self.threads or before)
        try:
            with self.torch.inference_mode():
                yield
        finally:
            self.torch.set_num_threads(before)


def script(module: Any, example: Any) -> Any:
    """The module traced with `example`, a tuple of arguments, frozen and optimised by torch.jit."""
    torch = need("torch", "torch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch announces what it will replace this by
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(module, example)))
