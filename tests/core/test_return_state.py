"""The states at the end of a window, given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import MASK, graph, ticks
from strategies import BACKENDS, SEEDS, make

import lstmcore
from lstmcore import layers as L


def same(a: Any, b: Any) -> None:
    """States as they are given back, equal in every bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key, part in a.items():
            same(part, b[key])
    elif isinstance(a, tuple):
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(a, b)


def forward(seed: int) -> bool:
    """Whether no layer of the graph reads backwards."""
    return not any(isinstance(x, L.Reverse) or getattr(x, "bidirectional", False) for x in graph(seed))


@pytest.mark.parametrize("backend", BACKENDS)
@given(seed=SEEDS.filter(forward), first=st.integers(1, 40), second=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_a_window_goes_on_where_another_ended(backend: str, seed: int, first: int, second: int) -> None:
    model, x = lstmcore.Model(graph(seed), backend=backend), ticks(seed, first + second)
    whole, end = model(x, return_state=True)
    np.testing.assert_array_equal(whole, model(x))
    _, state = model(x[:first], return_state=True)
    rest, again = model(x[first:], state, return_state=True)
    close = {"rtol": 0, "atol": 1e-12 if backend == "numpy" else 0}  # numpy sums few rows in another order than many
    np.testing.assert_allclose(rest, whole, **close)
    if backend == "c":
        same(again, end)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_lengths_and_masks(backend: str) -> None:
    model = lstmcore.Model(graph(9), backend=backend)
    assert len(model.recurrent_layers) > 1
    x, lengths = np.stack([ticks(n, 12) for n in range(3)]), np.array([12, 1, 7])
    answers, states = model(x, lengths=lengths, return_state=True)
    for n, length in enumerate(lengths):
        answer, alone = model(x[n, :length], return_state=True)
        np.testing.assert_array_equal(answers[n], answer)
        one = {k: tuple(p[:, n] for p in v) if isinstance(v, tuple) else v[:, n] for k, v in states.items()}
        same(one, alone)
    masked = lstmcore.Model([L.Masking("mask", MASK), lstm(return_sequences=False)], backend=backend)
    x = ticks(1, 30)
    counts = (x != MASK).any(axis=1)
    assert 0 < counts.sum() < 30
    same(masked(x, return_state=True)[1], masked(x[counts], return_state=True)[1])


def lstm(**more: Any) -> Any:
    return make(L.LSTM, "lstm", np.random.default_rng(0), input_size=3, hidden_size=5, **more)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [L.LSTM, L.GRU])
def test_the_states_are_torchs(backend: str, kind: Any) -> None:
    """Of both directions and two layers, though only the newest step of the answer is read."""
    layer = make(kind, "r", np.random.default_rng(1), input_size=3, hidden_size=4, num_layers=2, bidirectional=True,
                 return_sequences=True)  # fmt: skip
    module = getattr(torch.nn, kind.__name__)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    module.load_state_dict({key: torch.tensor(w) for key, w in layer.weights.items()})
    x = np.random.default_rng(2).normal(size=(2, 9, 3)).astype("f4")
    with torch.no_grad():
        _, expected = module(torch.tensor(x))
    _, state = lstmcore.Model([layer, L.Last("last")], backend=backend)(x, return_state=True)
    for found, exact in zip(*((s if isinstance(s, tuple) else (s,)) for s in (state, expected)), strict=True):
        np.testing.assert_allclose(found, exact.numpy(), rtol=0, atol=2e-6)


def test_a_streams_state_is_that_of_a_window() -> None:
    model, x = lstmcore.Model([lstm(return_sequences=True), L.Last("last")], backend="c"), ticks(3, 20)
    stream = model.stateful()
    stream.push_many(x)
    _, (h, c) = model(x, return_state=True)
    np.testing.assert_array_equal(stream.state()["lstm.h_l0"], h)
    np.testing.assert_array_equal(stream.state()["lstm.c_l0"], c)


def test_what_has_no_states_to_give_is_refused() -> None:
    model = lstmcore.Model([make(L.Linear, "fc", np.random.default_rng(0), in_features=3, out_features=1)])
    with pytest.raises(ValueError, match="return_state: the model has no recurrent layer"):
        model(np.zeros((4, 3)), return_state=True)
    pytest.importorskip("numba", reason="numba is not installed")
    with pytest.raises(ValueError, match="return_state: the numba backend does not give states back"):
        lstmcore.Model([lstm()], backend="numba")(np.zeros((4, 3)), return_state=True)
    with pytest.raises(TypeError, match="return_state: expected True or False, got 'yes'"):
        lstmcore.Model([lstm()])(np.zeros((4, 3)), return_state="yes")  # type: ignore[call-overload]
