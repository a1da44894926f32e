"""PyTorch modules: traced with torch.export, read as layers, compared with the module.

`torch_trace` walks the graph, `torch_ops` says what each operation does, `torch_check` compares.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmcore.errors import UnsupportedError
from lstmcore.layers import Layer, Scaler
from lstmcore.model import Model

try:
    import torch
except ImportError as error:
    raise UnsupportedError('reading a PyTorch module needs PyTorch: pip install "lstmcore[torch]"') from error

from torch import nn
from torch.overrides import TorchFunctionMode

from lstmcore.formats.torch.torch_check import as_input, check_answers
from lstmcore.formats.torch.torch_checkpoint import load_checkpoint
from lstmcore.formats.torch.torch_copy import own_copy
from lstmcore.formats.torch.torch_ops import ATTENTION, CONVOLUTION, EMBEDDING
from lstmcore.formats.torch.torch_trace import trace
from lstmcore.formats.torch.torch_value import Axis, TimeAxisError

#: torch's tracer, and what keeps it quiet, work for one thread at a time.
LOCK = threading.Lock()
_reading = threading.local()  # `now`: this thread has it

#: Windows and steps to trace with. They differ, so that no view can take one for the other.
WINDOWS, STEPS = 3, 7


def read(module: nn.Module, *, checkpoint: str | os.PathLike[str] | None = None, example: Any = None) -> list[Layer]:
    """The layers of a trained module, found by tracing its forward. The module itself is left as it is.

    Args:
        module: In eval mode. Its forward takes windows (N, T, F), or (T, N, F) where it hands them to a
            recurrent layer without batch_first, and returns one tensor. The Model takes (N, T, F) in either case and
            answers (N, ...); axes of size 1 other than the outputs' are not in its answers.
        checkpoint: A file with the state_dict to use instead of the module's own weights.
        example: Windows (N, T, F) to trace with, T at least 2; only their shape counts.

    Warns:
        UserWarning: The module reads time first.

    Raises:
        TypeError: Something that is no module.
        ValueError: An example of another shape.
        UnsupportedError: A part that lstmcore has no equation for, or that is not used; named in the text.
        ModelFormatError: A checkpoint that cannot be read, or is not this module's.
    """
    module = _unwrap(module)
    _check_module(module)
    shapes = _shapes_to_try(module, example)
    with _turn(module), torch.no_grad(), torch.random.fork_rng(devices=_cuda_devices(module)):
        module = own_copy(module)
        if checkpoint is not None:
            load_checkpoint(module, checkpoint)
        traced, axes, shape, time_major = _trace_widened(module, shapes)
        layers = _one_dtype(traced)
        try:
            Model(layers, backend="numpy")
        except ValueError as error:
            raise UnsupportedError(f"{type(module).__name__}: {error}") from error
        # The traced ones: a scale that was rounded would count as a difference.
        model = Model([layer.astype(np.float64) for layer in traced], backend="numpy")
        check_answers(module, model, axes, shape, time_major)
    if time_major:
        recurrent = next((type(m).__name__ for m in module.modules() if isinstance(m, nn.RNNBase)), None)
        why = f"its {recurrent} has batch_first=False" if recurrent else "it takes its steps from the first axis"
        warnings.warn(
            f"{type(module).__name__} reads its windows as (T, N, F), since {why}; the Model "
            "takes (N, T, F). If the module was fed (N, T, F) in training, it needs batch_first=True there",
            stacklevel=3,
        )
    return layers


@contextlib.contextmanager
def _turn(module: nn.Module) -> Iterator[None]:
    """One thread at a time. Raises UnsupportedError within such a turn of one's own, which would wait for its end."""
    if getattr(_reading, "now", False):
        raise UnsupportedError(
            f"{type(module).__name__}: from_torch was called while from_torch runs, by a forward or by a handler of "
            "signals; call it before"
        )
    with LOCK:
        _reading.now = True
        try:
            yield
        finally:
            _reading.now = False


