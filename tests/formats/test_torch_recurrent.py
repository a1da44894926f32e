"""torch's LSTM, GRU and RNN with all their arguments: the same answers, and each argument in the table has its test."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tolerances import FLOAT32, TIMES_TORCH, WRONG  # noqa: E402
from torch import nn  # noqa: E402
from torch_modules import Only, answers, assert_same, read, trained, windows  # noqa: E402

from lstmcore.formats.torch.torch_arguments import ARGUMENTS  # noqa: E402
from lstmcore.formats.torch.torch_build import to_module  # noqa: E402
from lstmcore.layers import GRU, LSTM, RNN  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning"),  # test_both_layouts sees it
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),  # torch, of its own speed
]

KINDS = {"LSTM": (nn.LSTM, LSTM), "GRU": (nn.GRU, GRU), "RNN": (nn.RNN, RNN)}


def _h_n(rnn, x):
    found = rnn(x)[1]
    return found[0] if isinstance(rnn, nn.LSTM) else found


def _final(rnn, x):
    h_n = _h_n(rnn, x)
    return torch.cat([h_n[-2], h_n[-1]], 1) if rnn.bidirectional else h_n[-1]


TAKEN = {
    "out": lambda rnn, x: rnn(x)[0],
    "last": lambda rnn, x: rnn(x)[0][:, -1],
    "final": _final,
}


class Net(nn.Module):
    """Random recurrent layers on top of each other, and a head."""

    def __init__(self, draw):
        super().__init__()
        sizes = st.integers(1, 9)
        self.features = width = draw(sizes)
        self.rnns = nn.ModuleList()
        for _ in range(draw(st.integers(1, 2))):
            kind, hidden = draw(st.sampled_from([nn.LSTM, nn.GRU, nn.RNN])), draw(st.integers(2, 9))
            more = {}
            if kind is nn.LSTM and draw(st.booleans()):
                more["proj_size"] = draw(st.integers(1, hidden - 1))
            if kind is nn.RNN:
                more["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
            two, layers, bias = draw(st.booleans()), draw(st.integers(1, 3)), draw(st.booleans())
            self.rnns.append(kind(width, hidden, layers, bias=bias, batch_first=True, bidirectional=two, **more))
            width = more.get("proj_size", hidden) * (1 + two)
        self.taken = draw(st.sampled_from(sorted(TAKEN)))
        self.norm = nn.LayerNorm(width) if draw(st.booleans()) else None
        self.head = nn.Linear(width, draw(sizes)) if draw(st.booleans()) else None

    def forward(self, x):
        for rnn in self.rnns[:-1]:
            x, _ = rnn(x)
        x = TAKEN[self.taken](self.rnns[-1], x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.head is None else self.head(x)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31), scale=st.sampled_from([0.3, 1.0, 1.5]))
def test_random_recurrent_layers_answer_the_same(data, seed, scale, tmp_path_factory):
    module = trained(Net(data.draw), seed, scale)
    model = read(module)
    for twin in (module, to_module(model)):
        double, wide = copy.deepcopy(twin).double(), model.astype(np.float64)
        for steps in (1, 2, 13):
            x = windows(3, steps, module.features, seed=steps, dtype=np.float64)
            exact = answers(double, x)
            assert wide(x).shape == exact.shape
            assert np.abs(wide(x) - exact).max() <= 1e-9 * max(1, np.abs(exact).max())
            x = x.astype(np.float32)
            exact = answers(double, x.astype(np.float64))
            own = np.abs(answers(twin, x) - exact).max()
            largest = max(1, np.abs(exact).max())
            assert np.abs(model(x) - exact).max() <= max(FLOAT32 * largest, TIMES_TORCH * own)
    file = tmp_path_factory.mktemp("models") / "model.safetensors"
    model.save(file)
    assert lstmcore.load(file, backend="numpy") == model
    assert to_module(model).state_dict().keys() == model.parameters.keys()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("direction", ["", "_reverse"])
def test_any_two_swapped_gates_are_seen(name, direction):
    make, kind = KINDS[name]
    module = trained(Only(lambda m, x: m.rnn(x)[0], rnn=make(5, 6, 2, batch_first=True, bidirectional=True)), seed=1)
    model, x = read(module), windows(3, 8, 5)
    expected, gates = answers(module, x), len(kind.gates)
    (rnn,) = model.layers
    for a, b in itertools.combinations(range(gates), 2):
        order = [*range(gates)]
        order[a], order[b] = b, a

        def swap(w, order=order):
            return np.concatenate([np.split(w, len(order))[k] for k in order])

        weights = {key: swap(w) if key.endswith(f"_l1{direction}") else w for key, w in rnn.weights.items()}
        swapped = lstmcore.Model([rnn.replace(weights=weights)], backend="numpy")
        assert np.abs(swapped(x) - expected).max() > WRONG


def test_swapped_directions_are_seen():
    module = trained(Only(lambda m, x: m.rnn(x)[0], rnn=nn.GRU(5, 6, batch_first=True, bidirectional=True)))
    (rnn,) = read(module).layers
    names = {key: key.removesuffix("_reverse") if "_reverse" in key else f"{key}_reverse" for key in rnn.weights}
    swapped = rnn.replace(weights={names[key]: w for key, w in rnn.weights.items()})
    x = windows(3, 8, 5)
    assert np.abs(lstmcore.Model([swapped], backend="numpy")(x) - answers(module, x)).max() > WRONG


def test_learned_states_differ_from_zeros():
    module = trained(Only(lambda m, x: m.rnn(x, m.h.expand(-1, len(x), -1).contiguous())[0],
                          rnn=nn.GRU(5, 6, batch_first=True), h=nn.Parameter(torch.zeros(1, 1, 6))))  # fmt: skip
    model, x = read(module), windows(3, 2, 5)
    (rnn,) = model.layers
    np.testing.assert_array_equal(rnn.weights["h_0_l0"], module.h.detach().numpy()[0, 0])
    weights = {key: w for key, w in rnn.weights.items() if key != "h_0_l0"}
    without = lstmcore.Model([rnn.replace(learned_state=False, weights=weights)], backend="numpy")
    assert np.abs(without(x) - answers(module, x)).max() > WRONG


# --- each argument --------------------------------------------------------------------------------


def _arguments(kind):
    names = [*inspect.signature(nn.RNNBase.__init__).parameters][2:]  # without self and mode
    return {*names} | ({"nonlinearity"} if kind is nn.RNN else set())


@pytest.mark.parametrize("name", KINDS)
def test_every_argument_of_torch_is_in_the_table_with_a_test(name):
    assert ARGUMENTS[name].keys() == _arguments(KINDS[name][0])
    for argument in ARGUMENTS[name].values():
        file, _, test = argument.test.partition("::")
        tree = ast.parse((Path(__file__).parent / file).read_text())
        assert test in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def recurrent(name, *args, **settings):
    return trained(Only(lambda m, x: m.rnn(x)[0], rnn=KINDS[name][0](*args, **settings)))


@pytest.mark.parametrize("name", KINDS)
def test_dropout_between_layers(name):
    module = recurrent(name, 5, 6, 3, dropout=0.7, batch_first=True)
    assert_same(module, read(module), 5)
    module.rnn.train()
    with pytest.raises(lstmcore.UnsupportedError, match=r"in training mode: rnn; call module\.eval\(\)"):
        read(module)


@pytest.mark.parametrize("name", KINDS)
def test_both_layouts(name):
    module = recurrent(name, 5, 6, batch_first=True)
    assert_same(module, read(module), 5)
    module = recurrent(name, 5, 6, batch_first=False)
    with pytest.warns(UserWarning, match=f"reads its windows as .T, N, F., since its {name} has batch_first=False"):
        model = read(module)
    x = windows(4, 9, 5)
    expected = answers(module, x.swapaxes(0, 1).copy()).swapaxes(0, 1)
    assert np.abs(model(x) - expected).max() < FLOAT32


@pytest.mark.parametrize("name", KINDS)
def test_proj_size(name):
    if name == "LSTM":
        module = recurrent(name, 5, 6, 2, proj_size=3, batch_first=True)
        (layer,) = read(module).layers
        assert (layer.proj_size, layer.hidden_size) == (3, 6)
        assert_same(module, read(module), 5)
    else:
        with pytest.raises(ValueError, match="proj_size"):
            recurrent(name, 5, 6, proj_size=3)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_nonlinearity(nonlinearity):
    module = recurrent("RNN", 5, 6, nonlinearity=nonlinearity, batch_first=True)
    (layer,) = read(module).layers
    assert layer.activations == nonlinearity
    assert_same(module, read(module), 5)


@pytest.mark.parametrize("name", KINDS)
def test_device(name):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = recurrent(name, 5, 6, batch_first=True)
    assert_same(module, read(copy.deepcopy(module).to(device)), 5)
    with pytest.raises(lstmcore.UnsupportedError, match=r"rnn.weight_ih_l0: is on the meta device"):
        read(Only(lambda m, x: m.rnn(x)[0], rnn=KINDS[name][0](5, 6, device="meta")).eval())


@pytest.mark.parametrize("name", KINDS)
def test_dtypes(name):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        module = recurrent(name, 5, 6, batch_first=True, dtype=dtype)
        model = read(module)
        assert model.dtype == (np.float64 if dtype is torch.float64 else np.float32)
        assert_same(module.float(), model.astype(np.float32), 5)
    with pytest.raises(lstmcore.UnsupportedError, match="complex"):
        read(recurrent(name, 5, 6, batch_first=True, dtype=torch.complex64))
