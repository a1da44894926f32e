"""ONNX graphs that take states in and give them out, packed in all the ways in which exporters pack them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_files import OPSET, Array, weights

PACKINGS = ("torch", "own", "squeezed", "last", "flat")


@dataclasses.dataclass
class Stack:
    """Recurrent layers on each other, all of one kind, whose states go in and come out; a MatMul of the last is "y".

    `change` may add nodes to what is made, and rename what they read: see `states`.
    """

    kind: str = "LSTM"
    layers: int = 2
    directions: int = 1
    features: int = 3
    hidden: int = 4
    packing: str = "torch"
    windows: int | str = "N"
    steps: int | str = "T"
    step_only: bool = False  # the window is (N, F), a step
    seed: int = 0

    def __post_init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.letters = "hc" if self.kind == "LSTM" else "h"
        self.state_shapes: dict[str, list[int | str]] = {}
        self.outputs: list[str] = []

    def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: object) -> str:
        """Add a node; the name of its first output."""
        names = list(outputs) or [f"{op.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"node_{names[0]}", **attributes))
        return names[0]

    def integers(self, *numbers: int) -> str:
        """A constant."""
        name = "i_" + "_".join(map(str, numbers)).replace("-", "m")
        self.constants[name] = np.array(numbers, np.int64)
        return name

    def build(self, change: Callable[[Stack, dict[str, str]], None] | None = None) -> onnx.ModelProto:
        """The model. `change` gets the names of each layer's states at the end, "h0", "c1", to put others there."""
        rng = np.random.default_rng(self.seed)
        begins = self.take_apart()
        x = "x"
        if self.step_only:
            x = self.node("Unsqueeze", [x, self.integers(1)])
        x = self.node("Transpose", [x], perm=[1, 0, 2])
        ends: dict[str, str] = {}
        for k in range(self.layers):
            features = self.features if k == 0 else self.hidden * self.directions
            w = weights(rng, self.kind, features, self.hidden, self.directions, 0.7)
            self.constants |= {f"{key}{k}": value for key, value in w.items() if key != "P"}
            given = [x, f"W{k}", f"R{k}", f"B{k}", "", *(begins[f"{letter}{k}"] for letter in self.letters)]
            outputs = [f"Y{k}", *(f"{letter}{k}_end" for letter in self.letters)]
            ends |= {f"{letter}{k}": f"{letter}{k}_end" for letter in self.letters}
            direction = {"direction": "bidirectional"} if self.directions == 2 else {}
            self.node(self.kind, given, outputs, hidden_size=self.hidden, **direction)
            x = self.node("Transpose", [f"Y{k}"], perm=[0, 2, 1, 3])
            x = self.node("Reshape", [x, self.integers(0, 0, -1)])
        x = self.node("Transpose", [x], perm=[1, 0, 2])
        if self.step_only:
            x = self.node("Squeeze", [x, self.integers(1)])
        self.constants["head"] = rng.normal(size=(self.hidden * self.directions, 2)).astype(np.float32)
        self.node("MatMul", [x, "head"], ["y"])
        if change is not None:
            change(self, ends)
        self.put_together(ends)
        return self.model()

    def model(self) -> onnx.ModelProto:
        """The nodes as they are, as a model."""
        info = helper.make_tensor_value_info
        shape = [self.windows, self.steps, self.features] if not self.step_only else [self.windows, self.features]
        inputs = [info("x", TensorProto.FLOAT, shape)]
        inputs += [info(name, TensorProto.FLOAT, dims) for name, dims in self.state_shapes.items()]
        outputs = [info(name, TensorProto.FLOAT, None) for name in ("y", *self.outputs)]
        used = {name for node in self.nodes for name in node.input}
        tensors = [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used]
        graph = helper.make_graph(self.nodes, "graph", inputs[::-1], outputs[::-1], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)

    # States, in and out

    def take_apart(self) -> dict[str, str]:
        """The inputs, and each layer's own initial states (D, N, H) taken out of them."""
        n, d, hidden = self.windows, self.directions, self.hidden
        rows = self.layers * d
        names = [f"{letter}{k}" for letter in self.letters for k in range(self.layers)]
        if self.packing == "own":
            self.state_shapes |= {f"{name}_in": [d, n, hidden] for name in names}
            return {name: f"{name}_in" for name in names}
        if self.packing == "squeezed" and d == 1:
            self.state_shapes |= {f"{name}_in": [n, hidden] for name in names}
            return {name: self.node("Unsqueeze", [f"{name}_in", self.integers(0)]) for name in names}
        if self.packing == "last":  # (N, rows, H, letters)
            self.state_shapes["states"] = [n, rows, hidden, len(self.letters)]
            stacked = self.node("Transpose", ["states"], perm=[3, 1, 0, 2])
            each = [self.node("Gather", [stacked, self.number(at)], axis=0) for at in range(len(self.letters))]
        elif self.packing == "flat":  # (N, letters·rows·H)
            self.state_shapes["states"] = [n, len(self.letters) * rows * hidden]
            split = self.node("Reshape", ["states", self.integers(0, len(self.letters), rows, hidden)])
            parts = [f"part_{letter}" for letter in self.letters]
            self.node("Split", [split], parts, axis=1)
            each = [self.node("Squeeze", [part, self.integers(1)]) for part in parts]
            each = [self.node("Transpose", [part], perm=[1, 0, 2]) for part in each]
        else:
            self.state_shapes |= {f"{letter}_in": [rows, n, hidden] for letter in self.letters}
            each = [f"{letter}_in" for letter in self.letters]
        found = {}
        for letter, stack in zip(self.letters, each, strict=True):
            for k in range(self.layers):
                bounds = [self.integers(bound) for bound in (k * d, (k + 1) * d, 0)]
                found[f"{letter}{k}"] = self.node("Slice", [stack, *bounds])
        return found

    def number(self, n: int) -> str:
        """A constant of rank 0."""
        self.constants[f"n_{n}"] = np.array(n, np.int64)
        return f"n_{n}"

    def put_together(self, ends: dict[str, str]) -> None:
        """The outputs, of the states (D, N, H) named in `ends`."""
        names = [f"{letter}{k}" for letter in self.letters for k in range(self.layers) if f"{letter}{k}" in ends]
        if self.packing == "own" or (self.packing == "squeezed" and self.directions == 1):
            for name in names:
                if self.packing == "own":
                    self.outputs.append(self.node("Identity", [ends[name]], [f"{name}_out"]))
                else:
                    self.outputs.append(self.node("Squeeze", [ends[name], self.integers(0)], [f"{name}_out"]))
            return
        stacks = {}
        for letter in self.letters:
            some = [ends[name] for name in names if name[0] == letter]
            if some:
                stacks[letter] = self.node("Concat", some, [f"{letter}_out"], axis=0)
        if self.packing not in ("last", "flat"):
            self.outputs += stacks.values()
            return
        at = 3 if self.packing == "last" else 1
        each = [self.node("Transpose", [stack], perm=[1, 0, 2]) for stack in stacks.values()]  # (N, rows, H)
        each = [self.node("Unsqueeze", [stack, self.integers(at)]) for stack in each]
        if self.packing == "last":
            self.outputs.append(self.node("Concat", each, ["states_out"], axis=3))
            return
        joined = self.node("Concat", each, axis=1)
        self.outputs.append(self.node("Reshape", [joined, self.integers(0, -1)], ["states_out"]))

    def random_states(self, rng: np.random.Generator, windows: int = 1) -> dict[str, Array]:
        """States for the model's inputs, for so many windows."""
        shapes = {
            name: [windows if isinstance(size, str) else size for size in dims]
            for name, dims in self.state_shapes.items()
        }
        return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
