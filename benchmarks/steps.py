"""One step a call with h and c carried from call to call: lstmcore's streams beside the other libraries' ways.

Each contender takes a tick (F,) float32 and returns h (H,) as numpy holds it, from a zero state on. Whatever can be
done before the first tick is done before, and no library copies a state where it can be told to leave it in place.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import carried
import numpy as np
from carried import Swapping

import lstmcore
from lstmcore.formats.gates import reorder
from lstmcore.layers import LSTM, Array
from lstmcore.measure import bench, peers
from lstmcore.measure.comparison import answer_each, largest_difference, oracle
from lstmcore.streaming import Stream
from lstmcore.terminal import need

SEQUENCE = 100  # ticks over which the contenders are compared before they are timed


def compare(contenders: Sequence[bench.Contender], model: lstmcore.Model, seed: int) -> tuple[list[Array], int]:
    """Set every contender's `difference`, over a sequence from its first tick on; the ticks, and how many they are."""
    ticks = np.random.default_rng(seed).standard_normal((SEQUENCE, model.input_size)).astype(np.float32)
    expected = oracle(model).stateful().push_many(ticks)
    for contender in contenders:
        with contender.ready():
            answers = answer_each(contender.answer, ticks).reshape(expected.shape)  # a stream's one output is a float
            contender.difference = largest_difference(answers, expected).value
    return list(ticks), SEQUENCE


def own(model: lstmcore.Model) -> list[bench.Contender]:
    """A stream of every backend and kernel that runs here, the model's own first; then those with a way of their own.

    Without an end to the sequence, what a step needs of the state alone, R·h, can be formed as soon as the step before
    is done: `catch_up` between two ticks, outside the time.
    """
    runs = bench.runs_here()
    runs.sort(key=lambda run: run != (model.backend, model.kernel))
    models = [model.with_backend(*run) for run in runs]
    found = [
        bench.Contender(f"lstmcore {m.backend}", f"{m.kernel or ''} push".strip(), m.stateful().push) for m in models
    ]
    more = []
    for m in (m for m in models if m.backend == "c"):
        caught_up = m.stateful()
        more += [
            bench.Contender(f"lstmcore {m.backend}", f"{m.kernel} bound", Bound(m.stateful())),
            bench.Contender(
                f"lstmcore {m.backend}", f"{m.kernel} push, caught up", caught_up.push, between=caught_up.catch_up
            ),
        ]
    return [*found, *more]


class Bound:
    """A stream whose caller writes into its input buffer."""

    def __init__(self, stream: Stream) -> None:
        self.input, self.push_bound = stream.input, stream.push_bound

    def __call__(self, tick: Array) -> Any:
        self.input[...] = tick
        return self.push_bound()


def others(
    names: Sequence[str], model: lstmcore.Model, threads: Sequence[int | None], compiled: bool
) -> list[bench.Contender]:
    """The peers' contenders, each with a state of its own."""
    built = (peer for name in names for peer in BUILD[name](model, threads, compiled))
    return [bench.Contender(peer.label, peer.settings, peer, peer.ready, peer.threads) for peer in built]


def only_layer(model: lstmcore.Model) -> LSTM:
    """The model's one layer. There is no head: it would cost the other libraries further nodes or modules."""
    (layer,) = model.layers
    assert isinstance(layer, LSTM)
    return layer


def one_step_onnx(model: lstmcore.Model) -> Any:
    """A graph of one LSTM node: x (1, 1, F), h0 and c0 (1, 1, H) to h and c (1, 1, H)."""
    import onnx

    layer = only_layer(model)
    w = {key: reorder(value, "LSTM", "torch", "onnx") for key, value in layer.weights.items()}
    bias = np.concatenate([w["bias_ih_l0"], w["bias_hh_l0"]])
    constants = {"W": w["weight_ih_l0"], "R": w["weight_hh_l0"], "B": bias}
    state = (1, 1, layer.hidden_size)

    def tensor(name: str, shape: tuple[int, ...]) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    node = onnx.helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", "h0", "c0"], ["", "h", "c"], hidden_size=layer.hidden_size
    )
    graph = onnx.helper.make_graph(
        [node], "step",
        [tensor("x", (1, 1, layer.input_size)), tensor("h0", state), tensor("c0", state)],
        [tensor("h", state), tensor("c", state)],
        [onnx.numpy_helper.from_array(a[np.newaxis], name) for name, a in constants.items()],
    )  # fmt: skip
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


