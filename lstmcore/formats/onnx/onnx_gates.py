"""What ONNX calls its recurrent layers and their functions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lstmcore.layers import GRU, LSTM, RNN, Recurrent

KINDS: Mapping[str, type[Recurrent]] = MappingProxyType({"LSTM": LSTM, "GRU": GRU, "RNN": RNN})

#: ONNX's names for functions, and our names.
FUNCTIONS: Mapping[str, str] = MappingProxyType(
    {
        "Relu": "relu",
        "Tanh": "tanh",
        "Sigmoid": "sigmoid",
        "Affine": "affine",
        "LeakyRelu": "leaky_relu",
        "ThresholdedRelu": "thresholded_relu",
        "ScaledTanh": "scaled_tanh",
        "HardSigmoid": "hard_sigmoid",
        "Elu": "elu",
        "Softsign": "softsign",
        "Softplus": "softplus",
    }
)

#: Functions whose numbers have to be there: ONNX states no default, or runtimes have another (ONNX Runtime takes 0).
NO_DEFAULTS = ("affine", "scaled_tanh", "thresholded_relu")
