"""Which element of a source's input or output is which unit of which layer's state.

Every element of a state is a number, its place. Operators that only move elements move these numbers, so those that
arrive at a recurrent node, or at an output, say where each element comes from: nothing is concluded from names.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lstmcore.formats.states import Flow, Port, Slot, StateError
from lstmcore.layers import Array


@dataclass(frozen=True)
class Places:
    """Elements of states by their numbers, in the shape of the tensor that holds them."""

    numbers: Array
    source: str  # where they come from, in words

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.numbers.shape

    @property
    def ndim(self) -> int:
        """The tensor's rank."""
        return self.numbers.ndim


@dataclass(frozen=True)
class _Elements:
    """An input or output whose elements' units and windows are known."""

    name: str
    what: str  # "input" or "output"
    units: Array
    windows: Array

    def __str__(self) -> str:
        return f"the {self.what} {self.name!r:.200}"

    def port(self) -> Port:
        """What it is for one window. Raises StateError where it has not an axis of windows that are alike."""
        count = int(self.windows.max()) + 1
        for axis in range(self.units.ndim):
            along = np.arange(count).reshape([count if n == axis else 1 for n in range(self.units.ndim)])
            one = self.units.take(0, axis)
            by_window = self.units.shape[axis] == count and np.all(self.windows == along)
            if by_window and np.all(self.units == np.expand_dims(one, axis)):
                return Port(self.name, tuple(one.reshape(-1).tolist()), one.shape, axis)
        raise StateError(f"{self} mixes the states of several windows; expected an axis of windows")

    def same_order(self, other: _Elements) -> bool:
        """Whether the elements are the same one after the other, whatever axes of size 1 there are."""
        return all(
            np.array_equal(mine.reshape(-1), others.reshape(-1))
            for mine, others in ((self.units, other.units), (self.windows, other.windows))
        )


class States:
    """The states of one walk through a graph, with `windows` windows."""

    def __init__(self, windows: int) -> None:
        self.windows = windows
        self.slots: list[Slot] = []  # of all recurrent nodes, in their order
        self._count = 0
        self._inputs: dict[str, Places] = {}
        self._begins: dict[Slot, Array] = {}
        self._ends: dict[Slot, Array] = {}

    def _new(self, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        self._count += size
        return np.arange(self._count - size, self._count).reshape(shape)

    def take_in(self, name: str, shape: tuple[int, ...]) -> Places:
        """The elements of a graph's input."""
        self._inputs[name] = Places(self._new(shape), f"the input {name!r:.200}")
        return self._inputs[name]

    def begin(self, slot: Slot, numbers: Array) -> None:
        """Let a cell begin with these elements (N, width). Raises StateError for others than an input's, once each."""
        if not np.isin(numbers, _all(places.numbers for places in self._inputs.values())).all():
            raise StateError(f"{slot.letter} begins with the final state of another node; that has no layer")
        if np.isin(numbers, _all(self._begins.values())).any() or np.unique(numbers).size < numbers.size:
            raise StateError(
                f"{slot.letter} begins with elements that also begin another row; expected some of its own"
            )
        self._begins[slot] = numbers

    def end(self, slot: Slot) -> Array:
        """The elements (N, width) of a final state."""
        if slot not in self._ends:
            self._ends[slot] = self._new((self.windows, slot.width))
        return self._ends[slot]

    def flow(self, outputs: Mapping[str, Places], answer: str, last: Places | None) -> Flow:
        """What goes in and comes out.

        Args:
            outputs: The outputs of the graph that are no answer.
            answer: The name of that which is.
            last: What the answer is as a state: it counts as one where that makes those of the outputs complete.

        Raises:
            StateError: States that do not belong together; the input or output is named.
        """
        going = [self._elements(name, "input", places) for name, places in self._inputs.items()]
        coming = [self._elements(name, "output", places) for name, places in outputs.items()]
        fed, given = ({slot for each in some for slot in self._slots_of(each)} for some in (going, coming))
        if last is not None and given and given < fed:
            also = self._elements(answer, "output", last)
            if given | set(self._slots_of(also)) == fed:
                coming.append(also)
                given = fed
        if fed & given:
            self._check_carried(fed, given)
            for some, others in ((going, coming), (coming, going)):
                _check_partners(some, others)
        flow = Flow(tuple(self.slots), *(tuple(each.port() for each in some) for some in (going, coming)))
        fed_units, given_units = (
            [unit for port in some for unit in port.units] for some in (flow.inputs, flow.outputs)
        )
        if fed_units != given_units and sorted(fed_units) == sorted(given_units):
            raise StateError(
                "the states come out in another order than they go in: a loop that hands them on as they come would "
                "mix them up; give them out in the order of the inputs"
            )
        return flow

    def _elements(self, name: str, what: str, places: Places) -> _Elements:
        units, windows = np.full((2, self._count), -1)
        table = self._begins if what == "input" else self._ends
        start = 0
        for slot in self.slots:
            if slot in table:
                units[table[slot]] = start + np.arange(slot.width)
                windows[table[slot]] = np.arange(self.windows)[:, np.newaxis]
            start += slot.width
        found = _Elements(name, what, units[places.numbers], windows[places.numbers])
        if np.any(found.units < 0):
            if what == "input":
                some = "only a part of it begins" if np.any(found.units >= 0) else "no element of it begins"
                raise StateError(f"{found}: {some} a recurrent layer; expected all to")
            raise StateError(f"{found} hands on {places.source} as it came; expected final states")
        if np.unique(places.numbers).size < places.numbers.size:
            raise StateError(f"{found} has a state twice")
        return found

    def _slots_of(self, elements: _Elements) -> list[Slot]:
        """The slots that it has. Raises StateError where it has some units of one alone."""
        found = []
        start = 0
        for slot in self.slots:
            units = np.unique(elements.units[(elements.units >= start) & (elements.units < start + slot.width)])
            if 0 < units.size < slot.width and elements.what == "output":
                raise StateError(f"{elements} has {units.size} of the {slot.width} units of {slot}; expected all")
            found += [slot] * bool(units.size)
            start += slot.width
        return found

    def _check_carried(self, fed: set[Slot], given: set[Slot]) -> None:
        """Where a state comes out that went in, all do: else a stream would carry what a call of the file forgets."""
        for slot in self.slots:
            if slot not in fed or slot not in given:
                lacks = "no input begins it" if slot not in fed else "no output has it at the end"
                raise StateError(
                    f"states are carried from call to call, but not {slot}: {lacks}; let all states go in and come out"
                )


def _all(arrays: Iterable[Array]) -> Array:
    return np.concatenate([np.zeros(0, np.int64), *(a.reshape(-1) for a in arrays)])


def _check_partners(some: Sequence[_Elements], others: Sequence[_Elements]) -> None:
    """Where states are carried, each input is the same elements as one output, in the same order."""
    for each in some:
        partners = [other for other in others if np.isin(other.units, each.units).any()]
        if not any(each.same_order(other) for other in partners):
            raise StateError(
                f"{each} and {' and '.join(map(str, partners[:4]))} hold the same states, but not in the same order: "
                "layers, directions, h and c, windows or units are swapped or shifted"
            )
