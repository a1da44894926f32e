"""What every layer has: a name, settings, weights, and the checks that they make sense."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from lstmcore.text import NAME, clean, listed, quoted

Array = npt.NDArray[Any]

#: What flows between layers: ("T", features) a sequence, (features,) a vector, () one number.
Shape = tuple[int | str, ...]

MAX_SIZE = 1 << 20  # features, units, steps: beyond any model this is for, far below integer overflow
MAX_LAYERS = 1 << 10

#: Of a setting that most layers leave as it is: it is shown where it is not.
RARE = {"rare": True}

#: What `inputs` calls the model's own input.
INPUT = "input"


class ShapeError(ValueError):
    """A layer that does not fit after the one before it; the text names the layer and both shapes."""


def show(shape: Shape) -> str:
    """A shape as people write it: ("T", 64) -> "(T, 64)"."""
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


class Weights(Mapping[str, Array]):
    """Arrays by name, given out as views: whoever changes the shape or dtype of one changes no weight."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def __getitem__(self, key: str) -> Array:
        return self._arrays[key].view()

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Weights({ {key: array.shape for key, array in self._arrays.items()} })"


@dataclass(frozen=True, eq=False)
class Layer:
    """The base of all layers. Subclasses add settings as fields; `weights` holds arrays by torch's names.

    `inputs` names the layers and the model's inputs that it reads; () is the layer before it, or the first input.
    """

    name: str
    weights: Mapping[str, Array] = field(default_factory=dict, kw_only=True, repr=False)
    inputs: tuple[str, ...] = field(default=(), kw_only=True, repr=False)

    #: Works on each time step for itself, so that it can stand before or after "take the last step".
    pointwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, tuple) or not all(isinstance(name, str) for name in self.inputs):
            raise ValueError(f"{self.label}: inputs: expected a tuple of layers' names, got {quoted(self.inputs)}")
        expected = self.weight_shapes(**self.check_settings(self.settings()))
        for key in self.weights.keys() - expected.keys():
            raise ValueError(f"{self.label}: unexpected weight {quoted(key)}; expected {listed(sorted(expected))}")
        frozen = {}
        for key, shape in expected.items():
            if key not in self.weights:
                raise ValueError(f"{self.label}: weight {key!r} is missing; expected shape {shape}")
            frozen[key] = _freeze(self.weights[key], f"{self.label}: weight {key!r}", shape)
        object.__setattr__(self, "weights", Weights(frozen))

    @property
    def label(self) -> str:
        """Name and kind, for messages: "lstm (LSTM)"."""
        return f"{clean(self.name, NAME)} ({type(self).__name__})"

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments other than name and weights."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _NOT_SETTINGS}

    def shown(self) -> dict[str, Any]:
        """The settings that say something: those that differ from layer to layer, and rare ones not as usual."""
        fields = {f.name: f for f in dataclasses.fields(self)}
        shown = {
            key: value
            for key, value in self.settings().items()
            if not fields[key].metadata.get("rare", False) or value != self.usual_setting(key)
        }
        return shown | ({"inputs": listed(self.inputs)} if self.inputs else {})

    def usual_setting(self, key: str) -> Any:
        """What a setting is where nobody says."""
        return next(f.default for f in dataclasses.fields(self) if f.name == key)

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with every type and range checked. Raises ValueError naming the setting."""
        fields = {f.name: f for f in dataclasses.fields(cls) if f.name not in _NOT_SETTINGS}
        for key in settings.keys() - fields.keys():
            raise ValueError(f"{cls.__name__}: unknown setting {quoted(key)}; known are {sorted(fields)}")
        for key in fields.keys() - settings.keys():
            raise ValueError(f"{cls.__name__}: setting {key!r} is missing")
        return {key: _check_setting(cls, fields[key], settings[key]) for key in fields}

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        """The weights that these settings call for, and their shapes."""
        return {}

    def output_shape(self, shape: Shape) -> Shape:
        """The shape this layer makes of `shape`. Raises ShapeError where it does not fit."""
        return shape

    def output_of(self, shapes: Sequence[Shape]) -> Shape:
        """The shape this layer makes of those of its inputs. Raises ShapeError where they do not fit."""
        if len(shapes) != 1:
            raise ShapeError(f"{self.label}: expected one input, got {len(shapes)}: {listed(self.inputs)}")
        return self.output_shape(shapes[0])

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The weights' dtype; None for a layer without weights."""
        dtypes = {w.dtype for w in self.weights.values()}
        if len(dtypes) > 1:
            raise ValueError(f"{self.label}: weights of several dtypes, {sorted(map(str, dtypes))}")
        return dtypes.pop() if dtypes else None

    def replace(self, **changes: Any) -> Any:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def map_weights(self, function: Any) -> Any:
        """A copy with `function` applied to every weight."""
        return self.replace(weights={key: function(w) for key, w in self.weights.items()})

    def astype(self, dtype: npt.DTypeLike) -> Any:
        """A copy with every weight rounded or widened to `dtype`."""
        return self.map_weights(lambda w: w.astype(dtype))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layer):
            return NotImplemented
        return (
            type(self) is type(other)
            and (self.name, self.inputs) == (other.name, other.inputs)
            and self.settings() == other.settings()
            and all(_same(w, other.weights[key]) for key, w in self.weights.items())
        )

    def __hash__(self) -> int:
        return hash((type(self), self.name, self.inputs, *self.settings().values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.name, self.settings(), dict(self.weights), self.inputs)

    def _need(self, condition: bool, shape: Shape, expected: str) -> None:
        if not condition:
            raise ShapeError(f"{self.label}: expected {expected}, but what comes in is {show(shape)}")

    def _need_features(self, shape: Shape, features: int) -> None:
        fits = len(shape) > 0 and shape[-1] == features
        self._need(fits, shape, f"{features} features in the last axis")


_NOT_SETTINGS = ("name", "weights", "inputs")


def _rebuild(
    cls: type[Layer], name: str, settings: dict[str, Any], weights: dict[str, Array], inputs: tuple[str, ...]
) -> Layer:
    return cls(name, weights=weights, inputs=inputs, **settings)


def held(array: Array, dtype: npt.DTypeLike) -> Array:
    """Finite numbers in `dtype` where it holds each of them exactly, else in float64."""
    wide = array.astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    return narrow if np.array_equal(narrow, wide) else wide


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=True))


