"""A torch module that the user names, and its answers."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lstmcore import terminal
from lstmcore.commands import runtimes
from lstmcore.layers import Array
from lstmcore.text import clean


def torch_module(spec: str, checkpoint: str | None, time_first: bool) -> tuple[Callable[[Array], Any], Sequence[int]]:
    """A module's answer to a window; and a length of 1 and those beside the largest number in its code, and beyond."""
    torch = terminal.need("torch", "torch")
    source, _, attribute = spec.rpartition(":")
    found = _import(source)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{spec}: {source} has no attribute {attribute!r}")
        found = getattr(found, name)
    module = found if isinstance(found, torch.nn.Module) else _called(found, spec) if callable(found) else None
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{spec}: expected an nn.Module, or a class or function that makes one, got {type(found)}")
    module.eval()
    if checkpoint:
        from lstmcore.formats.torch.torch_checkpoint import load_checkpoint

        load_checkpoint(module, checkpoint)
    elif module is not found:
        terminal.note(f"warning: {spec} was made with weights of its own; --checkpoint FILE loads trained ones")
    _check_windows_alone(module, spec)
    like = next(module.parameters(), torch.zeros(()))

    def answer(window: Array) -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # for one window more threads are slower, and on a busy machine by far
        try:
            with torch.inference_mode():
                x = torch.as_tensor(window, dtype=like.dtype, device=like.device)
                x = x if x.ndim == 3 else x.unsqueeze(0)
                out = module(x.transpose(0, 1) if time_first else x)
        finally:
            torch.set_num_threads(before)
        if not isinstance(out, torch.Tensor):
            raise ValueError(f"{spec}: expected the module to return one tensor, got {type(out).__name__}; {STATES}")
        out = (out.swapaxes(0, 1) if time_first and out.ndim == 3 else out).cpu().numpy()
        return out if window.ndim == 3 else out[0]

    from lstmcore.formats.torch.torch_numbers import numbers_of

    written, held = numbers_of(module)
    largest = int(max((n for n in {**written, **held} if n <= runtimes.LONGEST), default=1))
    lengths = {1, largest - 1, largest, largest + 1, 2 * largest + 1}
    return answer, sorted(lengths - {0})


STATES = "a module that takes or returns states is compared as the ONNX file that it is exported to"


def _check_windows_alone(module: Any, spec: str) -> None:
    """Raise ValueError for a forward that needs more than windows."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    needed = [p.name for p in parameters if p.kind in positional and p.default is p.empty]
    if len(needed) > 1:
        raise ValueError(f"{spec}: its forward takes {', '.join(needed)}; expected windows alone; {STATES}")


def _called(function: Callable[[], Any], spec: str) -> Any:
    try:
        inspect.signature(function).bind()
    except ValueError:
        pass  # what is written in C may have no signature
    except TypeError as error:
        raise ValueError(f"{spec}: expected something that can be called without arguments: {error}") from None
    try:
        return function()
    except Exception as error:
        raise ValueError(f"{spec}: it raises {type(error).__name__} when it is called: {clean(error)}") from error


def _import(source: str) -> Any:
    """A module by its dotted name, or a .py file; the current directory is searched first."""
    sys.path.insert(0, "")
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        if not Path(source).is_file():
            raise FileNotFoundError(f"{source}: no such file")
        spec = importlib.util.spec_from_file_location(Path(source).stem, source)
        if spec is None or spec.loader is None:
            raise ImportError(f"{source}: cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickles look their module up there
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove("")
