"""Forwards around GRU, RNN and bidirectional layers, branches and written-out loops, in the forms that users write."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch_modules import Only, assert_same, read, trained, windows  # noqa: E402

from lstmcore.layers import Concat, Last, Reverse  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning"),  # tested with from_torch
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),  # torch, of its own speed
]


def both(kind, layers=1, **settings):
    return lambda: kind(5, 6, layers, batch_first=True, bidirectional=True, **settings)


def one(kind, layers=1, **settings):
    return lambda: kind(5, 6, layers, batch_first=True, **settings)


def linear(*sizes):
    return lambda: nn.Linear(*sizes)


def parameter(*shape):
    return lambda: nn.Parameter(torch.zeros(shape))


def _learned(m, x):
    states = m.h.expand(-1, len(x), -1).contiguous(), m.c.repeat(1, len(x), 1)
    return m.rnn(x, states)[0][:, -1]


def _ends(m, x):
    out, _ = m.rnn(x)
    return m.fc(torch.cat([out[:, -1, :6], out[:, 0, 6:]], 1))


def _sequence_and_final(m, x):
    out, h_n = m.rnn(x)
    return torch.cat([out[:, -1], h_n[-2], h_n[-1]], 1)


def _gated(m, x):
    last = m.rnn(x)[0][:, -1]
    z = torch.sigmoid(m.gate(last))
    return z * m.fc(last) + (1 - z) * x[:, -1]


def _by_hand(m, x):
    backward = m.two(x.flip(1))[0].flip([1])
    return torch.cat([m.rnn(x)[0], backward], 2)[:, -1]


#: What is taken from recurrent layers: the forward, the members, and the kinds of layers that it is read as.
FORMS = {
    "gru": (lambda m, x: m.rnn(x)[0][:, -1], {"rnn": one(nn.GRU, 2)}, "GRU"),
    "rnn, h_n": (lambda m, x: m.rnn(x)[1][-1], {"rnn": one(nn.RNN, 2, bias=False)}, "RNN"),
    "relu, squeezed": (lambda m, x: m.rnn(x)[1].squeeze(0), {"rnn": one(nn.RNN, nonlinearity="relu")}, "RNN"),
    "h_n of the only layer": (lambda m, x: m.rnn(x)[1][0][0], {"rnn": one(nn.LSTM, proj_size=2)}, "LSTM"),
    "projections": (lambda m, x: m.rnn(x)[0], {"rnn": one(nn.LSTM, 2, proj_size=3)}, "LSTM"),
    "projections, both": (lambda m, x: m.rnn(x)[0], {"rnn": both(nn.LSTM, 2, proj_size=3)}, "LSTM"),
    "both, newest step": (lambda m, x: m.rnn(x)[0][:, -1], {"rnn": both(nn.GRU, 2)}, "GRU Last"),
    "both, h_n": (
        lambda m, x: torch.cat([m.rnn(x)[1][0][-2], m.rnn(x)[1][0][-1]], 1),
        {"rnn": both(nn.LSTM, 2)},
        "LSTM",
    ),
    "both, h_n with all axes": (
        lambda m, x: torch.cat((m.rnn(x)[1][-2, :, :], m.rnn(x)[1][-1, :, :]), dim=-1),
        {"rnn": both(nn.GRU)},
        "GRU",
    ),
    "both, h_n by layers": (
        lambda m, x: m.rnn(x)[1].view(2, 2, len(x), 6)[-1].transpose(0, 1).reshape(len(x), -1),
        {"rnn": both(nn.GRU, 2)},
        "GRU",
    ),
    "both, h_n flattened": (lambda m, x: m.rnn(x)[1].permute(1, 0, 2).flatten(1), {"rnn": both(nn.GRU)}, "GRU"),
    "both, h_n unbound": (lambda m, x: torch.cat(m.rnn(x)[1].unbind(0), 1), {"rnn": both(nn.GRU)}, "GRU"),
    "both, h_n summed": (lambda m, x: m.rnn(x)[1].sum(0), {"rnn": both(nn.GRU)}, "GRU"),
    "both, h_n's mean": (lambda m, x: m.rnn(x)[1].mean(dim=0), {"rnn": both(nn.RNN)}, "RNN"),
    "both, h_n stacked": (
        lambda m, x: torch.stack([m.rnn(x)[1][0], m.rnn(x)[1][1]]).mean(0),
        {"rnn": both(nn.RNN)},
        "RNN",
    ),
    "both, h_n added": (
        lambda m, x: (m.rnn(x)[1][0] + m.rnn(x)[1][1]) / 2,
        {"rnn": both(nn.RNN)},
        "RNN Activation",
    ),
    "both, steps added": (
        lambda m, x: m.rnn(x)[0][..., :6] + m.rnn(x)[0][..., 6:],
        {"rnn": both(nn.RNN)},
        "RNN",
    ),
    "both, steps multiplied": (
        lambda m, x: torch.mul(*m.rnn(x)[0].chunk(2, -1)),
        {"rnn": both(nn.RNN)},
        "RNN",
    ),
    "both, steps viewed": (lambda m, x: m.rnn(x)[0].view(len(x), -1, 2, 6).sum(2), {"rnn": both(nn.RNN)}, "RNN"),
    "both, apart and together": (
        lambda m, x: m.fc(m.rnn(x)[0].view(len(x), -1, 2, 6).flatten(2)),
        {"rnn": both(nn.RNN), "fc": linear(12, 2)},
        "RNN Linear",
    ),
    "both, ends": (_ends, {"rnn": both(nn.LSTM), "fc": linear(12, 2)}, "LSTM Linear"),
    "both, sequence and final": (_sequence_and_final, {"rnn": both(nn.GRU)}, "GRU Last GRU Concat"),
    "a first step": (lambda m, x: m.rnn(x)[0][:, 0], {"rnn": one(nn.GRU)}, "GRU Reverse Last"),
    "learned states": (
        _learned,
        {"rnn": one(nn.LSTM, 2), "h": parameter(2, 1, 6), "c": parameter(2, 1, 6)},
        "LSTM",
    ),
    "learned states, both": (
        lambda m, x: m.rnn(x, m.h.unsqueeze(1).expand(-1, len(x), -1).contiguous())[0],
        {"rnn": both(nn.GRU, 2), "h": parameter(4, 6)},
        "GRU",
    ),
    "a learned h and a c of zeros": (
        lambda m, x: m.rnn(x, (m.h.expand(-1, len(x), -1).contiguous(), x.new_zeros(1, len(x), 6)))[0],
        {"rnn": one(nn.LSTM), "h": parameter(1, 1, 6)},
        "LSTM",
    ),
    "a residual": (
        lambda m, x: m.fc(m.norm(m.rnn(m.embed(x))[0] + m.embed(x)))[:, -1],
        {"embed": linear(5, 6), "rnn": lambda: nn.LSTM(6, 6, batch_first=True), "norm": lambda: nn.LayerNorm(6),
         "fc": linear(6, 2)},
        "Linear LSTM Last Add LayerNorm Linear",
    ),
    "branches": (
        lambda m, x: m.fc(torch.cat([m.rnn(x)[0][:, -1], m.two(x)[1][-1], x[:, -1]], 1)),
        {"rnn": one(nn.LSTM), "two": one(nn.GRU), "fc": linear(17, 2)},
        "LSTM GRU Last Concat Linear",
    ),
    "a gate": (
        _gated,
        {"rnn": one(nn.LSTM), "gate": linear(6, 5), "fc": linear(6, 5)},
        "LSTM Linear Sigmoid Linear Mul Activation Activation Last Mul Add",
    ),
    "both directions by hand": (
        _by_hand,
        {"rnn": one(nn.LSTM), "two": one(nn.LSTM)},
        "LSTM Reverse LSTM Reverse Last Concat",
    ),
    "a norm between layers": (
        lambda m, x: m.two(m.norm(m.rnn(x)[0]))[0][:, -1],
        {"rnn": one(nn.LSTM), "norm": lambda: nn.LayerNorm(6, eps=1e-3, bias=False),
         "two": lambda: nn.GRU(6, 3, batch_first=True)},
        "LSTM LayerNorm GRU",
    ),
    "a norm without weights": (
        lambda m, x: F.layer_norm(m.rnn(x)[0][:, -1], (6,)),
        {"rnn": one(nn.LSTM)},
        "LSTM LayerNorm",
    ),
    "numbers": (
        lambda m, x: m.rnn(x)[0][:, -1] * 2.5 + 1 - 3 * m.fc(x[:, -1]) / 7,
        {"rnn": one(nn.LSTM), "fc": linear(5, 6)},
        "LSTM Activation Activation Last Linear Activation Activation Activation Add",
    ),
    "a difference": (
        lambda m, x: m.rnn(x)[0][:, -1] - torch.add(m.fc(x)[:, -1], m.rnn(x)[0][:, -1], alpha=0.5),
        {"rnn": one(nn.LSTM), "fc": linear(5, 6)},
        "LSTM Last Linear Activation Add Activation Add",
    ),
    "weights without a layer": (
        lambda m, x: m.rnn(x)[0][:, -1] @ m.w + m.b,
        {"rnn": one(nn.LSTM), "w": parameter(6, 3), "b": parameter(3)},
        "LSTM Linear",
    ),
    "a layer called twice on the same": (
        lambda m, x: m.rnn(x)[0][:, -1] * m.rnn(x)[0][:, -1],
        {"rnn": one(nn.LSTM)},
        "LSTM Mul",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    function, members, kinds = FORMS[form]
    module = trained(Only(function, **{name: make() for name, make in members.items()}), seed=3)
    model = read(module)
    assert " ".join(type(layer).__name__ for layer in model.layers) == kinds
    assert_same(module, model, 5)


# --- cells in loops -------------------------------------------------------------------------------


def _until_the_end(m, x):
    h = x.new_zeros(len(x), 6)
    for t in range(x.shape[1]):
        h = m.cell(x[:, t, :], h)
    return m.fc(h)


def _stacked(m, x):
    state, steps = None, []
    for x_t in x.unbind(1):
        state = m.cell(x_t, state)
        steps.append(state[0])
    return torch.stack(steps, dim=1)


def _two_cells(m, x):
    a = x.new_zeros(len(x), 6), x.new_zeros(len(x), 6)
    b = x.new_zeros(len(x), 4), x.new_zeros(len(x), 4)
    answers = []
    for t in range(x.size(1)):
        a = m.cell(torch.tanh(m.embed(x[:, t])), a)
        b = m.two(torch.relu(a[0]), b)
        answers.append(m.fc(b[0]))
    return torch.cat(answers, 1)


def _unsqueezed(m, x):
    h, steps = None, []
    for x_t in x.split(1, dim=1):
        h = m.cell(x_t.squeeze(1), h)
        steps.append(m.fc(h).unsqueeze(1))
    return torch.cat(steps, dim=1)


def _learned_begin(m, x):
    h = m.h.expand(len(x), -1)
    for t in range(x.shape[1]):
        h = m.cell(x[:, t], h)
    return h


def _backwards(m, x):
    h, steps, reverse = x.new_zeros(len(x), 6), [], x.flip(1)
    for t in range(x.size(1)):
        h = m.cell(reverse[:, t], h)
        steps.insert(0, h)
    return torch.stack(steps, 1)


def _time_first(m, x):
    h = x.new_zeros(x.size(1), 6)
    for x_t in x:
        h = m.cell(x_t, h)
    return h


LOOPS = {
    "to the end": (_until_the_end, {"cell": lambda: nn.GRUCell(5, 6), "fc": linear(6, 2)}, "GRU Linear"),
    "without a bias": (_until_the_end, {"cell": lambda: nn.GRUCell(5, 6, False), "fc": linear(6, 2)}, "GRU Linear"),
    "of relu": (
        _until_the_end,
        {"cell": lambda: nn.RNNCell(5, 6, nonlinearity="relu"), "fc": linear(6, 2)},
        "RNN Linear",
    ),
    "stacked": (_stacked, {"cell": lambda: nn.LSTMCell(5, 6)}, "LSTM"),
    "two cells": (
        _two_cells,
        {"cell": lambda: nn.LSTMCell(4, 6), "two": lambda: nn.LSTMCell(6, 4), "embed": linear(5, 4),
         "fc": linear(4, 1)},
        "Linear Tanh LSTM ReLU LSTM Linear Squeeze",
    ),
    "unsqueezed": (_unsqueezed, {"cell": lambda: nn.RNNCell(5, 6), "fc": linear(6, 2)}, "RNN Linear"),
    "unsqueezed, one output": (
        _unsqueezed,
        {"cell": lambda: nn.RNNCell(5, 6), "fc": linear(6, 1)},
        "RNN Linear",
    ),
    "from a learned state": (_learned_begin, {"cell": lambda: nn.GRUCell(5, 6), "h": parameter(1, 6)}, "GRU"),
    "backwards": (_backwards, {"cell": lambda: nn.GRUCell(5, 6)}, "Reverse GRU Reverse"),
}  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS)
def test_loops_over_cells(loop):
    function, members, kinds = LOOPS[loop]
    module = trained(Only(function, **{name: make() for name, make in members.items()}), seed=4)
    model = read(module, example=windows(2, 6, 5))
    assert " ".join(type(layer).__name__ for layer in model.layers) == kinds
    assert_same(module, model, 5)


def test_a_loop_over_the_first_axis():
    module = trained(Only(_time_first, cell=nn.GRUCell(5, 6)))
    model = read(module)
    assert_same(module, model, 5, time_major=True)
    with pytest.warns(UserWarning, match="since it takes its steps from the first axis"):
        read(module)


# --- activations ----------------------------------------------------------------------------------

ACTIVATIONS = {
    "Hardsigmoid": nn.Hardsigmoid(),
    "Hardtanh": nn.Hardtanh(),
    "Hardtanh of ReLU6": nn.Hardtanh(0, 6),
    "Hardswish": nn.Hardswish(),
    "Softplus": nn.Softplus(),
    "Softsign": nn.Softsign(),
    "SiLU": nn.SiLU(),
    "SELU": nn.SELU(),
    "ReLU6": nn.ReLU6(),
    "Mish": nn.Mish(),
    "CELU": nn.CELU(),
    "PReLU": nn.PReLU(),
    "RReLU": nn.RReLU(),
    "Threshold": nn.Threshold(0.1, 0.0),
    "Tanhshrink": nn.Tanhshrink(),
    "Softmin": nn.Softmin(dim=-1),
    "functions": Only(lambda m, x: torch.exp(-F.silu(x).clamp(0, 1)) + F.relu6(x).clamp(min=0)),
    "softsign by hand": Only(lambda m, x: x / (1 + x.abs())),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    """On values far apart enough to meet every bound."""
    module = nn.Sequential(nn.Linear(5, 40), ACTIVATIONS[name])
    module = trained(Only(lambda m, x: m.body(x), body=module), scale=4)
    assert_same(module, read(module), 5)


def test_names_of_layers_that_forwards_call_themselves():
    module = trained(Only(_by_hand, rnn=one(nn.LSTM)(), two=one(nn.LSTM)()))
    layers = read(module).layers
    assert [layer.name for layer in layers] == ["rnn", "reverse", "two", "reverse_1", "last", "cat"]
    assert [layer.inputs for layer in layers if isinstance(layer, Concat | Last | Reverse)] == [
        ("input",),
        (),
        (),
        ("rnn", "last"),
    ]
