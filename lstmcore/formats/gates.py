"""In what order each source stacks the gates of an LSTM's weights, and the one way from order to order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from lstmcore.layers import Array

#: Input gate i, forget gate f, candidate g (Keras and ONNX write c), output gate o.
ORDERS: Mapping[str, str] = MappingProxyType({"torch": "ifgo", "keras": "ifgo", "onnx": "iofg"})


def reorder(array: Array, source: str, target: str) -> Array:
    """Stacked gates (4*H, ...) from `source`'s order into `target`'s; both are keys of ORDERS."""
    gate = dict(zip(ORDERS[source], np.split(array, 4), strict=True))
    return np.concatenate([gate[letter] for letter in ORDERS[target]])
