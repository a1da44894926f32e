"""From arrays to layers: each array is used or refused, and its shape checked before it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lstmcore.errors import ModelFormatError
from lstmcore.layers import Array, Layer
from lstmcore.layers.wiring import Wiring, wire


class Spec(NamedTuple):
    """A layer without its weights."""

    name: str
    cls: type[Layer]
    settings: Mapping[str, Any]
    inputs: tuple[str, ...] = ()


class Stored(NamedTuple):
    """One array of a file: what the file calls it, its shape, and a function that reads it."""

    key: str
    shape: tuple[int, ...]
    read: Callable[[], Array]


def read_layers(what: str, specs: Sequence[Spec], stored: Mapping[str, Stored], **ports: Any) -> Wiring:
    """The layers with their weights, wired.

    Args:
        what: The beginning of every error: the file.
        specs: All layers of a model, their settings checked.
        stored: The arrays by `{layer}.{weight}`.
        ports: `inputs` and `outputs`, as `wire` takes them.

    Raises:
        ModelFormatError: A weight that is missing, of another shape, or that no layer uses; layers that do not fit.
    """
    left = dict(stored)
    layers = []
    for name, cls, settings, inputs in specs:
        weights = {}
        for key, shape in cls.weight_shapes(**settings).items():
            full = f"{name}.{key}"
            found = left.pop(full, None)
            if found is None:
                raise ModelFormatError(f"{what}: {full}: missing; expected shape {shape}")
            if found.shape != shape:
                raise ModelFormatError(f"{what}: {found.key}: expected shape {shape}, got {found.shape}")
            weights[key] = found.read()
        try:
            layers.append(cls(name, weights=weights, inputs=inputs, **settings))
        except ValueError as error:
            raise ModelFormatError(f"{what}: {error}") from None
    if left:
        first = min(found.key for found in left.values())
        raise ModelFormatError(f"{what}: {first}: no layer uses this key ({len(left)} such)")
    try:
        return wire(layers, **ports)
    except (ValueError, TypeError) as error:
        raise ModelFormatError(f"{what}: {error}") from None
