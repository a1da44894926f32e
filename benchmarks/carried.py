"""Runtimes that are asked tick by tick: a graph of one step, whose states go from its outputs to its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lstmcore.layers import Array
from lstmcore.measure import peers
from lstmcore.terminal import need


class OnnxRuntime(peers.Peer):
    """ONNX Runtime's `run`, the states handed from each answer to the next call.

    Of any graph that takes x (1, 1, F) and states, and whose last outputs are the states after it; the first output is
    the answer, and may be a state itself.
    """

    label = "ONNX Runtime"

    def __init__(self, onnx: bytes, threads: int | None) -> None:
        self.session = peers.onnxruntime_session(onnx, threads)
        self.settings, self.threads = f"run, {peers.count_of(threads)}", threads
        x, *states = self.session.get_inputs()
        self.x = x.name
        self.states = {state.name: np.zeros(state.shape, np.float32) for state in states}

    def __call__(self, tick: Array) -> Any:
        found = self.session.run(None, {self.x: tick[np.newaxis, np.newaxis], **self.states})
        self.states = dict(zip(self.states, found[-len(self.states) :], strict=True))
        return found[0].reshape(-1)


class Swapping(peers.Peer):
    """Two runs over the same two sets of states, each reading what the other wrote, taken in turn: nothing is copied.

    A run is a function without arguments, bound to `self.x` and to its states; after it, its answer stands in
    `self.answers`.
    """

    def __init__(self, features: int, states: Sequence[tuple[int, ...]]) -> None:
        self.x = np.zeros((1, 1, features), np.float32)
        self.states = [[np.zeros(shape, np.float32) for shape in states] for _ in range(2)]
        self.turn = 0
        self.runs: list[Any] = []
        self.answers: list[Array] = []

    def __call__(self, tick: Array) -> Any:
        turn = self.turn
        self.x[0, 0] = tick
        self.runs[turn]()
        self.turn = 1 - turn
        return self.answers[turn]


class OnnxRuntimeBound(Swapping):
    """ONNX Runtime with IO binding; see `OnnxRuntime` for the graph."""

    label = "ONNX Runtime"

    def __init__(self, onnx: bytes, threads: int | None, arena: bool = True) -> None:
        session = peers.onnxruntime_session(onnx, threads, arena)
        x, *inputs = session.get_inputs()
        super().__init__(x.shape[-1], [state.shape for state in inputs])
        self.settings = f"bound, {'' if arena else 'no arena, '}{peers.count_of(threads)}"
        self.threads = threads
        value = need("onnxruntime", "peers").OrtValue.ortvalue_from_numpy  # keeps to the array's own memory
        others = session.get_outputs()[: -len(inputs)]  # beside the states
        for states, after in (self.states, self.states[::-1]):
            arrays = [*(np.zeros(output.shape, np.float32) for output in others), *after]
            binding = session.io_binding()
            for node, array in zip((x, *inputs), (self.x, *states), strict=True):
                binding.bind_ortvalue_input(node.name, value(array))
            for node, array in zip(session.get_outputs(), arrays, strict=True):
                binding.bind_ortvalue_output(node.name, value(array))
            self.runs.append(lambda binding=binding: session.run_with_iobinding(binding))
            self.answers.append(arrays[0].reshape(-1))


def onnxruntime(onnx: bytes, threads: int | None) -> Iterator[peers.Peer]:
    """ONNX Runtime with a graph of one step, once for each way to call it that is worth trying."""
    yield OnnxRuntime(onnx, threads)
    yield from (OnnxRuntimeBound(onnx, threads, arena) for arena in (True, False))
