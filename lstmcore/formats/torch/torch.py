"""PyTorch modules: traced with torch.export, read as layers, compared with the module.

`torch_trace` walks the graph, `torch_ops` says what each operation does, `torch_check` compares.
"""

from __future__ import annotations

import contextlib
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

from lstmcore.formats.torch.torch_check import Found, as_input, check_answers
from lstmcore.formats.torch.torch_checkpoint import load_checkpoint
from lstmcore.formats.torch.torch_copy import own_copy
from lstmcore.formats.torch.torch_export import ExportError, export
from lstmcore.formats.torch.torch_hidden import Hidden, candidates, of_example
from lstmcore.formats.torch.torch_ops import ATTENTION, CONVOLUTION, EMBEDDING
from lstmcore.formats.torch.torch_trace import Traced, UnusedError, trace
from lstmcore.formats.torch.torch_value import TimeAxisError

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
            answers (N, ...); axes of size 1 other than the outputs' are not in its answers. It may also take initial
            states behind the windows, and return final ones beside the answer: the Model's `state` and `return_state`.
        checkpoint: A file with the state_dict to use instead of the module's own weights.
        example: Windows (N, T, F) to trace with, T at least 2; only their shape counts. Or a tuple of windows and of
            what the forward takes behind them, states in tuples and lists, whose axis of windows has another size than
            their other axes.

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
    hiddens: list[Hidden | None]
    if isinstance(example, tuple) and len(example) > 1:
        example, *states = example
        hiddens = [of_example(states, len(torch.as_tensor(example)))]
    else:
        example = example[0] if isinstance(example, tuple) and len(example) == 1 else example
        hiddens = candidates(module)
    shapes = _shapes_to_try(module, example)
    with _turn(module), torch.no_grad(), torch.random.fork_rng(devices=_cuda_devices(module)):
        module = own_copy(module)
        if checkpoint is not None:
            load_checkpoint(module, checkpoint)
        found = _trace_any(module, shapes, hiddens)
        traced, time_major = found.traced.layers, found.time_major
        layers = _one_dtype(traced)
        try:
            Model(layers, backend="numpy")
        except ValueError as error:
            raise UnsupportedError(f"{type(module).__name__}: {error}") from error
        # The traced ones: a scale that was rounded would count as a difference.
        model = Model([layer.astype(np.float64) for layer in traced], backend="numpy")
        check_answers(module, model, found)
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


def _trace_any(module: nn.Module, shapes: list[tuple[int, int, int]], hiddens: list[Hidden | None]) -> Found:
    """What the forward is with the first of `hiddens` that it takes behind its windows.

    Where it takes none, but returns states, those that it may take are tried first: they must belong together.
    """
    failed: list[UnsupportedError] = []
    without: Found | None = None
    for hidden in hiddens:
        try:
            found = _trace_widened(module, shapes, hidden)
        except UnsupportedError as error:
            failed.append(error)
            continue
        if hidden is not None or found.traced.states is None or len(hiddens) == 1:
            return found
        without = found
    reasons = [error for error in failed if not isinstance(error.__cause__, ExportError | UnusedError)]
    if without is not None and not reasons:
        return without
    raise (reasons or failed)[0]


def _trace_widened(module: nn.Module, shapes: list[tuple[int, int, int]], hidden: Hidden | None) -> Found:
    """What `_trace` finds, of a module that becomes float32 where it is in half precision, and the widest of mixed.

    But for a forward that itself goes from float64 to float32, behind a scaler for example: it is read as it is.
    """
    dtypes = {t.dtype for t in [*module.parameters(), *module.buffers()] if t.is_floating_point()}
    if dtypes in ({torch.float32}, {torch.float64}):
        return _trace(module, shapes, hidden)
    if dtypes == {torch.float32, torch.float64}:
        try:
            return _trace(module, shapes, hidden)
        except UnsupportedError as error:
            if not isinstance(error.__cause__, ExportError):
                raise
    module.to(torch.float64 if torch.float64 in dtypes else torch.float32)
    return _trace(module, shapes, hidden)


def _one_dtype(layers: list[Layer]) -> list[Layer]:
    """Layers with a scaler of the others' dtype: its mean stays in float64 where that differs."""
    others = {layer.dtype for layer in layers if layer.dtype is not None and not isinstance(layer, Scaler)}
    if len(others) != 1:
        return layers
    (dtype,) = others
    return [layer.astype(dtype) if isinstance(layer, Scaler) else layer for layer in layers]


def _trace(module: nn.Module, shapes: list[tuple[int, int, int]], hidden: Hidden | None) -> Found:
    """What the forward is found to be, and with which windows."""
    failed: list[ExportError] = []
    for shape in shapes:
        try:
            return Found(_read_layers(module, shape, hidden, time_major=False), shape, False, hidden)
        except TimeAxisError:
            return Found(_read_layers(module, shape, hidden, time_major=True), shape, True, hidden)
        except UnusedError as error:
            raise UnsupportedError(f"{type(module).__name__}: {error}") from error
        except ExportError as error:
            failed.append(error)
        with contextlib.suppress(UnsupportedError):
            return Found(_read_layers(module, shape, hidden, time_major=True), shape, True, hidden)
    with_states = ", given states of its recurrent layers behind the windows" if hidden else ""
    raise UnsupportedError(
        f"{type(module).__name__}: torch.export cannot trace the forward{with_states}: {'; '.join(map(str, failed))}; "
        "if it takes other windows, give an example"
    ) from failed[0]


def _read_layers(module: nn.Module, shape: tuple[int, int, int], hidden: Hidden | None, *, time_major: bool) -> Traced:
    windows = as_input(module, np.zeros(shape), time_major)
    arguments = (windows, *(hidden.arguments(shape[0], windows) if hidden else ()))
    return trace(export(module, arguments, f"windows {shape}"), module, time_major=time_major)
