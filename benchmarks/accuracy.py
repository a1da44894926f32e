"""The error of the activations over every float32: the C core's beside numpy's, torch's and ONNX Runtime's.

    python benchmarks/accuracy.py [FUNCTION ...] [--stride N]

All of them take some forty minutes of processor time; benchmarks/results/accuracy.json keeps those that were not named
as they are, so that the work can be done in pieces. Writes the table of docs/accuracy.md. One program,
activation_sweep.c, counts for all engines. --stride looks at every N-th bit pattern only, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import results
import torch
from ceiling import ROOT, build
from tables import replace, table
from torch.nn import functional as F

import lstmcore
from lstmcore.info import processor
from lstmcore.layers.activations import TABLE

#: Of the program, which takes the results by turns.
BATCH = 1 << 18

Floats = npt.NDArray[np.float32]
Function = Callable[[Floats], Floats]

#: The softmax's e^x, and all that compute something.
FUNCTIONS = ("exp", *(name for name in TABLE if name != "linear"))

#: numpy has no sigmoid: it is taken as it is written down.
NUMPY: Mapping[str, Function] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.float32(1) / (np.float32(1) + np.exp(-x)),
}

#: With the numbers that the table of layers/activations.py has where nobody says. torch's hard sigmoid has others.
TORCH: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "thresholded_relu": lambda x: F.threshold(x, 1.0, 0.0),
    "softsign": F.softsign,
    "softplus": F.softplus,
    "silu": F.silu,
    "selu": F.selu,
    "relu6": F.relu6,
    "exponential": torch.exp,
    "hard_tanh": F.hardtanh,
    "mish": F.mish,
    "hard_silu": F.hardswish,
}

#: The operator and its attributes.
ONNX: Mapping[str, tuple[str, dict[str, Any]]] = {
    "exp": ("Exp", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {}),
    "elu": ("Elu", {}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "thresholded_relu": ("ThresholdedRelu", {}),
    "hard_sigmoid": ("HardSigmoid", {}),
    "softsign": ("Softsign", {}),
    "softplus": ("Softplus", {}),
    "silu": ("Swish", {}),
    "selu": ("Selu", {}),
    "exponential": ("Exp", {}),
    "mish": ("Mish", {}),
    "hard_silu": ("HardSwish", {}),
}


def numbers(name: str) -> dict[str, float]:
    """alpha and beta, where a function has them."""
    return dict(TABLE[name].numbers) if name in TABLE else {}


def torch_function(name: str) -> Function:
    function = TORCH[name]
    return lambda values: np.asarray(function(torch.from_numpy(values)))


def onnx_function(name: str) -> Function:
    """One ONNX operator, run by ONNX Runtime."""
    op, attributes = ONNX[name]
    attributes = attributes | numbers(name)
    x, y = (onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, ["n"]) for end in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"], **attributes)], op, [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda values: np.asarray(session.run(None, {"x": values})[0])


def others(name: str) -> dict[str, Function]:
    """The other engines that have the function."""
    made: dict[str, Function] = {}
    if name in NUMPY:
        made[f"numpy {np.__version__}"] = NUMPY[name]
    if name in TORCH:
        made[f"torch {torch.__version__.partition('+')[0]}"] = torch_function(name)
    if name in ONNX:
        made[f"ONNX Runtime {onnxruntime.__version__}"] = onnx_function(name)
    return made


def sweep(program: Path, name: str, kernel: str, stride: int) -> dict[str, Any]:
    """What the program counts for the kernel and the others, by engine."""
    engines = others(name)
    alpha, beta = [*numbers(name).values(), 0.0, 0.0][:2]
    command = [str(part) for part in (program, name, alpha, beta, kernel, len(engines), stride)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        with np.errstate(all="ignore"):
            for first in range(0, 1 << 32, BATCH * stride):
                patterns = np.arange(first, min(first + BATCH * stride, 1 << 32), stride, dtype=np.uint32)
                for engine in engines.values():
                    child.stdin.write(engine(patterns.view(np.float32)).tobytes())
        child.stdin.close()
        counted = json.loads(child.stdout.read())
    return {"stride": stride, "engines": dict(zip([f"lstmcore ({kernel})", *engines], counted, strict=True))}


def lines(functions: Mapping[str, Any]) -> list[str]:
    """The table, a row for each function and engine."""
    columns = [
        "function", "engine", ">largest error, ulp", ">at", ">mean, ulp", ">further off than 1 ulp", ">wrong",
    ]  # fmt: skip
    rows = []
    for name in FUNCTIONS:
        if name not in functions:
            continue
        stride = functions[name]["stride"]
        called = name if stride == 1 else f"{name}, one in {stride}"
        for engine, r in functions[name]["engines"].items():
            errors = [f"{r['max_ulp']:.3f}", r["at"], f"{r['mean_ulp']:.3f}", f"{r['percent_above_1']:.3f} %"]
            wrong = f"{r['wrong']:,}" + (f", first {r['first_wrong_at']}" if r["wrong"] else "")
            rows.append([called, engine, *errors, wrong])
    return table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=f"of {', '.join(FUNCTIONS)}; else all")
    parser.add_argument("--stride", type=int, default=1, help="look at every N-th bit pattern, an odd number")
    arguments = parser.parse_args()
    names = arguments.functions or list(FUNCTIONS)
    if unknown := [name for name in names if name not in FUNCTIONS]:
        parser.error(f"argument FUNCTION: expected some of {', '.join(FUNCTIONS)}, got {unknown[0]!r}")
    if arguments.stride < 1:
        parser.error(f"argument --stride: expected at least 1, got {arguments.stride}")
    torch.set_num_threads(1)
    kernel = lstmcore.info()["kernel"]
    kept = results.read(["accuracy"]).get("accuracy", {}).get("functions", {})
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        build(Path(folder))
        program = Path(folder) / "activation_sweep"
        jobs = [(name, pool.submit(sweep, program, name, kernel, arguments.stride)) for name in names]
        for name, job in jobs:
            kept[name] = job.result()
            results.write(results.FOLDER / "accuracy.json", {"processor": processor(), "functions": kept})
            print("\n".join(lines({name: kept[name]})[2:]), flush=True)
    replace(ROOT / "docs" / "accuracy.md", "activations", lines(kept))


if __name__ == "__main__":
    main()
