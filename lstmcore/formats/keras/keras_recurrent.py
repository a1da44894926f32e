"""Keras's recurrent layers: LSTM, GRU, SimpleRNN, RNN around one of their cells, and Bidirectional around these."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lstmcore.errors import ModelFormatError, UnsupportedError
from lstmcore.formats.gates import reorder
from lstmcore.formats.keras.keras_activations import gate_function
from lstmcore.formats.keras.keras_build import Builder, Tensor
from lstmcore.formats.keras.keras_spec import Spec
from lstmcore.formats.keras.keras_weights import Place, Wanted
from lstmcore.layers import GRU, LSTM, RNN, Array, Recurrent, Reverse

CELLS: Mapping[str, type[Recurrent]] = MappingProxyType(
    {"LSTM": LSTM, "GRU": GRU, "SimpleRNN": RNN, "LSTMCell": LSTM, "GRUCell": GRU, "SimpleRNNCell": RNN}
)
#: In what order Keras stacks the gates, in the letters of `Recurrent.gates`: z, r, h and i, f, c, o in its own.

MERGES = {"concat": "concat", "sum": "sum", "ave": "mean", "mul": "mul"}


class Cell(NamedTuple):
    """One direction of a recurrent layer, without its weights."""

    cls: type[Recurrent]
    settings: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows of the weights: gates times hidden size."""
        return len(self.cls.gates) * int(self.settings["hidden_size"])


def recurrent(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    """LSTM, GRU, SimpleRNN, or an RNN around a cell."""
    read = build.one(spec, tensors)
    cell = _cell(build, spec, read)
    backwards = spec.flag("go_backwards")
    _check_mask(spec, read)
    if read.mask is not None and backwards and cell.settings["return_sequences"]:
        raise UnsupportedError(
            f"{spec.what}: argument go_backwards is True behind a Masking, with return_sequences, which is not "
            f"supported: Keras turns the sequence round and not its mask"
        )
    if read.mask is not None and spec.flag("zero_output_for_mask", False):
        raise UnsupportedError(
            f"{spec.what}: argument zero_output_for_mask is True behind a Masking; only False is supported: at a tick "
            f"that is skipped the output is the one before it"
        )
    weights = _weights(build, spec, cell, read.features, place)
    if backwards:  # Keras leaves the outputs in the order in which they were computed, the newest first
        read = build.add(Reverse, spec, read, suffix="_reverse")
    made = build.add(cell.cls, spec, read, weights, **cell.settings)
    return made if cell.settings["return_sequences"] else made.without_steps()


def bidirectional(build: Builder, spec: Spec, tensors: list[Tensor], place: Place) -> Tensor:
    """Bidirectional around what `recurrent` reads."""
    spec.check_arguments()
    read = build.one(spec, tensors)
    forward = spec.inner("layer")
    backward = forward if spec.get("backward_layer", None) is None else spec.inner("backward_layer")
    for inner in (forward, backward):
        if inner.kind not in ("LSTM", "GRU", "SimpleRNN", "RNN"):
            raise UnsupportedError(f"{spec.what}: expected LSTM, GRU, SimpleRNN or RNN inside, got {inner.kind!r:.100}")
    cell, other = _cell(build, forward, read), _cell(build, backward, read)
    different = [key for key, value in cell.settings.items() if other.settings[key] != value]
    if cell.cls is not other.cls or different:
        raise UnsupportedError(
            f"{spec.what}: argument backward_layer: expected a layer like the forward one, got another "
            f"{different[0] if different else 'class'}"
        )
    if forward.flag("go_backwards") or (backward is not forward and not backward.flag("go_backwards")):
        raise UnsupportedError(f"{spec.what}: expected go_backwards in the backward layer, and only there")
    _check_mask(spec, read)
    base = forward.name.removeprefix("forward_")
    names = {f"backward_{base}", f"backward_{backward.name.removeprefix('backward_')}", backward.name}
    weights = _weights(build, forward, cell, read.features, place.attribute("forward_layer", f"forward_{base}"))
    reverse = _weights(build, backward, cell, read.features, place.attribute("backward_layer", *names - {base}))
    weights |= {f"{key}_reverse": w for key, w in reverse.items()}
    merge = MERGES[spec["merge_mode"]]
    made = build.add(cell.cls, spec, read, weights, bidirectional=True, merge=merge, **cell.settings)
    return made if cell.settings["return_sequences"] else made.without_steps()


def _check_mask(spec: Spec, read: Tensor) -> None:
    if read.mask != read.skips:
        raise UnsupportedError(
            f"{spec.what}: reads what an operation such as x + y made behind a Masking, where Keras skips no ticks any "
            f"more; use a layer such as Add instead of the operation"
        )


def _cell(build: Builder, spec: Spec, read: Tensor) -> Cell:
    """What the layer computes in one direction."""
    spec.check_arguments()
    build.need_sequence(spec, read)
    cell = spec
    if spec.kind == "RNN":
        cell = spec.inner("cell")
        if cell.kind not in CELLS or cell.kind in ("LSTM", "GRU", "SimpleRNN"):
            raise UnsupportedError(f"{spec.what}: argument cell is a {cell.kind!r:.100}, which is not supported")
        cell.check_arguments()
        if build.dtype(cell) != build.dtype(spec):
            raise ModelFormatError(f"{spec.what}: expected the dtype of its cell")
    cls = CELLS[cell.kind]
    candidate = gate_function(cell, "activation")
    settings: dict[str, Any] = {
        "input_size": read.features,
        "hidden_size": cell.size("units"),
        "bias": cell.flag("use_bias"),
        "return_sequences": spec.flag("return_sequences"),
    }
    if cls is RNN:
        return Cell(cls, settings | {"activations": candidate})
    gate = gate_function(cell, "recurrent_activation")
    if cls is GRU:
        return Cell(cls, settings | {"activations": f"{gate} {candidate}", "reset_after": cell.flag("reset_after")})
    return Cell(cls, settings | {"activations": f"{gate} {candidate} {candidate}"})


def _weights(build: Builder, spec: Spec, cell: Cell, features: int, place: Place) -> dict[str, Array]:
    """The weights of one direction, under torch's names and in its order of gates."""
    rows, hidden = cell.rows, cell.settings["hidden_size"]
    two = cell.settings.get("reset_after", False)  # a bias for each of the two products
    wanted: list[Wanted] = [("kernel", (features, rows)), ("recurrent_kernel", (hidden, rows))]
    if cell.settings["bias"]:
        wanted.append(("bias", (2, rows) if two else (rows,)))
    kernel, recurrent_kernel, *biases = build.take(spec, place.attribute("cell"), *wanted)
    weights = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent_kernel.T}
    for bias in biases:
        weights["bias_ih_l0"], weights["bias_hh_l0"] = bias if two else (bias, np.zeros_like(bias))
    return {key: reorder(w, cell.cls.__name__, "keras", "torch") for key, w in weights.items()}
