"""What a model does inside while it reads one window: every gate, cell state and hidden state at every tick.

The equations are those of `reference.py` and `reference_variations.py`, in float64: the functions in them are asked to
note what they return. Nothing here is fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import reference
from lstmcore.backends.numpy import EQUATIONS, start_of, step_of
from lstmcore.backends.program import MERGES
from lstmcore.errors import UnsupportedError
from lstmcore.inputs import as_numbers
from lstmcore.layers import LSTM, Array, Layer, Masking, Merge, Recurrent, Reverse, show
from lstmcore.layers.wiring import Wiring
from lstmcore.ports import Given, as_windows, by_name
from lstmcore.reference_backward import noting
from lstmcore.text import NAME, clean, listed, quoted

if TYPE_CHECKING:
    from lstmcore.model import Model


@dataclass(frozen=True, eq=False)
class Steps:
    """One recurrent layer, of a stack one of its layers and directions, over a window: row t belongs to tick t.

    So it is in a backward direction too, which reads tick T - 1 first. Beside the fields, each gate has its letter as
    an attribute: `i`, `f`, `g`, `o` of an LSTM, `r`, `z`, `n` of a GRU, `n` of an RNN, each (T, H) float64.
    """

    #: The layer's name; of a stack with "_l1", of a backward direction with "_reverse" behind it, as torch has them.
    name: str
    #: The layer, its weights in float64: one layer and direction.
    layer: Recurrent
    #: What comes in, (T, I).
    x: Array
    #: What each gate returned, by its letter: (T, H). An RNN's candidate is its h.
    gates: Mapping[str, Array]
    #: The cell state, (T, H); None where there is none.
    c: Array | None
    #: The hidden state, (T, H); with a projection (T, P).
    h: Array
    #: The states that the first step begins with: h, and of an LSTM c.
    start: tuple[Array, ...]
    #: Whether it reads the window from its newest tick to its oldest.
    backward: bool = False

    @property
    def state(self) -> Array:
        """What is carried from step to step: c of an LSTM, h of a GRU or RNN."""
        return self.h if self.c is None else self.c

    def __getattr__(self, letter: str) -> Array:
        gates = self.__dict__.get("gates", {})
        if letter in gates:
            values: Array = gates[letter]
            return values
        others = "x, h, state" if self.__dict__.get("c") is None else "x, h, c, state"
        raise AttributeError(f"{letter!r}: the trace of a layer has its gates ({', '.join(gates)}), and {others}")

    def __repr__(self) -> str:
        letters = " ".join([*self.gates, *(["c"] if self.c is not None else []), "h"])
        way = ", backward" if self.backward else ""
        return f"{clean(self.name, NAME)} ({type(self.layer).__name__}{way}): {letters} {show(self.h.shape)}"


@dataclass(frozen=True, eq=False)
class Trace(Sequence[Steps]):
    """What `Model.trace` found, in float64.

    `trace[0]`, `trace["lstm"]` and the like are `Steps`, in the order in which the window passes them. Where there is
    but one, what it has is an attribute of the trace too: `trace.i`, `trace.c`.
    """

    #: What came in: the window, (T, F), by its name; of a model with several inputs each one.
    inputs: Mapping[str, Array]
    #: Every recurrent layer; of a stack, each of its layers and directions.
    steps: tuple[Steps, ...]
    #: What came out of every layer, by its name.
    outputs: Mapping[str, Array]
    #: The model's answer; of one with several outputs a dict.
    answer: Any
    #: The model, its weights in float64.
    wiring: Wiring = field(repr=False)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The model's layers, their weights in float64."""
        return self.wiring.layers

    @property
    def window(self) -> Array:
        """The window, (T, F). Raises UnsupportedError where the model has several inputs, which `inputs` has."""
        if len(self.inputs) > 1:
            raise UnsupportedError(
                f"the traced model has several inputs: trace.inputs[...], {listed(map(repr, self.inputs))}"
            )
        return next(iter(self.inputs.values()))

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Steps]:
        return iter(self.steps)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            try:
                return self.steps[key]
            except IndexError:
                raise IndexError(f"{key}: the trace has {len(self)} recurrent layers, counted from 0") from None
        for steps in self.steps:
            if steps.name == key:
                return steps
        raise KeyError(f"{quoted(key)}: the traced layers are {listed(repr(steps.name) for steps in self.steps)}")

    def __getattr__(self, name: str) -> Any:
        steps: tuple[Steps, ...] | None = self.__dict__.get("steps")
        if name.startswith("__") or steps is None:  # a copy under way has no fields yet
            raise AttributeError(name)
        if len(steps) == 1:
            return getattr(steps[0], name)
        having = [one.name for one in steps if getattr(one, name, None) is not None]
        if having:
            one_of = f"{', '.join(map(repr, having))}; name one, as in trace[{having[0]!r}].{name}"
            raise AttributeError(f"{name!r}: it is there for {one_of}")
        gates = "; ".join(f"{one.name!r} has {', '.join(one.gates)}" for one in steps) or "the model has none"
        raise AttributeError(f"{name!r}: no recurrent layer has it; of gates, {gates}")

    def __repr__(self) -> str:
        answers = self.answer if isinstance(self.answer, dict) else {"answer": self.answer}
        sizes = [f"{name} {np.round(y, 4) if y.size <= 8 else show(y.shape)}" for name, y in answers.items()]
        names = self.inputs if len(self.inputs) > 1 else ["window"]
        came = [f"{name} {show(x.shape)}" for name, x in zip(names, self.inputs.values(), strict=True)]
        return "\n  ".join([f"Trace: {', '.join([*came, *sizes])}", *map(repr, self.steps)])


