"""Modules that take states in and return them are Models whose streams carry them, where they belong together."""

from __future__ import annotations

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(1)


class Module(nn.Module):
    """A recurrent layer and a head on all steps; `forward` is said by the test."""

    def __init__(self, forward, kind=nn.LSTM, head=True, **options):
        super().__init__()
        self.rnn = kind(3, 5, **{"batch_first": True} | options)
        width = (self.rnn.proj_size or 5) * (2 if options.get("bidirectional") else 1) if kind is nn.LSTM else 5
        width = 10 if options.get("bidirectional") and kind is not nn.LSTM else width
        if head:
            self.fc = nn.Linear(width, 2)
        self.forward = forward.__get__(self)


def required(self, x, hidden):
    out, hidden = self.rnn(x, hidden)
    return self.fc(out), hidden


def optional(self, x, hidden=None):
    out, hidden = self.rnn(x, hidden)
    return self.fc(out[:, -1] if self.rnn.batch_first else out[-1]), hidden


def apart(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), h, c


def bare(self, x, hidden=None):
    return self.rnn(x, hidden)


def zeros_by_hand(self, x, hidden=None):
    if hidden is None:
        shape = (self.rnn.num_layers * (1 + self.rnn.bidirectional), x.size(0), 5)
        hidden = (torch.zeros(shape), torch.zeros(shape))
    h, c = hidden
    out, (h, c) = self.rnn(x, (h.contiguous(), c.contiguous()))
    return self.fc(out), (h.detach(), c.detach())


def assert_same(module, model, arguments, *, time_first=False, windows=2, steps=4, seed=0):
    """The Model's answer and states are the module's, from the same random states."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(windows, steps, 3))
    flat, structure = torch.utils._pytree.tree_flatten(arguments(rng, windows))
    module = module.double()
    given_states = torch.utils._pytree.tree_unflatten([torch.tensor(a) for a in flat], structure)
    with torch.no_grad():
        answer, *ends = module(torch.tensor(x.swapaxes(0, 1) if time_first else x), *given_states)
    module.float()
    wide = model.with_backend("numpy").astype(np.float64)
    got, state = wide(x, _as_state(model, flat), return_state=True)
    expected = answer.numpy()
    expected = expected.swapaxes(0, 1) if time_first and expected.ndim == 3 else expected
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    theirs = [t.numpy() for t in torch.utils._pytree.tree_leaves(ends)]
    ours = torch.utils._pytree.tree_leaves(list(state.values()) if isinstance(state, dict) else state)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def _as_state(model, flat):
    """h and c, layer by layer."""
    rest = iter(flat)
    made = {}
    for layer in model.recurrent_layers:
        leaves = [np.reshape(next(rest), (layer.states, -1, width)) for width in layer.state_widths.values()]
        made[layer.name] = tuple(leaves) if len(leaves) > 1 else leaves[0]
    return made


@settings(max_examples=15, deadline=None)
@given(
    kind=st.sampled_from([nn.LSTM, nn.GRU, nn.RNN]),
    forward=st.sampled_from([required, optional, apart, bare]),
    layers=st.integers(1, 3),
    both=st.booleans(),
    first=st.booleans(),
    proj=st.sampled_from([0, 0, 2]),
    seed=st.integers(0, 1 << 20),
)
@pytest.mark.filterwarnings("ignore:.*reads its windows as .T, N, F.*:UserWarning")
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_any_layer_and_form(kind, forward, layers, both, first, proj, seed):
    torch.manual_seed(seed)
    options = {"num_layers": layers, "bidirectional": both, "batch_first": first}
    if kind is nn.LSTM and proj:
        options["proj_size"] = proj
    forward = required if forward is apart and kind is not nn.LSTM else forward
    forward = required if forward is optional and both else forward
    module = Module(forward, kind, forward is not bare, **options).eval()
    model = lstmcore.from_torch(module)
    rows = layers * (1 + both)

    def arguments(rng, n):
        h = rng.normal(size=(rows, n, options.get("proj_size", 5)))
        if kind is not nn.LSTM:
            return (h,)
        c = rng.normal(size=(rows, n, 5))
        return (h, c) if forward is apart else ((h, c),)

    assert_same(module, model, arguments, time_first=not first, seed=seed)


class Two(nn.Module):
    def __init__(self, second=nn.LSTM):
        super().__init__()
        self.a = nn.LSTM(3, 5, batch_first=True)
        self.b = second(5, 4, num_layers=2, batch_first=True)
        self.fc = nn.Linear(4, 1)

    def forward(self, x, states):
        x, of_a = self.a(x, states[0])
        x, of_b = self.b(x, states[1])
        return self.fc(x), [of_a, of_b]


@pytest.mark.parametrize("second", [nn.LSTM, nn.GRU])
def test_several_layers_with_a_list_of_states(second):
    torch.manual_seed(1)
    module = Two(second).eval()
    model = lstmcore.from_torch(module)
    assert [layer.name for layer in model.recurrent_layers] == ["a", "b"]

    def arguments(rng, n):
        a = rng.normal(size=(1, n, 5)), rng.normal(size=(1, n, 5))
        b = rng.normal(size=(2, n, 4)), rng.normal(size=(2, n, 4))
        return ([a, b if second is nn.LSTM else b[0]],)

    assert_same(module, model, arguments)


class Packed(nn.Module):
    """One tensor of states (N, layers, H, 2), whose structure nothing says."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 5, num_layers=2, batch_first=True)
        self.fc = nn.Linear(5, 1)

    def forward(self, x, packed):
        h, c = (packed[..., n].transpose(0, 1).contiguous() for n in (0, 1))
        y, (h, c) = self.rnn(x, (h, c))
        return self.fc(y), torch.stack([h.transpose(0, 1), c.transpose(0, 1)], -1)


