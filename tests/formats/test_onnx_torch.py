"""What torch exports to ONNX, by way of TorchScript and of torch.export, is read back as the module."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import warnings

import numpy as np
import pytest

from lstmcore import Model, UnsupportedError
from lstmcore import layers as L

torch = pytest.importorskip("torch", reason="needs torch")
onnx = pytest.importorskip("onnx", reason="needs onnx")

from onnx_files import assert_close, assert_own_dtype  # noqa: E402
from torch import nn  # noqa: E402

from lstmcore.formats.onnx.onnx import read  # noqa: E402

EXPORTERS = ("torchscript", "dynamo")


class Recurrent(nn.Module):
    """A recurrent layer and a head on what `pick` takes of it."""

    def __init__(self, kind, pick, **options):
        super().__init__()
        self.rnn = kind(3, 5, **options)
        self.fc = nn.Linear(
            10 if pick in ("both", "ends") or (options.get("bidirectional") and pick != "layers") else 5, 1
        )
        self.pick, self.first = pick, options.get("batch_first", False)

    def forward(self, x):
        out, state = self.rnn(x)
        h = state[0] if isinstance(state, tuple) else state
        if self.pick == "last":
            y = out[:, -1] if self.first else out[-1]
        elif self.pick == "both":
            y = torch.cat([h[-2], h[-1]], 1)
        elif self.pick == "ends":
            y = torch.cat([out[:, -1, :5], out[:, 0, 5:]], -1)
        elif self.pick == "layers":
            y = h.view(2, 2, -1, 5)[-1].sum(0)
        elif self.pick == "h":
            y = h[-1]
        else:
            y = out
        return self.fc(y).squeeze(-1)


class Functions(nn.Module):
    """Norms, a branch, and every activation that has a layer."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.layer_norm = nn.LayerNorm(4)
        self.head = nn.Sequential(
            nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.ReLU6(),
            nn.Hardswish(), nn.Linear(8, 8), nn.Hardtanh(), nn.Hardsigmoid(), nn.Softplus(), nn.Softsign(),
            nn.SELU(), nn.CELU(0.7), nn.ELU(0.5), nn.LeakyReLU(0.2),
            nn.Hardtanh(-0.3, 0.9), nn.PReLU(), nn.BatchNorm1d(8), nn.Dropout(0.3),
            nn.Linear(8, 2, bias=False), nn.Softmax(-1),
        )  # fmt: skip
        for p in [*self.norm.parameters(), *self.layer_norm.parameters(), *self.head[-4].parameters()]:
            nn.init.uniform_(p, 0.5, 1.5)
        for norm in (self.norm, self.head[-4]):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)

    def forward(self, x):
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        out, _ = self.gru((x - 0.3) / 1.7)
        out = self.layer_norm(out)
        out = torch.relu(out) + out * 0.5
        return self.head(out[:, -1])


def export(module, path, exporter, free, time_first=False, opset=None):
    x = torch.zeros(7, 2, 3) if time_first else torch.zeros(2, 7, 3)
    n, t = (1, 0) if time_first else (0, 1)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            if exporter == "dynamo":
                dim = torch.export.Dim
                shapes = ({n: dim("batch"), t: dim("time")},) if free else None
                torch.onnx.export(
                    module, (x,), path, dynamo=True, dynamic_shapes=shapes, opset_version=opset, verbose=False
                )
            else:
                axes = {"x": {n: "batch", t: "time"}} if free else None
                torch.onnx.export(
                    module, (x,), path, dynamo=False, input_names=["x"], dynamic_axes=axes, opset_version=opset or 17
                )
    finally:
        logging.disable(logging.NOTSET)


def assert_read(module, path, exporter, *, free=True, time_first=False, opset=None):
    """The Model that is read gives the module's own answers in float64, for more than the windows exported with."""
    module = module.eval()
    export(module, path, exporter, free, time_first, opset)
    layers = read(path)
    assert_own_dtype(layers, onnx.load(path))
    model = Model(layers, backend="numpy").astype(np.float64)
    rng = np.random.default_rng(3)
    for n, t in [(2, 7), (3, 7)] + [(1, 4)] * free:
        x = rng.normal(size=(n, t, 3))
        with torch.no_grad():
            expected = module.double()(torch.tensor(x.swapaxes(0, 1) if time_first else x)).numpy()
        module.float()
        got = model(x)
        if got.ndim > 1 and time_first and got.shape[:2] != expected.shape[:2]:
            expected = expected.swapaxes(0, 1)
        assert_close(got, expected)
    return model


