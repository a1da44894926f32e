"""The project's own files: safetensors, weights under torch's names, the architecture in the metadata.

The metadata holds one key, "lstmcore": JSON with the format's version and, for each layer, its kind, name and
settings. Weights are stored under `{layer}.{torch's name}`. A file is read as if an enemy had written it: sizes
are checked against the settings before anything is allocated, and every key is used or refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy

from lstmcore.errors import ModelFormatError
from lstmcore.files import write_whole
from lstmcore.formats.json_text import parse
from lstmcore.formats.limits import allowed
from lstmcore.formats.weights import Spec, Stored, read_layers
from lstmcore.layers import KINDS, Array, Layer

if TYPE_CHECKING:
    from lstmcore.model import Model

VERSION = 2  # 2: further layers and settings, and layers that name what they read
KEY = "lstmcore"
STATE = "lstmcore_state"  # the key in the files of streams' states
MAX_HEADER = 4 << 20  # bytes; a header of a thousand layers needs under one MiB
DTYPES = {"F32": 4, "F64": 8}
#: What a file of another format begins with.
OTHERS = {
    "a zip archive, as .keras and .pt files are": re.compile(rb"PK\x03\x04"),
    "HDF5, as .h5 files are": re.compile(rb"\x89HDF\r\n\x1a\n"),
    # Protobuf's fields of a ModelProto: ir_version, up to 31, and one that is known behind it.
    "a .onnx file": re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]"),
}


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path`, whole or not at all. Raises ValueError for another suffix than .safetensors."""
    if Path(path).suffix.lower() != ".safetensors":
        raise ValueError(f"{os.fspath(path)}: expected a name that ends in .safetensors")
    layers = [
        {"kind": type(x).__name__, "name": x.name, "settings": x.settings(), "inputs": list(x.inputs)}
        for x in model.layers
    ]
    metadata = {KEY: json.dumps({"version": VERSION, "layers": layers})}
    # safetensors writes the buffer as it lies and ignores strides; layers hold contiguous arrays only.
    write_whole(path, safetensors.numpy.save(dict(model.parameters), metadata))


def read(path: str | os.PathLike[str]) -> list[Layer]:
    """The layers in the file at `path`. Raises FileNotFoundError and ModelFormatError."""
    file = os.fspath(path)
    check_header(file)
    try:
        with safetensors.safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            if STATE in metadata:
                raise ModelFormatError(
                    f"{file}: the state of a stream, not a model; load the model's own file, and `restore` this one "
                    f"in a stream of it"
                )
            if KEY not in metadata:
                raise ModelFormatError(f"{file}: no {KEY!r} in the metadata; lstmcore did not write this file")
            specs = _parse_metadata(file, metadata[KEY])
            stored = {key: _stored(file, key, opened) for key in opened.keys()}  # noqa: SIM118  # no mapping
            return read_layers(file, specs, stored)
    except safetensors.SafetensorError as error:
        raise ModelFormatError(f"{file}: not a valid safetensors file: {error}") from error


def check_header(file: str) -> None:
    """Compare the header's stated length with the file before anyone allocates it, and see that no key is there twice.

    Of two keys in the metadata, and of two tensors in the same place, safetensors would take the last in silence.
    """
    with open(file, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        if len(start) < 8:
            raise ModelFormatError(
                f"{file}: truncated: {size} bytes, and a safetensors file begins with 8 of header length"
            )
        length = int.from_bytes(start, "little")
        looks = next((name for name, begins in OTHERS.items() if begins.match(start)), None)
        if looks and 8 + length > min(size, MAX_HEADER):
            raise ModelFormatError(f"{file}: no safetensors file: it looks like {looks}; give it that format's suffix")
        if length > MAX_HEADER:
            raise ModelFormatError(
                f"{file}: no safetensors file, or a hostile one: header of {length} bytes; at most {MAX_HEADER} are "
                f"taken"
            )
        if 8 + length > size:
            raise ModelFormatError(f"{file}: truncated: a header of {length} bytes in a file of {size}")
        parse(stream.read(length), f"{file}: not a valid safetensors file: its header", allowed(size))


def _parse_metadata(file: str, text: str) -> list[Spec]:
    """Every layer, its settings checked."""
    data = parse(text.encode(), f"{file}: metadata {KEY!r}", allowed(os.path.getsize(file)))
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION:
        raise ModelFormatError(f"{file}: format version {version!r}; this lstmcore reads versions 1 to {VERSION}")
    specs = data.get("layers")
    if data.keys() != {"version", "layers"} or not isinstance(specs, list):
        raise ModelFormatError(f"{file}: metadata {KEY!r}: expected a version and a list of layers, got {sorted(data)}")
    return [_parse_layer(file, n, spec, version) for n, spec in enumerate(specs)]


def _parse_layer(file: str, n: int, spec: Any, version: int) -> Spec:
    what = f"{file}: layer {n}"
    keys = {"kind", "name", "settings"} | ({"inputs"} if version > 1 else set())
    if not isinstance(spec, dict) or spec.keys() != keys:
        raise ModelFormatError(f"{what}: expected {', '.join(sorted(keys))}, got {spec!r:.200}")
    kind, name, settings, inputs = spec["kind"], spec["name"], spec["settings"], spec.get("inputs", [])
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelFormatError(f"{what}: kind {kind!r:.200}; known are {sorted(KINDS)}")
    if not isinstance(name, str) or not name or not isinstance(settings, dict):
        raise ModelFormatError(f"{what}: expected a name and settings, got {name!r:.200} and {settings!r:.200}")
    if not isinstance(inputs, list) or not all(isinstance(read, str) for read in inputs):
        raise ModelFormatError(f"{what}, {name!r}: inputs: expected a list of layers' names, got {inputs!r:.200}")
    cls = KINDS[kind]
    later = {f.name: f.default for f in dataclasses.fields(cls) if f.metadata.get("since", 1) > version}
    try:
        return Spec(name, cls, cls.check_settings({**later, **settings}), tuple(inputs))
    except ValueError as error:
        raise ModelFormatError(f"{what}, {name!r}: {error}") from None


def _stored(file: str, key: str, opened: Any) -> Stored:
    view = opened.get_slice(key)

    def read_tensor() -> Array:
        if view.get_dtype() not in DTYPES:
            raise ModelFormatError(f"{file}: {key}: expected dtype {' or '.join(DTYPES)}, got {view.get_dtype()}")
        return np.asarray(opened.get_tensor(key))

    return Stored(key, tuple(view.get_shape()), read_tensor)
