"""State dicts, in memory or in files, with the architecture as a list of layers. No torch is needed."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lstmcore.errors import ModelFormatError
from lstmcore.formats.torch.torch_file import PREFIXES, read_checkpoint, shown, strip_prefixes, unwrapped
from lstmcore.formats.torch.torch_names import SAVE_FLOAT
from lstmcore.formats.torch.torch_spec import INFERRED, Entry, complete, parse
from lstmcore.formats.torch.torch_suggest import no_layers
from lstmcore.formats.weights import Stored, read_layers
from lstmcore.layers import Array, BatchNorm1d, Layer, Recurrent

HALVES = ("float16", "bfloat16")


def read(path: str | os.PathLike[str], layers: Any = None) -> list[Layer]:
    """The layers of a model whose state_dict torch.save wrote.

    Args:
        path: A file that `torch.save(module.state_dict(), path)` wrote, or a training program's checkpoint.
        layers: The architecture; see `from_state_dict`. Without it, the error says what the file has.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged, hostile or of another format, or that does not fit the architecture.
        ValueError, TypeError: An architecture that is none; the text names the place in it.
    """
    file = os.fspath(path)
    entries = None if layers is None else parse(layers)
    state = read_checkpoint(file, strip=entries is None)
    if entries is None:
        raise no_layers(file, state)
    return build(state, entries, file)


def from_state_dict(state: Mapping[str, Any], layers: Any) -> list[Layer]:
    """The layers of a model whose weights are a torch module's state_dict.

    Args:
        state: Arrays or torch's tensors, on whatever device, by torch's names. A training program's checkpoint that
            has the state_dict under a key is taken too; the prefixes "module.", "_orig_mod." and "model." are left out.
        layers: What the forward calls, in order: for a layer with weights ("name", "Kind"), by the name under which
            the state_dict has it; for one without, "Kind". Settings go behind it in a dict: torch's arguments or
            lstmcore's. Sizes, bias, num_layers, bidirectional and proj_size are taken from the arrays and may be left
            out. A name of "" is for a module that is the whole model. A recurrent layer gives all its steps to layers
            that need them, and its last step to others; `return_sequences` says otherwise. In a bidirectional layer it
            has to be said. A layer that reads others than the one before it has their names as `inputs`.

    Raises:
        ModelFormatError: A key that is missing or that no layer uses, or an array of another shape; named in the text
            with what was expected.
        ValueError, TypeError: An architecture that is none; the text names the place in it.

    >>> rng = np.random.default_rng(0)
    >>> shapes = {"lstm.weight_ih_l0": (32, 3), "lstm.weight_hh_l0": (32, 8), "head.0.weight": (1, 8)}
    >>> state = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    >>> [layer.label for layer in from_state_dict(state, [("lstm", "LSTM"), ("head.0", "Linear"), "Sigmoid"])]
    ['lstm (LSTM)', 'head.0 (Linear)', 'sigmoid (Sigmoid)']
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state_dict: expected a mapping of names to arrays, got {type(state).__name__}")
    return build(unwrapped(dict(state), "state_dict"), parse(layers), "state_dict")


def build(state: Mapping[Any, Any], entries: list[Entry], what: str) -> list[Layer]:
    """The layers `entries`, with the arrays of `state`; `what` is the beginning of errors about it."""
    for key in state:
        if not isinstance(key, str):
            raise ModelFormatError(f"{what}: expected names as keys, got the {type(key).__name__} {key!r:.200}")
    arrays = {key: _as_array(value, f"{what}: {shown(key)}") for key, value in state.items()}
    owners = {entry.name: entry for entry in reversed(entries) if entry.kind in INFERRED}
    arrays = strip_prefixes(arrays, what, _own_keys(arrays, owners))
    floats = {array.dtype for array in arrays.values() if array.dtype.kind == "f"}
    dtype = np.result_type(*floats) if floats else np.dtype("f4")

    def shapes(entry: Entry) -> dict[str, tuple[int, ...]]:
        own = {key: array for key, array in arrays.items() if owners.get(_path(key)) is entry}
        return {_weight(key, entry): array.shape for key, array in own.items()}

    specs = complete(entries, shapes, what, dict.fromkeys(map(_path, arrays)))
    names = {id(entry): spec.name for entry, spec in zip(entries, specs, strict=True)}
    stored = {}
    for key, array in arrays.items():
        entry = owners.get(_path(key))
        if entry and entry.kind is BatchNorm1d and key.endswith("num_batches_tracked"):
            continue  # how many batches the running statistics have seen
        full = f"{names[id(entry)]}.{_weight(key, entry)}" if entry else key
        stored[full] = Stored(
            shown(key), array.shape, functools.partial(_as_float, array, dtype, f"{what}: {shown(key)}")
        )
    return list(read_layers(what, specs, stored).layers)


def _own_keys(keys: Iterable[str], owners: Mapping[str, Entry]) -> set[str]:
    """Forms of the keys, with prefixes left out, that are keys of layers: more prefixes are not to be left out."""
    own = set()
    for key in keys:
        while True:
            path = _path(key)
            if path and path in owners:
                own.add(key)
            if not key.startswith(PREFIXES):
                break
            key = key.partition(".")[2]
    return own


def _path(key: str) -> str:
    """The name of the layer that a key belongs to."""
    return key.rpartition(".")[0]


def _weight(key: str, entry: Entry) -> str:
    """The weight's name in its layer: a cell's are those of a layer of one."""
    name = key.rpartition(".")[2]
    is_cell = name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return f"{name}_l0" if is_cell and issubclass(entry.kind, Recurrent) else name


def _as_array(value: Any, what: str) -> Array:
    """The numbers of an array or a tensor, half precision widened."""
    if getattr(value, "is_quantized", False) or "_packed_params" in what or type(value).__name__ == "ScriptObject":
        raise ModelFormatError(f"{what}: {SAVE_FLOAT}")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype).removeprefix("torch.") in HALVES:
            value = value.float()
        try:
            value = value.numpy()
        except (RuntimeError, TypeError) as error:  # sparse, quantized
            raise ModelFormatError(f"{what}: expected a plain tensor: {error}") from None
    if not isinstance(value, np.ndarray | np.generic):
        raise ModelFormatError(f"{what}: expected an array or a tensor, got {type(value).__name__}")
    array = np.asarray(value)
    return array.astype(np.float32) if str(array.dtype) in HALVES else array


def _as_float(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    if array.dtype.kind != "f":
        raise ModelFormatError(f"{what}: expected float32 or float64, got {array.dtype}")
    return array.astype(dtype)
