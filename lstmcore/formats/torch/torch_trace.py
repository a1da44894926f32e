"""The graph of a traced forward, walked from the window to the answer."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import tree_leaves

from lstmcore.errors import UnsupportedError
from lstmcore.formats.states import Carried, StateError, carried
from lstmcore.formats.torch.torch_graph import WINDOW, Graph
from lstmcore.formats.torch.torch_ops import HANDLERS, JOINS, REFUSED, TAKES_HALVES, TAKES_PARTS, TAKES_SHAPE_OF
from lstmcore.formats.torch.torch_states import GIVEN, RECURRENT, Follower, answers
from lstmcore.formats.torch.torch_value import (
    ONE_DIRECTION,
    Axis,
    CellState,
    F,
    Given,
    N,
    Op,
    T,
    TimeAxisError,
    Unusable,
    Value,
    show,
)
from lstmcore.layers import Layer, Squeeze


class Traced(NamedTuple):
    """What a forward is found to be."""

    layers: list[Layer]  # up to the answer
    axes: tuple[Axis, ...]  # in which the module returns it
    states: Carried | None  # those that go in and come out; outputs are named by their place among the results
    answer: int  # its place among the results


class UnusedError(UnsupportedError):
    """An argument that the forward does not look at."""


def trace(program: ExportedProgram, module: torch.nn.Module, *, time_major: bool) -> Traced:
    """Read `module`'s graph, traced on windows (N, T, F), or (T, N, F) if `time_major`, and perhaps states behind them.

    Raises:
        TimeAxisError: A recurrent layer takes the other of the two layouts.
        UnusedError: A state that the forward does not look at.
        UnsupportedError: An operation that lstmcore has no layer for, or a parameter not used.
    """
    output = next(node for node in program.graph.nodes if node.op == "output")
    results = tree_leaves(output.args[0])
    failed: UnsupportedError | None = None
    for at in answers(results):
        try:
            return _trace_to(program, module, results, at, time_major)
        except (TimeAxisError, UnusedError):  # noqa: PERF203
            raise
        except UnsupportedError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _trace_to(
    program: ExportedProgram, module: torch.nn.Module, results: list[Any], at: int, time_major: bool
) -> Traced:
    """The forward with its result number `at` for an answer."""
    constants = _constants(program)
    read = _ancestors(next(node for node in program.graph.nodes if node.op == "output"))
    for_answer = _ancestors(results[at]) if isinstance(results[at], Node) else set()
    env: dict[Node, Any] = {}
    follower: Follower | None = None
    for node in program.graph.nodes:
        env[node] = None
        if node.op == "placeholder" and node in constants:
            env[node] = constants[node]
        elif node.op == "placeholder" and follower is None:
            env[node] = _window(node, time_major)
            follower = Follower(env[node].graph.states, env[node].graph.ends)
        elif node.op == "placeholder" and follower is not None:
            if node not in read:
                raise UnusedError(f"the forward does not look at its argument {node.name!r}")
            env[node] = follower.take_in(node)
        elif node.op == "call_function" and node in read and follower is not None:
            op = Op(node, module)
            numbers = follower.follow(node, op.kind)
            if node in follower.given:
                env[node] = Given(f"reads {GIVEN}", numbers)
            elif node in for_answer:
                env[node] = _evaluate(op, env)
                follower.follow(node, op.kind)
    _check_filled(program, module, read)
    answer = _answer(results[at], env)
    _check_all_used(program, module, read)
    layers = answer.graph.layers(answer.source)
    assert follower is not None
    try:
        flow = follower.flow(results, at)
        return Traced(layers, answer.axes, carried(flow, answer.graph.rows, layers), at)
    except StateError as error:
        raise UnsupportedError(f"{type(module).__name__}: {error}") from None


def _constants(program: ExportedProgram) -> dict[Node, torch.Tensor]:
    """Parameters, buffers and other tensors that the forward holds, by their placeholders."""
    tensors = {**program.constants, **program.state_dict}
    specs = program.graph_signature.input_specs
    names = {spec.arg.name: spec.target for spec in specs if spec.target is not None}
    return {node: tensors[names[node.name]] for node in program.graph.nodes if node.name in names}


def _window(node: Node, time_major: bool) -> Value:
    axes = (T, N, F) if time_major else (N, T, F)
    shape = node.meta["val"].shape
    return Value(
        Graph(shape[axes.index(N)]),
        WINDOW,
        axes,
        {letter: int(size) for (letter,), size in zip(axes, shape, strict=True)},
    )


def _ancestors(node: Node) -> set[Node]:
    """A node and all that it is computed from."""
    seen: set[Node] = set()
    left = [node]
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            x = _softsign_of(node)
            left.extend([x] if x else node.all_input_nodes)
    return seen


def _check_filled(program: ExportedProgram, module: torch.nn.Module, read: set[Node]) -> None:
    """Refuse where a part of a tensor is changed in place that something behind it reads: the graph does not say so."""
    nodes = list(program.graph.nodes)
    for at, node in enumerate(nodes):
        schema = getattr(node.target, "_schema", None)
        if node in read or not (schema and schema.is_mutable):
            continue
        changed = set()
        while schema and schema.returns[0].alias_info and isinstance(node.args[0], Node):  # a view, or the tensor
            node = node.args[0]
            changed.add(node)
            schema = getattr(node.target, "_schema", None)
        if any(changed & set(later.all_input_nodes) for later in nodes[at + 1 :] if later in read):
            Op(nodes[at], module).refuse(
                "changes a part of a tensor in place; make the tensor of its parts instead, by torch.cat or torch.stack"
            )


def _softsign_of(node: Node) -> Node | None:
    """What x is, where the node is x / (|x| + 1): torch has no operation of its own for softsign."""
    match node:
        case Node(
            target=Targets.div, args=(x, Node(target=Targets.add, args=(Node(target=Targets.abs, args=(y,)), 1)))
        ):
            return x if x is y and isinstance(x, Node) else None
    return None


class Targets:
    """Operations by name, for patterns."""

    div, add, abs = torch.ops.aten.div.Tensor, torch.ops.aten.add.Tensor, torch.ops.aten.abs.default


def _evaluate(op: Op, env: Mapping[Node, Any]) -> Any:
    """What a call gives: computed where it depends on constants alone, else what its handler makes of it."""
    node = op.node
    args: Any
    if op.kind in TAKES_SHAPE_OF:
        return _compute(op, *map_arg((node.args, node.kwargs), lambda n: _stand_in(n, env)))
    softsign = _softsign_of(node)
    if softsign:
        return _handle(op, "softsign", (env[softsign],), {})
    args, kwargs = map_arg((node.args, node.kwargs), lambda n: env[n])
    if node.target is operator.getitem:
        result, index = args
        return result[index]
    if op.kind == "type_as":
        args = args[:1]
    if not any(isinstance(x, Value | Unusable) for x in tree_leaves((args, kwargs))):
        return _compute(op, args, kwargs)
    return _handle(op, op.kind, args, kwargs)


def _handle(op: Op, kind: str, args: Any, kwargs: Any) -> Any:
    """What the handler makes of arguments of which some depend on the window."""
    inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Value | Unusable)]
    for x in inputs:
        begins = isinstance(x, Given) and (kind in RECURRENT or kind.endswith("_cell"))
        if isinstance(x, Unusable) and not begins and not (isinstance(x, CellState) and kind == "lstm_cell"):
            op.refuse(x.reason)
        if isinstance(x, Value) and x.half is not None and kind not in TAKES_HALVES:
            op.refuse(ONE_DIRECTION)
        if isinstance(x, Value) and {"D", "L"} & {*"".join(sum(x.axes, ()))} and kind not in TAKES_PARTS:
            op.refuse(f"works on {show(x.axes)}; take the top layer's, such as h_n[-1], first")
    if kind in REFUSED:
        op.refuse(REFUSED[kind])
    if kind not in HANDLERS:
        op.refuse(f"lstmcore has no equation for {op.node.target}")
    if len(inputs) > 1 and kind not in JOINS:
        op.refuse("joins values that depend on the input; lstmcore has no equation for that")
    for result in tree_leaves(op.node.meta["val"]):
        if result.dtype not in (torch.float32, torch.float64):
            op.refuse(f"gives {result.dtype}; lstmcore computes in float32 and float64")
    try:
        return HANDLERS[kind](op, *args, **kwargs)
    except UnsupportedError:
        raise
    except (ValueError, TypeError, StateError) as error:  # a setting or an argument that a layer cannot have
        op.refuse(str(error))


def _stand_in(node: Node, env: Mapping[Node, Any]) -> Any:
    if not isinstance(env[node], Value | Unusable):
        return env[node]
    fake = node.meta["val"]
    return torch.empty(fake.shape, dtype=fake.dtype, device=fake.device)


def _compute(op: Op, args: Any, kwargs: Any) -> Any:
    target: Any = op.node.target
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        op.refuse("draws random numbers, so the module answers differently each time")
    return target(*args, **kwargs)


def _check_all_used(program: ExportedProgram, module: torch.nn.Module, read: set[Node]) -> None:
    """That the answer depends on each parameter and buffer; of a tied one, by one of its names."""
    signature, used = program.graph_signature, {node.name for node in read}
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    tied = {id(tensors[name]) for node, name in names.items() if node in used}
    left = [name for node, name in names.items() if node not in used and id(tensors[name]) not in tied]
    left = [name for name in left if name.split(".")[-1] != "num_batches_tracked"]
    if left:
        raise UnsupportedError(
            f"not used by the forward, or not for its answer: {', '.join(left)}; remove it from the module"
        )


def _answer(result: Any, env: Mapping[Node, Any]) -> Value:
    answer = env.get(result) if isinstance(result, Node) else None
    if isinstance(answer, Unusable):
        raise UnsupportedError(f"the forward's result {answer.reason}")
    if not isinstance(answer, Value) or answer.reads_window:
        raise UnsupportedError("the forward's result does not come out of any layer")
    axes = [axis for axis in answer.axes if axis]
    if axes not in ANSWERS:
        raise UnsupportedError(
            f"the forward returns {show(answer.axes)}; expected {' or '.join(show(a) for a in ANSWERS)}"
        )
    answer = answer.settled()
    return answer if F in axes else answer.then(Squeeze("squeeze"))


#: The axes in which a module may return its answer, axes of size 1 aside.
ANSWERS: list[list[Axis]] = [[N], [N, F], [N, T], [N, T, F], [T, N, F], [T, N]]
