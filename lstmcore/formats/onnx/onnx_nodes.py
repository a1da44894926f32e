"""What the values of an ONNX graph are computed by: layers, and the sums, products and functions that become layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmcore.formats.states import Cell
from lstmcore.layers import Array, Layer


class Refused(Exception):
    """Something that has no equation here, in words; the caller adds which node it was."""


@dataclass(eq=False)
class Node:
    """A value for one window: a sequence ("T", features) or a vector (features,)."""

    features: int
    sequence: bool
    inputs: tuple[Node, ...]
    name: str = ""  # what a layer that it becomes is called
    scope: str = ""  # the part of the source model that it belongs to
    label: str = ""  # the file's node that it comes from, for messages
    serial: int = 0


@dataclass(eq=False)
class Window(Node):
    """The model's input."""


@dataclass(eq=False)
class LayerNode(Node):
    """A layer, its weights by torch's names."""

    kind: type[Layer] = Layer
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)
    sequences: Node | None = None  # of a recurrent layer's final state: the same layer with every step
    cells: tuple[Cell, ...] = ()  # of a recurrent layer: the rows of its states, in torch's order


@dataclass(eq=False)
class Sum(Node):
    """constant + Σ coefficient·input, in float64; constants are () or (features,)."""

    constant: Array = field(default_factory=lambda: np.zeros(()))
    coefficients: tuple[Array, ...] = ()


@dataclass(eq=False)
class Product(Node):
    """The product of its inputs."""


@dataclass(eq=False)
class Function(Node):
    """A function of its inputs, by the name it has in `activations.TABLE`, or else one that is part of a pattern."""

    function: str = ""
    numbers: tuple[float, ...] = ()
