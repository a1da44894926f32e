"""Sources of models, a folder each. From here on everything is torch's layout, names and gate order (i, f, g, o)."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lstmcore.errors import ModelFormatError
from lstmcore.files import as_name
from lstmcore.model import Model
from lstmcore.text import listed

if TYPE_CHECKING:
    import torch


#: The module that reads each kind of file.
READERS = {
    ".safetensors": "safetensors",
    ".keras": "keras.keras",
    ".h5": "keras.keras",
    ".hdf5": "keras.keras",
    ".onnx": "onnx.onnx",
    ".pt": "torch.torch_state_dict",
    ".pth": "torch.torch_state_dict",
    ".pt2": "torch.torch_state_dict",  # refused there, with what to do
}


def load(
    path: str | os.PathLike[str], *, layers: Any = None, backend: str = "auto", kernel: str | None = None
) -> Model:
    """Read a model file. Neither torch nor Keras nor TensorFlow is needed, and nothing in a file is executed.

    Args:
        path: By its suffix: `.safetensors`, that `Model.save` wrote; `.keras`, `.h5` or `.hdf5`, a model that Keras
            saved (needs h5py); `.onnx` (needs onnx); `.pt` or `.pth`, a state_dict that torch saved. A `.safetensors`
            that another program wrote is a state_dict too.
        layers: The architecture, for a state_dict alone, which does not have it: see `from_state_dict`.
        backend: See `Model`.
        kernel: See `Model`.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged, hostile, of another format or version, or inconsistent.
        UnsupportedError: A part of the model that lstmcore has no equation for, or a package that is not installed.
        BackendError: A backend or kernel that cannot run here.
        TypeError: A `path` that is no file's name.

    Warns RuntimeWarning where weights are NaN or infinite; so do `from_state_dict` and `from_torch`.

    >>> import numpy as np
    >>> from lstmcore.demo.run import MODEL  # the model that the package ships
    >>> load(MODEL)(np.zeros((50, 10))).shape
    (1,)
    """
    file = as_name(path, "path")
    suffix = Path(file).suffix.lower()
    if suffix not in READERS:
        known = ", ".join(each for each in READERS if each != ".pt2")
        raise ModelFormatError(f"{file}: expected a name that ends in {known}, got {suffix!r}")
    reader = importlib.import_module(f"lstmcore.formats.{READERS[suffix]}")
    if layers is not None and READERS[suffix] not in ("torch.torch_state_dict", "safetensors"):
        raise ValueError(f"{file}: layers: only a state_dict (.pt, .pth) needs them; this file has its architecture")
    found = reader.read(file) if layers is None else reader.read(file, layers)
    return _sound(Model(found, backend=backend, kernel=kernel), file)


def from_state_dict(
    state: Mapping[str, Any], layers: Any, *, backend: str = "auto", kernel: str | None = None
) -> Model:
    """Take over a torch module's weights, with its architecture said in a list; torch is not needed.

    Args:
        state: A state_dict: arrays or tensors by torch's names; or a checkpoint that holds one.
        layers: What the forward calls, in order: ("name", "Kind") or ("name", "Kind", settings) for a layer with
            weights, "Kind" or ("Kind", settings) for one without; see `formats.torch.torch_state_dict.from_state_dict`.
            Sizes come from the arrays.
        backend: See `Model`.
        kernel: See `Model`.

    Raises:
        ModelFormatError: A key that is missing or that no layer uses, or an array of another shape; named in the text.
        ValueError, TypeError: An architecture that is none; the text names the place in it.

    >>> import numpy as np
    >>> state = {"fc.weight": np.ones((1, 3), np.float32), "fc.bias": np.zeros(1, np.float32)}
    >>> from_state_dict(state, [("fc", "Linear"), "Sigmoid"])(np.zeros((5, 3))).shape
    (5, 1)
    """
    from lstmcore.formats.torch import torch_state_dict

    return _sound(Model(torch_state_dict.from_state_dict(state, layers), backend=backend, kernel=kernel), "state_dict")


def from_torch(
    module: torch.nn.Module,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    scaler: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    example: Any = None,
    backend: str = "auto",
    kernel: str | None = None,
) -> Model:
    """Take over a trained PyTorch module, by tracing its forward; see `formats.torch.torch.read`.

    Args:
        module: Any module in eval mode whose forward takes a tensor of windows and returns one tensor; it may take
            states of its recurrent layers after the windows, and return those at the end beside the answer.
        checkpoint: A file with the module's trained state_dict, on whatever device it was saved.
        scaler: (mean, scale) per feature, put before the module: (x - mean) / scale.
        example: Windows (N, T, F) to trace with; needed where the module fits one window length only. Or (windows,
            states): needed where nothing says in which structure the forward takes them.
        backend: See `Model`.
        kernel: See `Model`.

    Raises:
        UnsupportedError: A module in training mode, an operation that lstmcore has no equation for, or a
            parameter that the forward does not use; named in the text.
        ModelFormatError: A checkpoint that is not one, or is not this module's.

    >>> from torch import nn
    >>> class Score(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm = nn.LSTM(3, 8, batch_first=True)
    ...         self.fc = nn.Linear(8, 1)
    ...     def forward(self, x):
    ...         out, _ = self.lstm(x)
    ...         return self.fc(out[:, -1])
    >>> [layer.name for layer in from_torch(Score().eval()).layers]
    ['lstm', 'fc']
    """
    if scaler is not None and not (isinstance(scaler, tuple | list) and len(scaler) == 2):
        raise TypeError(f"scaler: expected a pair (mean, scale), got {type(scaler).__name__}")
    from lstmcore.formats.torch import torch as torch_format

    layers = torch_format.read(module, checkpoint=checkpoint, example=example)
    model = _sound(Model(layers, backend=backend, kernel=kernel), type(module).__name__)
    return model if scaler is None else model.with_scaler(*scaler)


def _sound(model: Model, what: str) -> Model:
    """The model, with a RuntimeWarning where weights are NaN or infinite: of a training that went astray, perhaps."""
    wrong = [name for name, weight in model.parameters.items() if not np.isfinite(weight).all()]
    if wrong:
        warnings.warn(f"{what}: NaN or infinite weights in {listed(wrong)}", RuntimeWarning, stacklevel=3)
    return model
