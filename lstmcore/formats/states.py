"""Streams' states as safetensors files: a bot that restarts goes on from one. Read as if an enemy had written them."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.numpy

from lstmcore import states
from lstmcore.errors import ModelFormatError
from lstmcore.files import write_whole
from lstmcore.formats.safetensors import STATE, check_header
from lstmcore.layers import Array

CHECKSUM = "sha256"
LETTERS = {"F": "float", "I": "int", "U": "uint"}  # "F32" is numpy's "float32"


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for another suffix than .safetensors."""
    if Path(path).suffix.lower() != ".safetensors":
        hint = Path(path).with_suffix(".safetensors").name if Path(path).name else "state.safetensors"
        raise ValueError(f"{os.fspath(path)}: expected a name that ends in .safetensors, such as {hint}")


def save(state: Mapping[str, Array], kind: str, path: str | os.PathLike[str]) -> None:
    """Write a state of a kind of stream. Raises ValueError for another suffix than .safetensors."""
    check_name(path)
    write_whole(path, safetensors.numpy.save(dict(state), {STATE: kind, CHECKSUM: checksum(state)}))


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
        ValueError: As `lstmcore.states.check`.
    """
    check_header(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            of = metadata.get(STATE)
            if of not in states.KINDS:
                raise ModelFormatError(f"{path}: expected the state of {states.KINDS[kind]}, got another file")
            found = {}
            for name in opened.keys():  # noqa: SIM118  # no mapping
                view = opened.get_slice(name)
                letter, bits = view.get_dtype()[:1], view.get_dtype()[1:]
                read_part = functools.partial(opened.get_tensor, name)
                found[name] = states.Part(LETTERS.get(letter, letter) + bits, tuple(view.get_shape()), read_part)
            state = states.check(path, found, of, kind, expected)
            if metadata.get(CHECKSUM) != checksum(state):
                raise ModelFormatError(f"{path}: damaged: what it holds does not match its checksum")
            return state
    except safetensors.SafetensorError as error:
        raise ModelFormatError(f"{path}: not a valid safetensors file: {error}") from error
