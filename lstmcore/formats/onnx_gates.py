"""In what order ONNX stacks the gates of its recurrent layers, and what it calls their functions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from lstmcore.layers import GRU, LSTM, RNN, Array, Recurrent

KINDS: Mapping[str, type[Recurrent]] = MappingProxyType({"LSTM": LSTM, "GRU": GRU, "RNN": RNN})

#: Gates as ONNX stacks them, in our letters; ONNX's letter for the candidate is c in an LSTM and h in a GRU.
GATES: Mapping[str, str] = MappingProxyType({"LSTM": "iofg", "GRU": "zrn", "RNN": "n"})

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


def _reorder(array: Array, source: str, target: str) -> Array:
    gate = dict(zip(source, np.split(array, len(source)), strict=True))
    return np.concatenate([gate[letter] for letter in target])


def from_onnx(array: Array, kind: str) -> Array:
    """Stacked gates (G*H, ...) from ONNX's order into torch's."""
    return _reorder(array, GATES[kind], KINDS[kind].gates)


def to_onnx(array: Array, kind: str) -> Array:
    """Stacked gates (G*H, ...) from torch's order into ONNX's."""
    return _reorder(array, KINDS[kind].gates, GATES[kind])
