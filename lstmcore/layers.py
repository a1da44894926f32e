"""The kinds of layers: their settings, their weights under torch's names, and what they make of a shape.

A layer is plain, immutable data. What it computes is said in `reference.py`; how fast, in `backends/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from lstmcore.layer import MAX_SIZE, Array, Layer, Shape, ShapeError, show

__all__ = [
    "ELU",
    "GELU",
    "KINDS",
    "LSTM",
    "Array",
    "BatchNorm1d",
    "Dropout",
    "Flatten",
    "Layer",
    "LeakyReLU",
    "Linear",
    "ReLU",
    "Scaler",
    "Shape",
    "ShapeError",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Tanh",
    "show",
]


@dataclass(frozen=True, eq=False)
class LSTM(Layer):
    """One to many LSTM layers on top of each other, as `torch.nn.LSTM`: ("T", I) -> ("T", H) or (H,).

    With `return_sequences` every step's h of the top layer goes on, else only the last step's.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    return_sequences: bool = False

    pointwise: ClassVar[bool] = False

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        hidden = settings["hidden_size"]
        shapes: dict[str, tuple[int, ...]] = {}
        for k in range(settings["num_layers"]):
            shapes[f"weight_ih_l{k}"] = (4 * hidden, hidden if k else settings["input_size"])
            shapes[f"weight_hh_l{k}"] = (4 * hidden, hidden)
            if settings["bias"]:
                shapes[f"bias_ih_l{k}"] = shapes[f"bias_hh_l{k}"] = (4 * hidden,)
        return shapes

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) == 2, shape, f"a sequence (T, {self.input_size})")
        self._need_features(shape, self.input_size)
        return (shape[0], self.hidden_size) if self.return_sequences else (self.hidden_size,)


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """x·Wᵀ + b, as `torch.nn.Linear`: (..., in_features) -> (..., out_features)."""

    in_features: int
    out_features: int
    bias: bool = True

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        out = settings["out_features"]
        shapes: dict[str, tuple[int, ...]] = {"weight": (out, settings["in_features"])}
        return shapes | {"bias": (out,)} if settings["bias"] else shapes

    def output_shape(self, shape: Shape) -> Shape:
        self._need_features(shape, self.in_features)
        return (*shape[:-1], self.out_features)


@dataclass(frozen=True, eq=False)
class BatchNorm1d(Layer):
    """Batch normalisation with the running statistics, as `torch.nn.BatchNorm1d` in eval mode."""

    num_features: int
    eps: float = 1e-5
    affine: bool = True

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        keys = ["running_mean", "running_var"] + ["weight", "bias"] * settings["affine"]
        return dict.fromkeys(keys, (settings["num_features"],))

    def output_shape(self, shape: Shape) -> Shape:
        self._need_features(shape, self.num_features)
        return shape


@dataclass(frozen=True, eq=False)
class Scaler(Layer):
    """(x - mean) / scale for each input feature; stands first in a model. Raises ValueError on a scale of 0."""

    num_features: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, w in self.weights.items():
            bad = ~np.isfinite(w) | ((w == 0) if key == "scale" else False)
            if np.any(bad):
                at = int(np.flatnonzero(bad)[0])
                raise ValueError(f"{self.label}: {key} of feature {at} is {w[at]}; expected a finite, usable number")

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("mean", "scale"), (settings["num_features"],))

    def output_shape(self, shape: Shape) -> Shape:
        self._need_features(shape, self.num_features)
        return shape


@dataclass(frozen=True, eq=False)
class Dropout(Layer):
    """The identity at inference; kept so that a model shows the layers it was trained with."""

    p: float = 0.5


@dataclass(frozen=True, eq=False)
class ReLU(Layer):
    """max(x, 0)."""


@dataclass(frozen=True, eq=False)
class LeakyReLU(Layer):
    """x where positive, else negative_slope·x."""

    negative_slope: float = 0.01


@dataclass(frozen=True, eq=False)
class ELU(Layer):
    """x where positive, else alpha·(e^x - 1)."""

    alpha: float = 1.0


@dataclass(frozen=True, eq=False)
class GELU(Layer):
    """x·Φ(x); `approximate` is torch's: "none" or "tanh"."""

    approximate: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.approximate not in ("none", "tanh"):
            raise ValueError(f"{self.label}: approximate is {self.approximate!r}; expected 'none' or 'tanh'")


@dataclass(frozen=True, eq=False)
class Tanh(Layer):
    """tanh(x)."""


@dataclass(frozen=True, eq=False)
class Sigmoid(Layer):
    """1 / (1 + e^-x)."""


@dataclass(frozen=True, eq=False)
class Softmax(Layer):
    """e^x / Σ e^x over the features."""

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) > 0 and isinstance(shape[-1], int), shape, "a vector of features")
        return shape


@dataclass(frozen=True, eq=False)
class Flatten(Layer):
    """All steps of a window of fixed length as one vector: ("T", F) -> (steps·F,)."""

    steps: int

    pointwise: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) == 2, shape, "a sequence (T, features)")
        size = self.steps * int(shape[1])
        self._need(size <= MAX_SIZE, shape, f"at most {MAX_SIZE} values in {self.steps} steps")
        return (size,)


@dataclass(frozen=True, eq=False)
class Squeeze(Layer):
    """Drops a last axis of size 1, as heads with one output do: (..., 1) -> (...)."""

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) > 0 and shape[-1] == 1, shape, "one feature in the last axis")
        return shape[:-1]


#: Every kind of layer by the name it has in files.
KINDS: Mapping[str, type[Layer]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            LSTM, Linear, BatchNorm1d, Scaler, Dropout,
            ReLU, LeakyReLU, ELU, GELU, Tanh, Sigmoid, Softmax,
            Flatten, Squeeze,
        )
    }
)  # fmt: skip