CASES = [
    (kind, pick, options)
    for kind, pick, options in itertools.product(
        (nn.LSTM, nn.GRU, nn.RNN),
        ("last", "h", "every", "both", "ends", "layers"),
        (
            {"batch_first": True},
            {"num_layers": 2, "bias": False},
            {"num_layers": 2, "batch_first": True, "bidirectional": True},
        ),
    )
    if bool(options.get("bidirectional")) == (pick in ("both", "ends", "layers"))
    or (pick in ("last", "every") and kind is nn.LSTM)
]


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize(("kind", "pick", "options"), CASES)
def test_torchscript(tmp_path, kind, pick, options, free):
    torch.manual_seed(1)
    first = options.get("batch_first", False)
    module = Recurrent(kind, pick, **options)
    model = assert_read(module, tmp_path / "m.onnx", "torchscript", free=free, time_first=not first)
    layer = model.recurrent_layers[0]
    assert layer.name == "rnn"
    if pick != "layers":
        assert len(model.recurrent_layers) == 1
        assert (layer.num_layers, layer.bidirectional) == (
            options.get("num_layers", 1),
            bool(options.get("bidirectional")),
        )
        assert layer.return_sequences == (pick == "every" or (pick == "last" and layer.bidirectional))


@pytest.mark.parametrize(
    ("kind", "pick", "options", "free"),
    [
        (nn.LSTM, "last", {"batch_first": True, "num_layers": 2}, True),
        (nn.LSTM, "both", {"batch_first": True, "num_layers": 2, "bidirectional": True}, False),
        (nn.LSTM, "every", {"bias": False}, True),
        (nn.GRU, "h", {"batch_first": True}, False),
        (nn.GRU, "last", {"batch_first": True, "bidirectional": True}, True),
        (nn.GRU, "layers", {"batch_first": True, "num_layers": 2, "bidirectional": True}, True),
    ],
)
def test_dynamo(tmp_path, kind, pick, options, free):
    torch.manual_seed(2)
    module = Recurrent(kind, pick, **options)
    time_first = not options.get("batch_first", False)
    model = assert_read(module, tmp_path / "m.onnx", "dynamo", free=free, time_first=time_first)
    assert model.recurrent_layers[0].name == "rnn"


@pytest.mark.parametrize(
    ("exporter", "opset"), [("torchscript", 12), ("torchscript", 13), ("torchscript", 17), ("dynamo", 20)]
)
def test_norms_branches_and_functions(tmp_path, exporter, opset):
    torch.manual_seed(3)
    model = assert_read(Functions(), tmp_path / "m.onnx", exporter, opset=opset)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert {"GRU", "LayerNorm", "BatchNorm1d", "GELU", "ReLU", "Add"} <= set(kinds)
    functions = {layer.function.partition("(")[0] for layer in model.layers if isinstance(layer, L.Activation)}
    named = {"silu", "mish", "relu6", "hard_silu", "hard_tanh", "softplus", "softsign", "selu", "hard_sigmoid"}
    assert named <= functions


def test_the_oldest_opset(tmp_path):
    torch.manual_seed(6)
    module = Recurrent(nn.GRU, "both", batch_first=True, num_layers=2, bidirectional=True)
    assert_read(module, tmp_path / "m.onnx", "torchscript", opset=11)


def test_a_flattened_window_has_one_length(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)
            self.fc = nn.Linear(28, 2)

        def forward(self, x):
            return self.fc(self.lstm(x)[0].flatten(1))

    torch.manual_seed(4)
    for exporter in EXPORTERS:
        assert assert_read(Net(), tmp_path / "m.onnx", exporter, free=False).steps == 7
    export(Net().eval(), tmp_path / "m.onnx", "torchscript", True)
    with pytest.raises(UnsupportedError, match=r"(fixed length|weights of shape|fit windows)"):
        read(tmp_path / "m.onnx")


def test_a_step_by_its_number_is_refused_where_time_is_free(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0][:, 6]

    export(Net().eval(), tmp_path / "m.onnx", "torchscript", True)
    with pytest.raises(UnsupportedError, match=r"takes step 6.*taken alone$"):
        read(tmp_path / "m.onnx")
    export(Net().eval(), tmp_path / "m.onnx", "torchscript", False)
    assert read(tmp_path / "m.onnx")[0].return_sequences is False


def test_an_unrolled_layer_is_refused(tmp_path):
    """torch.export writes nn.RNN step by step, for windows of one length."""
    export(Recurrent(nn.RNN, "last", batch_first=True).eval(), tmp_path / "m.onnx", "dynamo", False)
    with pytest.raises(UnsupportedError, match=r"takes step \d of 7.*unrolled step by step.*dynamo=False"):
        read(tmp_path / "m.onnx")


def test_external_data(tmp_path):
    torch.manual_seed(5)
    module = Recurrent(nn.LSTM, "last", batch_first=True, num_layers=2).eval()
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(2, 7, 3),), path, dynamo=True, external_data=True, verbose=False)
    assert (tmp_path / "m.onnx.data").exists()
    model = Model(read(path), backend="numpy")
    np.testing.assert_array_equal(model.parameters["rnn.weight_hh_l1"], module.rnn.weight_hh_l1.detach())
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(ValueError, match="none of this name"):
        read(path)