def test_an_example_says_the_structure():
    torch.manual_seed(2)
    module = Packed().eval()
    model = lstmcore.from_torch(module, example=(np.zeros((4, 9, 3)), np.zeros((4, 2, 5, 2))))
    with pytest.raises(ValueError, match=r"example: a state of shape \(2, 2, 5, 2\) .* take another N"):
        lstmcore.from_torch(module, example=(np.zeros((2, 9, 3)), np.zeros((2, 2, 5, 2))))
    x, packed = torch.randn(2, 6, 3), torch.randn(2, 2, 5, 2)
    with torch.no_grad():
        answer, end = module(x, packed)
    h, c = (packed[..., n].transpose(0, 1).numpy() for n in (0, 1))
    got, state = model(x.numpy(), (h, c), return_state=True)
    np.testing.assert_allclose(got, answer.numpy(), rtol=0, atol=1e-5)
    for n in (0, 1):
        np.testing.assert_allclose(state[n], end[..., n].transpose(0, 1).numpy(), rtol=0, atol=1e-5)


class Cells(nn.Module):
    def __init__(self, kind=nn.LSTMCell):
        super().__init__()
        self.cell = kind(3, 5)
        self.fc = nn.Linear(5, 1)

    def forward(self, x, hidden):
        answers = []
        for t in range(x.shape[1]):
            hidden = self.cell(x[:, t], hidden)
            answers.append(self.fc(hidden[0] if isinstance(hidden, tuple) else hidden))
        return torch.stack(answers, 1), hidden


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells(kind):
    torch.manual_seed(3)
    module = Cells(kind).eval()
    model = lstmcore.from_torch(module)
    rng = np.random.default_rng(3)
    x, h, c = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    hidden = (torch.tensor(h), torch.tensor(c)) if kind is nn.LSTMCell else torch.tensor(h)
    with torch.no_grad():
        answer, end = module.double()(torch.tensor(x), hidden)
    state = (h[np.newaxis], c[np.newaxis]) if kind is nn.LSTMCell else h[np.newaxis]
    got, ends = model.with_backend("numpy").astype(np.float64)(x, state, return_state=True)
    np.testing.assert_allclose(got, answer.numpy(), rtol=0, atol=1e-6)
    for a, b in zip(ends if kind is nn.LSTMCell else [ends], end if kind is nn.LSTMCell else [end], strict=True):
        np.testing.assert_allclose(a[0], b.numpy(), rtol=0, atol=1e-6)


def test_a_stream_is_the_module_fed_its_states_back(tmp_path):
    torch.manual_seed(4)
    module = Module(zeros_by_hand, num_layers=2).eval()
    lstmcore.from_torch(module).save(tmp_path / "m.safetensors")
    stream = lstmcore.load(tmp_path / "m.safetensors").stateful()
    hidden = None
    for x in torch.randn(15, 3):
        with torch.no_grad():
            answer, hidden = module(x[None, None], hidden)
        np.testing.assert_allclose(stream.push(x.numpy()), answer[0, 0].numpy(), rtol=0, atol=2e-6)


def test_states_that_only_come_out():
    torch.manual_seed(5)

    def forward(self, x):
        out, (_h, c) = self.rnn(x)
        return self.fc(out[:, -1]), c

    model = lstmcore.from_torch(Module(forward).eval())
    assert model.output_shape == (2,)


# What is refused


def swapped_rows(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), h.flip(0), c


def swapped_h_and_c(self, x, hidden):
    out, (h, c) = self.rnn(x, (hidden[0], hidden[1]))
    return self.fc(out), torch.cat([h[:1], c[1:]]), torch.cat([c[:1], h[1:]])


