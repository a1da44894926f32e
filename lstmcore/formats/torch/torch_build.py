"""A Model as a PyTorch module, to be trained further, measured or compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lstmcore import layers
from lstmcore.errors import UnsupportedError

try:
    import torch
except ImportError as error:
    raise UnsupportedError('building a PyTorch module needs PyTorch: pip install "lstmcore[torch]"') from error

from torch import nn

from lstmcore.formats.torch.torch_build_recurrent import GRU, LSTM, RNN
from lstmcore.formats.torch.torch_functions import Function

if TYPE_CHECKING:
    from lstmcore.model import Model


def to_module(model: Model) -> nn.Module:
    """An nn.Module in eval mode with the model's layers, weights and dtype.

    It takes windows (N, T, F), of several inputs one behind the other, and returns (N, ...) as the Model does, of
    several outputs a tuple. Its state_dict has the Model's parameter names as keys.

    Raises:
        UnsupportedError: A layer that torch does not have, such as an LSTM with peepholes, or a layer's name that torch
            cannot give to a submodule.
    """
    root = _Graph([layer.name for layer in model.layers], model.wiring.reads, model.wiring.ends)
    for layer in model.layers:
        if type(layer) not in MODULES:
            raise UnsupportedError(f"{layer.label}: torch has no module of this kind")
        module = MODULES[type(layer)](layer)
        try:
            _place(root, layer.name, module)
        except (KeyError, TypeError) as error:
            raise UnsupportedError(f"{layer.label}: torch allows no submodule of this name: {error}") from error
    for key, weight in model.parameters.items():
        module_path, _, name = key.rpartition(".")
        getattr(root.get_submodule(module_path), name).data = torch.tensor(weight)
    return root.eval()


class _Graph(nn.Module):
    """Calls its submodules in their order, each with what it reads: the inputs come first, then what each gave."""

    def __init__(self, names: list[str], reads: Sequence[tuple[int, ...]], ends: Sequence[int]) -> None:
        super().__init__()
        self.names, self.reads, self.ends = names, reads, ends

    def forward(self, *inputs: torch.Tensor) -> Any:
        values = list(inputs)
        for name, reads in zip(self.names, self.reads, strict=True):
            values.append(self.get_submodule(name)(*(values[n] for n in reads)))
        answers = tuple(values[n] for n in self.ends)
        return answers[0] if len(answers) == 1 else answers


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
        return (x - self.mean).to(self.scale.dtype) / self.scale  # the mean may have more digits


class _Squeeze(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(-1)


class _Last(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1]


class _Reverse(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(1)


class _Merge(nn.Module):
    """Several values made one by `function`."""

    def __init__(self, function: Callable[[Sequence[torch.Tensor]], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.function(values)


def _sum(values: Sequence[torch.Tensor]) -> torch.Tensor:
    total = values[0]
    for x in values[1:]:
        total = total + x
    return total


def _product(values: Sequence[torch.Tensor]) -> torch.Tensor:
    total = values[0]
    for x in values[1:]:
        total = total * x
    return total


class _Flatten(nn.Module):
    def __init__(self, layer: layers.Flatten) -> None:
        super().__init__()
        self.steps = layer.steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != self.steps:
            raise ValueError(f"expected windows of {self.steps} time steps, got {x.shape[1]}")
        return x.flatten(1)


def _layer_norm(layer: layers.LayerNorm) -> nn.Module:
    return nn.LayerNorm(layer.num_features, layer.eps, layer.affine, layer.bias)


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, module)


#: The module of every kind of layer that torch has.
MODULES: dict[type[layers.Layer], Callable[[Any], nn.Module]] = {
    layers.LSTM: LSTM,
    layers.GRU: GRU,
    layers.RNN: RNN,
    layers.Linear: lambda layer: nn.Linear(layer.in_features, layer.out_features, layer.bias),
    layers.BatchNorm1d: _BatchNorm1d,
    layers.LayerNorm: _layer_norm,
    layers.Scaler: _Scaler,
    layers.Dropout: lambda layer: nn.Dropout(layer.p),
    layers.ReLU: lambda layer: nn.ReLU(),
    layers.LeakyReLU: lambda layer: nn.LeakyReLU(layer.negative_slope),
    layers.ELU: lambda layer: nn.ELU(layer.alpha),
    layers.GELU: lambda layer: nn.GELU(layer.approximate),
    layers.Tanh: lambda layer: nn.Tanh(),
    layers.Sigmoid: lambda layer: nn.Sigmoid(),
    layers.Softmax: lambda layer: nn.Softmax(dim=-1),
    layers.Activation: lambda layer: Function(layer.equation),
    layers.Last: lambda layer: _Last(),
    layers.Reverse: lambda layer: _Reverse(),
    layers.Flatten: _Flatten,
    layers.Squeeze: lambda layer: _Squeeze(),
    layers.Add: lambda layer: _Merge(_sum),
    layers.Mul: lambda layer: _Merge(_product),
    layers.Mean: lambda layer: _Merge(lambda values: _sum(values) / len(values)),
    layers.Concat: lambda layer: _Merge(lambda values: torch.cat(tuple(values), -1)),
}
