"""to_module: a Model as a torch module that answers the same."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from strategies import SEEDS, make  # noqa: E402
from torch_modules import ExitModel, Forward, assert_same, read, trained  # noqa: E402

from lstmcore import layers as L  # noqa: E402
from lstmcore.formats.torch.torch_build import to_module  # noqa: E402
from lstmcore.layers import Flatten, activations  # noqa: E402


def _last(m, x):
    return m.lstm(x)[0][:, -1]


pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")  # torch, of its own speed


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=SEEDS)
def test_random_recurrent_layers_answer_the_same_and_can_be_read_back(data, seed):
    rng, flags = np.random.default_rng(seed), st.booleans()
    kind, layers, two = (
        data.draw(st.sampled_from([L.LSTM, L.GRU, L.RNN])),
        data.draw(st.integers(1, 3)),
        data.draw(flags),
    )
    more = {"merge": data.draw(st.sampled_from(["concat", "sum", "mean", "mul"]))} if two and layers == 1 else {}
    if kind is L.LSTM:
        more["proj_size"] = data.draw(st.integers(0, 3))
    if kind is L.RNN:
        more["activations"] = data.draw(st.sampled_from(["tanh", "relu"]))
    layer = make(kind, "rnn.0", rng, input_size=data.draw(st.integers(1, 6)), hidden_size=data.draw(st.integers(4, 7)),
                 num_layers=layers, bidirectional=two, bias=data.draw(flags), return_sequences=data.draw(flags),
                 learned_state=data.draw(flags), **more)  # fmt: skip
    model = lstmcore.Model([layer], backend="numpy")
    module = to_module(model)
    assert module.state_dict().keys() == model.parameters.keys()
    assert_same(module, model, layer.input_size)
    again = read(module)
    assert_same(module, again, layer.input_size)
    if layer.merge != "mean":  # which comes back as a sum and a factor
        assert again == model


@pytest.mark.parametrize("name", activations.TABLE)
def test_every_activation_answers_the_same(name):
    rng = np.random.default_rng(7)
    numbers = (
        "(0.3,0.4)" if len(activations.TABLE[name].numbers) == 2 else "(0.3)" if activations.TABLE[name].numbers else ""
    )
    fc = make(L.Linear, "fc", rng, gain=4, in_features=3, out_features=40)
    model = lstmcore.Model([fc, L.Activation("act", name + numbers)], backend="numpy")
    module = to_module(model)
    assert_same(module, model, 3)
    assert_same(module, read(module), 3)


def test_branches_answer_the_same():
    rng = np.random.default_rng(5)
    layers = [
        make(L.Scaler, "scaler", rng, num_features=4),
        make(L.LSTM, "lstm", rng, input_size=4, hidden_size=4, return_sequences=True),
        make(L.LayerNorm, "norm", rng, num_features=4, eps=1e-3),
        L.Add("add", inputs=("norm", "scaler")),
        L.Reverse("reverse"),
        L.Mul("mul", inputs=("add", "reverse", "lstm")),
        L.Mean("mean", inputs=("mul", "lstm", "scaler")),
        make(L.GRU, "gru", rng, input_size=4, hidden_size=3, bidirectional=True),
        L.Last("last", inputs=("mean",)),
        L.Concat("cat", inputs=("last", "gru")),
        make(L.LayerNorm, "out", rng, num_features=10, affine=False),
    ]
    model = lstmcore.Model(layers, backend="numpy")
    module = to_module(model)
    assert_same(module, model, 4)
    again = read(module)
    assert again.parameters.keys() == model.parameters.keys()
    assert_same(module, again, 4)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (L.LSTM, {"peepholes": True}),
        (L.LSTM, {"coupled": True}),
        (L.LSTM, {"layer_norm": True}),
        (L.LSTM, {"clip": 3.0}),
        (L.LSTM, {"activations": "hard_sigmoid tanh tanh"}),
        (L.GRU, {"reset_after": False}),
        (L.GRU, {"activations": "sigmoid relu"}),
        (L.RNN, {"activations": "softsign"}),
    ],
)
def test_what_torch_does_not_have_is_refused(kind, setting):
    layer = make(kind, "rnn", np.random.default_rng(0), input_size=3, hidden_size=4, **setting)
    (name,) = setting
    with pytest.raises(lstmcore.UnsupportedError, match=rf"rnn \({kind.__name__}\): torch has no {name}="):
        to_module(lstmcore.Model([layer], backend="numpy"))


def test_masking_is_refused():
    layer = make(L.GRU, "rnn", np.random.default_rng(0), input_size=3, hidden_size=4)
    with pytest.raises(lstmcore.UnsupportedError, match=r"mask \(Masking\): torch has no module of this kind"):
        to_module(lstmcore.Model([L.Masking("mask"), layer], backend="numpy"))


def test_to_module_flattens_windows_of_its_length_only():
    weights = {"weight": np.random.default_rng(0).normal(size=(2, 12)).astype(np.float32)}
    linear = lstmcore.layers.Linear("head.fc", 12, 2, False, weights=weights)
    model = lstmcore.Model([Flatten("flat", 4), linear], backend="numpy")
    module = to_module(model)
    assert_same(module, model, 3)
    assert read(module, example=np.zeros((2, 4, 3))) == model
    with pytest.raises(ValueError, match="expected windows of 4 time steps, got 5"):
        module(torch.zeros(2, 5, 3))


def test_to_module_keeps_the_dtype():
    model = read(trained(ExitModel()).double())
    assert {p.dtype for p in to_module(model).parameters()} == {torch.float64}


@pytest.mark.parametrize("name", ["forward", "a..b", "lstm.weight_ih_l0"])
def test_to_module_refuses_names_that_torch_cannot_give(name):
    lstm = read(trained(Forward(_last))).layers[0]
    model = lstmcore.Model([lstm, lstmcore.layers.Tanh(name)], backend="numpy")
    with pytest.raises(lstmcore.UnsupportedError, match=rf"{re.escape(name)} \(Tanh\): torch allows no submodule"):
        to_module(model)


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    module = trained(ExitModel())
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "lstmcore.formats.torch.torch")
    monkeypatch.delattr("lstmcore.formats.torch.torch")
    with pytest.raises(lstmcore.UnsupportedError, match=r'needs PyTorch: pip install "lstmcore\[torch\]"'):
        read(module)