def swapped_results(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), c, h


def scaled(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), 2 * h, c


def scaled_before(self, x, h, c):
    out, (h, c) = self.rnn(x, (0.5 * h, c))
    return self.fc(out), h, c


def shifted(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), torch.cat([h[..., 1:], h[..., :1]], -1), c


def forgotten(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), h


def reset(self, x, hidden):
    out, (h, c) = self.rnn(x, (hidden[0], torch.zeros_like(hidden[1])))
    return self.fc(out), (h, c)


def read_for_something_else(self, x, h, c):
    out, (h2, c2) = self.rnn(x, (h, c))
    return self.fc(out + h[-1][:, None]), h2, c2


def first_step(self, x, hidden):
    out, _end = self.rnn(x, hidden)
    return self.fc(out), out[:, 0][None]


def unchanged(self, x, h, c):
    out, (h2, _c2) = self.rnn(x, (h, c))
    return self.fc(out), h2, c


def from_another_start(self, x, hidden=None):
    if hidden is None:
        hidden = (torch.full((2, len(x), 5), 0.5), torch.full((2, len(x), 5), -0.5))
    out, hidden = self.rnn(x, hidden)
    return self.fc(out), hidden


def at_a_value(self, x, h, c):
    out, (h, c) = self.rnn(x, (h, c))
    return self.fc(out), h if len(x) < 5 else h.roll(1, 1), c


def needs_a_mask(self, x, mask):
    out, _ = self.rnn(x)
    return self.fc(out * mask)


REFUSED = {
    swapped_rows: "Module: the input 'h' and the output '1' hold the same states, but not in the same order",
    swapped_h_and_c: "hold the same states, but not in the same order",
    swapped_results: "the states come out in another order than they go in: a loop .* would mix them up",
    scaled: r"of which several are computed, the results \[0, 1\]",
    scaled_before: r"mul: reads a state that is given to the forward; that can only begin a recurrent layer",
    shifted: "the input 'h' and the output '1' hold the same states, but not in the same order",
    forgotten: "not the c of rnn: no output has it at the end",
    reset: "the input 'hidden_1': no element of it begins a recurrent layer",
    read_for_something_else: "select: reads a state|add: reads a state",
    first_step: r"of which the one at 1 is neither the answer nor final states",
    unchanged: "the output '2' hands on .* as it came",
    from_another_start: r"given without states, differ",
    at_a_value: r"the state at result 1 differs, for windows \(|does not show",
    needs_a_mask: "cannot trace the forward, given states of its recurrent layers behind the windows: ",
}


@pytest.mark.parametrize("forward", REFUSED, ids=lambda forward: forward.__name__)
def test_what_does_not_belong_together_is_refused(forward):
    torch.manual_seed(6)
    kind = nn.GRU if forward is first_step else nn.LSTM
    layers = 1 if forward is first_step else 2
    with pytest.raises(lstmcore.UnsupportedError, match=REFUSED[forward]):
        lstmcore.from_torch(Module(forward, kind, num_layers=layers).eval())


def test_one_state_for_two_layers():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.GRU(3, 5, batch_first=True), nn.GRU(5, 5, batch_first=True)

        def forward(self, x, h):
            x, h = self.a(x, h)
            return self.b(x, h)

    with pytest.raises(lstmcore.UnsupportedError, match=r"b: gru: starts from a state that depends on the input"):
        lstmcore.from_torch(Shared().eval(), example=(np.zeros((2, 7, 3)), np.zeros((1, 2, 5))))


def test_several_inputs_that_are_no_states():
    class Lengths(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 1)

        def forward(self, x, lengths):
            return self.fc(x)

    with pytest.raises(lstmcore.UnsupportedError, match=r"takes several inputs, x, lengths; .*`lengths=` can be given"):
        lstmcore.from_torch(Lengths().eval())


def cells_alone(self, x):
    _out, (_h, c) = self.rnn(x)
    return c, c


def given_back(self, x):
    self.rnn(x)
    return x, x


def nothing(self, x):
    self.rnn(x)
    return ()


@pytest.mark.parametrize("forward", [cells_alone, given_back, nothing], ids=lambda forward: forward.__name__)
def test_no_result_is_a_prediction(forward):
    module = Module(forward, head=False).eval()
    with pytest.raises(lstmcore.UnsupportedError, match="of which none is a prediction"):
        lstmcore.from_torch(module)


def test_an_example_with_none_for_states():
    module = Module(optional).eval()
    with pytest.raises(TypeError, match="example: expected states after the windows, got None"):
        lstmcore.from_torch(module, example=(torch.zeros(2, 4, 3), None))
