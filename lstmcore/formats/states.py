"""Streams' states as safetensors files: a bot that restarts goes on from one. Read as if an enemy had written them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.numpy

from lstmcore.errors import ModelFormatError
from lstmcore.files import write_whole
from lstmcore.formats.safetensors import check_header
from lstmcore.layers import Array

KEY = "lstmcore_state"
CHECKSUM = "sha256"
DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}  # as safetensors calls what states hold


def save(state: Mapping[str, Array], kind: str, path: str | os.PathLike[str]) -> None:
    """Write a state of a kind of stream. Raises ValueError for another suffix than .safetensors."""
    if Path(path).suffix.lower() != ".safetensors":
        raise ValueError(f"{os.fspath(path)}: expected a name that ends in .safetensors")
    write_whole(path, safetensors.numpy.save(dict(state), {KEY: kind, CHECKSUM: checksum(state)}))


def checksum(state: Mapping[str, Array]) -> str:
    """SHA-256 over the parts' names and numbers: a flipped bit in one would go on as another state."""
    whole = hashlib.sha256()
    for name in sorted(state):
        whole.update(name.encode())
        whole.update(state[name].tobytes())
    return whole.hexdigest()


def read(path: str, kind: str, expected: Mapping[str, Array]) -> dict[str, Array]:
    """The state in the file, whose parts must have the expected shapes. Raises FileNotFoundError, ModelFormatError."""
    check_header(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            found = metadata.get(KEY)
            if found != kind:
                raise ModelFormatError(f"{path}: expected the state of a {kind} stream, got {found or 'another file'}")
            names = set(opened.keys())
            if names != set(expected):
                raise ModelFormatError(f"{path}: expected the parts {sorted(expected)}, got {sorted(names)}")
            for name, like in expected.items():
                view = opened.get_slice(name)
                shape, dtype = tuple(view.get_shape()), view.get_dtype()
                if shape != like.shape:
                    raise ModelFormatError(f"{path}: {name}: expected shape {like.shape}, got {shape}")
                if dtype != DTYPES[like.dtype.name]:
                    raise ModelFormatError(f"{path}: {name}: expected dtype {DTYPES[like.dtype.name]}, got {dtype}")
            state = {name: opened.get_tensor(name) for name in names}
            if metadata.get(CHECKSUM) != checksum(state):
                raise ModelFormatError(f"{path}: damaged: what it holds does not match its checksum")
            return state
    except safetensors.SafetensorError as error:
        raise ModelFormatError(f"{path}: not a valid safetensors file: {error}") from error
