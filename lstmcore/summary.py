"""A model as people read it: what goes in and comes out, and a row for each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstmcore.errors import UnsupportedError
from lstmcore.layers import Shape, show
from lstmcore.text import NAME, clean

if TYPE_CHECKING:
    from lstmcore.model import Model


def of_inputs(model: Model) -> str:
    """Its inputs: "book (50, 10), static (3,)"; of one "window (T, 10)", whatever its name."""
    if len(model.inputs) == 1:
        return f"window {_shape(model, model.inputs[0].shape)}"
    return ", ".join(f"{clean(one.name, NAME)} {_shape(model, one.shape)}" for one in model.inputs)


def of_outputs(model: Model) -> str:
    """Its outputs, in the same way; of one its shape alone."""
    if len(model.outputs) == 1:
        return show(model.output_shape)
    return ", ".join(f"{clean(name, NAME)} {show(shape)}" for name, shape in model.outputs.items())


def takes_and_gives(model: Model) -> str:
    """Both: "window (T, 10) -> (1,)"."""
    return f"{of_inputs(model)} -> {of_outputs(model)}"


def check_single(model: Model, what: str) -> None:
    """Raise UnsupportedError, `what` first, for a model with several inputs or outputs."""
    if len(model.inputs) + len(model.outputs) > 2:
        raise UnsupportedError(
            f"{what}: expected a model with one input and one output; this one takes {of_inputs(model)} and answers "
            f"with {of_outputs(model)}; its call, streams and predict_windows take and give all of them"
        )


def _shape(model: Model, shape: Shape) -> str:
    return show(tuple(model.steps or n if n == "T" else n for n in shape))


def rows(model: Model) -> list[tuple[str, str, str, str, str]]:
    """See `Model.summary`."""
    found = []
    for layer, shape in zip(model.layers, model.wiring.shapes[len(model.inputs) :], strict=True):
        count = sum(w.size for w in layer.weights.values())
        settings = ", ".join(f"{k}={v}" for k, v in layer.shown().items())
        found.append((layer.name, type(layer).__name__, show(shape), f"{count:,}", settings))
    return found


def text(model: Model) -> str:
    """What `repr` gives."""
    count = sum(w.size for w in model.parameters.values())
    runs_on = model.backend + (f" ({model.kernel})" if model.kernel else "")
    head = f"Model: {takes_and_gives(model)}, {count:,} parameters, {model.dtype}, backend {runs_on}"
    cells = [[clean(cell, NAME) for cell in row[:4]] + [clean(row[4])] for row in rows(model)]
    widths = [max(len(row[k]) for row in cells) for k in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0], strict=True)) for row in cells]
    return "\n".join([head, *(f"  {line}".rstrip() for line in lines)])
