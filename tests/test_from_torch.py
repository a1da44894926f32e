"""from_torch: user-written modules answer the same, keep torch's names, and are refused by name where not."""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import lstmcore
from lstmcore.layers import LSTM, Flatten

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from lstmcore.formats import torch_ops  # noqa: E402
from lstmcore.formats.torch_build import to_module  # noqa: E402

# Said of every module that reads time first; test_time_major_input_is_told_of sees that it is.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning")

torch.set_num_threads(1)


class ExitModel(nn.Module):
    """Two stacked layers, last step, classifier, as a user wrote it."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 64, num_layers=2, dropout=0.3, batch_first=True)
        self.classifier = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, x):
        out, _ = self.lstm(x)
        last = out[:, -1, :]
        return self.classifier(last).squeeze(-1)


class QuantModel(nn.Module):
    """One layer, batch norm behind the last step, as a user wrote it."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(10, 64, batch_first=True)
        self.bn = nn.BatchNorm1d(64)
        self.dropout1 = nn.Dropout(0.3)
        self.fc1 = nn.Linear(64, 32)
        self.relu = nn.ReLU()
        self.dropout2 = nn.Dropout(0.2)
        self.fc2 = nn.Linear(32, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        lstm_out, _ = self.lstm(x)
        x = self.dropout1(self.bn(lstm_out[:, -1, :]))
        x = self.dropout2(self.relu(self.fc1(x)))
        return self.sigmoid(self.fc2(x))


class Forward(nn.Module):
    """An LSTM(5, 6) named lstm, the given members, and a forward that is a function of the module and x."""

    def __init__(self, function, lstm=None, **members):
        super().__init__()
        self.input_size = (5,)  # means nothing to from_torch
        self.lstm = nn.LSTM(5, 6, batch_first=True) if lstm is None else lstm
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, x):
        return self.function(self, x)


