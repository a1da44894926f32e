"""ONNX's LSTM, GRU and RNN with all their attributes, as layers in torch's layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmcore.formats.gates import reorder
from lstmcore.formats.onnx.onnx_gates import FUNCTIONS, KINDS, NO_DEFAULTS
from lstmcore.formats.onnx.onnx_nodes import LayerNode, Node
from lstmcore.formats.onnx.onnx_op import Op
from lstmcore.formats.onnx.onnx_value import Tensor, TimeAxisError, single, stacked
from lstmcore.formats.state_places import Places
from lstmcore.formats.states import Cell, Slot
from lstmcore.layers import Array
from lstmcore.layers.activations import TABLE, Activation

#: Our names of functions for ONNX's, of which runtimes do not mind the case.
OURS = {name.lower(): ours for name, ours in FUNCTIONS.items()}


@dataclass(frozen=True)
class Lengths:
    """A graph input that says how many steps of each window count; the Model's own `lengths`."""

    name: str


def recurrent(
    op: Op,
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    lengths: Any = None,
    h_0: Any = None,
    c_0: Any = None,
    peepholes: Any = None,
) -> tuple[Tensor | Places, ...]:
    """Y, Y_h, and Y_c of an LSTM, which can only go out as a state."""
    kind, gates = op.kind, len(KINDS[op.kind].gates)
    for what, value in {"W": w, "R": r, "B": b, "P": peepholes}.items():
        if value is not None and not isinstance(value, np.ndarray):
            op.refuse(f"input {what}: depends on the window; expected a constant")
    direction = op.get("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        op.damaged(f"attribute direction: expected forward, reverse or bidirectional, got {direction!r:.100}")
    count = 2 if direction == "bidirectional" else 1
    hidden = op.get("hidden_size", r.shape[-1] if r.ndim else 0)
    _check_shape(op, "R", r, (count, gates * hidden, hidden))
    _check_shape(op, "W", w, (count, gates * hidden, w.shape[-1] if w.ndim else 0))
    if b is not None:
        _check_shape(op, "B", b, (count, 2 * gates * hidden))
    if peepholes is not None:
        _check_shape(op, "P", peepholes, (count, 3 * hidden))
    layout = op.get("layout", 0)
    if layout not in (0, 1):
        op.damaged(f"attribute layout: expected 0 or 1, got {layout}")
    node = _sequence(op, x, layout, w.shape[-1])
    _check_lengths(op, lengths)
    cells = [Cell(next(filter(None, op.node.output)), op.own_label, d) for d in range(count)]
    states: dict[str, Array | None] = {}
    for letter, value in [("h", h_0), ("c", c_0)][: 2 if kind == "LSTM" else 1]:
        slots = [Slot(cell, letter, hidden) for cell in cells]
        states[f"{letter}_0"] = _initial_state(op, f"initial_{letter}", value, slots, layout)
    learned = {name: state for name, state in states.items() if state is not None}
    if learned and kind == "LSTM":
        learned = {name: learned.get(name, np.zeros((count, hidden), w.dtype)) for name in ("h_0", "c_0")}
    settings = _settings(op, hidden, w.shape[-1], b is not None, bool(learned))
    if kind == "LSTM":
        settings["peepholes"] = peepholes is not None
    builder = op.context.builder
    sequences: list[Node] = []
    finals: list[Node] = []
    for d, activations in enumerate(_activations(op, count)):
        backward = direction == "reverse" or d == 1
        weights = {
            "weight_ih_l0": reorder(w[d], kind, "onnx", "torch"),
            "weight_hh_l0": reorder(r[d], kind, "onnx", "torch"),
        }
        if b is not None:
            weights["bias_ih_l0"], weights["bias_hh_l0"] = (
                reorder(half, kind, "onnx", "torch") for half in np.split(b[d], 2)
            )
        if peepholes is not None:
            p_i, p_o, p_f = np.split(peepholes[d], 3)
            weights["weight_peephole_l0"] = np.concatenate([p_i, p_f, p_o])
        weights |= {f"{name}_l0": state[d] for name, state in learned.items()}
        read = builder.reverse(node) if backward else node
        made: LayerNode = builder.layer(KINDS[kind], [read], hidden, True, weights, activations=activations, **settings)
        made.cells = (cells[d],)
        sequences.append(builder.reverse(made) if backward else made)
        finals.append(builder.final(made))
    context = op.context
    ends = [context.states.end(Slot(cell, "c", hidden)) for cell in cells] if kind == "LSTM" else []
    c_n = [Places(np.stack(ends, 1 if layout else 0), f"the cell state of {op.own_label}")] if ends else []
    if count == 1:
        every = single(context, sequences[0], "N", "T", "F") if layout else single(context, sequences[0], "T", "N", "F")
        final = single(context, finals[0], "N", "F")
        return every.unsqueeze([2 if layout else 1]), final.unsqueeze([1 if layout else 0]), *c_n
    order, state_order = (("N", "T", 0, "F"), ("N", 0, "F")) if layout else (("T", 0, "N", "F"), (0, "N", "F"))
    return stacked(context, sequences, *order), stacked(context, finals, *state_order), *c_n


def _check_shape(op: Op, what: str, array: Array, expected: tuple[int, ...]) -> None:
    if array.shape != expected or array.dtype.kind != "f" or 0 in expected:
        op.damaged(f"input {what}: expected float numbers of shape {expected}, got {array.dtype} {array.shape}")


def _sequence(op: Op, x: Any, layout: int, features: int) -> Node:
    """The node that X holds, its axes checked."""
    if not isinstance(x, Tensor):
        op.refuse("input X: does not depend on the window")
    value: Tensor = x.settled()
    letters = ("N", "T", "F") if layout else ("T", "N", "F")
    if not value.is_laid_out(*letters):
        swapped = value.is_laid_out(letters[1], letters[0], "F")
        message = f"reads {'(batch, time, features)' if layout else '(time, batch, features)'}, but gets {value.show()}"
        if swapped:
            raise TimeAxisError(message)
        op.refuse(message)
    if not value.node.sequence:
        op.refuse("reads a value that has no time steps")
    if value.node.features != features:
        op.damaged(f"input W: for {features} features, but X has {value.node.features}")
    return value.node


def _check_lengths(op: Op, lengths: Any) -> None:
    """Every step counts, or the model's own `lengths` say how many."""
    if lengths is None or isinstance(lengths, Lengths):
        return
    if not isinstance(lengths, np.ndarray):
        op.refuse("input sequence_lens: is computed from the window; expected an input of the model, or none")
    if lengths.dtype.kind not in "iu" or lengths.size not in (1, op.context.windows):
        op.damaged(f"input sequence_lens: expected an integer for each window, got shape {lengths.shape}")
    if np.any(lengths != op.context.steps):
        op.refuse(
            f"input sequence_lens: {lengths.reshape(-1)[:8].tolist()} of {op.context.steps} steps are fixed in the "
            "file; expected all steps, or an input of the model"
        )


def _initial_state(op: Op, what: str, state: Any, slots: Sequence[Slot], layout: int) -> Array | None:
    """An initial state (D, H) that is the same for every window; None for zeros, and for one that is given."""
    states = op.context.states
    states.slots += slots
    if state is None:
        return None
    if not isinstance(state, Places | np.ndarray):
        op.refuse(f"input {what}: is computed from the model's inputs; expected an input of its own, or a constant")
    array = state.numbers if isinstance(state, Places) else state
    sizes = (op.context.windows, len(slots), slots[0].width)
    expected = sizes if layout else (sizes[1], sizes[0], sizes[2])
    if array.shape != expected:
        op.damaged(f"input {what}: expected shape {expected}, got {array.shape}")
    rows: Array = array if layout else array.swapaxes(0, 1)  # (N, D, H)
    if isinstance(state, Places):
        for d, slot in enumerate(slots):
            states.begin(slot, rows[:, d])
        return None
    _check_shape(op, what, state, expected)
    if not np.any(rows):
        return None
    if not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape)):
        op.refuse(f"input {what}: differs from window to window")
    first: Array = rows[0]
    return first


