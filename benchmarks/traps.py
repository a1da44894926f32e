"""What other runtimes make of ONNX's LSTM, GRU and RNN: each attribute alone, on random weights, beside the equations.

    python benchmarks/traps.py [--write]

A graph of one node is given to ONNX's own reference evaluator, ONNX Runtime and OpenVINO, and their answers are
compared with lstmcore's reference in float64. An engine that refuses a graph says so; one that is far off has ignored
something in silence. `--write` puts the table into docs/formats.md.

The last rows are traps of another sort: a NaN tick, whose answer must be NaN, and weights that are all the same, as in
the test vectors that ONNX publishes: with those a runtime may swap two gates and still pass.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tables import replace as write_between
from tables import table

import lstmcore
from lstmcore import Model
from lstmcore.formats.gates import reorder
from lstmcore.layers import GRU, LSTM, RNN, Array, Recurrent, Reverse
from lstmcore.measure.peers import openvino_core

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
T, F, H = 9, 3, 4
RIGHT = 1e-4  # how far off float32 may be; whoever ignores something is off by hundreds of times as much
OPSET = 17
KINDS: dict[str, type[Recurrent]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


@dataclass(frozen=True)
class Case:
    """One attribute or input of one operator, and the same in lstmcore's words."""

    kind: str
    what: str
    attributes: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    reverse: bool = False
    peepholes: bool = False
    states: bool = False
    length: int | None = None
    time_first: bool = True
    nan: bool = False
    constant: bool = False


HARD = {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.3], "activation_beta": [0.4]}
CASES = (
    Case("LSTM", "nothing but the weights"),
    Case("LSTM", "direction=reverse", {"direction": "reverse"}, reverse=True),
    Case("LSTM", "direction=bidirectional", {"direction": "bidirectional"}, {"bidirectional": True}),
    Case("LSTM", "initial_h, initial_c", states=True),
    Case("LSTM", "sequence_lens", length=6),
    Case("LSTM", "peepholes P", settings={"peepholes": True}, peepholes=True),
    Case("LSTM", "input_forget=1", {"input_forget": 1}, {"coupled": True}),
    Case("LSTM", "clip=0.5", {"clip": 0.5}, {"clip": 0.5}),
    Case("LSTM", "activations=HardSigmoid(0.3, 0.4), ...", HARD, {"activations": "hard_sigmoid(0.3,0.4) tanh tanh"}),
    Case("LSTM", "activations=Sigmoid, Relu, Relu", {"activations": ["Sigmoid", "Relu", "Relu"]},
         {"activations": "sigmoid relu relu"}),
    Case("LSTM", "layout=1", {"layout": 1}, time_first=False),
    Case("GRU", "linear_before_reset=0", {"linear_before_reset": 0}, {"reset_after": False}),
    Case("GRU", "linear_before_reset=1", {"linear_before_reset": 1}),
    Case("GRU", "direction=reverse", {"direction": "reverse", "linear_before_reset": 1}, reverse=True),
    Case("GRU", "clip=0.5", {"clip": 0.5, "linear_before_reset": 1}, {"clip": 0.5}),
    Case("GRU", "activations=Sigmoid, Relu", {"activations": ["Sigmoid", "Relu"], "linear_before_reset": 1},
         {"activations": "sigmoid relu"}),
    Case("RNN", "nothing but the weights"),
    Case("RNN", "activations=Relu", {"activations": ["Relu"]}, {"activations": "relu"}),
    Case("RNN", "clip=0.5", {"clip": 0.5}, {"clip": 0.5}),
    Case("RNN", "direction=reverse", {"direction": "reverse"}, reverse=True),
    Case("LSTM", "a NaN among the features of one tick", nan=True),
    Case("LSTM", "weights that are all the same, i and f swapped", constant=True),
)  # fmt: skip


def layer_of(case: Case) -> Recurrent:
    """The layer with random weights, in lstmcore's words."""
    rng = np.random.default_rng(0)
    cls = KINDS[case.kind]
    shapes = cls.weight_shapes(input_size=F, hidden_size=H, **case.settings)

    def draw(shape: tuple[int, ...]) -> Array:
        return np.full(shape, 0.3, np.float32) if case.constant else rng.normal(size=shape).astype(np.float32)

    weights = {key: draw(shape) for key, shape in shapes.items()}
    return cls("r", F, H, return_sequences=True, weights=weights, **case.settings)


