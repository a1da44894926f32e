"""Write a model as another file: .safetensors or .onnx. The result is read back and checked.

A model of another framework becomes one of lstmcore's own, which loads without that framework's packages.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np

import lstmcore
from lstmcore import commands
from lstmcore.measure.comparison import answer_each, largest_difference, oracle, random_windows, steps_of
from lstmcore.text import clean

ONNX_LIMIT = 1e-4  # what ONNX Runtime's float32 may be off before the file is taken for wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser, "IN")
    parser.add_argument("out", metavar="OUT", help="a file that ends in .safetensors or .onnx")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="round or widen the weights")
    parser.add_argument("--force", action="store_true", help="overwrite OUT where it exists")


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    suffix = Path(options.out).suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"{options.out}: expected a name that ends in {' or '.join(WRITERS)}")
    if suffix == ".onnx" and options.dtype == "float64":
        raise ValueError(f"{options.out}: ONNX files are written in float32")
    commands.check_new(options.out, options.force)
    model = commands.load(options, backend="numpy")
    if options.dtype:
        model = model.astype(options.dtype)
    checked = WRITERS[suffix](model, options.out)
    print(f"{clean(options.out)}: {Path(options.out).stat().st_size:,} bytes; {checked}")
    return 0


def _safetensors(model: lstmcore.Model, out: str) -> str:
    model.save(out)
    back = lstmcore.load(out, backend="numpy")
    if back != model:
        raise OSError(f"{out}: what was read back is not what was written")
    return f"{model.dtype}; read back, every bit the same"


def _onnx(model: lstmcore.Model, out: str) -> str:
    model.export_onnx(out)
    if len(model.inputs) + len(model.outputs) > 2:
        return "float32; not run: it has several inputs or outputs, and one of each is compared here"
    if importlib.util.find_spec("onnxruntime") is None:
        return 'float32; not run: onnxruntime is not installed (pip install "lstmcore[peers]")'
    from lstmcore.measure.peers import OnnxRuntime

    windows = random_windows(model, 8, steps_of(model, None), 1.0, np.random.default_rng(0))
    runtime = OnnxRuntime(Path(out).read_bytes(), threads=1)
    truth = answer_each(oracle(model), windows)
    worst = largest_difference(answer_each(runtime, windows), truth).value
    if worst == 0 and not np.isfinite(truth).any():
        return "float32; run by ONNX Runtime, and all its answers are NaN or infinite, as the model's are"
    if worst > ONNX_LIMIT:
        raise ValueError(f"{out}: ONNX Runtime answers {worst:.2g} from the reference; do not use this file")
    return f"float32; run by ONNX Runtime, at most {worst:.2g} from the reference"


WRITERS = {".safetensors": _safetensors, ".onnx": _onnx}
