"""from_torch: modules as they are after training and use, and what is left of them afterwards."""

from __future__ import annotations

import copy
import io
import sys
import threading
import warnings

import numpy as np
import pytest

import lstmcore

torch = pytest.importorskip("torch", reason="needs torch")

from torch import nn  # noqa: E402
from torch_modules import Forward, Only, answers, read, trained, windows  # noqa: E402

KEPT = []  # what a hook keeps outside of its module


def _last(m, x):
    return m.lstm(x)[0][:, -1]


def _head(m, x):
    return m.fc(_last(m, x))


def _keeps_states(m, x):
    out, m.hidden = m.lstm(x)
    return m.fc(out[:, -1])


def _keeps_everywhere(m, x):
    out, (m.h, m.c) = m.lstm(x)
    m.kept.append(out)
    m.named["c"] = (m.h, [m.c])
    return m.fc(out[:, -1])


def _with_fc(function, **members):
    return Forward(function, fc=nn.Linear(6, 2), **members)


def _hooked(hook):
    module = _with_fc(_head)
    module.lstm.register_forward_hook(hook)
    return module


def _hook_with_a_list():
    seen = []
    module = _hooked(lambda m, x, out: seen.append(out))
    module.seen = seen
    return module


def _normed(norm, *names):
    def make():
        module = _with_fc(_head)
        for name in names:
            norm(module.get_submodule(name.partition(".")[0]), name.partition(".")[2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return module

    return make


def _tied():
    module = Only(lambda m, x: m.b(torch.tanh(m.a(_last(m, x)))), lstm=nn.LSTM(5, 6, batch_first=True))
    module.a, module.b = nn.Linear(6, 6), nn.Linear(6, 6)
    module.b.weight = module.a.weight
    return module


def _two_names(function):
    def make():
        module = Only(function, lstm=nn.LSTM(5, 5, batch_first=True))
        module.encoder = module.lstm
        return module

    return make


def _tied_to_an_embedding():
    module = Forward(lambda m, x: m.head(_last(m, x)), table=nn.Embedding(9, 6), head=nn.Linear(6, 9, bias=False))
    module.head.weight = module.table.weight
    return module


MODULES = {
    "states in an attribute": lambda: _with_fc(_keeps_states, hidden=None),
    "tensors in a list, a dict and a tuple": lambda: _with_fc(_keeps_everywhere, kept=[], named={}),
    "a hook with a list": _hook_with_a_list,
    "a hook with a global list": lambda: _hooked(lambda m, x, out: KEPT.append(out)),
    "weight norm": _normed(nn.utils.parametrizations.weight_norm, "fc.weight", "lstm.weight_hh_l0"),
    "spectral norm": _normed(nn.utils.parametrizations.spectral_norm, "fc.weight"),
    "orthogonal": _normed(nn.utils.parametrizations.orthogonal, "fc.weight"),
    "weight norm by hooks": _normed(nn.utils.weight_norm, "fc.weight", "lstm.weight_hh_l0"),
    "spectral norm by hooks": _normed(nn.utils.spectral_norm, "fc.weight"),
    "two layers, one weight": _tied,
    "one layer, two names": _two_names(lambda m, x: m.encoder(x)[0][:, -1]),
    "one layer, called twice": _two_names(lambda m, x: m.encoder(m.lstm(x)[0])[0][:, -1]),
    "a head tied to an embedding": _tied_to_an_embedding,
}


def _used(make):
    """After steps of training and an answer that keeps its history."""
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module = make()
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.randn(4, 7, 5)).square().sum().backward()
        optimizer.step()
    module.eval()
    module(torch.randn(4, 7, 5))
    return module


@pytest.mark.parametrize("case", MODULES)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_modules_that_were_trained_and_used(case):
    module = _used(MODULES[case])
    state = {key: value.clone() for key, value in module.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    attributes = {name: {key: id(v) for key, v in vars(m).items()} for name, m in module.named_modules()}
    kept, held = list(KEPT), {key: copy.copy(v) for key, v in vars(module).items() if isinstance(v, list | dict)}
    model = read(module)
    x = windows(4, 11, 5)
    assert list(map(id, KEPT)) == list(map(id, kept))
    assert attributes == {name: {key: id(v) for key, v in vars(m).items()} for name, m in module.named_modules()}
    for key, value in held.items():
        assert list(map(id, vars(module)[key])) == list(map(id, value))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(torch.equal(p.grad, gradients[name]) for name, p in module.named_parameters() if name in gradients)
    expected = answers(module, x)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(model(x), expected, atol=3e-6)


def test_what_belongs_to_the_process_is_left_as_it_was():
    def facts():
        return (
            torch.get_rng_state().tolist(), torch.get_num_threads(), torch.get_default_dtype(),
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), warnings.filters[:], sys.stderr, sys.stdout,
        )  # fmt: skip

    before = facts()
    read(_used(MODULES["states in an attribute"]))
    torch.manual_seed(3)
    torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    assert facts() == before


def test_threads_that_read_at_once(monkeypatch):
    """torch's tracer is not made for it: they take turns. sys.stderr is nobody's to swap."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    modules = [trained(_with_fc(_head), seed) for seed in range(4)]
    refused = trained(Forward(lambda m, x: _last(m, x) if x.sum() > 0 else x))
    found, errors = {}, []

    def work(n):
        try:
            found[n] = read(modules[n])
            read(refused)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(modules))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert sys.stderr is written
        threads[0].join(0.001)
    assert [type(error) for error in errors] == [lstmcore.UnsupportedError] * len(modules)
    x = windows(4, 9, 5)
    for n, module in enumerate(modules):
        np.testing.assert_allclose(found[n](x), answers(module, x), atol=2e-6)
    assert written.getvalue() == ""


def test_an_embedding_that_is_used_is_still_refused_by_name():
    module = _tied_to_an_embedding()
    module.function = lambda m, x: m.head(m.table(x[:, -1].long())[:, -1])
    with pytest.raises(lstmcore.UnsupportedError, match=r"int64"):
        read(module.eval())


NORMS = {
    "weight norm": lambda layer, name: nn.utils.parametrizations.weight_norm(layer, name),
    "spectral norm": lambda layer, name: nn.utils.parametrizations.spectral_norm(layer, name),
    "orthogonal": lambda layer, name: nn.utils.parametrizations.orthogonal(layer, name),
    "weight norm by hooks": lambda layer, name: nn.utils.weight_norm(layer, name),
    "spectral norm by hooks": lambda layer, name: nn.utils.spectral_norm(layer, name),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("where", ["fc.weight", "lstm.weight_hh_l0"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weights_that_are_computed_are_compared_as_they_were_traced(norm, where):
    """In float64 they come out otherwise, by more than is allowed in some of these modules."""
    for seed in range(12):
        torch.manual_seed(seed)
        module = Only(_head, lstm=nn.LSTM(5, 6, batch_first=True))
        module.fc = nn.Linear(6, 1)
        layer, _, name = where.partition(".")
        NORMS[norm](module.get_submodule(layer), name)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(0.3 + 2 * torch.rand_like(parameter))
        module.eval()
        x = windows(3, 9, 5)
        expected = answers(module, x)
        np.testing.assert_allclose(lstmcore.from_torch(module)(x), expected, atol=3e-6)
        np.testing.assert_array_equal(answers(module, x), expected)


@pytest.mark.parametrize("held", [threading.Lock(), (n for n in range(3)), sys], ids=["lock", "generator", "module"])
def test_what_cannot_be_copied_is_named(held):
    module = Forward(_last)
    module.inner = nn.Identity()
    module.inner.kept = {"it": held}
    with pytest.raises(
        lstmcore.UnsupportedError, match=r"^inner.kept, a dict: cannot pickle .*; from_torch works on a"
    ):
        lstmcore.from_torch(module.eval())


def test_a_forward_that_reads_another_module_does_not_hang():
    def forward(m, x):
        lstmcore.from_torch(nn.Linear(2, 2).eval())
        return _last(m, x)

    with pytest.raises(lstmcore.UnsupportedError, match="from_torch was called while from_torch runs"):
        lstmcore.from_torch(Forward(forward).eval())
    assert lstmcore.from_torch(nn.Linear(2, 2).eval()).input_size == 2
