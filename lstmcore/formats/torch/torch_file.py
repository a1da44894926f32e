"""State dicts that torch.save wrote, read without torch. A file is read as if an enemy had written it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypeVar

import numpy as np

from lstmcore.errors import ModelFormatError
from lstmcore.files import open_plain
from lstmcore.formats.guard.limits import MAX_EXTENT, allowed
from lstmcore.formats.torch.torch_names import Storage, StoredTensor, kind_of
from lstmcore.formats.torch.torch_pickle import MAX_PICKLE, loads
from lstmcore.formats.torch.torch_zip import MAGIC, MAX_FILE, SAVE_AGAIN, Archive
from lstmcore.layers import Array

#: Under which keys training programs store the state_dict among other things.
NESTED = ("state_dict", "model_state_dict", "model")

#: What torch.compile, DataParallel and a LightningModule that calls its network "model" put before every key.
PREFIXES = ("_orig_mod.", "module.", "model.")

#: Names that weights have in a state_dict, and other tensors that a checkpoint holds have not.
WEIGHT = re.compile(r"(.*\.)?(weight|bias)(_[a-z0-9_]+)?$")

MAX_VERSION = 10  # of the archive: torch 1.6 wrote 2, torch 2.13 writes 3, and both read up to 10
MAX_TENSORS = 1 << 14
MAX_KEY = 1 << 10  # characters

LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch pickled first, before 1.6

T = TypeVar("T")


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The arrays in a file that `torch.save(module.state_dict(), path)` wrote, on whatever device.

    Each is a C-contiguous copy of its own, of torch's shape and in the dtype that was stored; but float16 and
    bfloat16 come as float32, which has all their values.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged, hostile, of another format, or holds something else.
    """
    return _read(os.fspath(path), lambda content: content)


def read_checkpoint(path: str | os.PathLike[str], *, strip: bool = True) -> dict[str, Array]:
    """As `read_state_dict`, from a file that a training program wrote.

    The state_dict may lie under a key, beside whatever else; with `strip`, a prefix in `PREFIXES` that all of its keys
    have is left out.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged, hostile, of another format, or holds something else.
    """
    file = os.fspath(path)
    state = _read(file, lambda content: unwrapped(content, file))
    return strip_prefixes(state, file) if strip else state


def unwrapped(content: Any, what: str) -> Any:
    """The state_dict in what a training program saved: under a key in `NESTED`, or under whatever other key if it is
    the only one; `content` itself if there is none.

    Raises:
        ModelFormatError: Several, under other keys.
    """
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or _is_state_dict(content):
        return content
    found = [key for key, value in content.items() if isinstance(value, dict) and _is_state_dict(value)]
    if len(found) > 1:
        keys = ", ".join(shown(str(key)) for key in found)
        raise ModelFormatError(f"{what}: state_dicts under several keys: {keys}; save the one of the model alone")
    return content[found[0]] if found else content


def _is_state_dict(content: Mapping[Any, Any]) -> bool:
    """Whether it has a weight of a layer among its own values."""
    return any(isinstance(key, str) and WEIGHT.match(key) and hasattr(x, "shape") for key, x in content.items())


def strip_prefixes(state: dict[str, T], file: str, own: Collection[str] = ()) -> dict[str, T]:
    """`state` without the prefixes that all keys have, one after the other, until a key is in `own`, the module's.

    Raises:
        ModelFormatError: Two keys that differ in their prefix only.
    """
    while state and not any(key in own for key in state):
        if not all(isinstance(key, str) and key.startswith(PREFIXES) for key in state):
            break
        shorter = {key.partition(".")[2]: value for key, value in state.items()}
        if len(shorter) < len(state):
            raise ModelFormatError(f"{file}: keys that differ in their prefix only: {sorted(state)!r:.200}")
        state = shorter
    return state


