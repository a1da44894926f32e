"""What grows while a Keras model is read: the layers, and the tensors that flow between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.keras.keras_activations import layer_of
from lstmcore.formats.keras.keras_spec import Spec
from lstmcore.formats.keras.keras_weights import Place, Wanted, Weights
from lstmcore.layers import Array, Layer, Shape, show
from lstmcore.layers.base import INPUT, MAX_LAYERS
from lstmcore.layers.wiring import unused_name

#: Which ticks count: those that differ from a value in the tensor of a name. Several: those that do in any.
Mask = frozenset[tuple[str, float]]


def joined(masks: Iterable[Mask | None]) -> Mask | None:
    """The mask of several values made one: a tick counts that does in any of them; all do where one has no mask."""
    found = list(masks)
    return None if None in found else frozenset().union(*(mask or () for mask in found))


class Tensor(NamedTuple):
    """What comes out of a layer.

    Attributes:
        name: The layer here that makes it, or INPUT.
        shape: ("T", features) or (features,).
        mask: What Keras hands on with it.
        steps: The length that Keras's windows have, or None: any.
        skips: The mask that goes with it here, where masks end less often than in Keras.
    """

    name: str
    shape: Shape
    mask: Mask | None = None
    steps: int | None = None
    skips: Mask | None = None

    def without_steps(self) -> Tensor:
        """A vector: what no mask goes with."""
        return self._replace(mask=None, skips=None, steps=None)

    @property
    def features(self) -> int:
        """Numbers in the last axis."""
        return int(self.shape[-1])

    @property
    def rank(self) -> int:
        """Axes in Keras, the batch's among them."""
        return len(self.shape) + 1


class Builder:
    """Makes layers, one after the other.

    Args:
        weights: The file's.
        file: The beginning of every error.
    """

    def __init__(self, weights: Weights, file: str) -> None:
        self.weights, self.file = weights, file
        self.layers: list[Layer] = []
        #: Whether one layer alone reads the model's input; a Scaler needs that.
        self.input_is_read_once = True
        self._dtype: tuple[str, str] | None = None

    def dtype(self, spec: Spec) -> str:
        """The layer's dtype, which all layers must have."""
        dtype = spec.dtype()
        if self._dtype is None:
            self._dtype = dtype, spec.name
        if dtype != self._dtype[0]:
            raise UnsupportedError(
                f"{spec.what}: argument dtype is {dtype}, and that of {self._dtype[1]!r} {self._dtype[0]}; "
                f"expected one for all layers"
            )
        return dtype

    def take(self, spec: Spec, place: Place, *wanted: Wanted) -> list[Array]:
        """The weights of the layer, in the order of `wanted`."""
        return self.weights.take(place, wanted, self.dtype(spec))

    def add(
        self,
        cls: type[Layer],
        spec: Spec,
        read: Tensor | Sequence[Tensor],
        weights: dict[str, Array] | None = None,
        *,
        suffix: str = "",
        **settings: Any,
    ) -> Tensor:
        """One more layer, named like Keras's with `suffix` behind; what comes out of it has the tensors' masks."""
        tensors = [read] if isinstance(read, Tensor) else list(read)
        if len(self.layers) == MAX_LAYERS:
            raise ModelFormatError(f"{self.file}: more than {MAX_LAYERS} layers")
        name = spec.name + suffix
        name = unused_name("input_layer" if name == INPUT else name, (layer.name for layer in self.layers))
        before = self.layers[-1].name if self.layers else INPUT
        names = tuple(tensor.name for tensor in tensors)
        try:
            layer = cls(name, weights=weights or {}, inputs=() if names == (before,) else names, **settings)
            shape = layer.output_of([tensor.shape for tensor in tensors])
        except ValueError as error:
            raise ModelFormatError(f"{spec.what}: {error}") from None
        self.layers.append(layer)
        mask, skips = (joined(masks) for masks in zip(*((t.mask, t.skips) for t in tensors), strict=True))
        return tensors[0]._replace(name=name, shape=shape, mask=mask, skips=skips)

    def activate(self, spec: Spec, read: Tensor, functions: Sequence[str], *, own: bool = False) -> Tensor:
        """Functions behind the layer, one after the other; `own`: they are the layer itself, and have its name."""
        for function in functions:
            cls, settings = layer_of(function)
            suffix = "" if own else f"_{function.partition('(')[0]}"
            read = self.add(cls, spec, read, suffix=suffix, **settings)
        return read

    def one(self, spec: Spec, tensors: Sequence[Tensor]) -> Tensor:
        """The only input of a layer that takes one."""
        if len(tensors) != 1:
            raise UnsupportedError(f"{spec.what}: expected one input, got {len(tensors)}")
        return tensors[0]

    def need_sequence(self, spec: Spec, tensor: Tensor) -> None:
        """Raises UnsupportedError for a layer that needs a sequence and gets none."""
        if len(tensor.shape) != 2:
            raise UnsupportedError(f"{spec.what}: expected a sequence (T, features), got {show(tensor.shape)}")
