"""Random models with branches, joins, both directions, masks, learned states, several inputs and outputs, from a
seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from strategies import ACTIVATIONS, make

from lstmcore import layers as L

MASK = 2.0  # what a skipped tick's features are


class Growing:
    """A model that grows layer by layer: what may be read, and what nobody has read yet."""

    def __init__(self, rng: np.random.Generator, *inputs: tuple[str, int]) -> None:
        self.rng = rng
        self.layers: list[L.Layer] = []
        self.values = list(inputs)  # sequences, and their widths
        self.unread: list[tuple[str, int]] = []

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.layers)}"

    def add(self, layer: L.Layer, width: int, *reads: str) -> None:
        self.layers.append(layer.replace(inputs=reads))
        self.unread = [value for value in self.unread if value[0] not in reads]
        self.values.append((layer.name, width))
        self.unread.append((layer.name, width))

    def pick(self) -> tuple[str, int]:
        return self.values[self.rng.integers(len(self.values))]


def recurrent(g: Growing) -> None:
    """An LSTM, GRU or RNN with any of its variations."""
    rng, (read, width) = g.rng, g.pick()
    kind = [L.LSTM, L.LSTM, L.GRU, L.RNN][rng.integers(4)]
    both = bool(rng.random() < 0.3)
    settings: dict[str, Any] = {
        "input_size": width, "hidden_size": int(rng.integers(1, 20)), "num_layers": int(rng.integers(1, 3)),
        "return_sequences": True, "bidirectional": both, "learned_state": bool(rng.random() < 0.2),
    }  # fmt: skip
    if kind is L.LSTM and rng.random() < 0.3:
        settings |= {"peepholes": True, "proj_size": int(rng.integers(0, settings["hidden_size"]))}
    if kind is L.GRU and rng.random() < 0.3:
        settings["reset_after"] = False
    layer = make(kind, g.name("r"), rng, dtype="f8", **settings)
    g.add(layer, layer.width, read)


def pointwise(g: Growing) -> None:
    rng, (read, width) = g.rng, g.pick()
    out = int(rng.integers(1, 9))
    choices = [
        (make(L.Linear, g.name("fc"), rng, dtype="f8", in_features=width, out_features=out), out),
        (make(L.BatchNorm1d, g.name("bn"), rng, dtype="f8", num_features=width), width),
        (make(L.LayerNorm, g.name("ln"), rng, dtype="f8", num_features=width), width),
        (ACTIVATIONS[rng.integers(len(ACTIVATIONS))].replace(name=g.name("act")), width),
        (L.Dropout(g.name("drop")), width),
        (L.Reverse(g.name("rev")), width),
    ]
    layer, width = choices[rng.integers(len(choices))]
    g.add(layer, width, read)


def masking(g: Growing) -> None:
    name, width = g.values[0]
    g.add(L.Masking(g.name("mask"), MASK), width, name)


def joined(g: Growing) -> None:
    rng, (first, width) = g.rng, g.pick()
    if rng.random() < 0.4:
        (second, more) = g.pick()
        g.add(L.Concat(g.name("cat")), width + more, first, second)
        return
    alike = [name for name, size in g.values if size == width]
    second = alike[rng.integers(len(alike))]
    kind = [L.Add, L.Mul, L.Mean][rng.integers(3)]
    g.add(kind(g.name("join")), width, first, second)


def graph(seed: int, features: int = 3, vector: bool = True) -> list[L.Layer]:
    """A model of up to ten layers; it answers each window once, or each step of it."""
    rng = np.random.default_rng(seed)
    g = Growing(rng, ("input", features))
    if rng.random() < 0.25:
        masking(g)
    recurrent(g)
    for _ in range(rng.integers(0, 8)):
        [recurrent, pointwise, pointwise, joined][rng.integers(4)](g)
    ends = list(g.unread)
    if vector:
        layers = [L.Last(f"last{n}", inputs=(name,)) for n, (name, _) in enumerate(ends)]
        g.layers += layers
        ends = [(layer.name, width) for layer, (_, width) in zip(layers, ends, strict=True)]
    if len(ends) > 1:
        g.layers.append(L.Concat("ends", inputs=tuple(name for name, _ in ends)))
    total = sum(width for _, width in ends)
    g.layers.append(make(L.Linear, "answer", rng, dtype="f8", in_features=total, out_features=2))
    return g.layers


def ports(seed: int, vector: bool = True) -> dict[str, Any]:
    """A model's layers, inputs and outputs, as Model takes them: one to three sequences and up to two vectors come in,
    and of each one to three outputs is a vector, or, if not `vector`, perhaps a sequence."""
    rng = np.random.default_rng(seed)
    inputs = [L.Input(f"x{n}", int(rng.integers(1, 5))) for n in range(rng.integers(1, 4))]
    statics = [L.Input(f"v{n}", int(rng.integers(1, 4)), "vector") for n in range(rng.integers(0, 3))]
    g = Growing(rng, *((one.name, one.size) for one in inputs))
    if rng.random() < 0.25:
        masking(g)
    recurrent(g)
    for _ in range(rng.integers(1, 8)):
        [recurrent, pointwise, pointwise, joined][rng.integers(4)](g)
    read = {name for layer in g.layers for name in layer.inputs}
    ends = g.unread + [(one.name, one.size) for one in inputs if one.name not in read]
    count = int(rng.integers(1, 4))
    outputs: dict[str, str] = {}
    for n, group in enumerate(filter(None, (ends[k::count] for k in range(count)))):
        sequence = not vector and rng.random() < 0.5
        parts = [] if sequence else [(one.name, one.size) for one in statics]
        for name, width in group:
            if not sequence:
                g.layers.append(L.Last(f"last{len(g.layers)}", inputs=(name,)))
            parts.append((name if sequence else g.layers[-1].name, width))
        if len(parts) > 1:
            g.layers.append(L.Concat(f"ends{n}", inputs=tuple(name for name, _ in parts)))
            parts = [(g.layers[-1].name, sum(width for _, width in parts))]
        ((name, width),) = parts
        head = make(L.Linear, f"head{n}", rng, dtype="f8", in_features=width, out_features=int(rng.integers(1, 3)))
        g.layers.append(head.replace(inputs=(name,)))
        outputs[f"y{n}"] = head.name
    read = {name for layer in g.layers for name in layer.inputs}
    order = [one for one in (*statics, *inputs) if one.name in read]
    return {"layers": g.layers, "inputs": order, "outputs": outputs}


def windows(model: Any, seed: int, count: int | None, steps: int) -> dict[str, Any]:
    """Random windows for all inputs of a model, one, or `count` of them."""
    rng = np.random.default_rng(seed)
    found = {}
    for one in model.inputs:
        shape = (steps, one.size) if one.rank == "sequence" else (one.size,)
        x = rng.normal(size=shape if count is None else (count, *shape))
        if one.rank == "sequence":
            x[rng.random(x.shape[:-1]) < 0.2] = MASK
        found[one.name] = x
    return found


def ticks(seed: int, count: int, features: int = 3) -> Any:
    """Random ticks, some of them such that a mask skips them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features))
    x[rng.random(count) < 0.2] = MASK
    return x
