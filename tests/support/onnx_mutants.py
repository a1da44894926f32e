"""ONNX models that are damaged in their fields: still a protobuf, but no longer what the exporter wrote."""

from __future__ import annotations

import random
from typing import Any

import onnx
from fuzz_mutants import mutated

DEPTH = 9
TEXTS = ("", "x", "window", "answer", "axis", "axes", "\0", "0", "hidden_size", "../secret", "clip")
OPERATORS = (
    "LSTM", "GRU", "RNN", "If", "Add", "Mul", "Concat", "Transpose", "Reshape", "Squeeze", "Slice", "Gather", "Split",
    "MatMul", "Gemm", "Expand", "Tile", "Range", "ConstantOfShape", "Shape", "Where", "Pow", "Flatten", "Constant",
    "Cast", "ReduceMean", "LayerNormalization", "BatchNormalization", "ReverseSequence",
)  # fmt: skip


def damaged(data: bytes, draw: random.Random) -> bytes:
    """A copy that is damaged in one to four of its fields."""
    proto = onnx.ModelProto.FromString(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        _damage(proto, draw)
    out: bytes = proto.SerializeToString()
    return out


def _damage(message: Any, draw: random.Random) -> None:
    """Change one field, somewhere in the message."""
    for _ in range(DEPTH):
        fields = message.ListFields()
        if not fields:
            return
        field, value = draw.choice(fields)
        many = field.is_repeated if isinstance(field.is_repeated, bool) else field.is_repeated()
        if field.type == field.TYPE_MESSAGE:
            if many and draw.random() < 0.15:
                _rearrange(value, draw)
                return
            message = value[draw.randrange(len(value))] if many else value
            continue
        try:
            if not many:
                setattr(message, field.name, _odd(field, draw, value))
            elif draw.random() < 0.5:
                _rearrange(value, draw)
            else:
                at = draw.randrange(len(value))
                value[at] = _odd(field, draw, value[at])
        except (ValueError, TypeError):  # no value of this field's type
            pass
        return


def _rearrange(values: Any, draw: random.Random) -> None:
    """Remove, repeat or swap what stands in a list."""
    at, other = draw.randrange(len(values)), draw.randrange(len(values))
    kept = list(values)
    kind = draw.randrange(3)
    if kind == 0:
        del kept[at]
    elif kind == 1:
        kept.insert(at, kept[other])
    else:
        kept[at], kept[other] = kept[other], kept[at]
    copies = [type(item).FromString(item.SerializeToString()) if hasattr(item, "ListFields") else item for item in kept]
    del values[:]
    values.extend(copies)


def _odd(field: Any, draw: random.Random, old: Any) -> Any:
    """Another value for a field."""
    if field.name == "op_type":
        return draw.choice(OPERATORS)
    odd: dict[int, tuple[Any, ...]] = {
        field.CPPTYPE_INT64: (0, 1, -1, 2, 3, 7, 2**31, 2**62, 2**63 - 1, -(2**63)),
        field.CPPTYPE_INT32: (0, 1, 7, 9, 10, 11, 16, 2**31 - 1, -1),
        field.CPPTYPE_ENUM: (0, 1, 2, 3, 4, 6, 7, 11),
        field.CPPTYPE_FLOAT: (0.0, -1.0, 0.5, 7.0, float("inf"), float("nan"), 1e38),
        field.CPPTYPE_STRING: TEXTS,
    }
    if field.type == field.TYPE_BYTES:
        return draw.choice((b"", b"x", b"reverse", b"Relu", b"\xff" * 8, mutated(old, draw)))
    value = draw.choice(odd.get(field.cpp_type, (0, 1)))
    return old + value if isinstance(old, int) and abs(value) < 4 else value
