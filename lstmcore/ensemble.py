"""Several models as one: the same ticks go through all of them, and the answer is the weighted mean of theirs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_numbers
from lstmcore.layers import Activation, Add, Layer, Mean, Scaler
from lstmcore.layers.wiring import Wiring, unused_name
from lstmcore.model import Model
from lstmcore.summary import of_inputs, of_outputs
from lstmcore.text import quoted


def ensemble(models: Iterable[Model], weights: npt.ArrayLike | None = None) -> Model:
    """One Model that answers with the weighted mean of several models' answers to the same window.

    It is a Model as any other: one push serves all of them, and a file holds them all. The layers of model n are called
    "m{n}.{name}". A scaler that all models have in common comes before them. Of several outputs each one is a mean.

    Args:
        models: At least one, of the same inputs, outputs and dtype. The new one runs on the first one's backend.
        weights: A number for each model, (N,); None: all the same. The answer is divided by their sum.

    Raises:
        TypeError: Something that is no Model, or weights that are no numbers.
        ValueError: No models; models that differ in what they take, answer or compute in, or have different scalers;
            weights of another count, that are not finite, or whose sum is 0.
        BackendError: Weights on numba, which scales no answers but those of a Linear layer.

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
    scalers = [_scaler(given, n) for n in range(len(given[0].inputs))]
    below = [one.name if scaler is None else scaler.name for one, scaler in zip(given[0].inputs, scalers, strict=True)]
    layers: list[Layer] = [scaler for scaler in scalers if scaler is not None]
    branches = [_names(model.wiring, f"m{n}.", below) for n, model in enumerate(given)]
    taken = [*below, *itertools.chain.from_iterable(branches)]

    def own(name: str) -> str:
        taken.append(unused_name(name, taken))
        return taken[-1]

    for model, names in zip(given, branches, strict=True):
        layers += _branch(model.wiring, names)
    outputs = {}
    for at, output in enumerate(given[0].outputs):
        end = "" if len(given[0].outputs) == 1 else f".{output}"
        ends = [names[model.wiring.ends[at]] for model, names in zip(given, branches, strict=True)]
        if shares is not None:
            scaled = [
                Activation(own(f"m{n}.share{end}"), f"affine({float(share)!r},0)", inputs=(name,))
                for n, (share, name) in enumerate(zip(shares, ends, strict=True))
            ]
            layers += scaled
            ends = [layer.name for layer in scaled]
        if len(given) > 1:
            layers.append((Mean if shares is None else Add)(own(f"mean{end}"), inputs=tuple(ends)))
        outputs[output] = layers[-1].name if len(given) > 1 else ends[0]
    backend, kernel = given[0]._requested
    return Model(layers, inputs=given[0].inputs, outputs=outputs, backend=backend, kernel=kernel)


def _check(models: Sequence[Model]) -> None:
    if not models:
        raise ValueError("models: expected at least one")
    for n, model in enumerate(models):
        if not isinstance(model, Model):
            raise TypeError(f"models: expected Models (lstmcore.load reads a file), got {quoted(model)} at {n}")
        first = models[0]
        for what, a, b in (
            ("takes {}", of_inputs(first), of_inputs(model)),
            ("calls its inputs {}", [one.name for one in first.inputs], [one.name for one in model.inputs]),
            ("calls its outputs {}", list(first.outputs), list(model.outputs)),
            ("answers with {}", of_outputs(first), of_outputs(model)),
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


def _scaler(models: Sequence[Model], n: int) -> Scaler | None:
    """The one that all models have for input n; None where none has one."""
    found = [
        next((x for x, read in zip(m.layers, m.wiring.reads, strict=True) if isinstance(x, Scaler) and n in read), None)
        for m in models
    ]
    first = found[0]
    for at, scaler in enumerate(found):
        same = scaler is first is None or (
            scaler is not None
            and first is not None
            and scaler.replace(name=first.name, inputs=first.inputs) == first  # how it names its input may differ
        )
        if not same:
            of = "" if len(models[0].inputs) == 1 else f" of input {quoted(models[0].inputs[n].name)}"
            raise ValueError(
                f"models: model {at} has another scaler{of} than model 0; train them on ticks that are scaled alike, "
                f"or let a BatchNorm1d of the same mean and variance stand in each one's place"
            )
    return first


def _names(wiring: Wiring, prefix: str, below: Sequence[str]) -> list[str]:
    """What a model's values are called in the ensemble: its inputs and scalers are those in `below`."""
    names = list(below)
    for layer, read in zip(wiring.layers, wiring.reads, strict=True):
        names.append(below[read[0]] if isinstance(layer, Scaler) else f"{prefix}{layer.name}")
    return names


def _branch(wiring: Wiring, names: Sequence[str]) -> list[Layer]:
    """A model's layers, but for its scalers, with these names of its values."""
    return [
        layer.replace(name=name, inputs=tuple(names[n] for n in read))
        for layer, name, read in zip(wiring.layers, names[len(wiring.inputs) :], wiring.reads, strict=True)
        if not isinstance(layer, Scaler)
    ]
