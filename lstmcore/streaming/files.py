"""Streams' states as safetensors files: a bot that restarts goes on from one. Read as if an enemy had written them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.numpy

from lstmcore.errors import ModelFormatError
from lstmcore.files import write_whole
from lstmcore.formats.safetensors import STATE
from lstmcore.formats.tensors import open_tensors
from lstmcore.layers import Array
from lstmcore.streaming import states

CHECKSUM = "sha256"


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for another suffix than .safetensors."""
    if Path(path).suffix.lower() != ".safetensors":
        hint = Path(path).with_suffix(".safetensors").name if Path(path).name else "state.safetensors"
        raise ValueError(f"{os.fspath(path)}: expected a name that ends in .safetensors, such as {hint}")


def save(state: Mapping[str, Array], kind: str, path: str | os.PathLike[str]) -> None:
    """Write a state of a kind of stream. Raises ValueError for another suffix than .safetensors, and over tensors
    that are no state, such as a model."""
    check_name(path)
    if _has_others(path):
        raise ValueError(f"{os.fspath(path)}: there is another safetensors file, perhaps a model; give another name")
    write_whole(path, safetensors.numpy.save(dict(state), {STATE: kind, CHECKSUM: checksum(state)}))


def _has_others(path: str | os.PathLike[str]) -> bool:
    """Whether a safetensors file is there that is no state."""
    try:
        with open_tensors(os.fspath(path)) as (metadata, _):
            return STATE not in metadata
    except (OSError, ModelFormatError):
        return False


def checksum(state: Mapping[str, Array]) -> str:
    """SHA-256 over the parts' names and numbers: a flipped bit in one would go on as another state."""
    whole = hashlib.sha256()
    for name in sorted(state):
        whole.update(name.encode())
        whole.update(state[name].tobytes())
    return whole.hexdigest()


def read(path: str, kind: str, expected: Mapping[str, Array]) -> dict[str, Array]:
    """The state in the file, whose parts must fit those expected, before they are read.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that holds no state, or a damaged one.
        ValueError: As `lstmcore.streaming.states.check`.
    """
    with open_tensors(path) as (metadata, tensors):
        of = metadata.get(STATE)
        if of not in states.KINDS:
            raise ModelFormatError(f"{path}: expected the state of {states.KINDS[kind]}, got another file")
        found = {name: states.Part(x.numpy_dtype, x.shape, x.read) for name, x in tensors.items()}
        state = states.check(path, found, of, kind, expected)
    if metadata.get(CHECKSUM) != checksum(state):
        raise ModelFormatError(f"{path}: damaged: what it holds does not match its checksum")
    return state
