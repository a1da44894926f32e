"""What a walk through an ONNX graph begins with, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx

from lstmcore.formats.onnx.onnx_tensors import Tensors
from lstmcore.formats.states import Carried
from lstmcore.layers import Array, Layer


@dataclass(frozen=True)
class Source:
    """A graph: the nodes that the answer depends on, in order, and what they begin with."""

    file: str
    opset: int
    nodes: Sequence[onnx.NodeProto]
    constants: Mapping[str, Array]
    window: str
    dtype: type[np.floating[Any]]  # of the window
    states: Mapping[str, tuple[int | None, ...]]  # the inputs that are initial states: their shapes, None for windows
    lengths: str | None  # the input that says how many steps of each window count
    answer: str
    others: Sequence[str]  # the outputs that are final states
    moving: Mapping[int, str]  # the nodes, by id, that the answer does not depend on: the output that does
    own_names: bool  # lstmcore wrote it: a node's name is its layer's name and one part more
    tensors: Tensors
    limit: int  # bytes of constants that may be computed: shapes are small, and others are as large as the weights


class Reading(NamedTuple):
    """How the window is taken: its axes, their sizes (N, T, F), and which of these the file fixes."""

    letters: tuple[str, ...]
    sizes: tuple[int, int, int]
    fixed: frozenset[str]


class Found(NamedTuple):
    """What a graph is: its layers, and its states where some go in or come out."""

    layers: list[Layer]
    states: Carried | None
    window: str  # the input's name
    letters: tuple[str, ...]  # and its axes
    answer: str  # the output's name
