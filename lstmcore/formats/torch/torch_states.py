"""States that a forward takes beside its windows, and returns beside its answer: followed through the traced graph."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from lstmcore.errors import UnsupportedError
from lstmcore.formats.state_places import Places, States
from lstmcore.formats.states import Flow, StateError
from lstmcore.formats.torch.torch_value import Given
from lstmcore.layers import Array

#: Operations that only move elements of a tensor; `getitem` is that of Python.
MOVES = ("select", "slice", "unbind", "chunk", "split", "split_with_sizes", "unsafe_chunk", "unsafe_split", "permute",
         "transpose", "t", "numpy_T", "mT", "swapaxes", "swapdims", "movedim", "view", "reshape", "flatten", "squeeze",
         "unsqueeze", "unflatten", "flip", "cat", "concat", "concatenate", "stack", "expand")  # fmt: skip
#: Operations that leave the elements where they are.
SAME = ("to", "_to_copy", "type_as", "contiguous", "clone", "detach", "alias")

RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
GIVEN = "a state that is given to the forward; that can only begin a recurrent layer, and come out of it, as it is"


class Follower:
    """Where the elements of states are in a traced graph, node by node in its order."""

    def __init__(self, states: States, ends: Mapping[Node, Mapping[int, torch.Tensor]]) -> None:
        """`ends` has the numbers of what recurrent operations give: of their first, second, ... result, -1 for what is
        no final state."""
        self.states = states
        self._ends = ends
        self._numbers: dict[Node, Any] = {}
        self.given: set[Node] = set()  # nodes that hold states which were given

    def take_in(self, node: Node) -> Given:
        """A placeholder of a state."""
        places = self.states.take_in(node.name, tuple(node.meta["val"].shape))
        self._numbers[node] = torch.as_tensor(places.numbers)
        self.given.add(node)
        return Given(f"reads {GIVEN}", self._numbers[node])

    def follow(self, node: Node, kind: str) -> Any:
        """The numbers of what a call gives, where it only moves elements of states; else None."""
        source = node.args[0] if node.args else None
        if node.target is operator.getitem and isinstance(source, Node):
            index: Any = node.args[1]
            whole = self._numbers.get(source)
            if source in self._ends:
                self._numbers[node] = self._ends[source].get(index)
            elif whole is not None:
                self._numbers[node] = whole[index]
        elif node in self._ends:
            self._numbers[node] = self._ends[node].get(0) if kind.endswith("_cell") else None
        elif kind in MOVES or (kind in SAME and node.meta["val"].is_floating_point()):
            tensors = node.all_input_nodes[: None if kind in MOVES else 1]
            if tensors and all(self._numbers.get(x) is not None for x in tensors):
                args, kwargs = map_arg((node.args, node.kwargs), lambda n: self._numbers.get(n))
                self._numbers[node] = args[0] if kind in SAME else node.target(*args, **kwargs)  # type: ignore[operator]
        found = self._numbers.get(node)
        if found is not None and node.all_input_nodes and all(x in self.given for x in node.all_input_nodes):
            self.given.add(node)
        return found

    def flow(self, results: Sequence[Any], answer: int) -> Flow:
        """The states that go in and come out, named by their place among the results.

        Raises:
            StateError: States that do not belong together.
        """
        outputs = {}
        for n, result in enumerate(results):
            numbers = self.final(result)
            if n != answer and numbers is None:
                raise StateError(
                    f"the forward returns {len(results)} values, of which the one at {n} is neither the answer nor "
                    "final states of its recurrent layers as they are; return the prediction, and such states"
                )
            if n != answer and numbers is not None:
                outputs[str(n)] = Places(numbers, "a state")
        last = self.final(results[answer])
        return self.states.flow(outputs, str(answer), None if last is None else Places(last, "a state"))

    def final(self, node: Any) -> Array | None:
        """The numbers of what is states alone, given or final ones; else None."""
        numbers = self._numbers.get(node) if isinstance(node, Node) else None
        if not isinstance(numbers, torch.Tensor) or bool((numbers < 0).any()):
            return None
        found: Array = numbers.numpy()
        return found


def answers(results: Sequence[Any]) -> list[int]:
    """The places of the results that may be the answer, the likeliest first: others may be final states alone.

    Raises:
        UnsupportedError: Several are computed, or none can be the answer.
    """
    if len(results) == 1:
        return [0]
    found = [set(_origins(result)) for result in results]
    # The windows beside other values are the answer too: no state is made of them.
    computed = [n for n, origins in enumerate(found) if COMPUTED in origins or {NOT_MADE} < origins]
    if len(computed) > 1:
        raise UnsupportedError(
            f"the forward returns {len(results)} values, of which several are computed, the results {computed}, "
            "counted from 0; return one, the prediction, and final states of recurrent layers as they are. A model of "
            "several answers is built from lstmcore.layers (docs/graphs.md)"
        )
    if computed:
        return computed
    some = [n for n, origins in enumerate(found) if origins and origins <= {0, 1}]  # all steps and h, no c
    if not some:
        raise UnsupportedError(
            f"the forward returns {len(results)} values, of which none is a prediction: they are cell states, or what "
            "it was given; return the prediction too"
        )
    return sorted(some, key=lambda n: found[n] != {0})


COMPUTED = -1
NOT_MADE = 9  # by any operation: an argument


def _origins(result: Any) -> Iterator[int]:
    """Which results of recurrent operations a value is moved from: 0 all steps, 1 h, 2 c.

    COMPUTED where it is not only moved, NOT_MADE where it is an argument.
    """
    left = [result]
    while left:
        node = left.pop()
        kind = _kind(node)
        source = node.args[0] if kind else None
        if kind == "getitem" and _kind(source) in RECURRENT:
            yield int(node.args[1])
        elif kind == "getitem" and _kind(source).endswith("_cell"):
            yield int(node.args[1]) + 1
        elif kind.endswith("_cell"):
            yield 1
        elif kind in (*MOVES, *SAME, "getitem"):
            left += node.all_input_nodes[: None if kind in MOVES else 1]
        else:
            yield NOT_MADE if isinstance(node, Node) and node.op == "placeholder" else COMPUTED


def _kind(node: Any) -> str:
    """The operation's name; "" for what is none."""
    if not isinstance(node, Node) or node.op != "call_function":
        return ""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::").removesuffix("_") if schema else getattr(node.target, "__name__", "")
