"""from_torch: user-written modules answer the same, keep torch's names, and are refused by name where not."""

from __future__ import annotations

import copy
import itertools
import warnings

import numpy as np
import pytest

import lstmcore
from lstmcore.layers import LSTM, Flatten

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch_modules import ExitModel, Forward, QuantModel, answers, assert_same, read, trained, windows  # noqa: E402

from lstmcore.formats.torch import torch_recurrent  # noqa: E402
from lstmcore.formats.torch.torch_build import to_module  # noqa: E402

# Said of every module that reads time first; test_time_major_input_is_told_of sees that it is.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.:UserWarning")

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
    right = torch_recurrent.array

    def wrong(tensor):
        a = right(tensor)
        return np.roll(a, len(a) // 4, axis=0) if len(a) == 24 else a

    monkeypatch.setattr(torch_recurrent, "array", wrong)
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


@settings(max_examples=18, deadline=None)
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


class Prices(nn.Module):
    """A scaler in float64, as prices need it, before layers in float32."""

    def __init__(self, form):
        super().__init__()
        self.lstm, self.fc, self.form = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 1), form
        self.register_buffer("mean", torch.tensor([61_800.123, -4e3, 0.5], dtype=torch.float64))
        self.register_buffer("scale", torch.tensor([0.051, 7, 0.3], dtype=torch.float64))

    def forward(self, x):
        x = ((x.double() if self.form == "double" else x) - self.mean) / self.scale
        return self.fc(self.lstm(x.to(self.fc.weight.dtype) if self.form == "to" else x.float())[0][:, -1])


@pytest.mark.parametrize("form", ["double", "float", "to"])
def test_a_scaler_in_float64_before_layers_in_float32(form):
    module = trained(Prices(form))
    model = read(module)
    assert model.dtype == np.float32
    assert model.layers[0].weights["mean"].dtype == np.float64
    x = windows(3, 9, 3, dtype=np.float64) * module.scale.numpy() + module.mean.numpy()
    np.testing.assert_allclose(model(x), answers(module, x), atol=2e-6)


@pytest.mark.filterwarnings("ignore:.*NaN or infinite weights:RuntimeWarning")
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