class OpenVino(Swapping):
    """OpenVINO's infer requests, their tensors bound once."""

    label = "OpenVINO"

    def __init__(self, model: lstmcore.Model, threads: int | None) -> None:
        super().__init__(model.input_size, [(1, 1, only_layer(model).hidden_size)] * 2)
        openvino = need("openvino", "peers")
        graph = peers.openvino_core().read_model(io.BytesIO(one_step_onnx(model).SerializeToString()))
        compiled = peers.openvino_compiled(graph, threads)
        self.settings, self.threads = f"infer requests, {peers.count_of(threads)}", threads
        for source in (0, 1):
            request = compiled.create_infer_request()
            request.set_tensor("x", openvino.Tensor(self.x, shared_memory=True))
            for k, letter in enumerate("hc"):
                request.set_tensor(f"{letter}0", openvino.Tensor(self.states[source][k], shared_memory=True))
                request.set_tensor(letter, openvino.Tensor(self.states[1 - source][k], shared_memory=True))
            self.runs.append(lambda request=request: request.infer(share_outputs=True))
            self.answers.append(self.states[1 - source][0].reshape(-1))


class OpenVinoVariables(peers.Peer):
    """OpenVINO with the states as variables inside its request."""

    label = "OpenVINO"

    def __init__(self, model: lstmcore.Model, threads: int | None) -> None:
        openvino = need("openvino", "peers")
        graph = peers.openvino_core().read_model(io.BytesIO(one_step_onnx(model).SerializeToString()))
        h = graph.output("h").get_node().input_value(0)
        passes = need("openvino.passes", "peers")
        passes.MakeStateful({"h0": "h", "c0": "c"}).run_on_model(graph)
        graph.add_outputs([h])  # which the pass has taken away
        compiled = peers.openvino_compiled(graph, threads)
        self.settings, self.threads = f"variables, {peers.count_of(threads)}", threads
        self.x = np.zeros((1, 1, model.input_size), np.float32)
        self.request = compiled.create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(self.x, shared_memory=True))
        self.request.infer()
        self.answer = self.request.get_output_tensor(0).data.reshape(-1)
        self.request.reset_state()

    def __call__(self, tick: Array) -> Any:
        self.x[0, 0] = tick
        self.request.infer(share_outputs=True)
        return self.answer


class Torch(peers.Torch):
    """torch's LSTMCell."""

    def __init__(self, cell: Any, hidden: int, kind: str, threads: int | None) -> None:
        super().__init__(cell, f"cell {kind}", threads)
        self.state = tuple(self.torch.zeros(1, hidden) for _ in "hc")

    def __call__(self, tick: Array) -> Any:
        self.state = self.module(self.torch.from_numpy(tick)[None], self.state)
        return self.state[0][0].numpy()


def _onnxruntime(model: lstmcore.Model, threads: Sequence[int | None], compiled: bool) -> Iterator[peers.Peer]:
    onnx = one_step_onnx(model).SerializeToString()
    return (peer for count in threads for peer in carried.onnxruntime(onnx, count))


def _openvino(model: lstmcore.Model, threads: Sequence[int | None], compiled: bool) -> Iterator[peers.Peer]:
    return (kind(model, count) for count in threads for kind in (OpenVino, OpenVinoVariables))


def _torch(model: lstmcore.Model, threads: Sequence[int | None], compiled: bool) -> Iterator[peers.Peer]:
    torch = need("torch", "torch")
    layer = only_layer(model)
    cell = torch.nn.LSTMCell(layer.input_size, layer.hidden_size).eval().requires_grad_(False)
    cell.load_state_dict({key.removesuffix("_l0"): torch.tensor(value) for key, value in layer.weights.items()})
    zeros = torch.zeros(1, layer.hidden_size)
    cells = {"eager": cell, "jit": peers.script(cell, (torch.zeros(1, layer.input_size), (zeros, zeros)))}
    if compiled:
        cells["compile"] = torch.compile(cell)
    for count in threads:
        for kind, module in cells.items():
            yield Torch(module, layer.hidden_size, kind, count)


#: By the names of `peers.NAMES`.
BUILD = {"onnxruntime": _onnxruntime, "openvino": _openvino, "torch": _torch}
