"""What the inputs and outputs of a graph are, found from the nodes that read and write them: window, states, answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx

from lstmcore.errors import UnsupportedError
from lstmcore.formats.onnx.onnx_ends import MOVES
from lstmcore.formats.onnx.onnx_gates import KINDS

Writers = Mapping[str, onnx.NodeProto]

NOT_MADE = 9  # by any node: an input of the graph, or a constant
INITIAL = (5, 6)  # the inputs of a recurrent node that are its initial states


def ancestors(writers: Writers, names: Sequence[str]) -> tuple[set[int], set[str]]:
    """The nodes, by id, that these values depend on, and all names of values that they read."""
    used: set[str] = set()
    needed: set[int] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in used:
            continue
        used.add(name)
        node = writers.get(name)
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            left.extend(filter(None, node.input))
    return needed, used


def state_inputs(file: str, nodes: Sequence[onnx.NodeProto], names: Sequence[str]) -> tuple[str, list[str]]:
    """Of the float inputs the window, and those whose elements are initial states of recurrent nodes and no more."""
    readers = {name: _reader(nodes, name) for name in names} if len(names) > 1 else {}
    windows = [name for name in names if readers.get(name, True)]
    if len(windows) != 1:
        which = "; ".join(f"{name!r:.200} is read by {readers[name]}" for name in windows[:4])
        raise UnsupportedError(
            f"{file}: inputs {list(names)!r:.200}: expected one of float windows, and others that are initial states "
            f"of recurrent nodes alone; {which or 'all are initial states'}"
        )
    return windows[0], [name for name in names if name != windows[0]]


def _reader(nodes: Sequence[onnx.NodeProto], name: str) -> str:
    """A node, in words, that reads a value for something else than an initial state; "" where none does."""
    moved = {name}
    for node in nodes:
        places = [n for n, given in enumerate(node.input) if given in moved]
        if not places or node.op_type == "Shape":
            continue
        if node.op_type in KINDS and set(places) <= set(INITIAL):
            continue
        if node.op_type in MOVES and (places == [0] or node.op_type == "Concat"):
            moved.update(node.output)
            continue
        return f"node {node.name or node.output[0]!r:.200} ({node.op_type:.100})"
    return ""


def answers(file: str, writers: Writers, names: Sequence[str]) -> list[str]:
    """The outputs that may be the answer, the likeliest first: others may be final states alone."""
    if len(names) == 1:
        return list(names)
    found = {name: list(_origins(writers, name)) for name in names}
    made = {name: {position for _, position in origins} for name, origins in found.items()}
    # The window beside other values is the answer too: no state is made of it.
    computed = [name for name in names if min(made[name]) < 0 or {NOT_MADE} < made[name]]
    if len(computed) > 1:
        which = "; ".join(f"{name!r:.200} by {_computing(found[name])}" for name in computed[:4])
        raise UnsupportedError(
            f"{file}: outputs {list(names)!r:.200}: expected one answer, and others that are final states of recurrent "
            f"nodes alone; several are computed, {which}"
        )
    if computed:
        return computed
    some = [name for name in names if made[name] <= {0, 1}]  # Y and Y_h, no Y_c
    if not some:
        raise UnsupportedError(f"{file}: outputs {list(names)!r:.200}: all are cell states; expected an answer")
    return sorted(some, key=lambda name: made[name] != {0})


def _origins(writers: Writers, name: str) -> Iterator[tuple[str, int]]:
    """What the elements of a value come from where it is only moved: a node in words, and which output of a recurrent
    node it is; -1 for another node, NOT_MADE for none."""
    left, seen = [name], {name}
    while left:
        name = left.pop()
        node = writers.get(name)
        if node is None:
            yield f"no node ({name!r:.200})", NOT_MADE
        elif node.op_type in KINDS:
            yield node.name, list(node.output).index(name)
        elif node.op_type in MOVES:
            inputs = list(node.input) if node.op_type == "Concat" else list(node.input[:1])
            left += [x for x in inputs if x not in seen]
            seen.update(inputs)
        else:
            yield f"node {node.name or node.output[0]!r:.200} ({node.op_type:.100})", -1


def _computing(origins: Sequence[tuple[str, int]]) -> str:
    return next((where for where, position in origins if position < 0), "the window and others")
