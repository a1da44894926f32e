"""Files of PyTorch, Keras and ONNX where neither PyTorch nor Keras nor what it runs on can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from tolerances import FLOAT32  # noqa: E402
from torch_modules import QuantModel, answers, trained, windows  # noqa: E402

BLOCKED = ("torch", "keras", "tf_keras", "tensorflow", "jax", "flax", "onnxruntime")

LAYERS = [("lstm", "LSTM"), ("bn", "BatchNorm1d"), "Dropout", ("fc1", "Linear"), "ReLU", ("fc2", "Linear"), "Sigmoid"]

PROGRAM = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, Blocked())
import numpy as np
import lstmcore

model = lstmcore.load({file!r}, layers={layers!r})
print(json.dumps(model(np.load({windows!r})).tolist()))
found = [name for name in {blocked!r} if name in sys.modules]
assert not found, found
"""


def _state_dict(path: Path, x: np.ndarray) -> np.ndarray:
    module = trained(QuantModel())
    torch.save({"epoch": 3, "state_dict": module.state_dict()}, path)
    return answers(module, x)


def _keras(path: Path, x: np.ndarray) -> np.ndarray:
    pytest.importorskip("keras", reason="needs keras")
    from keras_models import answers, filled, save, sequential

    layers = [("Masking", {}), ("Bidirectional", {"layer": ("GRU", {"units": 4, "return_sequences": True})})]
    layers += [("LSTM", {"units": 5}), ("BatchNormalization", {}), ("Dense", {"units": 2, "activation": "sigmoid"})]
    model = filled(sequential((None, 10), layers), np.random.default_rng(0))
    save(model, path)
    return answers(model, x)


def _onnx(path: Path, x: np.ndarray) -> np.ndarray:
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    module = trained(QuantModel())
    torch.onnx.export(module, (torch.zeros(1, 6, 10),), path, dynamo=False)
    return answers(module, x)


@pytest.mark.parametrize(
    ("name", "make"),
    [("m.pt", _state_dict), ("m.pth", _state_dict), ("m.keras", _keras), ("m.h5", _keras), ("m.onnx", _onnx)],
)
@pytest.mark.filterwarnings("ignore")  # of torch's older exporter
def test_a_file_is_loaded_and_answers(name: str, make: Callable[[Path, Any], np.ndarray], tmp_path: Path) -> None:
    x = windows(3, 6, 10)
    x[1, 2] = 0
    expected = make(tmp_path / name, x)
    np.save(tmp_path / "x.npy", x)
    layers = LAYERS if name.startswith("m.pt") else None
    code = PROGRAM.format(blocked=BLOCKED, file=str(tmp_path / name), layers=layers, windows=str(tmp_path / "x.npy"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = np.array(json.loads(done.stdout))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=FLOAT32)


def test_the_blocked_packages_cannot_be_imported(tmp_path: Path) -> None:
    code = PROGRAM.partition("import numpy")[0].format(blocked=BLOCKED)
    for name in ("torch", "keras"):
        done = subprocess.run([sys.executable, "-c", f"{code}\nimport {name}"], capture_output=True, text=True)
        assert f"ImportError: {name} is not here" in done.stderr
