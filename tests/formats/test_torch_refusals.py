"""What from_torch does not take is refused by name."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402
from torch_modules import ExitModel, Forward, assert_same, read, trained  # noqa: E402

# Said of every module that reads time first; test_time_major_input_is_told_of sees that it is.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning")


def _last(m, x):
    return m.lstm(x)[0][:, -1]


def _both(kind, layers=1):
    return kind(5, 6, layers, batch_first=True, bidirectional=True)


def _loop(cell, steps):
    h = torch.zeros(len(steps[0]), 6)
    for x in steps:
        h = cell(x, h)
    return h


def _stateful(m, x):
    out, m.state = m.lstm(x, m.state)
    return out[:, -1]


def _conditional(m, x):
    return _last(m, x) if x.sum() > 0 else -_last(m, x)


def _by_length(m, x):
    return _last(m, x) if x.shape[1] < 10 else 2 * _last(m, x)


def _through_a_view(m, x):
    out, _ = m.lstm(x)
    out[:, -1, 2].zero_()
    return out[:, -1]


def _filled(m, x):
    out = torch.zeros(len(x), 2)
    out[:, 0] = m.a(_last(m, x))[:, 0]
    out[:, 1] = m.b(_last(m, x))[:, 0]
    return out


def _autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return _last(m, x)


REFUSED = {
    "one direction": (
        lambda m, x: m.rnn(x)[1][-1],
        {"rnn": lambda: nn.GRU(5, 6, bidirectional=True), "lstm": nn.Identity},
        "select: takes one direction of a bidirectional layer alone",
    ),
    "one direction's features": (
        lambda m, x: torch.tanh(_last(m, x)[:, :6]),
        {"lstm": lambda: _both(nn.LSTM)},
        "tanh: takes one direction of a bidirectional layer alone",
    ),
    "both directions the other way round": (
        lambda m, x: (lambda h: torch.cat([h[1], h[0]], 1))(m.lstm(x)[1][0]),
        {"lstm": lambda: _both(nn.LSTM)},
        "takes one direction of a bidirectional layer alone",
    ),
    "directions of two layers": (
        lambda m, x: m.lstm(x)[1][0][-1] + m.two(x)[1][0][-2],
        {"lstm": lambda: _both(nn.LSTM), "two": lambda: _both(nn.LSTM)},
        "one direction of a bidirectional layer alone",
    ),
    "a stack's directions added": (
        lambda m, x: m.lstm(x)[1][0][-1] + m.lstm(x)[1][0][-2],
        {"lstm": lambda: _both(nn.LSTM, 2)},
        "add: joins the directions of a stack of layers",
    ),
    "a function of h_n of all directions": (
        lambda m, x: torch.tanh(m.lstm(x)[1][0]).sum(0),
        {"lstm": lambda: _both(nn.LSTM)},
        r"tanh: works on \(directions, batch, features\); take the top layer's",
    ),
    "an operation": (
        lambda m, x: torch.cos(_last(m, x)),
        {},
        r"Forward: cos: lstmcore has no equation for aten.cos.default \(torch_modules.py:\d+: return",
    ),
    "in a submodule": (
        lambda m, x: m.head(_last(m, x)),
        {"head": lambda: nn.Sequential(nn.Linear(6, 6), nn.LogSigmoid())},
        "head.1: log_sigmoid: lstmcore has no equation",
    ),
    "attention": (
        lambda m, x: (m.lstm(x)[0] * F.softmax(m.lstm(x)[0], 1)).sum(1),
        {},
        "softmax: runs over axis 1",
    ),
    "attention written out": (
        lambda m, x: torch.bmm(m.lstm(x)[0], m.lstm(x)[0].mT).sum(1),
        {},
        "bmm: is attention",
    ),
    "a matrix product": (lambda m, x: m.lstm(x)[0] @ m.lstm(x)[0].mT, {}, "matmul: multiplies values .* as attention"),
    "scaled dot products": (
        lambda m, x: F.scaled_dot_product_attention(*[m.lstm(x)[0]] * 3),
        {},
        "scaled_dot_product_attention: is attention",
    ),
    "an attention layer": (
        lambda m, x: m.attention(*[m.lstm(x)[0]] * 3)[0],
        {"attention": lambda: nn.MultiheadAttention(6, 2, batch_first=True)},
        "attention: MultiheadAttention: is attention",
    ),
    "a transformer": (
        lambda m, x: m.block(m.lstm(x)[0]),
        {"block": lambda: nn.TransformerEncoderLayer(6, 2, batch_first=True)},
        "block.self_attn: MultiheadAttention: is attention",
    ),
    "a convolution": (
        lambda m, x: m.lstm(m.conv(x.mT).mT)[0][:, -1],
        {"conv": lambda: nn.Conv1d(5, 5, 3)},
        "conv: Conv1d: is a convolution",
    ),
    "a convolution by function": (
        lambda m, x: F.conv1d(x.mT, m.w).mT,
        {"w": lambda: nn.Parameter(torch.randn(2, 5, 3))},
        "conv1d: is a convolution",
    ),
    "an embedding": (
        lambda m, x: m.lstm(m.table(x[..., 0].long()))[0][:, -1],
        {"table": lambda: nn.Embedding(3, 5)},
        "table: Embedding: is an embedding",
    ),
    "values of several widths": (
        lambda m, x: _last(m, x) * m.gate(_last(m, x)),
        {"gate": lambda: nn.Linear(6, 1)},
        "mul: joins values of 6 and 1 features",
    ),
    "a sequence and its last step": (
        lambda m, x: m.lstm(x)[0] + m.lstm(x)[0][:, -1:],
        {},
        r"add: joins \(batch, time, features\) and \(batch, 1, features\)",
    ),
    "a concatenation over time": (
        lambda m, x: torch.cat([m.lstm(x)[0], x @ m.w], 1),
        {"w": lambda: nn.Parameter(torch.randn(5, 6))},
        r"cat: joins along \(time\)",
    ),
    "a concatenation with a constant": (
        lambda m, x: torch.cat([_last(m, x), torch.ones(len(x), 1)], 1),
        {},
        "cat: joins a constant with values",
    ),
    "a constant for each feature": (
        lambda m, x: _last(m, x) * m.w,
        {"w": lambda: nn.Parameter(torch.randn(6))},
        "mul: multiplies by a constant for each feature",
    ),
    "a constant for each feature added": (
        lambda m, x: _last(m, x) + m.w,
        {"w": lambda: nn.Parameter(torch.randn(6))},
        "add: adds a constant for each feature",
    ),
    "a quotient": (
        lambda m, x: _last(m, x) / x[:, -1, :1],
        {},
        "div: divides by a value that depends on the input|slice",
    ),
    "a mean over time": (lambda m, x: m.lstm(x)[0].mean(1), {}, r"mean: goes over \(time\); .* out\[:, -1\]"),
    "a sum over features": (lambda m, x: m.lstm(x)[0].sum(-1), {}, r"sum: goes over \(features\)"),
    "a maximum over time": (lambda m, x: m.lstm(x)[0].max(1).values, {}, "max: pools over time"),
    "pooling": (lambda m, x: F.adaptive_avg_pool1d(m.lstm(x)[0].mT, 1).squeeze(-1), {}, "pool1d: pools over time"),
    "steps by a tensor": (
        lambda m, x: m.lstm(x)[0][torch.arange(len(x)), torch.arange(len(x))],
        {},
        "index: picks by numbers in a tensor.*give lengths=",
    ),
    "a slope for each feature": (
        lambda m, x: m.act(_last(m, x)),
        {"act": lambda: nn.PReLU(6)},
        "act: prelu: has a slope for each feature",
    ),
    "a softplus of another form": (lambda m, x: F.softplus(_last(m, x), 2.0), {}, "softplus: has beta=2.0"),
    "other bounds": (lambda m, x: _last(m, x).clamp(-3, 3), {}, r"clamp: cuts to \(-3.0, 3.0\)"),
    "a threshold with another value": (lambda m, x: F.threshold(_last(m, x), 0.1, 7.0), {}, "threshold: puts 7.0"),
    "celu with an alpha": (lambda m, x: F.celu(_last(m, x), 0.5), {}, "celu: has alpha=0.5"),
    "features reversed": (lambda m, x: m.lstm(x)[0].flip(2), {}, r"flip: reverses \(features\)"),
    "a norm over time": (
        lambda m, x: F.layer_norm(m.lstm(x)[0].mT, (x.shape[1],)),
        {},
        r"layer_norm: normalises over \(time\)",
    ),
    "packed sequences": (
        lambda m, x: m.lstm(pack_padded_sequence(x, [7, 6, 5], batch_first=True))[1][0][-1],
        {},
        "Forward: packs its sequences .*give `lengths=` at the Model's call",
    ),
    "a cell that is given other states": (
        lambda m, x: m.cell(x[:, 1], m.cell(x[:, 0], torch.zeros(len(x), 6)) * 2),
        {"cell": lambda: nn.GRUCell(5, 6)},
        "cell: gru_cell: its state at step 1 is not what it gave",
    ),
    "a cell that goes back to a state": (
        lambda m, x: (lambda h: m.cell(x[:, 1], h) + m.cell(x[:, 2], h))(m.cell(x[:, 0], torch.zeros(len(x), 6))),
        {"cell": lambda: nn.GRUCell(5, 6)},
        "cell: gru_cell: its state at step 2 is not what it gave",
    ),
    "a cell that changes the sequence": (
        lambda m, x: m.cell(x.flip(1)[:, 1], m.cell(x[:, 0], torch.zeros(len(x), 6))),
        {"cell": lambda: nn.GRUCell(5, 6)},
        "cell: gru_cell: its state at step 1 is not what it gave",
    ),
    "a cell that begins late": (
        lambda m, x: m.cell(x[:, -1], torch.zeros(len(x), 6)),
        {"cell": lambda: nn.GRUCell(5, 6)},
        "cell: gru_cell: begins with a constant state at step 6",
    ),
    "a loop that ends early": (
        lambda m, x: _loop(m.cell, x[:, :].unbind(1)[:3]),
        {"cell": lambda: nn.GRUCell(5, 6)},
        "cell: gru_cell: takes step 2 of 7; only the last and the first",
    ),
    "a cell without time": (
        lambda m, x: m.cell(_last(m, x), torch.zeros(len(x), 4)),
        {"cell": lambda: nn.GRUCell(6, 4)},
        "cell: gru_cell: is called with something other than one step|begins with a constant",
    ),
    "several outputs": (
        lambda m, x: (m.lstm(x)[0].relu(), m.lstm(x)[0].tanh()),
        {},
        r"returns 2 values, of which several are computed, the results \[0, 1\], .*; return one, the prediction",
    ),
    "a tuple": (lambda m, x: (_last(m, x),), {}, "returns a tuple; return only the prediction"),
    "c_n": (lambda m, x: m.lstm(x)[1][1][-1], {}, "select: takes the cell state c_n"),
    "c_n returned": (lambda m, x: m.lstm(x)[1][1], {}, "result takes the cell state c_n"),
    "h_n of an inner layer": (
        lambda m, x: m.lstm(x)[1][0][0],
        {"lstm": lambda: nn.LSTM(5, 6, 2, batch_first=True)},
        "select: takes h_n of layer 0 of 2",
    ),
    "h_n of all layers": (
        lambda m, x: m.lstm(x)[1][0].permute(1, 0, 2).flatten(1),
        {"lstm": lambda: nn.LSTM(5, 6, 2, batch_first=True)},
        r"returns \(batch, layers\*features\)",
    ),
    "an initial state that differs": (
        lambda m, x: m.lstm(x, (torch.arange(6.0 * len(x)).view(1, -1, 6), torch.zeros(1, len(x), 6)))[0][:, -1],
        {},
        "lstm: lstm: starts from a h0 that is not the same for all windows",
    ),
    "an initial state from the input": (
        lambda m, x: m.rnn(x, m.fc(x[:, -1]).unsqueeze(0))[0][:, -1],
        {"rnn": lambda: nn.GRU(5, 6, batch_first=True), "fc": lambda: nn.Linear(5, 6)},
        "rnn: gru: starts from a state that depends on the input",
    ),
    "a random initial state": (
        lambda m, x: m.lstm(x, (torch.randn(1, len(x), 6), torch.zeros(1, len(x), 6)))[0][:, -1],
        {},
        "randn: draws random numbers",
    ),
    "a state from another layer": (
        lambda m, x: m.two(x, m.lstm(x)[1])[0][:, -1],
        {"two": lambda: nn.LSTM(5, 6, batch_first=True)},
        "c_n",
    ),
    "an unused parameter": (_last, {"fc": lambda: nn.Linear(6, 1)}, r"not used .*: fc.weight, fc.bias;"),
    "an unused buffer": (_last, {"means": lambda: nn.Buffer(torch.ones(5))}, r"not used .*: means;"),
    "softmax over time": (
        lambda m, x: F.softmax(m.lstm(x)[0], dim=1)[:, -1],
        {},
        r"axis 1 of \(batch, time, feat",
    ),
    "batch norm on a sequence": (
        lambda m, x: m.bn(m.lstm(x)[0])[:, -1],
        {"bn": lambda: nn.BatchNorm1d(7)},
        r"bn: batch_norm: normalises axis 1 of \(batch, time, features\)",
    ),
    "batch norm without statistics": (
        lambda m, x: m.bn(_last(m, x)),
        {"bn": lambda: nn.BatchNorm1d(6, track_running_stats=False)},
        "bn: batch_norm: has no running statistics",
    ),
    "dropout at inference": (
        lambda m, x: F.dropout(_last(m, x), 0.5),
        {},
        "dropout: drops values at inference",
    ),
    "a step in the middle": (lambda m, x: m.lstm(x)[0][:, -2], {}, "select: takes step 5 of 7; only the last and the"),
    "two steps": (
        lambda m, x: torch.stack([m.lstm(x)[0][:, -2], m.lstm(x)[0][:, -1]], 1),
        {},
        "stack: joins values that are not all steps",
    ),
    "the last steps": (lambda m, x: m.lstm(x)[0][:, -3:], {}, "slice: takes 3 of 7 along .time."),
    "part of the window": (lambda m, x: m.lstm(x[:, 1:])[0][:, -1], {}, "slice: takes 6 of 7 along .time."),
    "the last tick alone": (
        lambda m, x: m.lstm(x[:, -1:])[0][:, -1],
        {},
        r"reads \(batch, time, features\), but what comes in is \(batch, 1, features\)",
    ),
    "part of the features": (lambda m, x: _last(m, x)[:, :2], {}, "slice: takes 2 of 6 along .features."),
    "one of the features": (lambda m, x: _last(m, x)[:, 2], {}, "select: takes index 2 along .features."),
    "batch for time": (
        lambda m, x: m.lstm(x)[0][:, -1],
        {"lstm": lambda: nn.LSTM(5, 6)},
        "one window of the batch; if time was meant, the layer needs batch_first=True",
    ),
    "a view that mixes": (
        lambda m, x: m.lstm(x.reshape(7, 3, 5))[0][:, -1],
        {},
        r"reshape: makes \(7, 3, 5\) of \(batch, time, features\), which mixes axes",
    ),
    "a linear layer over time": (
        lambda m, x: m.fc(m.lstm(x)[0].mT),
        {"fc": lambda: nn.Linear(7, 1)},
        r"fc: linear: works along the last axis of \(batch, features, time\)",
    ),
    "features first": (lambda m, x: _last(m, x).T, {}, r"returns \(features, batch\); expected \(batch\)"),
    "the input": (lambda m, x: torch.zeros(len(x)), {}, "does not come out of any layer"),
    "a view changed in place": (
        _through_a_view,
        {},
        r"zero: changes a part .*by torch.cat.*\(torch_modules.py:\d+: return",
    ),
    "a tensor filled by two branches": (
        _filled,
        {"a": lambda: nn.Linear(6, 1), "b": lambda: nn.Linear(6, 1)},
        r"copy: changes a part of a tensor in place; .*torch.stack \(torch_modules.py:\d+: return",
    ),
    "a step by its number": (lambda m, x: m.lstm(x)[0][:, 6], {}, r"trace does not show: .*take the last step as"),
    "a state that is kept": (_stateful, {"state": lambda: None}, "trace does not show|cannot trace"),
    "a choice by the values": (_conditional, {}, "torch.export cannot trace the forward: .*data-dependent"),
    "a choice by the length": (_by_length, {}, "trace does not show"),
    "an exception": (
        lambda m, x: 1 / 0,
        {},
        "torch.export cannot trace the forward: .*ZeroDivisionError: division",
    ),
    "numpy": (lambda m, x: torch.tensor(_last(m, x).numpy()), {}, "torch.export cannot trace"),
    "autocast": (_autocast, {}, "autocast"),
    "half precision": (lambda m, x: _last(m, x).half().float(), {}, "to: gives torch.float16"),
    "no sizes": (
        lambda m, x: torch.tanh(x),
        {"lstm": nn.Identity},
        "Forward: no LSTM or Linear says .*an example",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    function, members, text = REFUSED[case]
    module = Forward(function, **{name: make() for name, make in members.items()}).eval()
    with pytest.raises(lstmcore.UnsupportedError) as raised:
        read(module)
    assert re.search(text, str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


def test_tries_that_fail_print_nothing():
    """In a process of its own, because torch logs to the stderr of the time when it was imported."""
    code = """
