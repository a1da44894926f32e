"""What torch exports of modules that take states and return them, by both exporters, is the module."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")
onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx_files import assert_close, session  # noqa: E402
from torch import nn  # noqa: E402

from lstmcore.formats.onnx.onnx_read import read_all  # noqa: E402


class Streaming(nn.Module):
    """A stack and a head; (N, T, F) and states in, answers and states out."""

    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(3, 5, batch_first=True, **options)
        self.fc = nn.Linear(10 if options.get("bidirectional") else 5, 2)

    def forward(self, x, *states):
        out, end = self.rnn(x, states if len(states) > 1 else states[0])
        return (self.fc(out), *(end if isinstance(end, tuple) else (end,)))


def export(module, path, exporter, free, states):
    """With windows and states of any number and length where `free`, else of one window and step."""
    n, t = (2, 4) if free else (1, 1)
    names = ["x", "h", "c"][: 1 + states]
    layers = module.rnn.num_layers * (1 + module.rnn.bidirectional)
    arguments = (torch.zeros(n, t, 3), *(torch.zeros(layers, n, 5) for _ in range(states)))
    options = {"input_names": names, "output_names": ["y", "hn", "cn"][: 1 + states]}
    logging.disable(logging.WARNING)
    try:
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with warnings.catch_warnings(), quiet[0], quiet[1]:
            warnings.simplefilter("ignore")
            if exporter == "dynamo":
                batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
                shapes = {"x": {0: batch, 1: time}, "states": tuple({1: batch} for _ in range(states))}
                torch.onnx.export(
                    module,
                    arguments,
                    path,
                    dynamo=True,
                    dynamic_shapes=shapes if free else None,
                    verbose=False,
                    **options,
                )
            else:
                axes = {"x": {0: "batch", 1: "time"}} | {name: {1: "batch"} for name in names[1:]}
                torch.onnx.export(
                    module,
                    arguments,
                    path,
                    dynamo=False,
                    dynamic_axes=axes if free else None,
                    opset_version=17,
                    **options,
                )
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize(
    ("exporter", "kind", "options"),
    [
        ("torchscript", nn.LSTM, {"num_layers": 2}),
        ("torchscript", nn.GRU, {"bidirectional": True, "num_layers": 2}),
        ("torchscript", nn.RNN, {}),
        ("dynamo", nn.LSTM, {"bidirectional": True, "num_layers": 2}),
        ("dynamo", nn.LSTM, {}),
        ("dynamo", nn.GRU, {"num_layers": 3}),
    ],
)
def test_exporters(tmp_path, exporter, kind, options, free):
    torch.manual_seed(1)
    module = Streaming(kind, **options).eval()
    states = 2 if kind is nn.LSTM else 1
    export(module, tmp_path / "m.onnx", exporter, free, states)
    found = read_all(tmp_path / "m.onnx")
    assert [port.name for port in found.states.flow.inputs] == ["h", "c"][:states]
    assert [port.name for port in found.states.flow.outputs] == ["hn", "cn"][:states]
    model = lstmcore.load(tmp_path / "m.onnx")
    (layer,) = model.recurrent_layers
    for n, t in [(2, 4), (3, 7)] if free else [(1, 1)]:
        x = torch.randn(n, t, 3)
        given = [torch.randn(layer.states, n, 5) for _ in range(states)]
        with torch.no_grad():
            answer, *ends = module.double()(x.double(), *(state.double() for state in given))
        module.float()
        arrays = [state.numpy() for state in given]
        wide = model.with_backend("numpy").astype(np.float64)
        got, state = wide(x.numpy().astype(float), tuple(arrays) if states > 1 else arrays[0], return_state=True)
        assert_close(got, answer.numpy())
        for own, end in zip(state if states > 1 else [state], ends, strict=True):
            assert_close(own, end.numpy())
    if free or layer.bidirectional:
        return
    runtime, stream = session(onnx.load(tmp_path / "m.onnx")), model.stateful()
    fed = [np.zeros((layer.states, 1, 5), "f4")] * states
    for x in np.random.default_rng(1).normal(size=(10, 1, 1, 3)).astype("f4"):
        answer, *fed = runtime.run(None, {"x": x, **dict(zip("hc", fed, strict=False))})
        np.testing.assert_allclose(stream.push(x[0, 0]), answer[0, 0], rtol=0, atol=5e-6)
