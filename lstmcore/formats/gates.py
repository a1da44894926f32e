"""In what order each source stacks the gates of recurrent weights, and the one way from order to order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from lstmcore.layers import Array

#: Input gate i, forget gate f, candidate g (Keras and ONNX write c), output gate o; reset gate r, update gate z,
#: candidate n (Keras and ONNX write h).
ORDERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "LSTM": MappingProxyType({"torch": "ifgo", "keras": "ifgo", "onnx": "iofg"}),
        "GRU": MappingProxyType({"torch": "rzn", "keras": "zrn", "onnx": "zrn"}),
        "RNN": MappingProxyType({"torch": "n", "keras": "n", "onnx": "n"}),
    }
)


def reorder(array: Array, kind: str, source: str, target: str) -> Array:
    """Stacked gates (G*H, ...) of a kind of layer from `source`'s order into `target`'s; all are keys of ORDERS."""
    orders = ORDERS[kind]
    gate = dict(zip(orders[source], np.split(array, len(orders[source])), strict=True))
    return np.concatenate([gate[letter] for letter in orders[target]])
