"""Layers behind each other: that they fit, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable

from lstmcore.layers import KINDS, LSTM, Flatten, Layer, Linear, Scaler, Shape


def unused_name(name: str, layers: Iterable[Layer]) -> str:
    """`name`, or `name_1`, `name_2`, ... where a layer has it already."""
    taken = {layer.name for layer in layers}
    candidates = [name, *(f"{name}_{n}" for n in range(1, len(taken) + 1))]
    return next(c for c in candidates if c not in taken)


def check_layers(layers: tuple[Layer, ...]) -> list[Shape]:
    """The shapes before the first layer and behind each one.

    Raises:
        TypeError: Something that is none of lstmcore's layers.
        ValueError: No layers, a name used twice, dtypes mixed, or a layer that does not fit; named in the text.
    """
    if not layers:
        raise ValueError("a model needs at least one layer")
    for layer in layers:
        if type(layer) not in KINDS.values():
            raise TypeError(f"{layer!r}: expected one of lstmcore's layers, {', '.join(KINDS)}")
    names = [layer.name for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two layers have the name {name!r}")
    dtypes = {layer.label: layer.dtype for layer in layers if layer.dtype is not None}
    if len(set(dtypes.values())) > 1:
        raise ValueError(f"layers of several dtypes: { {k: str(v) for k, v in dtypes.items()} }")
    if any(isinstance(layer, Scaler) for layer in layers[1:]):
        raise ValueError("a Scaler stands first in a model or nowhere")
    shapes: list[Shape] = [("T", _input_size(layers))]
    for layer in layers:
        shapes.append(layer.output_shape(shapes[-1]))
    lengths = {layer.steps for layer in layers if isinstance(layer, Flatten)}
    if len(lengths) > 1:
        raise ValueError(f"Flatten layers for windows of several lengths: {sorted(lengths)}")
    return shapes


def _input_size(layers: tuple[Layer, ...]) -> int:
    sizes = {LSTM: "input_size", Linear: "in_features"}
    steps = 1
    for layer in layers:
        if isinstance(layer, Flatten):
            steps = layer.steps
        size = getattr(layer, sizes.get(type(layer), "num_features"), None)
        if size is not None:
            return int(size) // steps
    raise ValueError("no layer says how many features a tick has: a model needs an LSTM or a Linear layer")
