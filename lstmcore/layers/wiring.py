"""Layers as a model: who reads whom, that they fit, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lstmcore.layers.base import INPUT, Layer, Shape
from lstmcore.layers.kinds import KINDS, Concat, Flatten, Scaler
from lstmcore.text import quoted


def unused_name(name: str, layers: Iterable[Layer]) -> str:
    """`name`, or `name_1`, `name_2`, ... where a layer has it already."""
    taken = {layer.name for layer in layers}
    candidates = [name, *(f"{name}_{n}" for n in range(1, len(taken) + 1))]
    return next(c for c in candidates if c not in taken)


def sources(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """For each layer what it reads: 0 is the model's input, n + 1 what comes out of layer n.

    Raises:
        ValueError: A name that no earlier layer has.
    """
    known = {INPUT: 0}
    found = []
    for n, layer in enumerate(layers):
        for name in layer.inputs:
            if name not in known:
                raise ValueError(f"{layer.label}: input {quoted(name)}: expected 'input' or a layer before it")
        found.append(tuple(known[name] for name in layer.inputs) or (n,))
        known[layer.name] = n + 1
    return found


def is_chain(layers: Sequence[Layer]) -> bool:
    """Whether each layer reads the one before it and nothing else."""
    return all(read == (n,) for n, read in enumerate(sources(layers)))


def check_layers(layers: tuple[Layer, ...]) -> list[Shape]:
    """The shapes before the first layer and behind each one.

    Raises:
        TypeError: Something that is none of lstmcore's layers.
        ValueError: No layers, a name used twice, dtypes mixed, a layer that does not fit, or one that nobody reads;
            named in the text.
    """
    if not layers:
        raise ValueError("a model needs at least one layer")
    for layer in layers:
        if type(layer) not in KINDS.values():
            raise TypeError(f"{quoted(layer)}: expected one of lstmcore's layers, {', '.join(KINDS)}")
    names = Counter(layer.name for layer in layers)
    for name, times in names.items():
        if times > 1:
            raise ValueError(f"two layers have the name {quoted(name)}")
        if name == INPUT:
            raise ValueError(f"a layer has the name {name!r}, which is the model's own input's")
    typed = {str(layer.dtype): layer.label for layer in reversed(layers) if layer.dtype is not None}
    if len(typed) > 1:
        raise ValueError(f"layers of several dtypes: {', '.join(f'{label} has {d}' for d, label in typed.items())}")
    read = sources(layers)
    if any(isinstance(layer, Scaler) for layer in layers[1:]) or (
        isinstance(layers[0], Scaler) and 0 in sum(read[1:], ())
    ):
        raise ValueError("a Scaler stands first in a model, before all else, or nowhere")
    unread = set(range(1, len(layers))).difference(*read)
    if unread:
        raise ValueError(f"{layers[min(unread) - 1].label}: no layer reads what comes out of it")
    shapes: list[Shape] = [("T", _input_size(layers, read))]
    for layer, inputs in zip(layers, read, strict=True):
        shapes.append(layer.output_of([shapes[n] for n in inputs]))
    lengths = {layer.steps for layer in layers if isinstance(layer, Flatten)}
    if len(lengths) > 1:
        raise ValueError(f"Flatten layers for windows of several lengths: {sorted(lengths)}")
    return shapes


#: The settings that say how many features come in.
SIZES = ("input_size", "in_features", "num_features")


def _input_size(layers: tuple[Layer, ...], read: Sequence[tuple[int, ...]]) -> int:
    """What the first layer says that sees the model's features, through layers to whom their number is all one."""
    times = [1]  # of each value: its features, as a multiple of the input's
    for layer, inputs in zip(layers, read, strict=True):
        size = next((getattr(layer, name) for name in SIZES if hasattr(layer, name)), None)
        if size is not None:
            return int(size) // times[inputs[0]]
        joined = sum(times[n] for n in inputs) if isinstance(layer, Concat) else times[inputs[0]]
        times.append(joined * layer.steps if isinstance(layer, Flatten) else joined)
    raise ValueError("no layer says how many features a tick has: a model needs an LSTM or a Linear layer")
