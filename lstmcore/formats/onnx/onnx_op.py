"""One node of an ONNX graph: its attributes by type, and errors that name it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import AttributeProto

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.onnx.onnx_attributes import ATTRIBUTES, HONOURED, REFUSED
from lstmcore.formats.onnx.onnx_tensors import Tensors
from lstmcore.formats.onnx.onnx_value import Context
from lstmcore.layers import Array

#: What a node may say of itself beside its attributes; none of it changes the answer.
OWN_DOMAINS = ("", "ai.onnx")

GETTERS: Mapping[int, tuple[type, Callable[[Any], Any]]] = {
    AttributeProto.INT: (int, lambda a: a.i),
    AttributeProto.FLOAT: (float, lambda a: _decimal(a.f)),
    AttributeProto.STRING: (str, lambda a: a.s.decode("utf-8", "replace")),
    AttributeProto.INTS: (list, lambda a: list(a.ints)),
    AttributeProto.FLOATS: (list, lambda a: [_decimal(f) for f in a.floats]),
    AttributeProto.STRINGS: (list, lambda a: [s.decode("utf-8", "replace") for s in a.strings]),
}


def _decimal(number: float) -> float:
    """A float32 attribute as the decimal number that it was: 0.2, not 0.20000000298."""
    with np.errstate(over="ignore"):
        return float(str(np.float32(number)))


@dataclass
class Op:
    """A node as it is read, within a file."""

    file: str
    node: onnx.NodeProto
    opset: int
    context: Context
    tensors: Tensors
    limit: int  # elements that a constant may have

    def __post_init__(self) -> None:
        self.kind = self.node.op_type
        if self.node.domain not in OWN_DOMAINS:
            self.refuse(f"operator of the domain {self.node.domain!r:.200}; only ONNX's own are read")
        if self.kind not in ATTRIBUTES:
            self.refuse(REFUSED.get(self.kind, "operator without an equation in lstmcore"))
        self._row = ATTRIBUTES[self.kind]
        self.attributes = {attribute.name: attribute for attribute in self.node.attribute}
        if len(self.attributes) != len(self.node.attribute):
            self.damaged("an attribute stands there twice")
        for name in self.attributes:
            if name not in self._row or name.startswith(("input ", "output ")):
                self.refuse(f"attribute {name!r:.200} is not known")
        self._check_inputs()

    def _check_inputs(self) -> None:
        names = [key.removeprefix("input ") for key in self._row if key.startswith("input ")]
        given = list(self.node.input)
        most = len(given) if names and names[-1].endswith("*") else len(names)
        if len(given) > most:
            self.damaged(f"{len(given)} inputs; expected at most {most}")
        for n, name in enumerate(names):
            if not name.endswith(("?", "*")) and (n >= len(given) or not given[n]):
                self.damaged(f"input {name} is missing")
        if names and names[-1].endswith("*") and not (given and all(given)):
            self.damaged("an input is missing")

    @property
    def label(self) -> str:
        """The file, the node's name or else its output's, and the operator."""
        return f"{self.file}: {self.own_label}"

    @property
    def own_label(self) -> str:
        """The same without the file."""
        named = self.node.name or (self.node.output[0] if self.node.output else "")
        return f"node {named!r:.200} ({self.node.op_type:.100})"

    def refuse(self, reason: str) -> NoReturn:
        """Raise UnsupportedError."""
        raise UnsupportedError(f"{self.label}: {reason}")

    def damaged(self, reason: str) -> NoReturn:
        """Raise ModelFormatError."""
        raise ModelFormatError(f"{self.label}: {reason}")

    def get(self, name: str, default: Any) -> Any:
        """An attribute: an int, float, str, or a list of them; of the type of `default`, or `default` itself."""
        attribute = self.attributes.get(name)
        if attribute is None:
            return default
        kind, getter = GETTERS.get(attribute.type, (object, None))
        if attribute.ref_attr_name:
            self.refuse(f"attribute {name}: refers to an attribute of a function")
        if getter is None or (default is not None and kind is not type(default)):
            expected = "another type" if default is None else type(default).__name__
            self.damaged(f"attribute {name}: expected {expected}, got type {attribute.type}")
        return getter(attribute)

    def integers(self, name: str) -> list[int] | None:
        """An attribute that holds a list of integers."""
        values = self.get(name, None)
        if values is not None and not (isinstance(values, list) and all(isinstance(n, int) for n in values)):
            self.damaged(f"attribute {name}: expected integers, got {values!r:.200}")
        return values

    def tensor(self, name: str) -> Array | None:
        """An attribute that holds a tensor."""
        attribute = self.attributes.get(name)
        if attribute is None:
            return None
        if attribute.type != AttributeProto.TENSOR:
            self.damaged(f"attribute {name}: expected a tensor")
        return self.tensors.array(attribute.t, f"node {self.node.name!r:.200} ({self.kind}): attribute {name}")

    def axis(self, number: int, rank: int) -> int:
        """An axis, counted from the end where negative, as one from 0 on."""
        if not -rank <= number < rank:
            self.damaged(f"axis {number} of a tensor of rank {rank}")
        return number % rank

    def axes(self, numbers: Sequence[int], rank: int) -> list[int]:
        """Several axes, each once."""
        found = [self.axis(number, rank) for number in numbers]
        if len(set(found)) != len(found):
            self.damaged(f"axes {list(numbers)!r:.200} stand there twice")
        return found

    def small(self, elements: int) -> None:
        """Refuse a constant of so many elements before it is made."""
        if elements > self.limit:
            self.damaged(f"makes a constant of {elements} elements out of a smaller file")

    def output_row(self, position: int) -> str:
        """What becomes of the output at `position`: HONOURED, or why it is refused."""
        outputs = [text for key, text in self._row.items() if key.startswith("output ")]
        if position == 0:
            return HONOURED
        return outputs[position - 1] if position <= len(outputs) else "an output that the operator does not have"