def _settings(op: Op, hidden: int, features: int, bias: bool, learned: bool) -> dict[str, Any]:
    clip = op.get("clip", 0.0)
    if "clip" in op.attributes and not 0 < clip < np.inf:
        op.damaged(f"attribute clip: expected a number above 0, got {clip}")
    settings: dict[str, Any] = {
        "input_size": features, "hidden_size": hidden, "num_layers": 1, "bias": bias, "return_sequences": True,
        "bidirectional": False, "merge": "concat", "clip": clip, "learned_state": learned,
    }  # fmt: skip
    flag = {"LSTM": "input_forget", "GRU": "linear_before_reset"}.get(op.kind)
    if flag is not None:
        value = op.get(flag, 0)
        if value not in (0, 1):
            op.damaged(f"attribute {flag}: expected 0 or 1, got {value}")
        settings["coupled" if op.kind == "LSTM" else "reset_after"] = bool(value)
    return settings


def _activations(op: Op, directions: int) -> list[str]:
    """Our text for each direction. Numbers are taken in order by the functions that have any."""
    usual = KINDS[op.kind].usual.split()
    names = op.get("activations", []) or [*usual] * directions
    if len(names) != len(usual) * directions or not all(isinstance(name, str) for name in names):
        op.damaged(f"attribute activations: expected {len(usual)} for each direction, got {names!r:.200}")
    given: dict[str, Iterator[float]] = {}
    counts: dict[str, int] = {}
    for key in ("alpha", "beta"):
        numbers = op.get(f"activation_{key}", [])
        if not all(isinstance(number, float) and np.isfinite(number) for number in numbers):
            op.damaged(f"attribute activation_{key}: expected finite numbers, got {numbers!r:.200}")
        given[key], counts[key] = iter(numbers), len(numbers)
    functions = [_function(op, name, given) for name in names]
    used = {key: counts[key] - len(list(left)) for key, left in given.items()}
    for key, count in counts.items():
        # Some exporters give a number for every function; those of functions without numbers must then not shift
        # the others, which ONNX Runtime and this reader count by the functions that have one.
        if used[key] != count:
            op.refuse(f"attribute activation_{key}: {count} numbers; {', '.join(names)} have use for {used[key]}")
    texts = [" ".join(map(str, functions[k : k + len(usual)])) for k in range(0, len(functions), len(usual))]
    return texts


def _function(op: Op, name: str, given: dict[str, Iterator[float]]) -> Activation:
    ours = OURS.get(name.lower())
    if ours is None:
        op.refuse(f"attribute activations: {name!r:.100}; expected one of {', '.join(FUNCTIONS)}")
    numbers = []
    for key, default in TABLE[ours].numbers.items():
        number = next(given[key], None)
        if number is None and ours in NO_DEFAULTS:
            op.refuse(f"attribute activation_{key}: {name} needs a number; runtimes do not agree on what it is without")
        numbers.append(default if number is None else number)
    return Activation(ours, tuple(numbers))


def check_all_take_lengths(ops: Sequence[tuple[Op, Any]]) -> None:
    """Refuse a model, with an input that says how many steps count, of which only some layers know that."""
    for op, lengths in ops:
        if not isinstance(lengths, Lengths):
            op.refuse("input sequence_lens: other nodes of the model have it; expected all or none")
