"""State dicts that torch.save wrote, on whatever device."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import nn

from lstmcore.errors import ModelFormatError
from lstmcore.formats.torch_file import strip_prefixes, unwrapped


def load_checkpoint(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load the state_dict in the file at `path` into `module`, on the device where `module` is.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that holds something else, or keys or shapes that are not the module's.
    """
    file = os.fspath(path)
    own = module.state_dict()
    state = strip_prefixes(_state_dict(file), file, own)
    for problem, keys in (("missing", own.keys() - state.keys()), ("unexpected", state.keys() - own.keys())):
        if keys:
            raise ModelFormatError(f"{file}: {problem} in the state_dict: {', '.join(sorted(map(str, keys)))}")
    for key, expected in own.items():
        found = state[key]
        what = f"{file}: {key}: expected shape {tuple(expected.shape)}"
        if not isinstance(found, torch.Tensor):
            raise ModelFormatError(f"{what}, got {type(found).__name__}")
        if found.shape != expected.shape:
            raise ModelFormatError(f"{what}, got {tuple(found.shape)}")
    module.load_state_dict(state)


def _state_dict(file: str) -> dict[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that a file looks like TorchScript: the error says it too
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # pickle and the zip reader raise whatever the bytes lead them to
        raise ModelFormatError(f"{file}: expected a state_dict that torch.save wrote: {_reason(error)}") from error
    content = unwrapped(content)
    if not isinstance(content, dict):
        raise ModelFormatError(f"{file}: expected a state_dict, got {type(content).__name__}")
    return content


def _reason(error: Exception) -> str:
    text = str(error)
    if "Unsupported global: GLOBAL " in text:
        name = text.partition("Unsupported global: GLOBAL ")[2].split()[0]
        return f"it holds a pickled {name}; save module.state_dict(), not the module"
    first = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return f"{type(error).__name__}: {first:.200}"
