"""A model as every backend runs it: values, each made by an op of values before it.

Layers become ops of one kind each: a stack of recurrent layers one op for each layer and direction, a backward
direction reversed sequences around it, a mask values of its own. Dropout is gone, and so are the shapes that differ
only by an axis of size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lstmcore.layers import (
    Add,
    Concat,
    Dropout,
    Flatten,
    Last,
    Layer,
    Masking,
    Mean,
    Merge,
    Mul,
    Recurrent,
    Reverse,
    Squeeze,
)
from lstmcore.layers.wiring import Input, Wiring

#: What `reference.merged` calls the layers that join others.
MERGES: dict[type[Layer], str] = {Concat: "concat", Add: "sum", Mean: "mean", Mul: "mul"}
#: What joins the two directions of a bidirectional layer.
JOINS: dict[str, type[Layer]] = {merge: kind for kind, merge in MERGES.items()}


@dataclass(frozen=True, eq=False)
class Differs(Layer):
    """1 for each step of which a feature is not `number`, else 0: ("T", F) -> ("T", 1)."""

    number: float = field(default=0.0, metadata={"infinite": True})


@dataclass(frozen=True, eq=False)
class Either(Merge):
    """The larger of two masks, each element: a step counts where it counts in one of them."""


@dataclass(frozen=True, eq=False)
class Where(Layer):
    """The steps of the first input where the second, a mask, is not 0; zeros for the others."""


@dataclass(frozen=True)
class Op:
    """A layer of one kind and direction, and the values that it reads; it makes one.

    Of a recurrent layer, whose `return_sequences` is True here, a second value says which steps count.
    """

    layer: Layer
    reads: tuple[int, ...]
    part: str = ""  # of a recurrent op, which layer and direction of its stack it is: "l0", "l0_reverse"
    label: str = ""  # of the model's layer that it is a part of


class States(NamedTuple):
    """The h and the c of a recurrent op."""

    layer: Recurrent
    part: str  # as that of the op

    def key(self, letter: str) -> str:
        """What one of them is called: "lstm.h_l0"."""
        return f"{self.layer.name}.{letter}_{self.part}"


@dataclass
class Program:
    """Values: the inputs, then what each op makes."""

    inputs: tuple[Input, ...]
    ops: list[Op] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)  # the values that are the answers
    label: str = ""  # of the layer whose ops are being added

    @property
    def recurrent(self) -> list[States]:
        """The states of each recurrent op."""
        return [States(op.layer, op.part) for op in self.ops if isinstance(op.layer, Recurrent)]

    def add(self, layer: Layer, *reads: int, part: str = "") -> int:
        """Append an op; the value that it makes."""
        self.ops.append(Op(layer, reads, part, self.label))
        return len(self.inputs) + len(self.ops) - 1


def lower(of: Wiring) -> Program:
    """The layers as a program."""
    program = Program(of.inputs)
    # Of each input and layer the value that it is, and the mask of its steps.
    made: list[tuple[int, int | None]] = [(n, None) for n in range(len(of.inputs))]
    for layer, read in zip(of.layers, of.reads, strict=True):
        given = [made[n] for n in read]
        program.label = layer.label
        made.append(_lower(program, layer, *zip(*given, strict=True)))
    program.outputs = [made[n][0] for n in of.ends]
    return program


def _lower(program: Program, layer: Layer, values: Any, masks: Any) -> tuple[int, int | None]:
    value: int = values[0]
    mask: int | None = masks[0]
    if isinstance(layer, Dropout | Squeeze):
        return value, mask
    if isinstance(layer, Masking):
        mask = program.add(Differs(f"{layer.name}_counts", layer.mask_value), value)
        return program.add(Where(layer.name), value, mask), mask
    if isinstance(layer, Merge):
        return program.add(layer, *values), _either(program, layer.name, masks)
    if isinstance(layer, Reverse):
        return program.add(layer, value), None if mask is None else program.add(layer, mask)
    if isinstance(layer, Recurrent):
        return _lower_recurrent(program, layer, value, mask)
    return program.add(layer, value), None if isinstance(layer, Last | Flatten) else mask


def _either(program: Program, name: str, masks: Sequence[int | None]) -> int | None:
    """The steps that count in one of the masks; None, all of them, where one of them is None."""
    some = [mask for mask in masks if mask is not None]
    if len(some) < len(masks) or len(set(some)) == 1:
        return some[0] if len(some) == len(masks) else None
    return program.add(Either(f"{name}_counts"), *some)


def _lower_recurrent(program: Program, layer: Recurrent, value: int, mask: int | None) -> tuple[int, int | None]:
    for k in range(layer.num_layers):
        top = k + 1 == layer.num_layers
        sequences = not top or layer.return_sequences
        ends = [_one_direction(program, layer, k, suffix, value, mask, sequences) for suffix in layer.suffixes]
        value = ends[0]
        if layer.bidirectional:
            value = program.add(JOINS[layer.merge if top else "concat"](layer.name), *ends)
    if not layer.return_sequences:
        return value, None
    if layer.bidirectional and mask is not None:
        value = program.add(Where(layer.name), value, mask)  # where one direction would repeat itself
    return value, mask


def _one_direction(
    program: Program, layer: Recurrent, k: int, suffix: str, value: int, mask: int | None, sequences: bool
) -> int:
    reverse = Reverse(f"{layer.name}_l{k}{suffix}")
    reads = [value] if mask is None else [value, mask]
    if suffix:
        reads = [program.add(reverse, read) for read in reads]
    made = program.add(layer.single(k, suffix, layer.name, True), *reads, part=f"l{k}{suffix}")
    if not sequences:
        return program.add(Last(layer.name), made)
    return program.add(reverse, made) if suffix else made
