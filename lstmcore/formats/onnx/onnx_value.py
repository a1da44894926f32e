"""What a tensor of an ONNX graph holds: nodes, and what each axis stands for; and the operations that move axes.

Transpose, Reshape, Squeeze, Slice, Gather, Concat have no layers. They change `axes`, letter by letter, so that it
does not matter in which way an exporter gets from one layout to another; what would mix axes is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.formats.onnx.onnx_builder import Builder
from lstmcore.formats.onnx.onnx_nodes import Node, Refused
from lstmcore.formats.state_places import States

#: "N" windows, "T" steps, "F" features; a number: an axis of `Tensor.parts`, such as directions or stacked layers.
Letter = str | int
#: Several letters are axes merged by a Reshape; none is an axis of size 1 that stands for nothing.
Axis = tuple[Letter, ...]

NAMES = {"N": "batch", "T": "time", "F": "features"}

Parts = npt.NDArray[Any]  # of Node


class TimeAxisError(Refused):
    """A layer reads the axis of the windows as time, and the other way round."""


@dataclass(frozen=True)
class Context:
    """The sizes that a graph is read with, and the builder of its nodes."""

    builder: Builder
    windows: int
    steps: int
    fixed: frozenset[str]  # the letters whose sizes the file fixes
    states: States

    @property
    def one_step(self) -> bool:
        """The file is for one step, so that every value is a sequence of it, and any step its last."""
        return self.steps == 1 and "T" in self.fixed


@dataclass(frozen=True)
class Tensor:
    """Nodes (`parts`, all of one shape), and the axes that stand for windows, steps, features and parts."""

    context: Context
    parts: Parts
    axes: tuple[Axis, ...]

    @property
    def first(self) -> Node:
        """One of the nodes, which are alike."""
        node: Node = self.parts.flat[0]
        return node

    def size(self, letter: Letter) -> int:
        """How long a letter is."""
        if isinstance(letter, int):
            return int(self.parts.shape[letter])
        sizes = {"N": self.context.windows, "T": self.context.steps, "F": self.first.features}
        return sizes[letter]

    def length(self, axis: Axis) -> int:
        """How long an axis is."""
        return math.prod(self.size(letter) for letter in axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(self.length(axis) for axis in self.axes)

    @property
    def node(self) -> Node:
        """The one node. Raises Refused where there are several."""
        if self.parts.size != 1:
            raise Refused(f"several directions or layers in an axis of their own, {self.show()}")
        return self.first

    def show(self) -> str:
        """The axes in words: "(batch, time, features)"."""

        def word(letter: Letter) -> str:
            return NAMES[letter] if isinstance(letter, str) else "parts"

        return "(" + ", ".join("*".join(map(word, axis)) or "1" for axis in self.axes) + ")"

    def real(self, axis: Axis) -> Axis:
        """An axis without its letters of size 1, which are in no place in particular."""
        return tuple(letter for letter in axis if self.size(letter) > 1)

    def is_laid_out(self, *letters: Letter) -> bool:
        """Whether the axes are these, in this order."""
        return len(self.axes) == len(letters) and all(
            self.real(axis) == self.real((letter,)) for axis, letter in zip(self.axes, letters, strict=True)
        )

    # Changing

    def with_axes(self, axes: Sequence[Axis], parts: Parts | None = None) -> Tensor:
        """Other axes; axes of parts that are gone, of size 1, are dropped, and steps too."""
        parts = self.parts if parts is None else parts
        left = {letter for axis in axes for letter in axis}
        squeezed = "T" not in left and any("T" in axis for axis in self.axes)
        if squeezed and parts.flat[0].sequence and not self.context.one_step:
            parts = each(self.context.builder.last, parts)  # one step only, whose axis is squeezed
        gone = tuple(k for k in range(parts.ndim) if k not in left)
        if any(parts.shape[k] > 1 for k in gone):
            raise Refused("drops an axis of several parts")
        numbers = {k: n for n, k in enumerate(k for k in range(parts.ndim) if k not in gone)}
        renamed = [tuple(numbers.get(a, a) if isinstance(a, int) else a for a in axis) for axis in axes]
        return Tensor(self.context, parts.squeeze(gone), tuple(renamed))

    def map(self, function: Callable[[Node], Node]) -> Tensor:
        """`function` of every part."""
        return Tensor(self.context, each(function, self.parts), self.axes)

    def settled(self) -> Tensor:
        """With merged axes that are one vector of features made so: parts behind each other, steps flattened."""
        value = self
        for at in range(len(value.axes)):
            axis = tuple(letter for letter in value.axes[at] if letter == "F" or value.size(letter) > 1)
            inner = tuple(letter for letter in axis if isinstance(letter, int))
            if inner and axis in ((*inner, "F"), ("T", *inner, "F")):
                value = value._joined(at, inner)
            if value.real(value.axes[at]) == ("T", "F"):
                value = value._flattened(at)
        return value

    def _joined(self, at: int, letters: Sequence[int]) -> Tensor:
        """The parts along `letters` as features behind each other, in the axis `at`."""
        kept = [k for k in range(self.parts.ndim) if k not in letters]
        rows = self.parts.transpose(*kept, *letters).reshape(*(self.parts.shape[k] for k in kept), -1)
        joined = np.empty(rows.shape[:-1], object)
        for index in np.ndindex(joined.shape):
            joined[index] = self.context.builder.concat(list(rows[index]))
        numbers: dict[Letter, Letter] = {k: n for n, k in enumerate(kept)}
        axes = [tuple(numbers.get(a, a) for a in axis if a not in letters) for axis in self.axes]
        axes[at] = (*(letter for letter in axes[at] if letter != "F"), "F")
        return Tensor(self.context, joined, tuple(axes))

    def _flattened(self, at: int) -> Tensor:
        """All features of all steps in the axis `at`."""
        if "T" not in self.context.fixed:
            raise Refused("flattens the steps of windows of any length; export the model with a fixed length")
        parts = each(lambda node: self.context.builder.flatten(node, self.context.steps), self.parts)
        return Tensor(self.context, parts, (*self.axes[:at], ("F",), *self.axes[at + 1 :]))

    def features_last(self) -> Tensor:
        """Settled, and with its features in the last axis. Raises Refused where they are not there."""
        value = self.settled()
        if value.axes and value.size("F") == 1:  # what is in the last axis are single features of steps or parts
            at = len(value.axes) - 1
            real = value.real(value.axes[at])
            if real and all(isinstance(letter, int) for letter in real):
                value = value._joined(at, [letter for letter in real if isinstance(letter, int)])
            elif real == ("T",):
                value = value._flattened(at)
        if not value.axes or value.real(value.axes[-1]) != value.real(("F",)):
            raise Refused(f"works along the last axis of {value.show()}; it has to be the features")
        return value

    def transpose(self, permutation: Sequence[int]) -> Tensor:
        """The axes in another order."""
        return Tensor(self.context, self.parts, tuple(self.axes[n] for n in permutation))

    def reshape(self, shape: Sequence[int]) -> Tensor:
        """The letters in their order, dealt out to the axes of the new shape."""
        letters = [letter for axis in self.axes for letter in axis]
        parts = self.parts
        axes: list[Axis] = []
        refused = Refused(f"makes {tuple(shape)} of {self.show()}, {self.shape}, which mixes axes")
        for size in shape:
            axis: list[Letter] = []
            length = 1
            while letters and (length < size or (size == 1 and not axis)):
                letter = letters[0]
                own = parts.shape[letter] if isinstance(letter, int) else self.size(letter)
                if size == 1 and own > 1:
                    break
                need = size // length
                if own > need and isinstance(letter, int) and own % need == 0:  # split into two axes of parts
                    split = (*parts.shape[:letter], need, own // need, *parts.shape[letter + 1 :])
                    parts = parts.reshape(split)
                    letters = [a + 1 if isinstance(a, int) and a > letter else a for a in letters]
                    axes = [tuple(a + 1 if isinstance(a, int) and a > letter else a for a in old) for old in axes]
                    axis = [a + 1 if isinstance(a, int) and a > letter else a for a in axis]
                    letters.insert(1, letter + 1)
                    own = need
                axis.append(letters.pop(0))
                length *= own
            if length != size:
                raise refused
            if axis and isinstance(axis[-1], int) and letters == ["F"] and self.size("F") == 1:
                axis.append(letters.pop())  # parts of one feature each, beside each other
            axes.append(tuple(axis))
        if any((parts.shape[a] if isinstance(a, int) else self.size(a)) > 1 for a in letters):
            raise refused
        return self.with_axes(axes, parts)

    def squeeze(self, axes: Sequence[int]) -> Tensor:
        """Without axes of size 1."""
        if any(self.shape[n] != 1 for n in axes):
            raise Refused(f"squeezes axes {list(axes)} of {self.show()}, {self.shape}, which are not all of size 1")
        return self.with_axes([axis for n, axis in enumerate(self.axes) if n not in axes])

    def unsqueeze(self, axes: Sequence[int]) -> Tensor:
        """With further axes of size 1, at these places of the result."""
        rest = iter(self.axes)
        rank = len(self.axes) + len(axes)
        return Tensor(self.context, self.parts, tuple(() if n in axes else next(rest) for n in range(rank)))


def each(function: Callable[[Node], Node], parts: Parts) -> Parts:
    """`function` of every part."""
    made: Parts = np.empty(parts.shape, object)
    for index, node in np.ndenumerate(parts):
        made[index] = function(node)
    return made


def single(context: Context, node: Node, *letters: Letter) -> Tensor:
    """One node as a tensor with these axes."""
    parts = np.empty((), object)
    parts[()] = node
    return Tensor(context, parts, tuple((letter,) for letter in letters))


def stacked(context: Context, nodes: Sequence[Node], *letters: Letter) -> Tensor:
    """Nodes as the parts 0, 1, ... of a tensor with these axes, of which one is the letter 0."""
    parts = np.empty(len(nodes), object)
    parts[:] = nodes
    return Tensor(context, parts, tuple((letter,) for letter in letters))
