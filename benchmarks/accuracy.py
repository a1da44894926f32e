"""The error of exp, tanh and sigmoid over every float32: the C core's beside numpy's, torch's and ONNX Runtime's.

    python benchmarks/accuracy.py

Takes about ten minutes on two cores and writes the table of docs/accuracy.md. One program, activation_sweep.c,
counts for all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from ceiling import ROOT, build
from tables import replace

import lstmcore

FUNCTIONS = ("exp", "tanh", "sigmoid")
BATCH = 1 << 22

Floats = npt.NDArray[np.float32]
Function = Callable[[Floats], Floats]


def numpy_functions() -> dict[str, Function]:
    """numpy has no sigmoid: it is taken as it is written down."""
    one = np.float32(1)
    return {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: one / (one + np.exp(-x))}


def torch_functions() -> dict[str, Function]:
    torch.set_num_threads(1)
    return {name: _torch_function(name) for name in FUNCTIONS}


def _torch_function(name: str) -> Function:
    function = getattr(torch, name)

    def run(values: Floats) -> Floats:
        return np.asarray(function(torch.from_numpy(values)))

    return run


def onnx_functions() -> dict[str, Function]:
    return {name: _onnx_function(name.capitalize()) for name in FUNCTIONS}


def _onnx_function(op: str) -> Function:
    """One ONNX operator, run by ONNX Runtime."""
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"])], op, [x], [y])
    opset = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(values: Floats) -> Floats:
        (result,) = session.run(None, {"x": values})
        return np.asarray(result)

    return run


def sweep(program: Path, function: str, engine: str | Function) -> dict[str, Any]:
    """What the program counts for a kernel, by its name, or for the results of a Python function."""
    if isinstance(engine, str):
        printed = subprocess.run([program, function, engine], check=True, capture_output=True).stdout
    else:
        with subprocess.Popen([program, function, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            with np.errstate(all="ignore"):
                for first in range(0, 1 << 32, BATCH):
                    patterns = np.arange(first, first + BATCH, dtype=np.uint32)
                    child.stdin.write(engine(patterns.view(np.float32)).tobytes())
            child.stdin.close()
            printed = child.stdout.read()
    result: dict[str, Any] = json.loads(printed)
    return result


def main() -> None:
    kernel = lstmcore.info()["kernel"]
    engines: dict[str, dict[str, str | Function]] = {
        f"lstmcore ({kernel})": dict.fromkeys(FUNCTIONS, kernel),
        f"numpy {np.__version__}": {**numpy_functions()},
        f"torch {torch.__version__.partition('+')[0]}": {**torch_functions()},
        f"ONNX Runtime {onnxruntime.__version__}": {**onnx_functions()},
    }
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        build(Path(folder))
        program = Path(folder) / "activation_sweep"
        jobs = [(name, f, pool.submit(sweep, program, f, e[f])) for f in FUNCTIONS for name, e in engines.items()]
        lines = ["| function | engine | largest error, ulp | at | mean, ulp | further off than 1 ulp | wrong |"]
        lines.append("|---|---|---:|---:|---:|---:|---:|")
        for name, function, job in jobs:
            r = job.result()
            figures = f"{r['max_ulp']:.3f} | {r['at']:.9g} | {r['mean_ulp']:.3f} | {r['percent_above_1']:.3f} %"
            lines.append(f"| {function} | {name} | {figures} | {r['wrong']} |")
            print(lines[-1], flush=True)
    replace(ROOT / "docs" / "accuracy.md", "activations", lines)


if __name__ == "__main__":
    main()
