"""The kinds of layers that carry no state, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstmcore.layers import activations
from lstmcore.layers.base import MAX_SIZE, Layer, Shape, ShapeError, held, show
from lstmcore.layers.recurrent import GRU, LSTM, RNN
from lstmcore.text import quoted


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
    """(x - mean) / scale for each feature of an input, which no other layer reads. Raises ValueError on a scale of 0.

    The mean may be float64 where the other weights are float32: next to 61,800.03 the next float32 is 0.004 away, and
    what is lost there is lost from every difference.
    """

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

    @property
    def dtype(self) -> np.dtype[Any]:
        """The scale's: what comes out of the layer has it."""
        dtype: np.dtype[Any] = self.weights["scale"].dtype
        return dtype

    def astype(self, dtype: npt.DTypeLike) -> Any:
        """A copy with the scale in `dtype`, and the mean where `dtype` holds it exactly; else the mean in float64."""
        w = self.weights
        return self.replace(weights={"mean": held(w["mean"], dtype), "scale": w["scale"].astype(dtype)})

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
            raise ValueError(f"{self.label}: approximate is {quoted(self.approximate)}; expected 'none' or 'tanh'")


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
class Activation(Layer):
    """A function of `activations.py` on every element, such as "hard_sigmoid(0.2,0.5)"."""

    function: str

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "function", str(self.equation))  # one text for one thing

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().check_settings(settings)
        activations.parse(checked["function"], 1, f"{cls.__name__}: setting 'function'")
        return checked

    @property
    def equation(self) -> activations.Activation:
        """The function, ready to be called."""
        return activations.parse(self.function, 1, self.label)[0]


@dataclass(frozen=True, eq=False)
class LayerNorm(Layer):
    """Layer normalisation over the features, as `torch.nn.LayerNorm`."""

    num_features: int
    eps: float = 1e-5
    affine: bool = True
    bias: bool = True

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        keys = ["weight"] * settings["affine"] + ["bias"] * (settings["affine"] and settings["bias"])
        return dict.fromkeys(keys, (settings["num_features"],))

    def output_shape(self, shape: Shape) -> Shape:
        self._need_features(shape, self.num_features)
        return shape


@dataclass(frozen=True, eq=False)
class Last(Layer):
    """The newest step of a sequence: ("T", F) -> (F,)."""

    pointwise: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) == 2, shape, "a sequence (T, features)")
        return shape[1:]


@dataclass(frozen=True, eq=False)
class Reverse(Layer):
    """The steps of a sequence from the newest to the oldest: ("T", F) -> ("T", F)."""

    pointwise: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) == 2, shape, "a sequence (T, features)")
        return shape


@dataclass(frozen=True, eq=False)
class Masking(Layer):
    """Ticks whose features all equal `mask_value` are skipped by the recurrent layers after it, as in Keras 3.

    Their states are carried over such a tick; where sequences come out, its output is that of the tick before it, at
    first the h that the layer begins with; that of a bidirectional layer is zeros. Other layers see zeros there.
    Several inputs joined are skipped where all of them are. The value may be infinite, but not NaN, which nothing
    equals.
    """

    mask_value: float = field(default=0.0, metadata={"infinite": True})

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) == 2, shape, "a sequence (T, features)")
        return shape


@dataclass(frozen=True, eq=False)
class Merge(Layer):
    """The base of the layers that read several others, all of the same shape."""

    def output_shape(self, shape: Shape) -> Shape:
        raise ShapeError(f"{self.label}: expected at least two inputs, got one")

    def output_of(self, shapes: Sequence[Shape]) -> Shape:
        if len(shapes) < 2:
            return self.output_shape(shapes[0])
        for name, shape in zip(self.inputs, shapes, strict=True):
            same = self._comparable(shapes[0])
            self._need(self._comparable(shape) == same, shape, f"{quoted(name)} of shape {show(same)}")
        return shapes[0]

    def _comparable(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True, eq=False)
class Add(Merge):
    """The sum of its inputs, each element."""


@dataclass(frozen=True, eq=False)
class Mul(Merge):
    """The product of its inputs, each element."""


@dataclass(frozen=True, eq=False)
class Mean(Merge):
    """The mean of its inputs, each element."""


@dataclass(frozen=True, eq=False)
class Concat(Merge):
    """Its inputs' features, one input after the other."""

    def output_of(self, shapes: Sequence[Shape]) -> Shape:
        for shape in shapes:
            self._need(len(shape) > 0 and isinstance(shape[-1], int), shape, "features in the last axis")
        first = super().output_of(shapes)
        size = sum(int(shape[-1]) for shape in shapes)
        self._need(size <= MAX_SIZE, first, f"at most {MAX_SIZE} features together")
        return (*first[:-1], size)

    def _comparable(self, shape: Shape) -> Shape:
        return (*shape[:-1], "any")


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
            LSTM, GRU, RNN, Linear, BatchNorm1d, LayerNorm, Scaler, Dropout,
            ReLU, LeakyReLU, ELU, GELU, Tanh, Sigmoid, Softmax, Activation,
            Last, Reverse, Masking, Flatten, Squeeze, Add, Mul, Mean, Concat,
        )
    }
)  # fmt: skip
