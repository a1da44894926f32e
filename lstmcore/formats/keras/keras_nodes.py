"""The calls of layers in a Functional model, as Keras 3 and Keras 2 write them."""

from __future__ import annotations

from typing import Any, NamedTuple

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.keras.keras_spec import Spec

#: The layer, and the number of its call, that a tensor came out of.
Reference = tuple[str, int]


class Call(NamedTuple):
    """One call of a layer: the tensors that it reads, and what else it was given."""

    inputs: list[Reference]
    arguments: list[Any]
    keywords: dict[str, Any]
    reads: list[Reference]  # all tensors of the call, masks among them


def references(spec: Spec, key: str) -> list[Reference]:
    """What `input_layers` or `output_layers` names: one [name, call, output], or any structure of them."""

    def collect(value: Any) -> list[Reference]:
        if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
            return [_checked(spec, *value)]
        if isinstance(value, list | dict) and value:
            return [found for part in (value.values() if isinstance(value, dict) else value) for found in collect(part)]
        raise spec.wrong(key, "layers as [name, call, output]", spec[key])

    return collect(spec[key])


def reference(value: Any) -> Reference | None:
    """The tensor that an argument is, or None: it is none."""
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return None
    config = value.get("config")
    history = config.get("keras_history") if isinstance(config, dict) else None
    if not isinstance(history, list) or len(history) != 3 or not isinstance(history[0], str):
        raise ModelFormatError(f"expected a tensor's keras_history, got {history!r:.100}")
    return _number(history[0], history[1], history[2])


def calls_of(spec: Spec) -> list[Call]:
    """All calls of a layer. Raises ModelFormatError for what is none."""
    nodes = spec.entry.get("inbound_nodes")
    if not isinstance(nodes, list):
        raise ModelFormatError(f"{spec.what}: expected inbound_nodes, got {nodes!r:.200}")
    try:
        return [_new_call(node) if isinstance(node, dict) else _old_call(node) for node in nodes]
    except ModelFormatError as error:
        raise ModelFormatError(f"{spec.what}: {error}") from None
    except UnsupportedError as error:
        raise UnsupportedError(f"{spec.what}: {error}") from None


def _new_call(node: dict[str, Any]) -> Call:
    arguments, keywords = node.get("args"), node.get("kwargs")
    if not isinstance(arguments, list) or not isinstance(keywords, dict):
        raise ModelFormatError(f"expected a call's args and kwargs, got {node!r:.200}")
    flat = [*arguments[0], *arguments[1:]] if arguments and isinstance(arguments[0], list) else arguments
    found = [(value, reference(value)) for value in flat]
    inputs = [ref for _, ref in found if ref is not None]
    return _call(inputs, [value for value, ref in found if ref is None], keywords)


def _old_call(node: Any) -> Call:
    """[[layer, call, output, keywords], ...], or one of these alone for an operation."""
    tensors = [node] if isinstance(node, list) and node and isinstance(node[0], str) else node
    if not isinstance(tensors, list) or not tensors:
        raise ModelFormatError(f"expected a call's tensors, got {node!r:.200}")
    inputs: list[Reference] = []
    keywords: dict[str, Any] = {}
    for tensor in tensors:
        given = tensor[3] if isinstance(tensor, list) and len(tensor) == 4 else {}
        if not isinstance(tensor, list) or len(tensor) not in (3, 4) or not isinstance(given, dict):
            raise ModelFormatError(f"expected a tensor as [layer, call, output, keywords], got {tensor!r:.200}")
        inputs.append(_number(*tensor[:3]))
        keywords |= given
    return _call(inputs, [], keywords)


def _call(inputs: list[Reference], arguments: list[Any], keywords: dict[str, Any]) -> Call:
    return Call(inputs, arguments, keywords, [*inputs, *filter(None, map(reference, keywords.values()))])


def _checked(spec: Spec, *parts: Any) -> Reference:
    try:
        return _number(*parts)
    except UnsupportedError as error:
        raise UnsupportedError(f"{spec.what}: {error}") from None
    except ModelFormatError as error:
        raise ModelFormatError(f"{spec.what}: {error}") from None


def _number(name: Any, call: Any, output: Any) -> Reference:
    if not isinstance(name, str) or not isinstance(call, int) or not isinstance(output, int):
        raise ModelFormatError(f"expected a tensor as layer, call, output, got {[name, call, output]!r:.200}")
    if output:
        raise UnsupportedError(f"output {output} of layer {name!r:.100} is read; layers here have one")
    return name, call
