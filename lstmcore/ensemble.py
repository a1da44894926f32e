"""Several models as one: the same ticks go through all of them, and the answer is the weighted mean of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_numbers
from lstmcore.layers import INPUT, Activation, Add, Layer, Mean, Scaler, show
from lstmcore.layers.wiring import sources
from lstmcore.model import Model
from lstmcore.text import quoted


def ensemble(models: Iterable[Model], weights: npt.ArrayLike | None = None) -> Model:
    """One Model that answers with the weighted mean of several models' answers to the same window.

    It is a Model as any other: one push serves all of them, and a file holds them all. The layers of model n are called
    "m{n}.{name}". A scaler that all models have in common comes before them.

    Args:
        models: At least one, of the same input size, answer and dtype. The new one runs on the first one's backend.
        weights: A number for each model, (N,); None: all the same. The answer is divided by their sum.

    Raises:
        TypeError: Something that is no Model, or weights that are no numbers.
        ValueError: No models; models that differ in what they take, answer or compute in, or have different scalers;
            weights of another count, that are not finite, or whose sum is 0.

    >>> import numpy as np
    >>> from lstmcore import layers as L
    >>> def constant(b):
    ...     w = {"weight": np.zeros((1, 2), "f4"), "bias": np.array([b], "f4")}
    ...     return Model([L.Linear("fc", 2, 1, weights=w), L.Last("last")])
    >>> both = ensemble([constant(1), constant(4)], weights=[2, 1])
    >>> both(np.ones((3, 2)))
    array([2.], dtype=float32)
    """
    given = list(models)
    _check(given)
    shares = None if weights is None else _shares(weights, len(given))
    scaler = _scaler(given)
    layers: list[Layer] = [] if scaler is None else [scaler]
    for n, model in enumerate(given):
        layers += _branch(model.layers, f"m{n}.", INPUT if scaler is None else scaler.name)
        if shares is not None:
            scaled = Activation(f"m{n}.share", f"affine({float(shares[n])!r},0)", inputs=(layers[-1].name,))
            layers.append(scaled)
    ends = tuple(_end(n, model, shares is not None) for n, model in enumerate(given))
    if len(given) > 1:
        layers.append(Add("mean", inputs=ends) if shares is not None else Mean("mean", inputs=ends))
    backend, kernel = given[0]._requested
    return Model(layers, backend=backend, kernel=kernel)


def _check(models: Sequence[Model]) -> None:
    if not models:
        raise ValueError("models: expected at least one")
    for n, model in enumerate(models):
        if not isinstance(model, Model):
            raise TypeError(f"models: expected Models, got {quoted(model)} at {n}")
        first = models[0]
        for what, a, b in (
            ("takes ticks of {} features", first.input_size, model.input_size),
            ("answers with {}", show(first.output_shape), show(model.output_shape)),
            ("has weights of {}", first.dtype, model.dtype),
        ):
            if a != b:
                raise ValueError(f"models: model {n} {what.format(b)}, and model 0 {what.format(a)}")


def _shares(weights: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    numbers = as_numbers(weights, np.dtype(np.float64), "weights")
    if numbers.shape != (count,):
        raise ValueError(f"weights: expected {count}, one for each model, got shape {numbers.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        total = numbers.sum()
    if not np.isfinite(total) or total == 0:
        raise ValueError(f"weights: expected finite numbers whose sum is not 0, got {quoted(numbers.tolist())}")
    shares: npt.NDArray[np.float64] = numbers / total
    return shares


def _scaler(models: Sequence[Model]) -> Scaler | None:
    """The one that all models begin with; None where none has one."""
    found = [model.layers[0] if isinstance(model.layers[0], Scaler) else None for model in models]
    first = found[0]
    for n, scaler in enumerate(found):
        same = scaler is first is None or (
            scaler is not None and first is not None and scaler.replace(name=first.name) == first
        )
        if not same:
            raise ValueError(
                f"models: model {n} has another scaler than model 0; fold each one's into its data, or train them on "
                f"ticks that are scaled alike"
            )
    return first


def _branch(layers: Sequence[Layer], prefix: str, below: str) -> list[Layer]:
    """A model's layers, but for its scaler, with other names, reading `below` in the place of its input."""
    names = [below, *(f"{prefix}{layer.name}" for layer in layers)]
    if isinstance(layers[0], Scaler):
        names[1] = below
    return [
        layer.replace(name=f"{prefix}{layer.name}", inputs=tuple(names[n] for n in read))
        for layer, read in zip(layers, sources(layers), strict=True)
        if not isinstance(layer, Scaler)
    ]


def _end(n: int, model: Model, shared: bool) -> str:
    return f"m{n}.share" if shared else f"m{n}.{model.layers[-1].name}"