def _unwrap(module: Any) -> nn.Module:
    """The user's own module behind torch.compile and DataParallel."""
    if not isinstance(module, nn.Module):
        if isinstance(module, torch.export.ExportedProgram):
            raise UnsupportedError(f"{type(module).__name__}: {EXPORTED}")
        hints = {
            type: "; make an instance of the class, with its trained weights",
            str: "; give the module, and the file as checkpoint=",
            dict: "; give the module, and the state_dict's file as checkpoint=, or from_state_dict the layers",
        }
        hint = next((text for kind, text in hints.items() if isinstance(module, kind)), "")
        raise TypeError(f"expected a torch.nn.Module, got {type(module).__name__}{hint}")
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _unwrap(module.module)
    inner = getattr(module, "_orig_mod", None)
    return module if inner is None else _unwrap(inner)


EXPORTED = "an exported program; give the nn.Module, or from_state_dict its state_dict and the layers"


def _check_module(module: nn.Module) -> None:
    """Refuse what can be seen to be unsupported without a trace."""
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedError(f"{kind}: a ScriptModule; give the nn.Module that it was made from")
    owners: dict[int, set[int]] = {}  # of a tied parameter several; the forward may well use it by another
    for m in module.modules():
        for p in m.parameters(recurse=False):
            owners.setdefault(id(p), set()).add(id(m))
    for name, m in module.named_modules():
        if ".quantized" in type(m).__module__:
            raise UnsupportedError(f"{name or kind}: a quantized {type(m).__name__}; give the float module")
        for refused, why in REFUSED.items():
            if isinstance(m, refused) and not all(len(owners[id(p)]) > 1 for p in m.parameters(recurse=False)):
                raise UnsupportedError(f"{name or kind}: {type(m).__name__}: {why}")
    if isinstance(module, torch.fx.GraphModule) and "train" in vars(module):  # torch.export forbids that
        raise UnsupportedError(f"{kind}: {EXPORTED}")
    training = [name or kind for name, m in module.named_modules() if m.training]
    if training:
        raise UnsupportedError(f"in training mode: {', '.join(training)}; call module.eval() first")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_complex():
            raise UnsupportedError(f"{name}: holds {tensor.dtype}; lstmcore computes with real numbers")
        if tensor.is_meta:
            raise UnsupportedError(f"{name}: is on the meta device, which holds no numbers")
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in positional if p.default is p.empty]
    if len(needed) > 1:
        hint = "; `lengths=` can be given at the Model's call" if any("len" in name for name in needed) else ""
        raise UnsupportedError(f"{kind}: forward takes several inputs, {', '.join(needed)}; expected windows{hint}")


#: Modules that are made of operations which would not say so.
REFUSED: dict[Any, str] = {
    (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d): CONVOLUTION,
    (nn.Embedding, nn.EmbeddingBag): EMBEDDING,
    (nn.MultiheadAttention, nn.Transformer): ATTENTION,
}


def _shapes_to_try(module: nn.Module, example: Any) -> list[tuple[int, int, int]]:
    """Shapes (N, T, F) to trace with."""
    if example is not None:
        shape = tuple(torch.as_tensor(example).shape)
        if len(shape) != 3 or shape[1] < 2 or min(shape) < 1:
            raise ValueError(f"example: expected windows (N, T, F) with T at least 2, got shape {shape}")
        windows, steps, features = shape
        if windows in (1, steps):
            windows = next(n for n in (WINDOWS, STEPS) if n != steps)
        return [(windows, steps, features)]
    sizes = [getattr(m, "input_size", getattr(m, "in_features", None)) for m in module.modules()]
    candidates = dict.fromkeys(size for size in sizes if isinstance(size, int) and size > 0)
    if not candidates:
        raise UnsupportedError(
            f"{type(module).__name__}: no LSTM or Linear says how many features a tick has; give an example"
        )
    return [(WINDOWS, STEPS, size) for size in candidates]


def _cuda_devices(module: nn.Module) -> list[torch.device]:
    return sorted({p.device for p in module.parameters() if p.is_cuda}, key=str)


