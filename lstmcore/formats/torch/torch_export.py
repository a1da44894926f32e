"""torch.export, quiet, and with errors that say what went wrong."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lstmcore.errors import UnsupportedError
from lstmcore.formats.torch.torch_copy import own_copy


class ExportError(UnsupportedError):
    """torch.export cannot trace the forward with windows of one shape."""


def export(module: nn.Module, arguments: tuple[Any, ...], what: str) -> torch.export.ExportedProgram:
    """The forward's graph for these arguments, which are `what`.

    Raises:
        ExportError: torch cannot trace it.
        UnsupportedError: It packs its sequences.
    """
    packing = _Packing()
    try:
        with _quiet(), packing:
            # A copy, because tracing leaves attributes behind that hold no numbers.
            return torch.export.export(own_copy(module), arguments, strict=False)
    except Exception as error:  # whatever the forward may raise
        if packing.seen:
            raise UnsupportedError(f"{type(module).__name__}: {PACKED}") from error
        first = (str(error).strip() or "no reason given").splitlines()[0]
        raise ExportError(f"{what}: {type(error).__name__}: {first:.300}") from error


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
