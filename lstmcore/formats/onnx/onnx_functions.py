"""Local functions of an ONNX model, put in where they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.onnx.onnx_file import MAX_NODES

MAX_DEPTH = 16
GROWTH, FLOOR = 2, 1 << 20  # how large all calls may be together: so many times the file, and some bytes


class Inliner:
    """The functions of a model by domain and name. Raises ModelFormatError where calls do not end."""

    def __init__(self, file: str, proto: onnx.ModelProto, size: int) -> None:
        self._file = file
        self._functions = {(_domain(function), function.name): function for function in proto.functions}
        if len(self._functions) != len(proto.functions):
            raise ModelFormatError(f"{file}: two functions have the same name")
        self._opsets = {_domain(entry): entry.version for entry in proto.opset_import}
        self._calls = self._made = 0
        self._left = GROWTH * size + FLOOR  # bytes

    def inlined(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """The nodes in their order, calls of local functions replaced by what these do."""
        return list(self._expanded(nodes, 0))

    def _expanded(self, nodes: Sequence[onnx.NodeProto], depth: int) -> Iterator[onnx.NodeProto]:
        for node in nodes:
            self._made += 1
            if self._made > 2 * MAX_NODES:
                raise ModelFormatError(f"{self._file}: more than {2 * MAX_NODES} nodes, functions put in")
            function = self._functions.get((_domain(node), node.op_type))
            if function is None:
                yield node
                continue
            if depth >= MAX_DEPTH:
                raise ModelFormatError(f"{self._file}: function {node.op_type!r:.200}: calls {MAX_DEPTH} deep")
            yield from self._expanded(list(self._body(node, function)), depth + 1)

    def _body(self, call: onnx.NodeProto, function: onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
        what = f"{self._file}: call {call.name!r:.200} of the function {function.name!r:.200}"
        for entry in function.opset_import:
            if entry.version != self._opsets.get(_domain(entry), entry.version):
                raise UnsupportedError(f"{what}: another opset, {entry.version}")
        if len(call.input) > len(function.input) or len(call.output) > len(function.output):
            raise ModelFormatError(f"{what}: more inputs or outputs than it has")
        unknown = {a.name for a in call.attribute} - {a.name for a in function.attribute_proto} - {*function.attribute}
        if unknown:
            raise ModelFormatError(f"{what}: attributes {sorted(unknown)!r:.200}, which it does not have")
        self._calls += 1
        names = dict.fromkeys(function.input, "")
        names |= dict(zip(function.input, call.input, strict=False))
        names |= {own: given for own, given in zip(function.output, call.output, strict=False) if given}
        given = {attribute.name: attribute for attribute in function.attribute_proto}
        given |= {attribute.name: attribute for attribute in call.attribute}
        prefix = f"{call.name or function.name}#{self._calls}/"
        for name in set(function.input) & set(function.output):
            raise UnsupportedError(f"{what}: hands its input {name!r:.200} on")
        for body in function.node:
            self._left -= body.ByteSize()
            if self._left < 0:
                raise ModelFormatError(f"{what}: grows to more than {GROWTH} times the file, functions put in")
            node = onnx.NodeProto()
            node.CopyFrom(body)
            node.name = f"{call.name}/{body.name}" if call.name else body.name
            for field in (node.input, node.output):
                field[:] = [names.setdefault(name, prefix + name) if name else "" for name in field]
            _replace_references(node, given)
            yield node


def _domain(item: Any) -> str:
    """The domain of a node, a function or an opset, ONNX's own under one name."""
    return "" if item.domain == "ai.onnx" else item.domain


def _replace_references(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> None:
    """Attributes that refer to the call's: put in, or dropped where the call leaves them to their default."""
    kept = []
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            value = onnx.AttributeProto()
            value.CopyFrom(given[attribute.ref_attr_name])
            value.name = attribute.name
            attribute = value
        kept.append(attribute)
    copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend(copies)
