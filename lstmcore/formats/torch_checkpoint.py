"""State dicts that torch.save wrote, on whatever device."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from typing import Any

import torch
from torch import nn

from lstmcore.errors import ModelFormatError
from lstmcore.files import open_plain
from lstmcore.formats.torch_file import read_checkpoint, strip_prefixes, unwrapped
from lstmcore.formats.torch_zip import SAVE_THERE


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
    content = unwrapped(_loaded(file))
    if not isinstance(content, dict):
        raise ModelFormatError(f"{file}: expected a state_dict, got {type(content).__name__}")
    return content


def _loaded(file: str) -> Any:
    """What torch finds in the file, as long as it holds no more than tensors and plain values.

    torch's own errors are not passed on: they advise to load the file without a check, which runs what it holds.
    """
    with open_plain(file) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a file looks like TorchScript: the error says it too
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # pickle and the zip reader raise whatever the bytes lead them to
            why = _reason(error)
    if why is None:
        read_checkpoint(file)  # the restricted reader says what else it is
        why = "torch cannot load it"
    raise ModelFormatError(f"{file}: expected a state_dict that torch.save wrote: {why}")


def _reason(error: Exception) -> str | None:
    """What torch found in the file that is no state_dict; None where it did not get that far."""
    name = re.search(r"GLOBAL (\S+)", str(error))
    if name:
        return f"it holds a pickled {name[1]:.200}; {SAVE_THERE}"
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
        return f"it holds more than tensors, numbers and names; {SAVE_THERE}"
    return None