import torch, lstmcore
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.lstm = nn.Linear(6, 1), nn.LSTM(5, 6, batch_first=True)
    def forward(self, x):
        y = self.head(self.lstm(x)[0][:, -1])
        return y if self.by_value is None or y.sum() > 0 else -y
net = Net().eval()
net.by_value = None
lstmcore.from_torch(net, backend="numpy")  # 6 features are tried before 5
net.by_value = True
try:
    lstmcore.from_torch(net)
except lstmcore.UnsupportedError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    tried = r"forward: windows \(3, 7, 6\): .* Expected 5, got 6; windows \(3, 7, 5\): .*data-dependent.*example"
    assert re.search(tried, done.stdout)


def test_training_mode_is_refused_with_the_names():
    with pytest.raises(lstmcore.UnsupportedError, match=r"training mode: ExitModel, lstm, classifier.*eval\(\)"):
        read(ExitModel())
    module = trained(ExitModel())
    module.classifier[2].train()
    with pytest.raises(lstmcore.UnsupportedError, match=r"training mode: classifier.2; call module.eval\(\)"):
        read(module)


def test_several_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, hidden):
            return x

    with pytest.raises(
        lstmcore.UnsupportedError, match=r"Two: .* several inputs, x, hidden; expected windows, and states of"
    ):
        read(Two().eval())


