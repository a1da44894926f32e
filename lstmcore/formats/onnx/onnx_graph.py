"""An ONNX graph as it is built: nodes and constants, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx


def value_info(name: str, shape: Sequence[int | str], kind: int = onnx.TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape, as inputs and outputs of a graph say them."""
    return onnx.helper.make_tensor_value_info(name, kind, shape)


class Graph:
    """Nodes and constants as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.scope = ""  # the layer that the next nodes are of

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node; the names of its outputs."""
        number = len(self.nodes)
        names = [f"{op}_{number}_{k}" for k in range(outputs)]
        given = list(inputs)
        while not given[-1]:  # absent ones at the end
            given.pop()
        self.nodes.append(onnx.helper.make_node(op, given, names, name=f"/{self.scope}/{op}_{number}", **attributes))
        return names

    def apply(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; its name."""
        return self.node(op, *inputs, **attributes)[0]

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant; its name."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def give(self, name: str, op: str, *inputs: str, **attributes: Any) -> None:
        """Add a node with one output, which has this name."""
        self.node(op, *inputs, **attributes)
        self.nodes[-1].output[0] = name

    def finish(self, outputs: Mapping[str, str]) -> None:
        """Let each value have the name of the output that it is."""
        values = list(outputs.values())
        for name, value in outputs.items():
            last = self.nodes[-1] if self.nodes else None
            made_last = last is not None and list(last.output) == [value]
            if not made_last or values.count(value) > 1 or any(value in node.input for node in self.nodes):
                self.apply("Identity", value)
            self.nodes[-1].output[0] = name
