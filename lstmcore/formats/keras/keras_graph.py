"""Keras's models, Sequential and Functional, one in another too, as layers that say what they read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.keras.keras_build import Builder, Tensor
from lstmcore.formats.keras.keras_layers import LAYERS
from lstmcore.formats.keras.keras_nodes import Call, calls_of, reference, references
from lstmcore.formats.keras.keras_operations import MASKS, OPERATIONS, READ, is_mask
from lstmcore.formats.keras.keras_spec import Spec
from lstmcore.formats.keras.keras_weights import Place
from lstmcore.layers.base import INPUT, MAX_LAYERS, MAX_SIZE

MAX_DEPTH = 16  # models in models

#: What an argument of a layer's call may be when it does nothing.
IDLE: Mapping[str, tuple[Any, ...]] = {
    "training": (None, False), "mask": (None,), "initial_state": (None,), "constants": (None,),
}  # fmt: skip


def add_model(build: Builder, spec: Spec) -> Tensor:
    """All layers of the outermost model; what comes out of the last one."""
    tensor = _Model(build, spec, Place(), 0).run(None)
    if not build.layers or tensor.name != build.layers[-1].name:
        raise UnsupportedError(f"{spec.what}: expected a layer that does something, and no layer behind the output")
    return tensor


class _Model:
    """One Sequential or Functional, `depth` models inside the outermost one."""

    def __init__(self, build: Builder, spec: Spec, place: Place, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UnsupportedError(f"{spec.what}: models in models, more than {MAX_DEPTH} deep")
        spec.check_arguments()
        entries = spec["layers"]
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_LAYERS:
            raise spec.wrong("layers", f"1 to {MAX_LAYERS} layers", entries)
        self.build, self.spec, self.depth = build, spec, depth
        self.specs = [Spec(entry, spec.file, spec.version) for entry in entries]
        names = [inner.name for inner in self.specs]
        if len(set(names)) != len(names):
            raise ModelFormatError(f"{spec.what}: two layers have the name {max(names, key=names.count)!r}")
        self.places = dict(zip(names, self._places(place), strict=True))

    def run(self, read: Tensor | None) -> Tensor:
        """Add the layers behind `read`; None: behind the input of the outermost model."""
        return self._run_sequential(read) if self.spec.kind == "Sequential" else self._run_functional(read)

    def _places(self, place: Place) -> Iterator[Place]:
        """Keras numbers the layers of each class, in their order."""
        counts: dict[str, int] = {}
        for inner in self.specs:
            name = snake_case(inner.kind)
            number = counts.get(name, 0)
            if not inner.is_operation:
                counts[name] = number + 1
            path = f"layers/{name}" + (f"_{number}" if number else "")
            yield place.layer(path, inner.name, is_model=inner.kind in ("Sequential", "Functional"))

    def _add(self, spec: Spec, tensors: list[Tensor]) -> Tensor:
        """One layer, or a model as one."""
        place = self.places[spec.name]
        if spec.kind in ("Sequential", "Functional"):
            return _Model(self.build, spec, place, self.depth + 1).run(self.build.one(spec, tensors))
        if spec.kind not in LAYERS:
            raise UnsupportedError(f"{spec.what}: cannot stand here")
        spec.check_arguments()
        self.build.dtype(spec)
        return LAYERS[spec.kind](self.build, spec, tensors, place)

    def _input(self, spec: Spec, read: Tensor | None) -> Tensor:
        """What an InputLayer, or the first layer of a model without one, takes for input."""
        if spec.kind == "InputLayer":
            spec.check_arguments()
            spec.dtype()
        if read is not None:
            return read
        for key, holder in (("batch_shape", spec), ("batch_input_shape", spec), ("build_input_shape", self.spec)):
            shape = holder.get(key, None)
            if shape is not None:
                return _input_tensor(holder, key, shape)
        raise UnsupportedError(f"{spec.what}: the model has no input shape; call or build it before saving")

    def _run_sequential(self, read: Tensor | None) -> Tensor:
        tensor = self._input(self.specs[0], read)
        for spec in self.specs[self.specs[0].kind == "InputLayer" :]:
            tensor = self._add(spec, [tensor])
        return tensor

    def _run_functional(self, read: Tensor | None) -> Tensor:
        inputs, outputs = (references(self.spec, key) for key in ("input_layers", "output_layers"))
        for what, found in (("input", inputs), ("output", outputs)):
            if len(found) != 1:
                names = ", ".join(repr(name) for name, _ in found)
                raise UnsupportedError(f"{self.spec.what}: expected one {what}, got {len(found)}: {names:.200}")
        by_name = {spec.name: spec for spec in self.specs}
        if inputs[0][0] not in by_name:
            raise ModelFormatError(f"{self.spec.what}: no layer {inputs[0][0]!r:.100}, which is named as the input")
        source = self._input(by_name[inputs[0][0]], read)
        values: dict[tuple[str, int], Tensor] = {inputs[0]: source}
        pending = [
            (spec, number, call)
            for spec in self.specs
            if spec.name != inputs[0][0]
            for number, call in enumerate(calls_of(spec), _first_number(spec))
        ]
        if len(pending) > MAX_LAYERS * 4:
            raise ModelFormatError(f"{self.spec.what}: more than {MAX_LAYERS * 4} calls of layers")
        if source.name == INPUT:
            masks = [spec.is_operation and spec.kind in MASKS for spec, _, _ in pending]
            reads = sum(inputs[0] in call.reads and not mask for (_, _, call), mask in zip(pending, masks, strict=True))
            self.build.input_is_read_once &= reads == 1
        while pending:
            ready = next((item for item in pending if all(ref in values for ref in item[2].reads)), None)
            if ready is None:
                spec, _, call = pending[0]
                lost = next(ref for ref in call.reads if ref not in values)
                raise ModelFormatError(f"{spec.what}: reads {lost[0]!r:.100}, which is not there or reads it in turn")
            pending.remove(ready)
            values[ready[0].name, ready[1]] = self._call(ready[0], ready[2], values)
        if outputs[0] not in values or is_mask(values[outputs[0]]):
            raise ModelFormatError(f"{self.spec.what}: no layer {outputs[0][0]!r:.100}, which is named as the output")
        return values[outputs[0]]

    def _call(self, spec: Spec, call: Call, values: dict[tuple[str, int], Tensor]) -> Tensor:
        tensors = [values[ref] for ref in call.inputs]
        if spec.is_operation or spec.kind == "SlicingOpLambda":
            if spec.kind not in OPERATIONS:
                raise UnsupportedError(f"{spec.what}: this operation is not read; {READ}")
            return OPERATIONS[spec.kind](self.build, spec, tensors, call)
        if any(map(is_mask, tensors)):
            raise UnsupportedError(f"{spec.what}: reads a mask as its input")
        if call.arguments:
            raise UnsupportedError(f"{spec.what}: called with {call.arguments!r:.200}; expected its input alone")
        for key, value in call.keywords.items():
            mask = reference(value) if key == "mask" else None
            if mask is not None:
                if values[mask].mask != tensors[0].mask:
                    raise UnsupportedError(f"{spec.what}: called with another mask than that of the Masking before it")
            elif value not in IDLE.get(key, ()):
                raise UnsupportedError(f"{spec.what}: called with {key} = {value!r:.100}, which is not supported")
        return self._add(spec, tensors)


def _first_number(spec: Spec) -> int:
    """The number of a layer's first call. In Keras 2, that of a model with an input of its own was its making."""
    layers = spec.config.get("layers")
    if spec.version >= 3 or spec.kind not in ("Sequential", "Functional") or not isinstance(layers, list):
        return 0
    return int(bool(layers) and isinstance(layers[0], dict) and layers[0].get("class_name") == "InputLayer")


def _input_tensor(spec: Spec, key: str, shape: Any) -> Tensor:
    """The model's input, of a shape (batch, steps, features)."""
    if not isinstance(shape, list) or len(shape) != 3:
        raise UnsupportedError(f"{spec.what}: argument {key} is {shape!r:.100}; expected (batch, steps, features)")
    steps, features = shape[1:]
    for value in (features, steps if steps is not None else 1):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
            raise spec.wrong(key, f"features, and steps or none, from 1 to {MAX_SIZE}", shape)
    return Tensor(INPUT, ("T", features), None, steps)


def snake_case(name: str) -> str:
    """A class's name as Keras writes it in paths: BatchNormalization -> batch_normalization."""
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name).lower()
