"""Activation functions by name: one table for gates and for layers, and the text in which settings name them.

Each is its equation, elementwise over an array of any float dtype. "hard_sigmoid(0.2,0.5)" is a name with its numbers;
those that have numbers of their own may be named without. The names and numbers are ONNX's where it has them, else
torch's in lower case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcore.reference import elu, gelu, gelu_tanh, leaky_relu, relu, sigmoid

Array = npt.NDArray[Any]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017


@dataclass(frozen=True)
class Activation:
    """One function with its numbers, ready to be called."""

    name: str
    numbers: tuple[float, ...] = ()

    def __call__(self, x: Array) -> Array:
        y: Array = TABLE[self.name].equation(x, *(x.dtype.type(n) for n in self.numbers))
        return y

    def __str__(self) -> str:
        """The text that `parse` reads back to the same numbers."""
        return self.name + (f"({','.join(map(repr, self.numbers))})" if self.numbers else "")


@dataclass(frozen=True)
class Entry:
    """A function, and what its numbers are called and are where nobody says."""

    equation: Callable[..., Array]
    numbers: Mapping[str, float] = field(default_factory=dict)


def affine(x: Array, alpha: Any, beta: Any) -> Array:
    """alpha·x + beta."""
    y: Array = alpha * x + beta
    return y


def thresholded_relu(x: Array, alpha: Any) -> Array:
    """x where it is above alpha, else 0; NaN stays."""
    y: Array = np.where(x <= alpha, x.dtype.type(0), x)
    return y


def scaled_tanh(x: Array, alpha: Any, beta: Any) -> Array:
    """alpha·tanh(beta·x)."""
    y: Array = alpha * np.tanh(beta * x)
    return y


def hard_sigmoid(x: Array, alpha: Any, beta: Any) -> Array:
    """alpha·x + beta, cut to [0, 1]."""
    y: Array = np.clip(alpha * x + beta, 0, 1)
    return y


def softsign(x: Array) -> Array:
    """x / (1 + |x|); NaN at the infinities, as in torch."""
    y: Array = x / (1 + np.abs(x))
    return y


def softplus(x: Array) -> Array:
    """log(1 + e^x), as max(x, 0) + log(1 + e^-|x|), which does not overflow."""
    y: Array = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    return y


def silu(x: Array) -> Array:
    """x·sigmoid(x), as x / (1 + e^-x)."""
    with np.errstate(over="ignore"):
        y: Array = x / (1 + np.exp(-x))
    return y


def selu(x: Array) -> Array:
    """ELU with the scale and alpha of Klambauer et al. 2017."""
    y: Array = x.dtype.type(SELU_SCALE) * elu(x, SELU_ALPHA)
    return y


def exponential(x: Array) -> Array:
    """e^x."""
    with np.errstate(over="ignore"):
        y: Array = np.exp(x)
    return y


def mish(x: Array) -> Array:
    """x·tanh(softplus(x)). Misra 2019."""
    y: Array = x * np.tanh(softplus(x))
    return y


def hard_silu(x: Array) -> Array:
    """x·relu6(x + 3)/6."""
    y: Array = x * np.clip(x + 3, 0, 6) / 6
    return y


#: Every activation by the name that settings and files use.
TABLE: Mapping[str, Entry] = MappingProxyType(
    {
        "linear": Entry(lambda x: x),
        "sigmoid": Entry(sigmoid),
        "tanh": Entry(np.tanh),
        "relu": Entry(relu),
        "leaky_relu": Entry(leaky_relu, {"alpha": 0.01}),
        "elu": Entry(elu, {"alpha": 1.0}),
        "gelu": Entry(gelu),
        "gelu_tanh": Entry(gelu_tanh),
        "affine": Entry(affine, {"alpha": 1.0, "beta": 0.0}),
        "thresholded_relu": Entry(thresholded_relu, {"alpha": 1.0}),
        "scaled_tanh": Entry(scaled_tanh, {"alpha": 1.0, "beta": 1.0}),
        "hard_sigmoid": Entry(hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
        "softsign": Entry(softsign),
        "softplus": Entry(softplus),
        "silu": Entry(silu),
        "selu": Entry(selu),
        "relu6": Entry(lambda x: np.clip(x, 0, 6)),
        "exponential": Entry(exponential),
        "hard_tanh": Entry(lambda x: np.clip(x, -1, 1)),
        "mish": Entry(mish),
        "hard_silu": Entry(hard_silu),
    }
)

WORD = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(?:\((?P<numbers>[^()\s]*)\))?")
MAX_TEXT = 1 << 10


def parse(text: str, count: int, what: str) -> tuple[Activation, ...]:
    """The functions that a text names, `count` of them, with all their numbers.

    Raises:
        ValueError: Another count, an unknown name, numbers too many or not finite; begins with `what`.
    """
    words = text.split() if len(text) <= MAX_TEXT else []
    if len(words) != count:
        raise ValueError(f"{what}: expected {count} activation{'s' * (count > 1)}, got {text!r:.200}")
    return tuple(_parse_one(word, what) for word in words)


def _parse_one(word: str, what: str) -> Activation:
    match = WORD.fullmatch(word)
    if match is None or match["name"] not in TABLE:
        raise ValueError(f"{what}: unknown activation {word!r:.200}; known are {', '.join(TABLE)}")
    defaults = TABLE[match["name"]].numbers
    given = match["numbers"].split(",") if match["numbers"] else []
    try:
        numbers = [float(number) for number in given]
    except ValueError:
        numbers = [math.nan]
    if len(numbers) > len(defaults) or not all(map(math.isfinite, numbers)):
        takes = f"finite numbers for {', '.join(defaults)}" if defaults else "no numbers"
        raise ValueError(f"{what}: {word!r:.200}: expected {takes}")
    return Activation(match["name"], (*numbers, *list(defaults.values())[len(numbers) :]))


def text(functions: Sequence[Activation]) -> str:
    """What `parse` reads back."""
    return " ".join(map(str, functions))
