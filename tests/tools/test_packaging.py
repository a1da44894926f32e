"""The wheel: small, alone with its three dependencies, on every Python that is here."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from strategies import make, normal

import lstmcore
from lstmcore import layers as L

ROOT = Path(__file__).parents[2]
VERSIONS = ["3.10", "3.11", "3.12", "3.13"]
MEGABYTE = 1_000_000


def run(*command: object, **options: object) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LSTMCORE_KERNEL")}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def interpreter(version: str) -> str | None:
    """A Python of that version: on the PATH, or one that pyenv keeps."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    pyenv = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    for candidate in [shutil.which(f"python{version}"), *glob.glob(f"{pyenv}/versions/{version}.*/bin/python")]:
        works = candidate and subprocess.run([candidate, "--version"], capture_output=True, text=True)
        if works and works.returncode == 0 and f" {version}." in works.stdout:
            return candidate
    return None


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what a source distribution would hold."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_one_abi3_wheel(wheel: Path) -> None:
    assert "-cp310-abi3-" in wheel.name
    assert wheel.stat().st_size < 3 * MEGABYTE


@pytest.mark.parametrize("version", VERSIONS)
def test_alone_with_three_dependencies(version: str, wheel: Path, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    run(python, "-m", "venv", tmp_path / "venv")
    bin_ = tmp_path / "venv" / "bin"
    run(bin_ / "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    installed = {p["name"] for p in json.loads(run(bin_ / "pip", "list", "--format", "json"))}
    assert installed - {"pip", "setuptools", "wheel"} == {"lstmcore", "numpy", "cffi", "pycparser", "safetensors"}

    package = next((tmp_path / "venv" / "lib").glob("python3*/site-packages/lstmcore"))
    # Without the bytecode that pip makes of it, which is more than as much again.
    size = sum(f.stat().st_size for f in package.rglob("*") if f.is_file() and f.suffix != ".pyc")
    assert size < 2 * MEGABYTE, f"{size / MEGABYTE:.1f} MB installed"
    assert (package / "py.typed").exists()

    rng = np.random.default_rng(0)
    lstm = make(L.LSTM, "lstm", rng, input_size=4, hidden_size=30, num_layers=2)
    model = lstmcore.Model([lstm, make(L.Linear, "fc", rng, in_features=30, out_features=3), L.Softmax("softmax")])
    model.save(tmp_path / "model.safetensors")
    window = normal(rng, 20, 4)
    np.save(tmp_path / "window.npy", window)
    code = (
        "import lstmcore, numpy as np; print(lstmcore.load('model.safetensors')(np.load('window.npy')).tobytes().hex())"
    )
    answer = run(bin_ / "python", "-c", code, cwd=tmp_path).strip()
    assert answer == model(window).tobytes().hex(), "the same bits on every Python"

    told = json.loads(run(bin_ / "lstmcore", "info", "--json", cwd=tmp_path))
    assert told["python"].startswith(version)
    assert told["packages"]["torch"] is None
    predicted = run(bin_ / "python", "-m", "lstmcore", "predict", "model.safetensors", "window.npy", cwd=tmp_path)
    assert f"{model(window)[0]:.4f}"[:5] in predicted
    demo = run(bin_ / "lstmcore", "demo", "--ticks", "200", "--out", "out", cwd=tmp_path)
    assert "p99" in demo


def test_importing_brings_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, lstmcore; print([m for m in sys.modules if '.' not in m])"
    modules = run(sys.executable, "-c", code, cwd=tmp_path)
    for heavy in ("torch", "numba", "onnx", "onnxruntime", "rich", "matplotlib", "pandas", "safetensors", "argparse"):
        assert f"'{heavy}'" not in modules


def test_without_a_compiler_the_error_says_so(tmp_path: Path) -> None:
    """An empty PATH but for Python: no gcc, no clang, no cc."""
    if not shutil.which("cmake") and not sysconfig.get_config_var("CC"):
        pytest.skip("no CMake to ask")
    environment = os.environ | {"PATH": str(tmp_path), "CC": str(tmp_path / "no-such-compiler")}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "lstmcore needs a C compiler" in done.stdout + done.stderr
