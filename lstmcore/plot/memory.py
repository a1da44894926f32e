"""What a model does with one window: its gates, its state, its answer as it grows, and what the answer owes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcore.attribution import input_gradient
from lstmcore.errors import UnsupportedError
from lstmcore.layers import GRU, LSTM, RNN, Array, Recurrent, Scaler
from lstmcore.model import Model
from lstmcore.plot.canvas import (
    COLORS,
    GREY,
    INK,
    LABEL,
    MOST_LABELS,
    ONE_SIDED,
    TWO_SIDED,
    Canvas,
    around_zero,
    canvas_of,
    common_edges,
    figure,
    heat_map,
    legend_beside,
    lines,
    whole,
    whole_numbers,
)
from lstmcore.summary import check_single
from lstmcore.text import plotted, quoted
from lstmcore.trace import Steps, Trace, one_window

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

TICK = "tick (0: the oldest of the window)"
#: What a gate does, by its letter.
LSTM_GATES = {
    "i": "input gate i: how much of the candidate is written",
    "f": "forget gate f: how much of the old cell state is kept",
    "g": "candidate g: what would be written",
    "o": "output gate o: how much of the cell state is shown",
}
GRU_GATES = {
    "r": "reset gate r: how much of the old state the candidate sees",
    "z": "update gate z: how much of the old state is kept",
    "n": "candidate n: the new state, had nothing of the old been kept",
}
RNN_GATES = {"n": "n, which is the new hidden state"}
GATES: Mapping[type[Recurrent], Mapping[str, str]] = {LSTM: LSTM_GATES, GRU: GRU_GATES, RNN: RNN_GATES}
MOST_UNITS = 5  # drawn as lines, each with its number
MOST_OUTPUTS = len(COLORS)


def gates(trace: Trace, layer: str | int = -1, *, into: Canvas | None = None) -> Figure:
    """Every gate of one layer as a heat map: units from top to bottom, ticks from left to right.

    Args:
        trace: From `Model.trace`.
        layer: Which of the trace's layers, by name or number; the last one where nobody says.
        into: A Figure, or a SubFigure of one, to draw into; None makes one.

    Raises:
        KeyError: No such layer, by name.
        ValueError: A model without a recurrent layer, or no layer of that number.
        TypeError: No trace but a model or a part of a trace, or an `into` that is neither Figure nor SubFigure.
        ImportError: matplotlib is not installed.
    """
    steps = _steps(trace, layer)
    told = GATES[type(steps.layer)]
    canvas = canvas_of(into, 10, 1 + 1.9 * len(steps.gates))
    panels = canvas.subplots(len(steps.gates), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (letter, values) in zip(panels, steps.gates.items(), strict=True):
        share = letter not in "gn" and np.nanmin(values, initial=0) >= 0 and np.nanmax(values, initial=0) <= 1
        scale = ((0.0, 1.0), ONE_SIDED) if share else (around_zero(values), TWO_SIDED)
        image = heat_map(axes, values, told[letter], "unit", *scale)
        canvas.colorbar(image, ax=axes, label=f"{letter}, a share" if share else letter, pad=0.01, aspect=12)
    panels[-1].set_xlabel(TICK)
    canvas.suptitle(f"Gates of {_called(steps)}", fontsize=12, fontweight="bold", color=INK)
    return whole(canvas)


def state(trace: Trace, layer: str | int = -1, *, into: Canvas | None = None) -> Figure:
    """The cell state of one layer (of a GRU or RNN the hidden state): every unit, and those that move most as lines.

    Arguments and errors are those of `gates`.
    """
    steps = _steps(trace, layer)
    letter, name = ("h", "hidden state h") if steps.c is None else ("c", "cell state c")
    values = steps.state
    canvas = canvas_of(into, 10, 6)
    every, most = canvas.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    image = heat_map(every, values, f"{name}, every unit", "unit", around_zero(values), TWO_SIDED)
    canvas.colorbar(image, ax=every, label=letter, pad=0.01, aspect=15)
    known = values[np.isfinite(values).all(axis=1)]
    moves = np.ptp(known, axis=0) if len(known) else np.zeros(values.shape[1])
    chosen = np.sort(np.argsort(-moves, kind="stable")[:MOST_UNITS])
    for unit, color in zip(chosen, COLORS, strict=False):
        most.plot(values[:, unit], color=color, linewidth=1.4, label=f"unit {unit}")
    most.axhline(0, color=GREY, linewidth=0.7)
    shown = "every unit" if len(chosen) == values.shape[1] else f"the {len(chosen)} units that move most"
    lines(most, f"{name}, {shown}", TICK, letter)
    most.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=MOST_UNITS)
    canvas.suptitle(f"State of {_called(steps)}", fontsize=12, fontweight="bold", color=INK)
    return whole(canvas)


def score(model: Model, window: npt.ArrayLike, *, into: Canvas | None = None) -> Figure:
    """The answer after each tick of a window, (T, F): what the model would say had the window ended there.

    Raises:
        ValueError: A window of another shape, a batch, more than 7 outputs, or a model that takes windows of one
            length only (Flatten).
        TypeError: No model, or an `into` that is neither Figure nor SubFigure.
        ImportError: matplotlib is not installed.
    """
    answers = growing_answers(model, window)
    if answers.shape[1] > MOST_OUTPUTS:
        raise ValueError(f"model: {answers.shape[1]} outputs; at most {MOST_OUTPUTS} lines can be told apart")
    canvas = canvas_of(into, 10, 3)
    axes = canvas.subplots()
    for n, color in zip(range(answers.shape[1]), COLORS, strict=False):
        axes.plot(answers[:, n], color=color, linewidth=1.6, marker=".", markersize=4, label=f"output {n}")
    lines(axes, "The answer, had the window ended at this tick", TICK, "answer")
    axes.set_xlim(-0.5, len(answers) - 0.5)
    axes.xaxis.set_major_locator(whole_numbers())
    if answers.shape[1] > 1:
        legend_beside(axes)
    return whole(canvas)


def growing_answers(model: Model, window: npt.ArrayLike) -> Array:
    """The answer to the first 1, 2, ..., T ticks of a window, each output: (T, outputs). Errors: see `score`."""
    _check("model", model, Model)
    check_single(model, "model")
    (x,) = one_window(model, window, np.dtype(np.float64))
    if model.steps is not None:
        raise ValueError(f"model: it answers windows of {model.steps} ticks only (Flatten), not as they grow")
    ticks = len(x)
    answers = [model(x[:count]) for count in range(1, ticks + 1)]
    newest = [answer[-1] if "T" in model.output_shape else answer for answer in answers]
    return np.asarray(newest, np.float64).reshape(ticks, -1)


def attribution(
    trace: Trace, output: int = 0, *, features: Sequence[str] | None = None, into: Canvas | None = None
) -> Figure:
    """What the answer owes to each feature of each tick: its gradient, and gradient times input.

    Where the model begins with a Scaler, both are those of the scaled features, since features in units of their own
    cannot be compared.

    Args:
        trace: From `Model.trace`.
        output: Which output of the answer.
        features: The features' names.
        into: A Figure, or a SubFigure of one, to draw into; None makes one.

    Raises:
        ValueError: No such output, or another number of names.
        TypeError: No trace but a model or a part of a trace, one str for all names, or an `into` that is neither
            Figure nor SubFigure.
        UnsupportedError: A layer that `attribution.input_gradient` cannot go back through.
        ImportError: matplotlib is not installed.
    """
    _check("trace", trace, Trace)
    count = trace.window.shape[1]
    if isinstance(features, str):
        raise TypeError(f"features: expected a list of {count} names, got the str {features!r}")
    if features is not None and len(features) != count:
        raise ValueError(f"features: expected {count} names, got {len(features)}")
    names = [f"feature {n}" for n in range(count)] if features is None else list(features)
    rows: str | Sequence[str] = names if count <= MOST_LABELS else "feature"
    gradient, x, first = input_gradient(trace, output), trace.window, trace.layers[0]
    of = "input"
    if isinstance(first, Scaler):
        gradient, x, of = gradient * first.weights["scale"], trace.outputs[first.name], "scaled input"
    canvas = canvas_of(into, 10, max(4.0, 1.6 + 0.44 * min(count, MOST_LABELS)))
    above, below = canvas.subplots(2, 1, sharex=True)
    pairs = (
        (above, gradient, f"gradient of the answer with respect to the {of}", "answer per unit"),
        (below, gradient * x, f"gradient times {of}", "answer"),
    )
    for axes, values, text, unit in pairs:
        image = heat_map(axes, values, text, rows, around_zero(values), TWO_SIDED)
        canvas.colorbar(image, ax=axes, label=unit, pad=0.01, aspect=12)
    below.set_xlabel(TICK)
    which = f", output {output}" if trace.answer.size > 1 else ""
    canvas.suptitle(f"What the answer owes to the input{which}", fontsize=12, fontweight="bold", color=INK)
    return whole(canvas)


def overview(
    model: Model,
    window: npt.ArrayLike,
    *,
    layer: str | int = -1,
    output: int = 0,
    features: Sequence[str] | None = None,
) -> Figure:
    """All of it in one figure, tick under tick: the score, the attribution, the state and the gates.

    A window with numbers that are not finite is called so on top. What a model does not allow (a score with Flatten, a
    gradient through GELU) is said in its place. Arguments and other errors are those of the functions whose pictures
    these are.
    """
    _check("model", model, Model)
    trace = model.trace(window)
    steps, count = _steps(trace, layer), trace.window.shape[1]
    heights = [2.6, max(4.0, 1.4 + 0.4 * min(count, MOST_LABELS)), 5.2, 0.9 + 1.6 * len(steps.gates)]
    made = figure(11, sum(heights))
    pictures: list[tuple[Callable[[Canvas], Figure], tuple[type[Exception], ...]]] = [
        (lambda into: score(model, window, into=into), (ValueError,)),
        (lambda into: attribution(trace, output, features=features, into=into), (UnsupportedError,)),
        (lambda into: state(trace, layer, into=into), ()),
        (lambda into: gates(trace, layer, into=into), ()),
    ]
    parts = made.subfigures(4, 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (picture, allowed) in zip(parts, pictures, strict=True):
        _draw_or_say(part, picture, allowed)
    wrong = np.argwhere(~np.isfinite(trace.window))
    if len(wrong):
        found = f"{len(wrong)} of {trace.window.size} numbers, first at tick {wrong[0, 0]}"
        note = f"NaN or infinite in the window: {found}. What is NaN stays blank."
        made.suptitle(note, fontsize=11, color=COLORS[1])
    common_edges(made)
    return made


def _draw_or_say(part: SubFigure, picture: Callable[[Canvas], Figure], allowed: tuple[type[Exception], ...]) -> None:
    try:
        picture(part)
    except allowed as error:
        part.text(
            0.5, 0.5, f"not drawn: {plotted(error, 500)}", ha="center", va="center", fontsize=9, color=GREY, wrap=True
        )


def _check(name: str, value: object, kind: type[Model] | type[Trace]) -> None:
    """Raise TypeError where the argument of that name is not a Model, or not a whole Trace."""
    if isinstance(value, kind):
        return
    expected = "a Model" if kind is Model else "what model.trace(window) gives"
    got = f"a {type(value).__name__}"
    if kind is Trace and isinstance(value, Steps):
        got = f"its part {quoted(value.name)}; give the whole trace, to gates and state with layer={quoted(value.name)}"
    raise TypeError(f"{name}: expected {expected}, got {got}")


def _steps(trace: Trace, layer: str | int) -> Steps:
    _check("trace", trace, Trace)
    if not trace.steps:
        raise ValueError("trace: the model has no recurrent layer, so there is nothing that it remembers")
    if isinstance(layer, int) and not -len(trace) <= layer < len(trace):
        raise ValueError(f"layer: expected a number below {len(trace)}, got {layer}")
    found: Steps = trace[layer]
    return found


def _called(steps: Steps) -> str:
    way = ", from the newest tick to the oldest" if steps.backward else ""
    return f"{plotted(steps.name, LABEL)} ({type(steps.layer).__name__}, {steps.layer.hidden_size} units{way})"