Traced = tuple[list[Layer], tuple[Axis, ...], tuple[int, int, int], bool]


def _trace_widened(module: nn.Module, shapes: list[tuple[int, int, int]]) -> Traced:
    """What `_trace` returns, of a module that becomes float32 where it is in half precision, and the widest of mixed.

    But for a forward that itself goes from float64 to float32, behind a scaler for example: it is read as it is.
    """
    dtypes = {t.dtype for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()}
    if dtypes in ({torch.float32}, {torch.float64}):
        return _trace(module, shapes)
    if dtypes == {torch.float32, torch.float64}:
        try:
            return _trace(module, shapes)
        except UnsupportedError as error:
            if not isinstance(error.__cause__, ExportError):
                raise
    module.to(torch.float64 if torch.float64 in dtypes else torch.float32)
    return _trace(module, shapes)


def _one_dtype(layers: list[Layer]) -> list[Layer]:
    """Layers with a scaler of the others' dtype: its mean stays in float64 where that differs."""
    others = {layer.dtype for layer in layers if layer.dtype is not None and not isinstance(layer, Scaler)}
    if len(others) != 1:
        return layers
    (dtype,) = others
    return [layer.astype(dtype) if isinstance(layer, Scaler) else layer for layer in layers]


def _trace(module: nn.Module, shapes: list[tuple[int, int, int]]) -> Traced:
    """The layers, the answer's axes, the shape (N, T, F) of the trace, and whether the module takes (T, N, F)."""
    failed: list[ExportError] = []
    for shape in shapes:
        try:
            return *_read_layers(module, shape, time_major=False), shape, False
        except TimeAxisError:
            return *_read_layers(module, shape, time_major=True), shape, True
        except ExportError as error:
            failed.append(error)
        with contextlib.suppress(UnsupportedError):
            return *_read_layers(module, shape, time_major=True), shape, True
    raise UnsupportedError(
        f"{type(module).__name__}: torch.export cannot trace the forward: {'; '.join(map(str, failed))}; "
        "if it takes other windows, give an example"
    ) from failed[0]


class ExportError(UnsupportedError):
    """torch.export cannot trace the forward with windows of one shape."""


def _read_layers(
    module: nn.Module, shape: tuple[int, int, int], *, time_major: bool
) -> tuple[list[Layer], tuple[Axis, ...]]:
    windows = as_input(module, np.zeros(shape), time_major)
    packing = _Packing()
    try:
        with _quiet(), packing:
            # A copy, because tracing leaves attributes behind that hold no numbers.
            program = torch.export.export(own_copy(module), (windows,), strict=False)
    except Exception as error:  # whatever the forward may raise
        if packing.seen:
            raise UnsupportedError(f"{type(module).__name__}: {PACKED}") from error
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise ExportError(f"windows {shape}: {type(error).__name__}: {first:.300}") from error
    return trace(program, module, time_major=time_major)


PACKED = (
    "packs its sequences (pack_padded_sequence); leave that out of the forward, and give `lengths=` at the Model's call"
)


class _Packing(TorchFunctionMode):
    """Sees whether the forward packs sequences: torch.export cannot trace that, and says something else of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= getattr(function, "__name__", "") == "_pack_padded_sequence"
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch prints when an export fails: our error says it, and another try may succeed."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch")]
    handlers = [handler for logger in loggers for handler in logger.handlers]
    exporting = vars(importlib.import_module("torch.export._trace"))
    for handler in handlers:
        handler.addFilter(drop)
    exporting["print"] = lambda *args, **kwargs: None  # it prints the graph of an export that fails
    try:
        with warnings.catch_warnings():
            # Such as nn.LSTM's list of its own parameters; what is assigned is lost with the copy.
            warnings.filterwarnings("ignore", "The tensor attribute.* assigned during export", UserWarning)
            yield
    finally:
        del exporting["print"]
        for handler in handlers:
            handler.removeFilter(drop)
