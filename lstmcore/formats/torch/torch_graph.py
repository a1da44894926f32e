"""The layers that a traced forward goes through, as they are found: who reads whom, and then a model's list of them."""

from __future__ import annotations

import dataclasses

import torch
from torch import fx

from lstmcore.formats.state_places import States
from lstmcore.formats.states import Cell
from lstmcore.layers import INPUT, Last, Layer, Recurrent, Scaler
from lstmcore.layers.wiring import unused_name

#: Where the window itself is read; layers are numbered from 0.
WINDOW = -1


@dataclasses.dataclass
class Node:
    """A layer, whose name another may have as well, and the numbers of those that it reads."""

    layer: Layer
    inputs: tuple[int, ...]
    recurrent: int | None = dataclasses.field(default=None, compare=False)  # which of the forward's layers with states


class Graph:
    """Layers by number. A layer that is added again, reading the same, is the one that is there already."""

    def __init__(self, windows: int) -> None:
        self._nodes: list[Node] = []
        self.states = States(windows)
        self.ends: dict[fx.Node, dict[int, torch.Tensor]] = {}  # of operations with states: see `Follower`
        self.rows: dict[Cell, list[tuple[str, int]]] = {}  # the layers, once they are made, that have each state

    def add(self, layer: Layer, *inputs: int) -> int:
        """The number of `layer`, which reads those numbered `inputs`."""
        node = Node(layer, inputs)
        if node not in self._nodes:
            self._nodes.append(node)
        return self._nodes.index(node)

    def has_states(self, number: int, of: int) -> None:
        """Let the layer of this number be one that has the states of layer `of`."""
        self._nodes[number].recurrent = of

    def layer(self, number: int) -> Layer | None:
        """The layer of this number; None for WINDOW."""
        return None if number == WINDOW else self._nodes[number].layer

    def inputs(self, number: int) -> tuple[int, ...]:
        """What the layer of this number reads."""
        return () if number == WINDOW else self._nodes[number].inputs

    def layers(self, answer: int) -> list[Layer]:
        """What leads to the layer numbered `answer`, each behind what it reads, under names of their own."""
        self._take_last_early(answer)
        order = self._order(answer)
        names = {WINDOW: INPUT}
        found: list[Layer] = []
        before = WINDOW
        for number in order:
            node = self._nodes[number]
            names[number] = unused_name(node.layer.name, (layer.name for layer in found))
            inputs = () if node.inputs == (before,) else tuple(names[n] for n in node.inputs)
            found.append(node.layer.replace(name=names[number], inputs=inputs))
            before = number
            for slot in self.states.slots:
                if slot.letter == "h" and slot.cell.key == str(node.recurrent):
                    self.rows.setdefault(slot.cell, []).append((names[number], slot.cell.row))
        return found

    def _order(self, answer: int) -> list[int]:
        """`answer` and all that it is computed from, each behind what it reads."""
        order: list[int] = []
        left = [answer]
        while left:
            number = left[-1]
            missing = [n for n in self.inputs(number) if n != WINDOW and n not in order]
            if missing:
                left.append(missing[0])
            else:
                left.pop()
                order.append(number)
        return list(dict.fromkeys(order))

    def _take_last_early(self, answer: int) -> None:
        """Let layers that treat each step alike work on the newest step alone, where nothing reads the others."""
        changed = True
        while changed:
            changed = False
            order = self._order(answer)
            for number in order:
                last, above = self._nodes[number], self.inputs(number)[0]
                readers = [n for n in order if above in self.inputs(n)]
                if isinstance(last.layer, Last) and above != WINDOW and readers == [number]:
                    changed = self._take_last_before(number, above)
                    if changed:
                        break

    def _take_last_before(self, number: int, above: int) -> bool:
        """Let the layer numbered `above` take the place of the Last behind it, if it can."""
        node = self._nodes[above]
        if isinstance(node.layer, Recurrent) and not node.layer.bidirectional:
            self._nodes[number] = Node(node.layer.replace(return_sequences=False), node.inputs, node.recurrent)
            return True
        if not node.layer.pointwise or isinstance(node.layer, Scaler):  # a Scaler stands first
            return False
        lasts = tuple(self.add(Last("last"), n) for n in node.inputs)
        self._nodes[number] = Node(node.layer, lasts)
        return True