def test_lengths_as_an_input_are_refused_with_a_hint():
    class WithLengths(nn.Module):
        def forward(self, x, lengths):
            return x

    with pytest.raises(lstmcore.UnsupportedError, match=r"several inputs, x, lengths; .*`lengths=` can be given at"):
        read(WithLengths().eval())


def test_exported_programs_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what nn.LSTM assigns during export
        program = torch.export.export(trained(ExitModel()), (torch.zeros(2, 5, 8),))
    for given in (program, program.module()):
        with pytest.raises(lstmcore.UnsupportedError, match=r"an exported program; give the nn\.Module, or"):
            read(given)


def test_optional_inputs_are_left_out():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 6, batch_first=True)

        def forward(self, x, hidden=None):
            return self.lstm(x, hidden)[0][:, -1]

    module = trained(Optional())
    assert_same(module, read(module), 5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_script_modules_are_refused():
    with pytest.raises(lstmcore.UnsupportedError, match=r"a ScriptModule; give the nn\.Module"):
        read(torch.jit.script(trained(ExitModel())))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_modules_are_refused():
    module = torch.ao.quantization.quantize_dynamic(trained(ExitModel()), {nn.Linear})
    with pytest.raises(lstmcore.UnsupportedError, match=r"classifier.0: a quantized Linear"):
        read(module)


def test_weights_without_numbers_are_refused():
    with torch.device("meta"):
        module = ExitModel().eval()
    with pytest.raises(lstmcore.UnsupportedError, match=r"lstm\.weight_ih_l0: is on the meta device"):
        read(module)


@pytest.mark.parametrize("value", [None, "model.pt", {"weight": 1}, ExitModel, lambda x: x])
def test_what_is_no_module_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got \w+"):
        read(value)


@pytest.mark.parametrize("shape", [(7, 8), (3, 1, 8), (0, 7, 8), (1, 3, 7, 8)])
def test_wrong_examples(shape):
    with pytest.raises(ValueError, match=r"example: expected windows \(N, T, F\) with T at least 2, got"):
        read(trained(ExitModel()), example=np.zeros(shape))
