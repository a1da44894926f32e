"""The project's own files: safetensors, weights under torch's names, the architecture in the metadata.

The metadata holds one key, "lstmcore": JSON with the format's version and, for each layer, its kind, name and
settings. Weights are stored under `{layer}.{torch's name}`. A file is read as if an enemy had written it: sizes
are checked against the settings before anything is allocated, and every key is used or refused.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy

from lstmcore.errors import ModelFormatError
from lstmcore.files import write_whole
from lstmcore.formats.guard.json_text import parse
from lstmcore.formats.guard.limits import allowed
from lstmcore.formats.tensors import Tensor, open_tensors
from lstmcore.formats.torch import torch_spec
from lstmcore.formats.torch.torch_file import strip_prefixes
from lstmcore.formats.torch.torch_state_dict import build
from lstmcore.formats.torch.torch_suggest import no_layers
from lstmcore.formats.weights import Spec, Stored, read_layers
from lstmcore.layers import KINDS, Array, Layer

if TYPE_CHECKING:
    from lstmcore.model import Model

VERSION = 2  # 2: further layers and settings, and layers that name what they read
KEY = "lstmcore"
STATE = "lstmcore_state"  # the key in the files of streams' states
DTYPES = "F32", "F64"


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


def read(path: str | os.PathLike[str], layers: Any = None) -> list[Layer]:
    """The layers in the file at `path`; one that lstmcore did not write is a state_dict, which needs `layers`.

    Raises FileNotFoundError and ModelFormatError; ValueError and TypeError for `layers` that are none or not needed.
    """
    file = os.fspath(path)
    with open_tensors(file) as (metadata, tensors):
        if STATE in metadata:
            raise ModelFormatError(
                f"{file}: the state of a stream, not a model; load the model's own file, and `restore` this one "
                f"in a stream of it"
            )
        if KEY not in metadata:  # another project's: a state_dict
            entries = None if layers is None else torch_spec.parse(layers)
            arrays = {key: x.read() for key, x in tensors.items()}
            if entries is None:
                in_order = sorted(arrays, key=lambda key: "_ih_" not in key and "_hh_" not in key)  # the file has none
                raise no_layers(file, strip_prefixes({key: arrays[key] for key in in_order}, file))
            return build(arrays, entries, file)
        if layers is not None:
            raise ValueError(f"{file}: layers: this file has its architecture; leave them out")
        specs = _parse_metadata(file, metadata[KEY])
        stored = {
            key: Stored(key, x.shape, functools.partial(_read, x, f"{file}: {key}")) for key, x in tensors.items()
        }
        return read_layers(file, specs, stored)


def _read(tensor: Tensor, what: str) -> Array:
    if tensor.dtype not in DTYPES:
        raise ModelFormatError(f"{what}: expected dtype {' or '.join(DTYPES)}, got {tensor.dtype}")
    return tensor.read()


def _parse_metadata(file: str, text: str) -> list[Spec]:
    """Every layer, its settings checked."""
    data = parse(text.encode(), f"{file}: metadata {KEY!r}", allowed(os.path.getsize(file)), finite=False)
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
