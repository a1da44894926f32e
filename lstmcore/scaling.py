"""A scaler put before a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcore import summary
from lstmcore.inputs import as_choice, as_numbers
from lstmcore.layers import Layer, Scaler
from lstmcore.layers.base import held
from lstmcore.layers.wiring import unused_name

if TYPE_CHECKING:
    from lstmcore.model import Model


def scaled(model: Model, mean: npt.ArrayLike, scale: npt.ArrayLike, name: str | None) -> Iterable[Layer]:
    """The layers of the model behind a scaler of the input `name`, as `Model.with_scaler` wants them."""
    names = [one.name for one in model.inputs]
    if name is None and len(names) > 1:
        raise ValueError(f"input: expected the name of one of {summary.of_inputs(model)}")
    at = 0 if name is None else names.index(as_choice(name, "input", names))
    there = next((x for x, read in zip(model.layers, model.wiring.reads, strict=True) if at in read), None)
    if isinstance(there, Scaler):
        raise ValueError(f"the model has a scaler already: {there.label}")
    weights = {
        "mean": held(as_numbers(mean, np.dtype(np.float64), "mean"), model.dtype),
        "scale": as_numbers(scale, model.dtype, "scale"),
    }
    own = unused_name("scaler", [*names, *(layer.name for layer in model.layers)])
    scaler = Scaler(own, model.inputs[at].size, weights=weights, inputs=(names[at],) if at else ())
    first, *others = model.layers
    if at and not first.inputs:
        first = first.replace(inputs=(names[0],))
    behind = (
        layer.replace(inputs=tuple(own if read == names[at] else read for read in layer.inputs))
        for layer in (first, *others)
    )
    return scaler, *behind
