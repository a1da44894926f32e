"""Models for the commands: small, with random weights, of four features."""

from __future__ import annotations

from typing import Any

import numpy as np

import lstmcore
from lstmcore.layers import LSTM, BatchNorm1d, Dropout, Layer, Linear, Scaler, Sigmoid

FEATURES = 4


def random_layer(layer: type[Layer], name: str, rng: np.random.Generator, **settings: Any) -> Layer:
    weights = {}
    for key, shape in layer.weight_shapes(**settings).items():
        w = rng.uniform(0.2, 1, shape)
        if key not in ("running_var", "scale"):  # of which the sign is not free
            w *= rng.choice([-1, 1], shape)
        weights[key] = w.astype(np.float32)
    return layer(name, weights=weights, **settings)


def random_model(seed: int, outputs: int = 1, steps: bool = False) -> lstmcore.Model:
    rng = np.random.default_rng(seed)
    lstm = {"input_size": FEATURES, "hidden_size": 7, "num_layers": 1, "bias": True, "return_sequences": steps}
    layers = [
        random_layer(Scaler, "scaler", rng, num_features=FEATURES),
        random_layer(LSTM, "lstm", rng, **lstm),
        random_layer(BatchNorm1d, "norm", rng, num_features=7, eps=1e-5, affine=True),
        Dropout("drop", 0.3),
        random_layer(Linear, "fc", rng, in_features=7, out_features=outputs, bias=True),
        Sigmoid("sigmoid"),
    ]
    return lstmcore.Model(layers, backend="numpy")
