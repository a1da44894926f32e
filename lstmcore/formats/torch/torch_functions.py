"""The functions of `lstmcore.layers.activations` in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from lstmcore.layers.activations import Activation

#: By lstmcore's names; each takes its numbers behind x.
FUNCTIONS: Mapping[str, Callable[..., torch.Tensor]] = {
    "linear": lambda x: x,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "thresholded_relu": lambda x, alpha: F.threshold(x, alpha, 0.0),
    "scaled_tanh": lambda x, alpha, beta: alpha * torch.tanh(beta * x),
    "hard_sigmoid": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
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


class Function(nn.Module):
    """One of them, with its numbers."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return FUNCTIONS[self.function.name](x, *self.function.numbers)

    def extra_repr(self) -> str:
        return str(self.function)
