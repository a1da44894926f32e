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
from lstmcore.layers import Layer
from lstmcore.stack import unused_name

#: What an axis holds. Several letters are axes merged by a view; none is an axis of size 1 without a meaning.
Axis = tuple[str, ...]

N: Axis = ("N",)  # windows of the batch
T: Axis = ("T",)  # time steps
F: Axis = ("F",)  # features
L: Axis = ("L",)  # stacked layers, in an LSTM's h_n

NAMES = {"N": "batch", "T": "time", "F": "features", "L": "layers"}


class TimeAxisError(UnsupportedError):
    """An LSTM that reads the axis of the windows as time, and the other way round."""


@dataclass(frozen=True)
class Value:
    """What a tensor of the graph holds: the window behind `layers`, its axes, and how long each letter is."""

    layers: tuple[Layer, ...]
    axes: tuple[Axis, ...]
    sizes: Mapping[str, int]

    def then(self, layer: Layer, features: int | None = None) -> Value:
        """The value behind one more layer, which gives `features` features where it changes them."""
        sizes = self.sizes if features is None else {**self.sizes, "F": features}
        return dataclasses.replace(self, layers=(*self.layers, layer), sizes=sizes)

    def with_axes(self, *axes: Axis) -> Value:
        """The same layers with other axes."""
        return dataclasses.replace(self, axes=axes)


@dataclass(frozen=True)
class Unusable:
    """A tensor that must not reach the answer, and why."""

    reason: str


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

    def name(self, x: Value) -> str:
        """A name for the layer that this call adds to `x`: the submodule's path, as in torch's state_dict."""
        path = self.path
        within = self.module.get_submodule(path)
        if not path or any(not isinstance(m, torch.nn.ModuleDict) for m in within.children()):
            path = f"{path}.{self.kind}".removeprefix(".")  # a forward that calls others as well
        return unused_name(path, x.layers)

    def refuse(self, reason: str, error: type[UnsupportedError] = UnsupportedError) -> NoReturn:
        """Raise an error that names the submodule, the operation and the user's line."""
        raise error(f"{self.path or type(self.module).__name__}: {self.kind}: {reason}{self._source()}")

    def _source(self) -> str:
        frames = re.findall(r'File "(.+)", line (\d+), in .+\n\s*(.+)', self.node.meta.get("stack_trace") or "")
        own = [f for f in frames if Path(torch.__file__).parent not in Path(f[0]).parents]
        return f" ({Path(own[-1][0]).name}:{own[-1][1]}: {own[-1][2]})" if own else ""


def show(axes: Sequence[Axis]) -> str:
    """Axes in words: "(batch, time, features)"."""
    return "(" + ", ".join("*".join(NAMES[letter] for letter in axis) or "1" for axis in axes) + ")"
