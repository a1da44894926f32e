"""Masking: skipped ticks as in Keras, against loops that say what Keras does, tick by tick."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from answers import answer, check
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BACKENDS, SEEDS, make, start
from tolerances import WRONG

import lstmcore
from lstmcore import layers as L
from lstmcore import reference

VALUE = -1.5
MASKING = L.Masking("mask", VALUE)
KINDS = st.sampled_from([L.LSTM, L.GRU, L.RNN])
MARKS = st.lists(st.booleans(), min_size=1, max_size=9)  # whether a tick counts


def new(kind: type[L.Layer], name: str, rng: np.random.Generator, *read: str, **more: Any) -> Any:
    return make(kind, name, rng, gain=1.0, dtype="f8", inputs=read, **more)


def ticks(rng: np.random.Generator, marks: Any) -> Any:
    """Random ticks of 3 features; those that do not count are all VALUE, and one that does is so in one feature."""
    x = rng.normal(size=(len(marks), 3))
    x[~np.array(marks)] = VALUE
    if any(marks):
        x[list(marks).index(True), 0] = VALUE
    return x


def step(layer: Any, k: int, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    w = layer.cell(k)
    weights = reference.Weights(w["weight_ih"], w["weight_hh"], w["bias_ih"], w["bias_hh"])
    if isinstance(layer, L.LSTM):
        return reference.lstm_step(x, h, c, weights)
    return (reference.gru_step if isinstance(layer, L.GRU) else reference.rnn_step)(x, h, weights), c


def loop(layer: Any, x: Any, marks: Any, state: Any = None) -> tuple[Any, Any]:
    """One direction over the ticks: all outputs, and the last state of the top layer."""
    if state is None:
        h, c = np.zeros((layer.states, layer.state_width)), np.zeros((layer.states, layer.cell_width))
    else:
        h, c = (s.copy() for s in state) if layer.cell_width else (state.copy(), np.zeros((layer.states, 0)))
    outputs, output = [], h[-1].copy()
    for tick, counts in zip(x, marks, strict=True):
        if counts:
            below = tick
            for k in range(layer.num_layers):
                h[k], c[k] = step(layer, k, below, h[k], c[k])
                below = output = h[k].copy()
        outputs.append(output)
    return np.array(outputs), h[-1]


@pytest.mark.parametrize("backend", BACKENDS)
@given(kind=KINDS, marks=MARKS, depth=st.integers(1, 2), sequences=st.booleans(), with_state=st.booleans(), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_skipped_tick_leaves_the_state(
    backend: str, kind: Any, marks: list[bool], depth: int, sequences: bool, with_state: bool, seed: int
) -> None:
    """Anywhere in the window; where none has counted yet, the state that it began with comes out."""
    rng = np.random.default_rng(seed)
    layer = new(kind, "a", rng, input_size=3, hidden_size=4, num_layers=depth, return_sequences=sequences)
    x, state = ticks(rng, marks), start(layer, rng) if with_state else None
    outputs, last = loop(layer, x, marks, state)
    check(backend, [MASKING, layer], outputs if sequences else last, x, state)


@pytest.mark.parametrize("backend", BACKENDS)
@given(marks=MARKS, seed=SEEDS, sequences=st.booleans(), merge=st.sampled_from(["concat", "sum", "mean", "mul"]))
@settings(max_examples=40, deadline=None)
def test_both_directions(backend: str, marks: list[bool], seed: int, sequences: bool, merge: str) -> None:
    """Keras puts out zeros at the skipped ticks of a bidirectional layer."""
    rng = np.random.default_rng(seed)
    more = {"bidirectional": True, "merge": merge, "return_sequences": sequences}
    layer = new(L.LSTM, "a", rng, input_size=3, hidden_size=4, **more)
    x, order = ticks(rng, marks), np.array(marks)
    there, end = loop(layer.single(0, "", "there", sequences), x, order)
    back, start_of_it = loop(layer.single(0, "_reverse", "back", sequences), x[::-1], order[::-1])
    parts = [there * order[:, None], back[::-1] * order[:, None]] if sequences else [end, start_of_it]
    joined = np.concatenate(parts, -1) if merge == "concat" else parts[0] * parts[1] if merge == "mul" else sum(parts)
    check(backend, [MASKING, layer], joined / 2 if merge == "mean" else joined, x)


@pytest.mark.parametrize("backend", BACKENDS)
@given(marks=MARKS, seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_marks_go_through_a_stack(backend: str, marks: list[bool], seed: int) -> None:
    """Through sequences, and through layers between them, which see zeros where a tick is skipped."""
    rng = np.random.default_rng(seed)
    fc = new(L.Linear, "fc", rng, in_features=3, out_features=3)
    a, b = (
        new(L.LSTM, name, rng, input_size=size, hidden_size=4, return_sequences=True)
        for name, size in (("a", 3), ("b", 4))
    )
    c = new(L.GRU, "c", rng, input_size=4, hidden_size=2)
    x = ticks(rng, marks)
    seen = np.where(np.array(marks)[:, None], x, 0) @ fc.weights["weight"].T + fc.weights["bias"]
    check(backend, [MASKING, fc], seen, x)
    first, _ = loop(a, np.tanh(seen), marks)
    second, _ = loop(b, first, marks)
    _, last = loop(c, np.maximum(second, 0), marks)
    between = [L.Tanh("tanh"), a, b, L.ReLU("relu")]
    check(backend, [MASKING, fc, *between], np.maximum(second, 0), x)
    check(backend, [MASKING, fc, *between, c], last, x)
    check(backend, [MASKING, fc, *between, L.Last("last")], np.maximum(second, 0)[-1], x)


@pytest.mark.parametrize("backend", BACKENDS)
@given(marks=MARKS, seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_joins_skip_what_all_their_inputs_skip(backend: str, marks: list[bool], seed: int) -> None:
    """As Keras 3 joins masks: one input without a mask, and every tick counts."""
    rng = np.random.default_rng(seed)
    other = rng.random(len(marks)) < 0.5
    x = ticks(rng, marks)
    x[other] = 2.5
    first, second = ((x != value).any(1) for value in (VALUE, 2.5))
    a = new(L.RNN, "a", rng, "mask", input_size=3, hidden_size=3, return_sequences=True)
    c = new(L.GRU, "c", rng, input_size=3, hidden_size=2)
    two = L.Masking("two", 2.5, inputs=("input",))
    one, _ = loop(a, x, first)
    masked = np.where(second[:, None], x, 0)
    layers = [MASKING, two, a, L.Add("sum", inputs=("a", "two")), c]
    check(backend, layers, loop(c, one + masked, first | second)[1], x)
    layers = [MASKING, a, L.Add("sum", inputs=("a", "input")), c]
    check(backend, layers, loop(c, one + x, np.ones(len(x), bool))[1], x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_masking_stands_for_itself(backend: str) -> None:
    """As in Keras: its marks take the place of those before it."""
    rng, marks = np.random.default_rng(0), [False, True, False, True, False]
    a = new(L.LSTM, "a", rng, input_size=3, hidden_size=3, return_sequences=True)
    b = new(L.LSTM, "b", rng, input_size=3, hidden_size=2)
    x = ticks(rng, marks)
    first, _ = loop(a, x, marks)
    _, last = loop(b, first, [False, True, True, True, True])  # what was skipped at the start came out as zeros
    check(backend, [MASKING, a, L.Masking("zeros"), b], last, x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backwards(backend: str) -> None:
    rng, marks = np.random.default_rng(1), [True, False, True, True, False]
    a = new(L.GRU, "a", rng, input_size=3, hidden_size=3, return_sequences=True)
    x = ticks(rng, marks)
    there, last = loop(a, x[::-1], marks[::-1])
    check(backend, [MASKING, L.Reverse("in"), a, L.Reverse("out")], there[::-1], x)
    check(backend, [MASKING, L.Reverse("in"), a.replace(return_sequences=False)], last, x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_learned_state_is_where_a_masked_sequence_begins(backend: str) -> None:
    """And where it ends, if no tick counts."""
    rng = np.random.default_rng(2)
    a = new(L.LSTM, "a", rng, input_size=3, hidden_size=4, learned_state=True)
    state = a.weights["h_0_l0"][np.newaxis], a.weights["c_0_l0"][np.newaxis]
    for marks in ([False, True, True], [False, False]):
        x = ticks(rng, marks)
        check(backend, [MASKING, a], loop(a, x, marks, state)[1], x)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_a_number_and_what_is_not(backend: str) -> None:
    """NaN is unequal to every value, so such a tick counts; windows of a batch have marks of their own."""
    rng = np.random.default_rng(3)
    a = new(L.LSTM, "a", rng, input_size=3, hidden_size=4)
    x = np.stack([ticks(rng, marks) for marks in ([True, False, True], [True, True, True], [False, False, True])])
    x[1, 1, :] = [VALUE, np.nan, VALUE]
    model = lstmcore.Model([MASKING, a], backend=backend)
    answers = model(x)
    assert np.isnan(answers[1]).all()
    for n in (0, 2):
        np.testing.assert_array_equal(answers[n], model(x[n]))
    assert np.abs(answers[0] - answer([a], x[0])).max() > WRONG
    unmarked = rng.normal(size=(5, 3))
    check(backend, [MASKING, a], answer([a], unmarked), unmarked)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sliding_windows_and_series(backend: str) -> None:
    rng = np.random.default_rng(4)
    x = ticks(rng, rng.random(30) < 0.6)
    a = new(L.GRU, "a", rng, input_size=3, hidden_size=4)
    model = lstmcore.Model([MASKING, a], backend=backend)
    windows = np.stack([model(x[n : n + 5]) for n in range(26)])
    np.testing.assert_array_equal(model.predict_windows(x, 5), windows)
    np.testing.assert_array_equal(model.sliding(5).push_many(x)[4:], windows)


def test_a_value_that_is_no_number() -> None:
    with pytest.raises(ValueError, match="Masking: setting 'mask_value': expected a number, got nan"):
        L.Masking("mask", float("nan"))