def _freeze(weight: Any, what: str, shape: tuple[int, ...]) -> Array:
    """A C-contiguous float copy of `weight` that nothing can make writable again, its shape checked."""
    if np.ma.is_masked(weight):
        raise ValueError(f"{what}: a masked array with masked values")
    array = np.asarray(weight)
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"{what}: expected float32 or float64, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {array.shape}")
    native = array.dtype.newbyteorder("=")
    # Over bytes, which nobody can free or resize; and a view, so that `base` of the views that others get is not it but
    # the array that was made first.
    return np.ndarray(shape, native, array.astype(native, copy=False).tobytes()).view()


def is_finite(value: float) -> bool:
    """Whether a number is, as a float."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _check_setting(cls: type, field: dataclasses.Field[Any], value: Any) -> Any:
    key, kind = field.name, str(field.type)
    what = f"{cls.__name__}: setting {key!r}"
    if kind == "int":
        least, limit = field.metadata.get("least", 1), MAX_LAYERS if key == "num_layers" else MAX_SIZE
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= limit:
            raise ValueError(f"{what}: expected an integer from {least} to {limit}, got {quoted(value)}")
    elif kind == "bool":
        if not isinstance(value, bool):
            raise ValueError(f"{what}: expected true or false, got {quoted(value)}")
    elif kind == "float":
        infinite = field.metadata.get("infinite", False)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (is_finite(value) or (infinite and value in (math.inf, -math.inf))):
            raise ValueError(f"{what}: expected a {'' if infinite else 'finite '}number, got {quoted(value)}")
        if value < field.metadata.get("least", -math.inf):
            raise ValueError(f"{what}: expected at least {field.metadata['least']}, got {quoted(value)}")
        return float(value)
    elif kind == "str" and not isinstance(value, str):
        raise ValueError(f"{what}: expected text, got {quoted(value)}")
    return value
