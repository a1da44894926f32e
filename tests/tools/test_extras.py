"""A package that is missing is told before any long work, in one line that names the extra which brings it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lstmcore
from lstmcore.demo.run import MODEL

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
#: Of each script, how it is called, and the packages that it cannot do without.
SCRIPTS = {
    "memory/run.py": (["--out", "out"], ["torch", "matplotlib"]),
    "order_book/run.py": (["--out", "out", "--quick"], ["torch", "lightgbm", "matplotlib", "msgspec", "sklearn"]),
    "exit_management/run.py": (["--out", "out", "--quick"], ["torch", "pytorch_lightning", "matplotlib", "arch"]),
    "live_bot/run.py": (["--out", "out"], ["msgspec", "websockets"]),
    "live_bot/bot.py": (["ws://127.0.0.1:1"], ["msgspec", "websockets"]),
    "live_bot/server.py": (["recording"], ["websockets"]),
    "scale_out/predict_days.py": (["m.safetensors", "series", "out", "--window", "5"], ["dask", "distributed"]),
    "train_demo_model/train.py": (["--out", "out/m.safetensors"], ["torch"]),
}
COMMANDS = {
    "train": (["train", "c.toml", "--out", "out"], ["torch", "pytorch_lightning", "torchmetrics", "pyarrow"]),
    "plot": (["plot", "m.safetensors", "x.parquet", "--out", "out.png"], ["matplotlib", "pyarrow"]),
    "predict": (["predict", "m.safetensors", "x.parquet", "--out", "out.csv"], ["pyarrow"]),
    "verify": (["verify", "m.safetensors", "--against", "c", "--inputs", "x.parquet"], ["pyarrow"]),
    "verify torch": (["verify", "m.safetensors", "--against", "x.py:Net"], ["torch"]),
    "convert": (["convert", "m.safetensors", "out.onnx"], ["onnx"]),
    "replay": (["replay", "x.gz", "--model", "m.safetensors", "--engine", "both"], ["msgspec", "onnxruntime", "onnx"]),
    "bench": (
        ["bench", "m.safetensors", "--peers", "onnxruntime,openvino,torch"],
        ["openvino", "onnxruntime", "torch"],
    ),
}
CASES = [(name, package) for name, (_, packages) in (SCRIPTS | COMMANDS).items() for package in packages]
TOML = """
[data]
path = "x.parquet"
features = ["a", "b"]
target = "y"
window = 5
horizon = 1
[split]
train = 10
validation = 5
test = 5
[model]
[training]
"""
RUN = """
import runpy, sys
sys.modules[sys.argv[1]] = None
path, sys.argv = sys.argv[2], sys.argv[2:]
if path == "lstmcore":
    runpy.run_module("lstmcore", run_name="__main__", alter_sys=True)
else:
    sys.path.insert(0, path.rpartition("/")[0])
    runpy.run_path(path, run_name="__main__")
"""


def test_every_example_with_an_extra_is_here() -> None:
    """Those that train, follow or write, as the folders have them; `make_data.py` needs none."""
    scripts = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.py") if "__main__" in path.read_text()}
    assert scripts - {"train/make_data.py", "exit_management/score.py"} == SCRIPTS.keys()


@pytest.mark.parametrize(("name", "package"), CASES)
def test_what_is_missing_is_told_first(name: str, package: str, tmp_path: Path) -> None:
    lstmcore.load(MODEL).save(tmp_path / "m.safetensors")
    (tmp_path / "c.toml").write_text(TOML)
    np.save(tmp_path / "x.npy", np.ones((3, 10)))
    before = sorted(tmp_path.rglob("*"))
    arguments = (SCRIPTS | COMMANDS)[name][0]
    path = str(EXAMPLES / name) if name in SCRIPTS else "lstmcore"
    done = subprocess.run(
        [sys.executable, "-c", RUN, package, path, *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (1, 2), done
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert package in done.stderr
    assert 'pip install "lstmcore[' in done.stderr
    assert sorted(tmp_path.rglob("*")) == before, "nothing was begun"