def trained(module, seed=0, scale=1.0):
    """In eval mode with random weights and running statistics, as training leaves them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor):
        return torch.randn(tensor.shape, generator=generator).to(tensor.dtype)

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(normal(parameter) * scale / max(1, parameter.shape[-1]) ** 0.5)
        for m in module.modules():
            if isinstance(m, nn.BatchNorm1d) and m.running_mean is not None:
                m.running_mean.copy_(normal(m.running_mean) / 2)
                m.running_var.copy_(normal(m.running_var).square() + 0.1)
    return module.eval()


def read(module, **options):
    return lstmcore.from_torch(module, backend="numpy", **options)


def windows(n, t, f, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, t, f)).astype(dtype)


def answers(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def assert_same(module, model, features, time_major=False, lengths=(1, 2, 17)):
    """The same answers for several lengths: in float64 to the last digits, in float32 to its rounding."""
    double, wide = copy.deepcopy(module).double(), model.astype(np.float64)
    for t in lengths if model.steps is None else (model.steps,):
        x = windows(4, t, features, seed=t)
        for m, mine, dtype, tolerance in (
            (double, wide, np.float64, 1e-12),
            (module, model, np.float32, 5e-6),
        ):
            given = x.astype(dtype)
            expected = answers(m, given.swapaxes(0, 1).copy() if time_major else given)
            got = mine(given)
            assert got.shape == expected.shape
            assert np.abs(got - expected).max() <= tolerance * max(1, np.abs(expected).max())


# --- the two users' forms -------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "features", "shape"), [(ExitModel, 8, ()), (QuantModel, 10, (1,))])
def test_users_modules_answer_the_same_under_torchs_names(cls, features, shape, tmp_path):
    module = trained(cls())
    model = read(module)
    assert_same(module, model, features)
    assert (model.input_size, model.output_shape, model.steps) == (features, shape, None)
    state = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert model.parameters.keys() == state.keys()
    for key, tensor in state.items():
        np.testing.assert_array_equal(model.parameters[key], tensor.numpy())
    model.save(tmp_path / "model.safetensors")
    assert lstmcore.load(tmp_path / "model.safetensors", backend="numpy") == model


def test_layers_of_the_users_modules():
    kinds = [(type(layer).__name__, layer.name) for layer in read(trained(ExitModel())).layers]
    assert kinds == [
        ("LSTM", "lstm"),
        ("Linear", "classifier.0"),
        ("ReLU", "classifier.1"),
        ("Dropout", "classifier.2"),
        ("Linear", "classifier.3"),
        ("Sigmoid", "classifier.4"),
        ("Squeeze", "squeeze"),
    ]
    quant = [type(layer).__name__ for layer in read(trained(QuantModel())).layers]
    assert quant == ["LSTM", "BatchNorm1d", "Dropout", "Linear", "ReLU", "Dropout", "Linear", "Sigmoid"]


def test_any_two_swapped_gates_are_seen():
    module = trained(ExitModel())
    model = read(module)
    x = windows(4, 9, 8)
    expected = answers(module, x)
    for a, b in itertools.combinations(range(4), 2):
        order = [0, 1, 2, 3]
        order[a], order[b] = b, a

        def swap(w, order=order):
            return np.concatenate([np.split(w, 4)[k] for k in order])

        lstm = model.layers[0]
        weights = {key: swap(w) if key.endswith("l1") else w for key, w in lstm.weights.items()}
        swapped = lstmcore.Model([lstm.replace(weights=weights), *model.layers[1:]], backend="numpy")
        assert np.abs(swapped(x) - expected).max() > 1e-3


def test_a_wrong_reading_is_caught_by_the_comparison_with_the_module(monkeypatch):
    """Whatever goes wrong between the trace and the layers: here, two gates."""
    right = torch_ops.array

    def wrong(tensor):
        a = right(tensor)
        return np.roll(a, len(a) // 4, axis=0) if len(a) == 24 else a

    monkeypatch.setattr(torch_ops, "array", wrong)
    with pytest.raises(lstmcore.UnsupportedError, match="Forward: the forward does something that its trace"):
        read(trained(Forward(lambda m, x: m.lstm(x)[0][:, -1])))


# --- random architectures -------------------------------------------------------------------------

LAST_STEPS = {
    "select": lambda out, h_n: out[:, -1, :],
    "select2": lambda out, h_n: out[:, -1],
    "slice": lambda out, h_n: out[:, -1:, :].squeeze(1),
    "flatten": lambda out, h_n: out[:, -1:].flatten(1),
    "h_n": lambda out, h_n: h_n[-1],
    "h_n view": lambda out, h_n: h_n[-1].contiguous().view(-1, h_n.shape[-1]),
    "size": lambda out, h_n: out[:, out.size(1) - 1, :],
    "transposed": lambda out, h_n: out.transpose(0, 1)[-1],
    "all": lambda out, h_n: out,
}
ACTIVATIONS = (
    nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.ELU(), nn.ELU(0.7), nn.GELU(),
    nn.GELU("tanh"), nn.Tanh(), nn.Sigmoid(), nn.Softmax(dim=-1), nn.Dropout(0.4), nn.Identity(),
)  # fmt: skip


class RandomNet(nn.Module):
    def __init__(self, draw):
        super().__init__()
        sizes = st.integers(1, 9)
        self.features = features = draw(sizes)
        self.time_major = draw(st.booleans())
        self.lstms = nn.ModuleList()
        for _ in range(draw(st.integers(1, 2))):
            hidden = draw(sizes)
            layers, bias = draw(st.integers(1, 3)), draw(st.booleans())
            self.lstms.append(nn.LSTM(features, hidden, layers, bias, batch_first=not self.time_major))
            features = hidden
        self.last = draw(st.sampled_from(sorted(LAST_STEPS)))
        head = []
        for _ in range(draw(st.integers(0, 4))):
            if draw(st.booleans()):
                head += [nn.Linear(features, out := draw(sizes), draw(st.booleans()))]
                features = out
            elif self.last != "all" and draw(st.booleans()):
                head += [nn.BatchNorm1d(features, eps=1e-3, affine=draw(st.booleans()))]
            else:
                head += [copy.deepcopy(draw(st.sampled_from(ACTIVATIONS)))]
        self.head = nn.Sequential(*head)
        self.squeeze = features == 1 and draw(st.booleans())

    def forward(self, x):
        for lstm in self.lstms:
            x, (h_n, _) = lstm(x)
        if self.time_major:
            x = x.permute(1, 0, 2)
        x = self.head(LAST_STEPS[self.last](x, h_n))
        return x.squeeze(-1) if self.squeeze else x


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31), scale=st.sampled_from([0.3, 1.0, 2.0]))
def test_random_architectures_answer_the_same(data, seed, scale, tmp_path_factory):
    module = trained(RandomNet(data.draw), seed, scale)
    model = read(module)
    assert_same(module, model, module.features, module.time_major)
    file = tmp_path_factory.mktemp("models") / "model.safetensors"
    model.save(file)
    assert lstmcore.load(file, backend="numpy") == model
    twin = to_module(model)
    assert twin.state_dict().keys() == model.parameters.keys()
    assert_same(twin, model, module.features)
    again = read(twin)
    assert again.parameters.keys() == model.parameters.keys()
    assert_same(twin, again, module.features)


# --- forms of forward -----------------------------------------------------------------------------


def _zeros(m, x):
    h_0 = torch.zeros(1, x.size(0), 6).requires_grad_()
    return m.lstm(x, (h_0.to(x.device).detach(), torch.zeros_like(h_0)))[0][:, -1]


def _no_grad(m, x):
    with torch.no_grad():
        out, _ = m.lstm(x)
    return out[:, -1].detach()


def _in_place(m, x):
    last = m.lstm(x)[0][:, -1]
    F.relu_(last)
    last.sigmoid_()
    return last


FORMS = {
    "initial states of zeros": (_zeros, {}),
    "new_zeros": (lambda m, x: m.lstm(x, (x.new_zeros(1, len(x), 6),) * 2)[0][:, -1], {}),
    "zeros that are a parameter": (
        lambda m, x: m.lstm(x, (m.h.expand(-1, len(x), -1).contiguous(), m.h.repeat(1, len(x), 1)))[0][:, -1],
        {"h": lambda: nn.Parameter(torch.zeros(1, 1, 6))},
    ),
    "no_grad": (_no_grad, {}),
    "h_n of one layer, squeezed": (lambda m, x: m.lstm(x)[1][0].squeeze(0), {}),
    "h_n of one layer, by number": (lambda m, x: m.lstm(x)[1][0][0], {}),
    "h_n of one layer, permuted": (lambda m, x: m.lstm(x)[1][0].permute(1, 0, 2).reshape(len(x), -1), {}),
    "h_n sliced": (lambda m, x: m.lstm(x)[1][0][-1:].squeeze(0), {}),
    "head on merged batch and time": (
        lambda m, x: m.fc(m.lstm(x)[0].contiguous().view(-1, 6)).view(x.size(0), -1, 1)[:, -1],
        {"fc": lambda: nn.Linear(6, 1)},
    ),
    "head before the last step": (
        lambda m, x: torch.sigmoid(m.fc(m.lstm(x)[0]))[:, -1, 0],
        {"fc": lambda: nn.Linear(6, 1)},
    ),
    "squeezed, then a layer": (
        lambda m, x: m.fc2(m.fc(m.lstm(x)[0][:, -1]).squeeze().unsqueeze(1)),
        {"fc": lambda: nn.Linear(6, 1), "fc2": lambda: nn.Linear(1, 3)},
    ),
    "batch norm on channels": (
        lambda m, x: m.bn(m.lstm(x)[0].swapaxes(1, 2)).mT[:, -1],
        {"bn": lambda: nn.BatchNorm1d(6)},
    ),
    "functions": (
        lambda m, x: F.softmax(F.gelu(F.elu(F.leaky_relu(m.lstm(x)[0][:, -1], 0.2), 0.5)), dim=1),
        {},
    ),
    "in place, by the changed tensor": (_in_place, {}),
    "one feature, transposed and flattened": (
        lambda m, x: m.fc(m.lstm(x)[0]).mT.flatten(1),
        {"fc": lambda: nn.Linear(6, 1)},
    ),
    "in place": (lambda m, x: F.relu_(m.lstm(x)[0][:, -1]).sigmoid_(), {}),
    "weight norm": (
        lambda m, x: m.fc(m.lstm(x)[0][:, -1]),
        {"fc": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))},
    ),
    "casts": (lambda m, x: m.lstm(x)[0][:, -1].double().type_as(x).cpu().clone(), {}),
    "dropout in eval": (lambda m, x: F.dropout(m.lstm(x)[0][:, -1], 0.5, m.training), {}),
    "a layer used twice": (
        lambda m, x: m.fc(torch.tanh(m.fc(m.lstm(x)[0][:, -1]))),
        {"fc": lambda: nn.Linear(6, 6)},
    ),
    "a scaler": (
        lambda m, x: m.lstm((x - m.mean) / m.scale)[0][:, -1],
        {"mean": lambda: nn.Buffer(torch.randn(5)), "scale": lambda: nn.Buffer(torch.rand(5) + 0.5)},
    ),
    "a linear layer first": (
        lambda m, x: m.lstm(torch.tanh(m.embed(x)))[0][:, -1],
        {"embed": lambda: nn.Linear(3, 5)},
    ),
    "unused results": (lambda m, x: (m.lstm(x)[0].mean(), m.lstm(x)[0][:, -1])[1], {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_forward(form):
    function, members = FORMS[form]
    torch.manual_seed(1)
    module = Forward(function, **{name: make() for name, make in members.items()})
    zero = {"h"} & members.keys()
    trained(module, seed=3)
    with torch.no_grad():
        for name in zero:
            getattr(module, name).zero_()
    model = read(module)
    x = windows(4, 11, model.input_size)
    expected = answers(module, x)
    assert np.abs(model(x) - expected).max() <= 5e-6 * max(1, np.abs(expected).max())
    assert np.ptp(expected) > 1e-3  # so that there is something to compare


def test_a_layer_used_twice_gets_two_names_and_parametrised_weights_keep_theirs():
    fc = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
    model = read(trained(Forward(lambda m, x: m.fc(m.fc(m.lstm(x)[0][:, -1])), fc=fc)))
    assert [layer.name for layer in model.layers] == ["lstm", "fc", "fc_1"]
    np.testing.assert_allclose(model.parameters["fc.weight"], fc.weight.detach().numpy(), rtol=1e-6)


def test_old_weight_norm_and_a_module_with_a_history_can_be_read():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        fc = nn.utils.weight_norm(nn.Linear(6, 2))
    module = Forward(lambda m, x: m.fc(m.lstm(x)[0][:, -1]), fc=fc)
    x = windows(3, 8, 5)
    module.eval()
    fc(torch.zeros(1, 6)).sum()  # the weight now has a history
    np.testing.assert_allclose(read(module)(x), answers(module, x), atol=2e-6)


def test_time_major_input_is_told_of():
    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(5, 6)

        def forward(self, x):
            return self.lstm(x)[1][0][-1]

    with pytest.warns(UserWarning, match="Score reads its windows as .T, N, F., since its LSTM has batch_first=False"):
        lstmcore.from_torch(Score().eval())


def test_what_is_no_module_is_refused_with_a_hint(tmp_path):
    for given_instead, hint in (("model.pt", "checkpoint="), ({}, "checkpoint="), (nn.LSTM, "make an instance")):
        with pytest.raises(TypeError, match=f"expected a torch.nn.Module, got .*{hint}"):
            lstmcore.from_torch(given_instead)
    with pytest.raises(TypeError, match=r"scaler: expected a pair \(mean, scale\), got ndarray"):
        lstmcore.from_torch(nn.Linear(2, 1).eval(), scaler=np.zeros(2))


def test_time_major_input():
    module = trained(Forward(lambda m, x: m.lstm(x)[0][-1], lstm=nn.LSTM(5, 6, 2)))
    model = read(module)
    assert_same(module, model, 5, time_major=True)
    assert model(windows(1, 9, 5)[0]).shape == (6,)
    every = trained(Forward(lambda m, x: m.lstm(x)[0], lstm=nn.LSTM(5, 6, 2)))
    x = windows(4, 9, 5)
    expected = answers(every, x.swapaxes(0, 1).copy()).swapaxes(0, 1)
    np.testing.assert_allclose(read(every)(x), expected, atol=2e-6)


def test_axes_of_size_one_are_dropped_from_the_answer():
    x = windows(4, 9, 5)
    module = trained(Forward(lambda m, x: m.lstm(x)[0][:, -1:]))
    np.testing.assert_allclose(read(module)(x), answers(module, x)[:, 0], atol=2e-6)
    module = trained(Forward(lambda m, x: m.lstm(x)[1][0]))
    np.testing.assert_allclose(read(module)(x), answers(module, x)[0], atol=2e-6)


def test_an_example_of_one_window_is_enough():
    module = trained(Forward(lambda m, x: m.fc(m.lstm(x)[0][:, -1]).squeeze(), fc=nn.Linear(6, 1)))
    model = read(module, example=windows(1, 4, 5))
    assert model.output_shape == ()
    assert_same(module, model, 5)


@pytest.mark.parametrize(("features", "hidden"), [(5, 6), (1, 1)])
@pytest.mark.parametrize("steps", [3, 9])
def test_flatten_fixes_the_window(features, hidden, steps):
    lstm = nn.LSTM(features, hidden, batch_first=True)
    module = trained(Forward(lambda m, x: m.fc(m.lstm(x)[0].flatten(1)), lstm, fc=nn.Linear(steps * hidden, 2)))
    for example in (np.zeros((1, steps, features)), torch.zeros(steps, steps, features)):
        model = read(module, example=example)
        assert model.steps == steps
        assert any(isinstance(layer, Flatten) for layer in model.layers)
        assert_same(module, model, features)
    with pytest.raises(lstmcore.UnsupportedError, match=r"cannot trace .* give an example"):
        read(module)


def test_a_network_without_an_lstm():
    module = trained(nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 1)))
    model = read(module, example=np.zeros((2, 4, 3)))
    assert_same(module, model, 3)


def test_several_lstms_in_a_row():
    a, b = nn.LSTM(6, 4, batch_first=True), nn.LSTM(4, 3, num_layers=2, batch_first=True)
    two = trained(Forward(lambda m, x: m.b(m.a(m.lstm(x)[0])[0])[0][:, -1], a=a, b=b))
    model = read(two)
    assert [layer.return_sequences for layer in model.layers if isinstance(layer, LSTM)] == [
        True,
        True,
        False,
    ]
    assert_same(two, model, 5)


def test_every_step_answers():
    module = trained(Forward(lambda m, x: m.fc(m.lstm(x)[0]).squeeze(-1), fc=nn.Linear(6, 1)))
    model = read(module)
    assert model.output_shape == ("T",)
    assert_same(module, model, 5)


# --- what is left alone, and precision ------------------------------------------------------------


def _draws_and_keeps(m, x):
    out, (m.kept, _) = m.lstm(x)
    torch.randn(3)
    return m.bn(out[:, -1])


def test_the_module_and_the_random_state_are_left_as_they_were():
    module = trained(Forward(_draws_and_keeps, bn=nn.BatchNorm1d(6)))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    attributes = {name: sorted(vars(m)) for name, m in module.named_modules()}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for p in module.parameters():
        p.requires_grad_(True)
    read(module)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert attributes == {name: sorted(vars(m)) for name, m in module.named_modules()}
    assert all(p.requires_grad for p in module.parameters())
    for key, value in module.state_dict().items():
        assert type(value) is torch.Tensor
        assert torch.equal(value, before[key])
    assert torch.is_grad_enabled()


def test_the_model_keeps_its_own_weights():
    module = trained(ExitModel())
    model = read(module)
    x = windows(2, 5, 8)
    first = model(x)
    trained(module, seed=9)
    np.testing.assert_array_equal(model(x), first)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    module = trained(QuantModel()).to(dtype)
    model = read(module)
    assert model.dtype == np.float32
    assert_same(copy.deepcopy(module).float(), model, 10)


def test_float64_is_kept():
    module = trained(ExitModel()).double()
    model = read(module)
    assert model.dtype == np.float64
    x = windows(3, 9, 8, dtype=np.float64)
    np.testing.assert_allclose(model(x), answers(module, x), rtol=1e-12)


def test_not_a_number_and_infinity_in_weights_and_windows():
    module = trained(ExitModel())
    x = windows(3, 9, 8)
    x[0, 3, 1], x[1, 0, 0] = np.nan, np.inf
    np.testing.assert_allclose(read(module)(x), answers(module, x), atol=2e-6)
    with torch.no_grad():
        module.classifier[0].weight[3, 4] = torch.nan
    assert np.isnan(read(module)(x)).all()


def test_scaler_of_from_torch():
    module = trained(ExitModel())
    mean, scale = np.arange(8.0), np.linspace(0.5, 2, 8)
    x = windows(3, 9, 8)
    expected = answers(module, ((x - mean) / scale).astype(np.float32))
    np.testing.assert_allclose(read(module, scaler=(mean, scale))(x), expected, atol=2e-6)
    scaled = to_module(read(module, scaler=(mean, scale)))
    np.testing.assert_allclose(answers(scaled, x), expected, atol=2e-6)
    np.testing.assert_allclose(read(scaled)(x), expected, atol=2e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own imports
def test_wrapped_modules_are_unwrapped():
    module = trained(ExitModel())
    model = read(module)
    for wrapped in (torch.compile(module), nn.DataParallel(module), nn.DataParallel(torch.compile(module))):
        assert read(wrapped.eval()) == model
    in_place = copy.deepcopy(module)
    in_place.compile()
    assert read(in_place) == model


# --- refusals -------------------------------------------------------------------------------------


def _last(m, x):
    return m.lstm(x)[0][:, -1]


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


def _autocast(m, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return _last(m, x)


REFUSED = {
    "bidirectional": (
        _last,
        {"lstm": lambda: nn.LSTM(5, 6, bidirectional=True)},
        "lstm: lstm: is bidirectional",
    ),
    "proj_size": (_last, {"lstm": lambda: nn.LSTM(5, 6, proj_size=2)}, "lstm: lstm: has proj_size"),
    "gru": (
        lambda m, x: m.rnn(x)[0][:, -1],
        {"rnn": lambda: nn.GRU(5, 6)},
        "rnn: gru: lstmcore has no equation",
    ),
    "an operation": (
        lambda m, x: torch.cos(_last(m, x)),
        {},
        r"Forward: cos: lstmcore has no equation for aten.cos.default \(test_from_torch.py:\d+: return",
    ),
    "in a submodule": (
        lambda m, x: m.head(_last(m, x)),
        {"head": lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6))},
        "head.1: layer_norm",
    ),
    "attention": (
        lambda m, x: (m.lstm(x)[0] * F.softmax(m.lstm(x)[0], 1)).sum(1),
        {},
        "softmax: runs over axis 1",
    ),
    "a sum": (lambda m, x: _last(m, x) + _last(m, x), {}, "add: joins two values"),
    "a concatenation": (lambda m, x: torch.cat([_last(m, x), x[:, :, 0]], 1), {}, "only the last time step"),
    "a concatenation of layers": (lambda m, x: torch.cat([_last(m, x)] * 2, 1), {}, "cat: joins two values"),
    "arithmetic": (lambda m, x: _last(m, x) - 1, {}, "sub: subtracts a constant"),
    "division": (lambda m, x: _last(m, x) / 2, {}, "div: divides by a constant"),
    "a mean over time": (lambda m, x: m.lstm(x)[0].mean(1), {}, "mean: lstmcore has no equation"),
    "several outputs": (lambda m, x: m.lstm(x), {}, "returns 3 values; return only the prediction"),
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
    "an initial state": (
        lambda m, x: m.lstm(x, (torch.ones(1, len(x), 6), torch.zeros(1, len(x), 6)))[0][:, -1],
        {},
        "lstm: lstm: starts from a h0 that is not zero",
    ),
    "an initial state that was trained": (
        lambda m, x: m.lstm(x, (torch.zeros(1, len(x), 6), m.c.repeat(1, len(x), 1)))[0][:, -1],
        {"c": lambda: nn.Parameter(torch.randn(1, 1, 6))},
        "lstm: lstm: starts from a c0 that is not zero",
    ),
    "a random initial state": (
        lambda m, x: m.lstm(x, (torch.randn(1, len(x), 6), torch.zeros(1, len(x), 6)))[0][:, -1],
        {},
        "randn: draws random numbers",
    ),
    "a state from another layer": (
        lambda m, x: m.two(x, m.lstm(x)[1])[0][:, -1],
        {"two": lambda: nn.LSTM(5, 6, batch_first=True)},
        "c_n|joins two values",
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
    "the first step": (lambda m, x: m.lstm(x)[0][:, 0], {}, "select: takes step 0 of 7"),
    "the last steps": (lambda m, x: m.lstm(x)[0][:, -3:], {}, "slice: takes 3 of 7 along .time."),
    "part of the window": (lambda m, x: m.lstm(x[:, 1:])[0][:, -1], {}, "slice: takes 6 of 7 along .time."),
    "the last tick alone": (
        lambda m, x: m.lstm(x[:, -1:])[0][:, -1],
        {},
        "last step of what no LSTM has read",
    ),
    "part of the features": (lambda m, x: _last(m, x)[:, :2], {}, "slice: takes 2 of 6 along .features."),
    "one of the features": (lambda m, x: _last(m, x)[:, 2], {}, "select: takes index 2 along .features."),
    "batch for time": (
        lambda m, x: m.lstm(x)[0][:, -1],
        {"lstm": lambda: nn.LSTM(5, 6)},
        "one window of the batch; if time was meant, the LSTM needs batch_first=True",
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
    "a view changed in place": (_through_a_view, {}, "trace does not show"),
    "a step by its number": (
        lambda m, x: m.lstm(x)[0][:, 6],
        {},
        r"trace does not show, such as taking a step by",
    ),
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

    with pytest.raises(lstmcore.UnsupportedError, match="Two: forward takes several inputs, x, hidden"):
        read(Two().eval())


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


# --- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (lambda state: {5: torch.zeros(1)}, "unexpected in the state_dict: 5"),
        (lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}, "differ in their prefix only"),
    ],
)
def test_keys_that_cannot_be_told_apart_or_are_no_names(more, text, tmp_path):
    module = trained(ExitModel())
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    own = state if "prefix" in text else dict(module.state_dict())
    torch.save(own | more(module.state_dict()), tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match=text):
        read(module, checkpoint=tmp_path / "c.pt")


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_checkpoints_in_the_forms_that_training_leaves(nest, prefix, tmp_path):
    source, module = trained(QuantModel(), seed=5), trained(QuantModel(), seed=6)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    torch.save(state if nest is None else {nest: state, "epoch": 3}, tmp_path / "c.pt")
    before = module.state_dict()["fc1.weight"].clone()
    assert read(module, checkpoint=tmp_path / "c.pt") == read(source)
    assert torch.equal(module.state_dict()["fc1.weight"], before)


def test_a_module_that_has_a_submodule_of_the_prefixs_name(tmp_path):
    module = trained(Forward(_last, module=nn.Identity()))
    outer = trained(nn.Sequential())
    outer.add_module("module", trained(ExitModel(), seed=4))
    torch.save(outer.state_dict(), tmp_path / "c.pt")
    assert read(outer, checkpoint=tmp_path / "c.pt") == read(outer)
    torch.save(module.state_dict(), tmp_path / "d.pt")
    assert read(module, checkpoint=tmp_path / "d.pt") == read(module)


@pytest.fixture
def saved_on_a_gpu(tmp_path):
    """A checkpoint whose storages say "cuda:0", and a torch that has no such device."""
    from torch import serialization

    if torch.cuda.is_available():
        pytest.skip("has a GPU, on which the checkpoint would load")
    source = trained(ExitModel(), seed=8)
    before = list(serialization._package_registry)
    serialization.register_package(0, lambda storage: "cuda:0", lambda storage, location: None)
    try:
        torch.save(source.state_dict(), tmp_path / "gpu.pt")
    finally:
        serialization._package_registry[:] = before
    return source, tmp_path / "gpu.pt"


def test_a_checkpoint_saved_on_a_gpu_loads_without_one(saved_on_a_gpu):
    source, file = saved_on_a_gpu
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(file)
    assert read(trained(ExitModel(), seed=1), checkpoint=file) == read(source)


def _without(state):
    del state["lstm.weight_hh_l1"]


def _with_more(state):
    state["attention.weight"] = torch.zeros(3)


def _other_shape(state):
    state["classifier.0.weight"] = torch.zeros(32, 63)


def _not_a_tensor(state):
    state["classifier.0.weight"] = 1.5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_without, "missing in the state_dict: lstm.weight_hh_l1"),
        (_with_more, "unexpected in the state_dict: attention.weight"),
        (_other_shape, r"classifier.0.weight: expected shape \(32, 64\), got \(32, 63\)"),
        (_not_a_tensor, r"classifier.0.weight: expected shape \(32, 64\), got float"),
    ],
)
def test_checkpoints_of_other_modules(change, text, tmp_path):
    module = trained(ExitModel())
    state = dict(module.state_dict())
    change(state)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match=r"c\.pt: " + text):
        read(module, checkpoint=tmp_path / "c.pt")


def _pickled(path: Path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)
    return ".* it holds a pickled torch.nn.modules.container.Sequential; save module.state_dict"


def _truncated(path: Path):
    torch.save(trained(ExitModel()).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    return "expected a state_dict that torch.save wrote"


def _text(path: Path):
    path.write_text("weights: 1, 2, 3\n" * 10)
    return "expected a state_dict that torch.save wrote"


def _empty(path: Path):
    path.write_bytes(b"")
    return "expected a state_dict that torch.save wrote"


def _tensor(path: Path):
    torch.save(torch.zeros(3), path)
    return "expected a state_dict, got Tensor"


def _script(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(nn.Linear(2, 2)).save(path)
    return "expected a state_dict that torch.save wrote: .*TorchScript"


@pytest.mark.parametrize("write", [_pickled, _truncated, _text, _empty, _tensor, _script])
def test_files_that_are_no_checkpoints(write, tmp_path):
    text = write(tmp_path / "c.pt")
    with pytest.raises(lstmcore.ModelFormatError, match=r"c\.pt: " + text) as raised:
        read(trained(ExitModel()), checkpoint=tmp_path / "c.pt")
    assert "\n" not in str(raised.value)


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(trained(ExitModel()), checkpoint=tmp_path / "c.pt")


# --- to_module ------------------------------------------------------------------------------------


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
    monkeypatch.delitem(sys.modules, "lstmcore.formats.torch")
    monkeypatch.delattr("lstmcore.formats.torch")
    with pytest.raises(lstmcore.UnsupportedError, match=r'needs PyTorch: pip install "lstmcore\[torch\]"'):
        read(module)