def _read(file: str, find: Callable[[Any], Any]) -> dict[str, Array]:
    what = f"{file}: expected a state_dict that torch.save wrote"
    with open_plain(file) as stream:
        start = stream.read(32)
        if LEGACY in start:
            raise ModelFormatError(f"{what}: its format is that of torch before 1.6; {SAVE_AGAIN}")
        if not start.startswith(MAGIC):
            raise ModelFormatError(f"{what}: it begins with {start[:8]!r}, and a zip archive with {MAGIC!r}")
        archive, most = Archive(stream, what), allowed(os.fstat(stream.fileno()).st_size)
        order = _byte_order(archive, what)
        state = find(loads(archive.read("data.pkl", MAX_PICKLE).tobytes(), what, most))
        if not isinstance(state, dict):
            raise ModelFormatError(f"{file}: expected a state_dict, got {kind_of(state)}")
        if len(state) > MAX_TENSORS:
            raise ModelFormatError(f"{file}: expected at most {MAX_TENSORS} tensors, got {len(state)}")
        keys_of: dict[Storage, list[str]] = {}
        for key, tensor in state.items():
            _check(tensor, key, file)
            keys_of.setdefault(tensor.storage, []).append(key)
        stored = sum(_check_record(archive, storage, f"{file}: {shown(keys_of[storage][0])}") for storage in keys_of)
        copied = sum(_dtype(tensor.storage).itemsize * math.prod(tensor.shape) for tensor in state.values())
        if copied > allowed(stored):
            raise ModelFormatError(
                f"{file}: tensors that share or repeat {stored} bytes: at most {allowed(stored)}, got {copied}"
            )
        arrays = dict.fromkeys(state, np.empty(0))
        for storage, keys in keys_of.items():
            data = archive.read(_record(storage), MAX_FILE).view(_dtype(storage).newbyteorder(order))
            for key in keys:
                arrays[key] = _array(state[key], data)
    return arrays


def _byte_order(archive: Archive, what: str) -> Literal["<", ">"]:
    """numpy's sign for the order of bytes in the records, of an archive whose version can be read."""
    version = archive.read("version" if "version" in archive.records else ".data/version", 16).tobytes().strip()
    if not version.isdigit() or not 1 <= int(version) <= MAX_VERSION:
        raise ModelFormatError(f"{what}: expected an archive of version 1 to {MAX_VERSION}, got {version!r}")
    if "byteorder" not in archive.records:  # torch before 2.1
        return "<"
    name = archive.read("byteorder", 16).tobytes()
    if name not in (b"little", b"big"):
        raise ModelFormatError(f"{what}: expected little or big as the record 'byteorder', got {name!r}")
    return "<" if name == b"little" else ">"


def _check(tensor: Any, key: Any, file: str) -> None:
    """That the key is a name and its value a tensor whose elements all lie in its storage."""
    if not isinstance(key, str):
        raise ModelFormatError(f"{file}: expected a state_dict with names as keys, got the {kind_of(key)} {key!r}")
    what = f"{file}: {shown(key)}"
    if len(key) > MAX_KEY:
        raise ModelFormatError(f"{what}: expected a key of at most {MAX_KEY} characters, got {len(key)}")
    if not isinstance(tensor, StoredTensor):
        hint = f"; a state_dict may lie under {', '.join(NESTED)}" if isinstance(tensor, dict) else ""
        raise ModelFormatError(f"{what}: expected a tensor, got {kind_of(tensor)}{hint}")
    if math.prod(max(n, 1) for n in tensor.shape) > MAX_EXTENT:
        raise ModelFormatError(f"{what}: expected a shape of at most {MAX_EXTENT} elements, got {tensor.shape}")
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    stored = tensor.storage.elements
    if last >= stored and 0 not in tensor.shape:
        raise ModelFormatError(f"{what}: expected elements among the {stored} of its storage, got one at {last}")


def _check_record(archive: Archive, storage: Storage, what: str) -> int:
    """The size of the storage's record, which must be there and hold what the pickle says."""
    name, expected = _record(storage), storage.elements * _dtype(storage).itemsize
    found = archive.records[name].size if name in archive.records else None
    if found != expected:
        contents = f"{storage.elements} elements of {storage.dtype}, {expected} bytes"
        got = "none" if found is None else f"{found} bytes"
        raise ModelFormatError(f"{what}: expected {contents}, in record {name!r:.200}, got {got}")
    return expected


def _record(storage: Storage) -> str:
    return f"data/{storage.key}"


def _dtype(storage: Storage) -> np.dtype[Any]:
    """numpy's dtype for what is stored."""
    return np.dtype({"bfloat16": "uint16", "bool": "uint8"}.get(storage.dtype, storage.dtype))


def _array(tensor: StoredTensor, data: Array) -> Array:
    """A copy of the tensor's elements in `data`, its storage."""
    if 0 in tensor.shape:
        data = np.zeros(tensor.shape, data.dtype)
    else:
        size = data.itemsize
        strides = [stride * size if n > 1 else 0 for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
        data = np.ndarray(tensor.shape, data.dtype, data, tensor.offset * size, strides)
    if tensor.storage.dtype == "bfloat16":  # the upper half of a float32
        return np.array(data.astype(np.uint32) << 16, order="C").view(np.float32)
    dtype = "float32" if tensor.storage.dtype == "float16" else tensor.storage.dtype
    with np.errstate(invalid="ignore"):  # what some processors say of a signalling NaN
        return np.array(data, dtype, order="C")


def shown(key: str) -> str:
    """A key as errors show it."""
    return key if key.isprintable() and len(key) <= 200 else f"{key!r:.200}"