def expected(case: Case, layer: Recurrent, x: Array, states: tuple[Array, Array]) -> Array:
    """(T, directions*H): the equations, in float64."""
    layers = [Reverse("in"), layer, Reverse("out")] if case.reverse else [layer]
    model = Model(layers, backend="numpy").astype(np.float64)
    return model(x, states if case.states else None, case.length)


def graph(case: Case, layer: Recurrent, states: tuple[Array, Array]) -> bytes:
    """The same as one ONNX node: x (T, 1, F) -> y (T, directions, 1, H); with layout 1 the batch stands first."""
    cells = [layer.cell(0, suffix) for suffix in layer.suffixes]

    def stack(key: str) -> Array:
        return np.stack([_gates(cell[key], case.kind, case.constant) for cell in cells])

    arrays = {"W": stack("weight_ih"), "R": stack("weight_hh")}
    arrays["B"] = np.concatenate([stack("bias_ih"), stack("bias_hh")], axis=1)
    if case.length is not None:
        arrays["lens"] = np.array([case.length], np.int32)
    if case.states:
        at = (slice(None), np.newaxis) if case.time_first else (np.newaxis,)
        arrays |= {"h": states[0][at], "c": states[1][at]}
    if case.peepholes:
        arrays["P"] = np.stack(
            [
                np.concatenate(np.split(c["weight_peephole"], 3)[::2] + np.split(c["weight_peephole"], 3)[1:2])
                for c in cells
            ]
        )
    names = ["x", "W", "R", "B", "lens", "h", "c", "P"][: 8 if case.kind == "LSTM" else 6]
    inputs = [name if name == "x" or name in arrays else "" for name in names]
    node = helper.make_node(case.kind, inputs, ["y"], hidden_size=H, **case.attributes)
    shape = (T, 1, F) if case.time_first else (1, T, F)
    made = helper.make_graph(
        [node], "trap", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, list("tdnh"))],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _gates(rows: Array, kind: str, swapped: bool) -> Array:
    """Rows as ONNX stacks them; `swapped`: with an LSTM's i and f in each other's places."""
    if swapped:
        i, f, g, o = np.split(rows, 4)
        rows = np.concatenate([f, i, g, o])
    return reorder(rows, kind, "torch", "onnx")


def by_reference(proto: bytes, x: Array) -> Any:
    return ReferenceEvaluator(onnx.load(io.BytesIO(proto))).run(None, {"x": x})[0]


def by_onnxruntime(proto: bytes, x: Array) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def by_openvino(proto: bytes, x: Array) -> Any:
    core = openvino_core()
    compiled = core.compile_model(core.read_model(proto), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([x])[0]


ENGINES = {"ONNX's reference evaluator": by_reference, "ONNX Runtime": by_onnxruntime, "OpenVINO": by_openvino}


def outcome(case: Case, engine: Callable[[bytes, Array], Any]) -> str:
    """What an engine makes of a case."""
    layer = layer_of(case)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(T, F)).astype(np.float32)
    if case.nan:
        x[T // 2, 1] = np.nan
    states = tuple(rng.normal(size=(layer.states, H)).astype(np.float32) for _ in "hc")
    truth = expected(case, layer, x, (states[0], states[1]))
    proto = graph(case, layer, (states[0], states[1]))
    try:
        y = np.asarray(engine(proto, x[:, np.newaxis] if case.time_first else x[np.newaxis]))
    except Exception as error:
        return f"refused: {type(error).__name__}"
    y = y[:, :, 0] if case.time_first else y[0]
    y = y.reshape(T, -1)
    if case.nan:
        return "NaN" if np.isnan(y[-1]).all() else f"**a number: {y[-1, 0]:.3f}**"
    off = float(np.max(np.abs(y - truth)))
    if case.constant:
        return "passes" if off < RIGHT else f"off by {off:.2g}"
    return "right" if off < RIGHT else f"**off by {off:.2g}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/formats.md")
    options = parser.parse_args()
    rows = [[f"{case.kind}: {case.what}", *(outcome(case, engine) for engine in ENGINES.values())] for case in CASES]
    versions = (
        f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__.split('-')[0]}"
    )
    lines = [
        *table(["", *ENGINES], rows),
        "",
        f"Measured with {versions}; {lstmcore.__name__}'s own answers are the equations'.",
    ]
    print("\n".join(lines))
    if options.write:
        write_between(PAGE, "traps", lines)


if __name__ == "__main__":
    main()
