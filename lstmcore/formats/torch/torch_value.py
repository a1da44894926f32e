"""What a traced forward is made of: values that depend on the window, and the calls that give them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch.fx import Node

from lstmcore.errors import UnsupportedError
from lstmcore.formats.torch.torch_graph import WINDOW, Graph
from lstmcore.layers import Array, Last, Layer, Recurrent, Reverse

#: What an axis holds. Several letters are axes merged by a view; none is an axis of size 1 without a meaning.
Axis = tuple[str, ...]

N: Axis = ("N",)  # windows of the batch
T: Axis = ("T",)  # time steps
F: Axis = ("F",)  # features
L: Axis = ("L",)  # stacked layers, in h_n
D: Axis = ("D",)  # directions of a bidirectional layer, where they are not one axis with the features

NAMES = {"N": "batch", "T": "time", "F": "features", "L": "layers", "D": "directions"}


#: Why a half is refused.
ONE_DIRECTION = "takes one direction of a bidirectional layer alone; only both joined are supported"


class TimeAxisError(UnsupportedError):
    """A recurrent layer that reads the axis of the windows as time, and the other way round."""


@dataclass(frozen=True)
class Value:
    """What a tensor of the graph holds: what comes out of a layer, its axes, and how long each letter is.

    With `step` it is one time step of that, counted from the oldest; with `half` what one direction of a
    bidirectional layer gave, 0 forward and 1 backward. Nothing is done about these two before it is known what is
    made of them: all steps may come together again, and so may both halves. `picked` is the call that took them.
    """

    graph: Graph
    source: int
    axes: tuple[Axis, ...]
    sizes: Mapping[str, int]
    step: int | None = None
    half: int | None = None
    picked: Op | None = dataclasses.field(default=None, compare=False)

    @property
    def layer(self) -> Layer | None:
        """The layer that it comes out of; None for the window."""
        return self.graph.layer(self.source)

    @property
    def reads_window(self) -> bool:
        """Whether it is the window itself."""
        return self.source == WINDOW

    @property
    def both_directions(self) -> Recurrent | None:
        """The bidirectional layer whose two directions lie behind each other in the features; None for all else."""
        layer = self.layer
        if isinstance(layer, Recurrent) and layer.bidirectional and layer.merge == "concat" and self.half is None:
            return layer
        return None

    def then(self, layer: Layer, features: int | None = None) -> Value:
        """The value behind one more layer, which gives `features` features where it changes them."""
        return self.from_source(self.graph.add(layer, self.source), features)

    def from_source(self, source: int, features: int | None = None) -> Value:
        """The same axes of what comes out of another layer."""
        sizes = self.sizes if features is None else {**self.sizes, "F": features}
        return dataclasses.replace(self, source=source, sizes=sizes)

    def with_axes(self, *axes: Axis) -> Value:
        """The same layers with other axes."""
        return dataclasses.replace(self, axes=axes)

    def settled(self) -> Value:
        """With layers for the step that was taken. Refuses one that is neither the last nor the first."""
        if self.picked is None:
            return self
        if self.half is not None:
            self.picked.refuse(ONE_DIRECTION)
        if self.step is None:
            return self
        steps, whole = self.sizes["T"], dataclasses.replace(self, step=None, picked=None)
        if self.step == steps - 1:
            return whole.then(Last("last"))
        if self.step == 0:
            return whole.then(Reverse("reverse")).then(Last("last"))
        self.picked.refuse(f"takes step {self.step} of {steps}; only the last and the first can be taken")


@dataclass(frozen=True)
class Unusable:
    """A tensor that must not reach the answer, and why."""

    reason: str


@dataclass(frozen=True)
class Given(Unusable):
    """A state that is given, or some elements of it, by their numbers."""

    numbers: torch.Tensor


@dataclass(frozen=True)
class CellState(Unusable):
    """The c that a cell gave at one step, for the same cell at the next."""

    source: int
    step: int


@dataclass(frozen=True)
class Op:
    """One call in the graph of `module`'s forward."""

    node: Node
    module: torch.nn.Module

    @property
    def kind(self) -> str:
        """The operation's name, the same in place and not: "relu"."""
        target = self.node.target
        if not isinstance(target, torch._ops.OpOverload):
            return getattr(target, "__name__", str(target))
        name = target._schema.name.removeprefix("aten::")
        return name.removesuffix("_") if target._schema.is_mutable else name

    @property
    def path(self) -> str:
        """Which submodule calls: "classifier.0", or "" for the outermost forward."""
        stack = self.node.meta.get("nn_module_stack") or {"": ("", None)}
        path: str = list(stack.values())[-1][0]
        return path

    @property
    def name(self) -> str:
        """A name for the layer that this call is: the submodule's path, as in torch's state_dict."""
        path = self.path
        within = self.module.get_submodule(path)
        if not path or any(not isinstance(m, torch.nn.ModuleDict) for m in within.children()):
            path = f"{path}.{self.kind}".removeprefix(".")  # a forward that calls others as well
        return path

    def refuse(self, reason: str, error: type[UnsupportedError] = UnsupportedError) -> NoReturn:
        """Raise an error that names the submodule, the operation and the user's line."""
        raise error(f"{self.path or type(self.module).__name__}: {self.kind}: {reason}{self._source()}")

    def _source(self) -> str:
        frames = re.findall(r'File "(.+)", line (\d+), in .+\n\s*(.+)', self.node.meta.get("stack_trace") or "")
        own = [f for f in frames if Path(torch.__file__).parent not in Path(f[0]).parents]
        return f" ({Path(own[-1][0]).name}:{own[-1][1]}: {own[-1][2]})" if own else ""


def array(tensor: torch.Tensor) -> Array:
    """The tensor's numbers, wherever it lies."""
    numbers: Array = tensor.detach().cpu().numpy()
    return numbers


def show(axes: Sequence[Axis]) -> str:
    """Axes in words: "(batch, time, features)"."""
    return "(" + ", ".join("*".join(NAMES[letter] for letter in axis) or "1" for axis in axes) + ")"