def one_window(model: Model, window: Given, dtype: np.dtype[Any]) -> list[Array]:
    """A window (T, F) of `dtype`, or a vector (F,), for each input.

    Raises ValueError for a batch, and what `Model.__call__` raises.
    """
    xs = [as_numbers(x, dtype, "window") for x in as_windows(window, model.inputs, model.steps)]
    for one, x in zip(model.inputs, xs, strict=True):
        if x.ndim != len(one.shape):
            raise ValueError(f"window: expected one window {show(one.shape)}, got a batch of shape {x.shape}")
    return xs


def trace(model: Model, window: Given) -> Trace:
    """See `Model.trace`."""
    xs = one_window(model, window, np.dtype(np.float64))
    for layer in model.layers:
        if isinstance(layer, Masking):
            raise UnsupportedError(f"{layer.label}: a trace has a row for every tick, and this layer skips some")
    wiring = replace(model.wiring, layers=tuple(x.map_weights(lambda w: w.astype(np.float64)) for x in model.layers))
    values, steps = list(xs), []
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for layer, read in zip(wiring.layers, wiring.reads, strict=True):
            given = [values[n] for n in read]
            if isinstance(layer, Recurrent):
                out, more = _recurrent(layer, given[0])
                steps += more
            elif isinstance(layer, Merge):
                out = reference.merged(given, MERGES[type(layer)])
            else:
                out = given[0][::-1] if isinstance(layer, Reverse) else EQUATIONS[type(layer)](layer, given[0])
            values.append(out)
    inputs = dict(zip((one.name for one in wiring.inputs), xs, strict=True))
    outputs = {layer.name: out for layer, out in zip(wiring.layers, values[len(xs) :], strict=True)}
    answer = by_name(wiring.outputs, [values[n] for n in wiring.ends])
    return Trace(inputs, tuple(steps), outputs, answer, wiring)


def _recurrent(layer: Recurrent, x: Array) -> tuple[Array, list[Steps]]:
    """What goes on from a stack in one or both directions, and each of its layers and directions."""
    traced: list[Steps] = []
    for k in range(layer.num_layers):
        ways = [_steps(layer, k, suffix, x) for suffix in layer.suffixes]
        merge = layer.merge if k + 1 == layer.num_layers else "concat"
        x = reference.merged([steps.h for steps in ways], merge)
        traced += ways
    if layer.return_sequences:
        return x, traced
    return reference.merged([steps.h[0 if steps.backward else -1] for steps in ways], layer.merge), traced


def _steps(layer: Recurrent, k: int, suffix: str, x: Array) -> Steps:
    name = layer.name if layer.states == 1 else f"{layer.name}_l{k}{suffix}"
    one = layer.single(k, suffix, name, True)
    seen: list[Array] = []
    step = step_of(one, 0, lambda function: noting(function, seen))
    h_0, c_0 = start_of(one, x.dtype)
    h, c, rows = h_0, c_0, []
    for x_t in x[::-1] if suffix else x:
        h, c = step(x_t, h, c)
        rows.append((dict(zip(_order(one), seen, strict=True)), h, c))
        seen.clear()
    if suffix:
        rows.reverse()
    gates = {letter: np.stack([row[0][letter] for row in rows]) for letter in _order(one)}
    if "f" in one.gates and "f" not in gates:
        gates["f"] = 1 - gates["i"]  # coupled
    cell = np.stack([row[2] for row in rows]) if one.cell_width else None
    start = (h_0, c_0) if one.cell_width else (h_0,)
    gates = {letter: gates[letter] for letter in one.gates}
    return Steps(name, one, x, gates, cell, np.stack([row[1] for row in rows]), start, bool(suffix))


def _order(layer: Recurrent) -> str:
    """The gates in the order in which the equation calls their functions; a coupled forget gate has none."""
    return "igo" if isinstance(layer, LSTM) and layer.coupled else layer.gates
