"""A Model as a PyTorch module, to be trained further, measured or compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lstmcore import layers
from lstmcore.errors import UnsupportedError

try:
    import torch
except ImportError as error:
    raise UnsupportedError('building a PyTorch module needs PyTorch: pip install "lstmcore[torch]"') from error

from torch import nn

if TYPE_CHECKING:
    from lstmcore.model import Model


def to_module(model: Model) -> nn.Module:
    """An nn.Module in eval mode with the model's layers, weights and dtype.

    It takes windows (N, T, F) and returns (N, ...) as the Model does. Its state_dict has the Model's
    parameter names as keys.

    Raises:
        UnsupportedError: A layer's name that torch cannot give to a submodule.
    """
    root = _Chain([layer.name for layer in model.layers])
    for layer in model.layers:
        module = MODULES[type(layer)](layer)
        try:
            _place(root, layer.name, module)
        except (KeyError, TypeError) as error:
            raise UnsupportedError(f"{layer.label}: torch allows no submodule of this name: {error}") from error
    for key, weight in model.parameters.items():
        module_path, _, name = key.rpartition(".")
        getattr(root.get_submodule(module_path), name).data = torch.tensor(weight)
    return root.eval()


class _Chain(nn.Module):
    """Calls its submodules one after the other."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x


class _LSTM(nn.LSTM):
    """Gives every step's h, or the last step's."""

    def __init__(self, layer: layers.LSTM) -> None:
        super().__init__(layer.input_size, layer.hidden_size, layer.num_layers, layer.bias, batch_first=True)
        self.return_sequences = layer.return_sequences

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # one tensor, not torch's pair
        steps, _ = super().forward(x)
        return steps if self.return_sequences else steps[:, -1]


class _BatchNorm1d(nn.BatchNorm1d):
    """Takes sequences (N, T, F) too, each step for itself."""

    def __init__(self, layer: layers.BatchNorm1d) -> None:
        super().__init__(layer.num_features, layer.eps, affine=layer.affine)
        self.num_batches_tracked = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.ndim == 2 else super().forward(x.mT).mT


class _Scaler(nn.Module):
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, layer: layers.Scaler) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(layer.num_features))
        self.register_buffer("scale", torch.ones(layer.num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.scale


class _Squeeze(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(-1)


class _Flatten(nn.Module):
    def __init__(self, layer: layers.Flatten) -> None:
        super().__init__()
        self.steps = layer.steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != self.steps:
            raise ValueError(f"expected windows of {self.steps} time steps, got {x.shape[1]}")
        return x.flatten(1)


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


#: The module of every kind of layer.
MODULES: dict[type[layers.Layer], Callable[[Any], nn.Module]] = {
    layers.LSTM: _LSTM,
    layers.Linear: lambda layer: nn.Linear(layer.in_features, layer.out_features, layer.bias),
    layers.BatchNorm1d: _BatchNorm1d,
    layers.Scaler: _Scaler,
    layers.Dropout: lambda layer: nn.Dropout(layer.p),
    layers.ReLU: lambda layer: nn.ReLU(),
    layers.LeakyReLU: lambda layer: nn.LeakyReLU(layer.negative_slope),
    layers.ELU: lambda layer: nn.ELU(layer.alpha),
    layers.GELU: lambda layer: nn.GELU(layer.approximate),
    layers.Tanh: lambda layer: nn.Tanh(),
    layers.Sigmoid: lambda layer: nn.Sigmoid(),
    layers.Softmax: lambda layer: nn.Softmax(dim=-1),
    layers.Flatten: _Flatten,
    layers.Squeeze: lambda layer: _Squeeze(),
}
