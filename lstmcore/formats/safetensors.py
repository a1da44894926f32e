"""The project's own files: safetensors, weights under torch's names, the architecture in the metadata.

The metadata holds one key, "lstmcore": JSON with the format's version, the model's inputs and outputs and, for each
layer, its kind, name and settings. Weights are stored under `{layer}.{torch's name}`. A file is read as if an enemy had
written it: sizes are checked against the settings before anything is allocated, and every key is used or refused.
"""

from __future__ import annotations

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
from lstmcore.layers import KINDS, Array, Input, Layer
from lstmcore.layers.wiring import Wiring

if TYPE_CHECKING:
    from lstmcore.model import Model

VERSION = 3  # others were never released
KEY = "lstmcore"
#: Numbers that all values of a model have at a step, beside one for each byte of the file: a run keeps rows of each.
MAX_NUMBERS = 1 << 20
STATE = "lstmcore_state"  # the key in the files of streams' states
DTYPES = "F32", "F64"
#: What an input has besides its name, rank and size, and a model besides its layers, inputs and outputs. Each says the
#: one thing that this version knows; there is room for more.
INPUT_FACTS = {"dtype": "float32", "range": None, "features": None}
FACTS: dict[str, Any] = {"states": None, "weights": None}


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path`, whole or not at all. Raises ValueError for another suffix than .safetensors."""
    if Path(path).suffix.lower() != ".safetensors":
        raise ValueError(f"{os.fspath(path)}: expected a name that ends in .safetensors")
    layers = [
        {"kind": type(x).__name__, "name": x.name, "settings": x.settings(), "inputs": list(x.inputs)}
        for x in model.layers
    ]
    inputs = [{"name": x.name, "rank": x.rank, "size": x.size, **INPUT_FACTS} for x in model.inputs]
    outputs = [{"name": name, "layer": layer} for name, layer in model.wiring.outputs.items()]
    ports = {"inputs": inputs, "outputs": outputs}
    metadata = {KEY: json.dumps({"version": VERSION, **ports, **FACTS, "layers": layers})}
    # safetensors writes the buffer as it lies and ignores strides; layers hold contiguous arrays only.
    write_whole(path, safetensors.numpy.save(dict(model.parameters), metadata))


def read(path: str | os.PathLike[str], layers: Any = None) -> Wiring | list[Layer]:
    """The model in the file at `path`; one that lstmcore did not write is a state_dict, which needs `layers`.

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
        specs, inputs, outputs = _parse_metadata(file, metadata[KEY])
        stored = {
            key: Stored(key, x.shape, functools.partial(_read, x, f"{file}: {key}")) for key, x in tensors.items()
        }
        wiring = read_layers(file, specs, stored, inputs=inputs, outputs=outputs)
        widths, size = sum(n for shape in wiring.shapes for n in shape if isinstance(n, int)), os.path.getsize(file)
        if widths > MAX_NUMBERS + size:
            raise ModelFormatError(
                f"{file}: its inputs and layers are {widths:,} numbers wide in all; in a file of {size:,} bytes at "
                f"most {MAX_NUMBERS + size:,} are taken"
            )
        return wiring


def _read(tensor: Tensor, what: str) -> Array:
    if tensor.dtype not in DTYPES:
        raise ModelFormatError(f"{what}: expected dtype {' or '.join(DTYPES)}, got {tensor.dtype}")
    return tensor.read()


def _parse_metadata(file: str, text: str) -> tuple[list[Spec], list[Input], dict[str, str]]:
    """Every layer, its settings checked; the inputs; and the layer that each output is."""
    data = parse(text.encode(), f"{file}: metadata {KEY!r}", allowed(os.path.getsize(file)), finite=False)
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version != VERSION:
        raise ModelFormatError(f"{file}: format version {version!r}; this lstmcore reads version {VERSION}")
    lists = ("layers", "inputs", "outputs")
    if data.keys() != {"version", *lists, *FACTS} or not all(isinstance(data[key], list) for key in lists):
        raise ModelFormatError(
            f"{file}: metadata {KEY!r}: expected a version, lists of {', '.join(lists)}, and {', '.join(FACTS)}, got "
            f"{sorted(data)}"
        )
    _check_facts(data, FACTS, file)
    outputs: dict[str, str] = {}
    for n, spec in enumerate(data["outputs"]):
        what = f"{file}: output {n}"
        name, layer = _values(spec, ("name", "layer"), what)
        if not isinstance(name, str) or not isinstance(layer, str) or name in outputs:
            raise ModelFormatError(f"{what}: expected a name of its own and a layer's, got {spec!r:.200}")
        outputs[name] = layer
    inputs = [_parse_input(f"{file}: input {n}", spec) for n, spec in enumerate(data["inputs"])]
    return [_parse_layer(file, n, spec) for n, spec in enumerate(data["layers"])], inputs, outputs


def _values(spec: Any, keys: tuple[str, ...], what: str) -> list[Any]:
    """What an object has under exactly these keys."""
    if not isinstance(spec, dict) or spec.keys() != set(keys):
        raise ModelFormatError(f"{what}: expected {', '.join(sorted(keys))}, got {spec!r:.200}")
    return [spec[key] for key in keys]


def _check_facts(found: dict[str, Any], known: dict[str, Any], what: str) -> None:
    for key, value in known.items():
        if found[key] != value:
            raise ModelFormatError(
                f"{what}: {key}: this lstmcore knows {json.dumps(value)} alone, got {found[key]!r:.200}; a newer one "
                f"may read it"
            )


def _parse_input(what: str, spec: Any) -> Input:
    name, rank, size, *_ = _values(spec, ("name", "rank", "size", *INPUT_FACTS), what)
    _check_facts(spec, INPUT_FACTS, what)
    try:
        return Input(name, size, rank)
    except ValueError as error:
        raise ModelFormatError(f"{what}: {error}") from None


def _parse_layer(file: str, n: int, spec: Any) -> Spec:
    what = f"{file}: layer {n}"
    kind, name, settings, inputs = _values(spec, ("kind", "name", "settings", "inputs"), what)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelFormatError(f"{what}: kind {kind!r:.200}; known are {sorted(KINDS)}")
    if not isinstance(name, str) or not name or not isinstance(settings, dict):
        raise ModelFormatError(f"{what}: expected a name and settings, got {name!r:.200} and {settings!r:.200}")
    if not isinstance(inputs, list) or not all(isinstance(read, str) for read in inputs):
        raise ModelFormatError(f"{what}, {name!r}: inputs: expected a list of layers' names, got {inputs!r:.200}")
    cls = KINDS[kind]
    try:
        return Spec(name, cls, cls.check_settings(settings), tuple(inputs))
    except ValueError as error:
        raise ModelFormatError(f"{what}, {name!r}: {error}") from None
