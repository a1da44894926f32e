"""The states that a source takes in and gives out, and those of the Model that was read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lstmcore.layers import Array, Layer, Recurrent


class StateError(Exception):
    """States that do not belong together, in words; the caller adds the file or module."""


class Cell(NamedTuple):
    """One layer and direction of a recurrent node."""

    key: str  # of the node
    label: str  # the node in words
    row: int  # which of its layers and directions, in torch's order


class Slot(NamedTuple):
    """The h or c of one cell: (N, width)."""

    cell: Cell
    letter: str
    width: int

    def __str__(self) -> str:
        return f"the {self.letter} of {self.cell.label}" + (f", row {self.cell.row}" if self.cell.row else "")


@dataclass(frozen=True)
class Port:
    """An input or output of the graph that is states: for one window, the unit that each element is.

    A unit is a number: the width of all slots before its own, and its place in that.
    """

    name: str
    units: tuple[int, ...]
    shape: tuple[int, ...] = field(compare=False)  # without the axis of the windows
    windows_axis: int = field(compare=False)

    def gather(self, states: Array) -> Array:
        """The tensor that the graph takes or gives, of states (N, all units)."""
        rows = states[:, list(self.units)].reshape(len(states), *self.shape)
        return np.ascontiguousarray(np.moveaxis(rows, 0, self.windows_axis))


@dataclass(frozen=True)
class Flow:
    """All states that go in and come out, the same whatever the number of windows and steps."""

    slots: tuple[Slot, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def ports(self) -> tuple[Port, ...]:
        """All of them."""
        return (*self.inputs, *self.outputs)


@dataclass(frozen=True)
class Carried:
    """The states of a source beside those of the Model that was read from it."""

    flow: Flow
    rows: tuple[tuple[int, int], ...]  # of each slot: which recurrent layer of the Model has it, and in which row

    @property
    def width(self) -> int:
        """How many units there are."""
        return sum(slot.width for slot in self.flow.slots)

    def as_state(self, layers: Sequence[Recurrent], units: Array) -> dict[str, Any]:
        """What a Model takes as `state`, of all units (N, width); for those that no input has, what the Model's layers
        begin with."""
        given = {unit for port in self.flow.inputs for unit in port.units}
        found = [{letter: _begins(layer, letter, len(units)) for letter in layer.state_widths} for layer in layers]
        start = 0
        for slot, (layer, row) in zip(self.flow.slots, self.rows, strict=True):
            if start in given:
                found[layer][slot.letter][row] = units[:, start : start + slot.width]
            start += slot.width
        pairs = zip(layers, found, strict=True)
        return {layer.name: tuple(state.values()) if "c" in state else state["h"] for layer, state in pairs}

    def as_units(self, layers: Sequence[Recurrent], state: Any) -> Array:
        """All units (N, width) of what a Model gives as its states."""
        states = state if isinstance(state, Mapping) else {layers[0].name: state}
        parts = []
        for slot, (layer, row) in zip(self.flow.slots, self.rows, strict=True):
            own = states[layers[layer].name]
            parts.append((own["hc".index(slot.letter)] if isinstance(own, tuple) else own)[row])
        found: Array = np.concatenate(parts, axis=1)
        return found


def _begins(layer: Recurrent, letter: str, count: int) -> Array:
    """What a layer's windows begin with unless they are told otherwise, (states, N, width)."""
    if not layer.learned_state:
        return np.zeros((layer.states, count, layer.state_widths[letter]))
    rows = [layer.cell(k, suffix)[f"{letter}_0"] for k in range(layer.num_layers) for suffix in layer.suffixes]
    return np.stack([np.broadcast_to(row, (count, len(row))) for row in rows]).astype(np.float64)


def carried(flow: Flow, rows: Mapping[Cell, Sequence[tuple[str, int]]], layers: Sequence[Layer]) -> Carried | None:
    """The states beside `layers`, in which each cell is in `rows`; None where none go in or come out.

    Raises:
        StateError: A state that none of the layers has, or several.
    """
    if not flow.ports:
        return None
    names = [layer.name for layer in layers if isinstance(layer, Recurrent)]
    found = []
    for slot in flow.slots:
        places = rows.get(slot.cell, [])
        if len(places) != 1:
            why = "is read in several ways by the answer" if places else "is nothing that the answer depends on"
            raise StateError(f"{slot} goes in or comes out, but {why}; expected one layer that has it")
        ((name, row),) = places
        found.append((names.index(name), row))
    return Carried(flow, tuple(found))
