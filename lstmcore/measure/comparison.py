"""Answers side by side: random windows to ask with, the oracle's answers, the largest difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstmcore.layers import Array, Scaler
from lstmcore.model import Model

DEFAULT_STEPS = 50  # ticks in a window, where neither the user nor the model says


def steps_of(model: Model, asked: int | None) -> int:
    """The window length to use. Raises ValueError where the model allows another one only."""
    if asked is not None and asked < 1:
        raise ValueError(f"window: expected at least 1 tick, got {asked}")
    if model.steps is not None and asked not in (None, model.steps):
        raise ValueError(f"window: the model takes windows of {model.steps} ticks, not {asked}")
    return asked or model.steps or DEFAULT_STEPS


def random_windows(model: Model, count: int, steps: int, scale: float, rng: np.random.Generator) -> Array:
    """Normal random windows of standard deviation `scale`, (count, steps, F) float32.

    Where the model has a scaler, they are that many of the scaler's scales wide, about its mean.
    """
    x = scale * rng.standard_normal((count, steps, model.input_size))
    first = model.layers[0]
    if isinstance(first, Scaler):
        x = first.weights["mean"] + first.weights["scale"] * x
    return x.astype(np.float32)


def oracle(model: Model) -> Model:
    """The same model as the reference computes it, in float64."""
    return model.with_backend("numpy").astype(np.float64)


def answer_each(answer: Callable[[Array], Any], windows: Array) -> Array:
    """The answers to windows (N, T, F) asked one by one, (N, ...) float64."""
    return np.stack([np.asarray(answer(window), np.float64) for window in windows])


class Difference(NamedTuple):
    """Where two sets of answers are furthest apart.

    `value` is |a - b|, divided by the larger of |a| and |b| where that is above 1: absolute for answers of
    the size of a probability, relative for answers of the size of a price. Two NaN are equal; one NaN is
    infinitely far.
    """

    value: float
    window: int
    output: tuple[int, ...]  # the index into the answer to one window
    a: float
    b: float


def largest_difference(a: Array, b: Array) -> Difference:
    """Where two sets of answers, each (N, ...), are furthest apart. Raises ValueError where shapes differ."""
    if a.shape != b.shape:
        raise ValueError(f"answers of shape {a.shape[1:]} against answers of shape {b.shape[1:]}")
    if a.size == 0:
        raise ValueError("no answers to compare")
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1)
        apart = np.abs(a - b) / size
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart = np.where(same, 0, np.where(np.isnan(apart), np.inf, apart))
    window, *output = (int(i) for i in np.unravel_index(np.argmax(apart), apart.shape))
    at = (window, *output)
    return Difference(float(apart[at]), window, tuple(output), float(a[at]), float(b[at]))
