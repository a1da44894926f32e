"""Sources of models, one file each. From here on everything is torch's layout, names and gate order (i, f, g, o)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from lstmcore.errors import ModelFormatError
from lstmcore.model import Model

if TYPE_CHECKING:
    import torch


def load(path: str | os.PathLike[str], *, backend: str = "auto", kernel: str | None = None) -> Model:
    """Read a model file.

    Args:
        path: A `.safetensors` file that `Model.save` wrote.
        backend: See `Model`.
        kernel: See `Model`.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged, of another format or version, or inconsistent.
        BackendError: A backend or kernel that cannot run here.

    >>> import numpy as np
    >>> from lstmcore.demo.run import MODEL  # the model that the package ships
    >>> load(MODEL)(np.zeros((50, 10))).shape
    (1,)
    """
    from lstmcore.formats import safetensors

    suffix = Path(path).suffix.lower()
    if suffix != ".safetensors":
        hint = "; load it in torch and call lstmcore.from_torch" if suffix in (".pt", ".pth") else ""
        raise ModelFormatError(f"{os.fspath(path)}: expected a .safetensors file, got suffix {suffix!r}{hint}")
    return Model(safetensors.read(path), backend=backend, kernel=kernel)


def from_torch(
    module: torch.nn.Module,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    scaler: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    example: Any = None,
    backend: str = "auto",
    kernel: str | None = None,
) -> Model:
    """Take over a trained PyTorch module, by tracing its forward; see `formats.torch.read`.

    Args:
        module: Any module in eval mode whose forward takes one tensor of windows and returns one tensor.
        checkpoint: A file with the module's trained state_dict, on whatever device it was saved.
        scaler: (mean, scale) per feature, put before the module: (x - mean) / scale.
        example: Windows (N, T, F) to trace with; needed where the module fits one window length only.
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
    from lstmcore.formats import torch as torch_format

    model = Model(torch_format.read(module, checkpoint=checkpoint, example=example), backend=backend, kernel=kernel)
    return model if scaler is None else model.with_scaler(*scaler)
