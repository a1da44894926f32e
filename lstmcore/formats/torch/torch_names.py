"""The names that the pickle of a state_dict may hold, and what is made of them. None of them is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_DIMENSIONS = 32  # numpy 1's limit

#: torch's name for the dtype of each class of storages.
STORAGES = {
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}

#: What optimizers, schedulers and settings hold beside a state_dict; it is let through, and nothing is made of it.
INERT = {
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    "collections.Counter",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    *(f"__builtin__.{name}" for name in ("set", "complex", "bytearray")),
    *(f"torch.{dtype}" for dtype in STORAGES.values()),
}


#: Of what names of torch speak that only quantised weights have.
QUANTIZED = (
    "_rebuild_qtensor",
    "QInt",
    "QUInt",
    "qint",
    "quint",
    "per_tensor_affine",
    "per_channel_affine",
    "ScriptObject",
)
SAVE_FLOAT = "quantised weights are not read; save the state_dict of the float module, before it is quantised"


@dataclass(frozen=True, slots=True)
class Name:
    """One of these names, or what a call of an inert one would have made."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """The record `data/{key}`: `elements` numbers of one dtype."""

    dtype: str
    key: str
    elements: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor's numbers lie, counted in elements. Nothing here has been compared with the storage yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def kind_of(value: Any) -> str:
    """What kind of thing a pickle held, for messages: the thing itself may be nested too deeply to be shown."""
    if isinstance(value, Name):
        return value.name
    return "Tensor" if isinstance(value, StoredTensor) else type(value).__name__


def storage(fields: tuple[Any, ...]) -> Storage | None:
    """What torch.save writes in place of a storage: a tag, its class, its key, the device, its elements."""
    match fields:
        case ("storage", Name(name), str(key), str(), int(elements)) if name in STORAGES and elements >= 0:
            return Storage(STORAGES[name], key, elements)
    return None


def tensor(arguments: tuple[Any, ...]) -> StoredTensor | None:
    """Storage, offset, shape, strides, requires_grad, hooks; and whether the numbers have the other sign."""
    match arguments:
        case (Storage() as stored, int(offset), tuple(shape), tuple(strides), bool(), dict(hooks), *negated) if (
            len(shape) == len(strides) <= MAX_DIMENSIONS
            and all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
            and not hooks
            and negated in ([], [None], [{}])
        ):
            return StoredTensor(stored, offset, shape, strides)
    return None


def parameter(arguments: tuple[Any, ...]) -> StoredTensor | None:
    """Tensor, requires_grad, hooks."""
    match arguments:
        case (StoredTensor() as data, bool(), dict(hooks)) if not hooks:
            return data
    return None


def ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any] | None:
    """Made empty, and filled by later instructions."""
    return None if arguments else {}


#: What may be called, with what is made of the arguments; None of ones that torch.save does not write.
CALLS: Mapping[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": ordered_dict,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_parameter": parameter,
}
