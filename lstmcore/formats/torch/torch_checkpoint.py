"""State dicts in files, on whatever device they were saved, for a module that is there."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lstmcore.errors import ModelFormatError
from lstmcore.files import open_plain
from lstmcore.formats.tensors import open_tensors
from lstmcore.formats.torch.torch_file import LEGACY, read_checkpoint, strip_prefixes, unwrapped
from lstmcore.formats.torch.torch_zip import SAVE_THERE


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
    if Path(file).suffix.lower() == ".safetensors":
        with open_tensors(file) as (_, tensors):
            return {key: torch.from_numpy(x.read()) for key, x in tensors.items()}
    with open_plain(file) as stream:
        if LEGACY not in stream.read(32):
            return {key: torch.from_numpy(x) for key, x in read_checkpoint(file, strip=False).items()}
    content = unwrapped(_loaded(file), file)
    if not isinstance(content, dict):
        raise ModelFormatError(f"{file}: expected a state_dict, got {type(content).__name__}")
    return content


def _loaded(file: str) -> Any:
    """What torch finds in a file of before 1.6, as long as it holds no more than tensors and plain values.

    torch's own errors are not passed on: they advise to load the file without a check, which runs what it holds.
    """
    with open_plain(file) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # pickle raises whatever the bytes lead it to
            name = re.search(r"GLOBAL (\S+)", str(error))
    why = f"it holds a pickled {name[1]:.200}; {SAVE_THERE}" if name else "torch cannot load it"
    raise ModelFormatError(f"{file}: expected a state_dict that torch.save wrote: {why}")
