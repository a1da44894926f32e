"""Streams, pools and whole series through models that branch: the bits of each window, or of one long run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import CASES, FEATURES, STEPS, Maker, case
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BACKENDS, SEEDS
from streams import OPERATIONS, lead, of_every_beginning

import lstmcore
from lstmcore import layers as L

STATEFUL = [name for name in CASES if case(name).stateful]
#: Those that the core answers after one step: one answer a window, and nothing looks ahead.
SLIDING = ("residual", "branches", "vectors", "ensemble", "nested", "last_steps", "number")


def model_of(name: str, backend: str) -> lstmcore.Model:
    return lstmcore.Model(case(name).layers, backend=backend)


def every_window(model: lstmcore.Model, x: Any) -> Any:
    return np.stack([model(x[n : n + STEPS]) for n in range(len(x) - STEPS + 1)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_windows_have_the_bits_of_each_alone(backend: str, name: str) -> None:
    """Of a series, of a sliding window and of a pool."""
    model, x = model_of(name, backend), np.random.default_rng(1).normal(size=(STEPS + 9, FEATURES))
    expected = every_window(model, x)
    np.testing.assert_array_equal(model.predict_windows(x, STEPS), expected)
    np.testing.assert_array_equal(model.predict_windows(x, STEPS, 4, threads=2), expected[::4])
    sliding = model.sliding(STEPS)
    assert sliding.incremental == (backend == "c" and name in SLIDING)
    answers = sliding.push_many(x)
    assert np.isnan(answers[: STEPS - 1]).all()
    np.testing.assert_array_equal(answers[STEPS - 1 :], expected.reshape(10, *answers.shape[1:]))
    pool = lstmcore.SlidingPool(model, STEPS, ["a", "b"])
    assert pool.incremental == sliding.incremental
    pool.push("b", x[3])  # which is nothing to the other
    pushed = np.stack([pool.push("a", tick) for tick in x])
    np.testing.assert_array_equal(pushed[STEPS - 1 :].reshape(expected.shape), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["branches", "GRU sum True", "number"])
def test_a_sliding_window_goes_on_from_its_state(backend: str, name: str, tmp_path: Path) -> None:
    model, x = model_of(name, backend), np.random.default_rng(1).normal(size=(20, FEATURES))
    stream, expected = model.sliding(STEPS), model.sliding(STEPS).push_many(x)
    stream.push_many(x[:9])
    stream.save(tmp_path / "state.safetensors")
    again = model.sliding(STEPS)
    again.restore(tmp_path / "state.safetensors")
    for other in (again, stream.copy(), stream):
        np.testing.assert_array_equal(other.push_many(x[9:]), expected[9:])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STATEFUL)
@given(operations=OPERATIONS, seed=SEEDS)
@settings(max_examples=3, deadline=None)
def test_a_stream_without_an_end_is_one_long_run(
    backend: str, name: str, operations: list[tuple[str, int]], seed: int
) -> None:
    """With the same bits, but that numpy sums a Linear's products over one tick in another order than over many."""
    model, rng = model_of(name, backend), np.random.default_rng(seed)
    free = backend == "numpy" and any(isinstance(layer, L.Linear) for layer in model.layers)

    def compare(answers: Any, expected: Any) -> None:
        np.testing.assert_allclose(answers, expected, rtol=0, atol=1e-12 if free else 0)

    lead(
        model.stateful, of_every_beginning(model), operations, lambda count: rng.normal(size=(count, FEATURES)), compare
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STATEFUL)
def test_streams_of_a_slider_do_not_mix(backend: str, name: str) -> None:
    model, x = model_of(name, backend), np.random.default_rng(2).normal(size=(8, FEATURES))
    together = model.runner.slider(None, 3)
    (like,) = together.ys
    out = np.empty((16, *like.shape), like.dtype)
    x = x.astype(together.xs[0].dtype)
    ticks = model.runner.take(np.repeat(x, 2, axis=0) * np.tile([[1], [-1]], (8, 1)).astype(x.dtype))
    together.push(np.array([2, 0] * 8, np.uintp), [ticks], [out])
    for first, sign in ((0, 1), (1, -1)):
        alone = model.stateful().push_many(sign * x)
        np.testing.assert_array_equal(out[first::2].reshape(alone.shape), alone)
    together.reset(2)  # and the other goes on
    together.push(np.array([2, 0], np.uintp), [model.runner.take(np.stack([x[0], x[0]]))], [out[:2]])
    on = model.stateful()
    on.push_many(-x)
    for found, expected in ((out[0], model.stateful().push(x[0])), (out[1], on.push(x[0]))):
        np.testing.assert_array_equal(found.reshape(np.shape(expected)), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("backwards", "in (Reverse)"),
        ("twice_reversed", "one (Reverse)"),
        ("both_by_hand", "in (Reverse)"),
        ("LSTM concat True", "a (LSTM)"),
        ("GRU mean False", "a (GRU)"),
    ],
)
def test_no_stream_without_an_end_through_what_looks_ahead(backend: str, name: str, label: str) -> None:
    model = model_of(name, backend)
    with pytest.raises(ValueError, match=f"^{re.escape(label)}: what it puts out depends on ticks that have not come"):
        model.stateful()


@pytest.mark.parametrize("backend", BACKENDS)
@given(bad=st.sampled_from([np.nan, np.inf, -np.inf]))
@settings(max_examples=3, deadline=None)
def test_what_is_no_number_gives_no_warning(backend: str, bad: float) -> None:
    """Infinities of both signs meet in a sum."""
    new = Maker(0)
    fc = new(L.Linear, "fc", in_features=FEATURES, out_features=FEATURES)
    minus = fc.map_weights(lambda w: -w).replace(name="minus", inputs=("input",))
    a = new(L.LSTM, "a", input_size=FEATURES)
    model = lstmcore.Model([fc, minus, L.Add("sum", inputs=("fc", "minus")), a], backend=backend)
    x = np.zeros((6, FEATURES))
    x[3, 1] = bad
    for answers in (model(x), model.stateful().push_many(x), model.sliding(6).push_many(x)[-1]):
        assert np.isnan(answers[3:]).all()
        assert np.isfinite(answers[:3]).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_is_of_one_model(backend: str) -> None:
    """Two models with the same layers that read others have other states."""
    new = Maker(0)
    a, b = new(L.GRU, "a", hidden_size=3), new(L.GRU, "b", hidden_size=3)
    models = [
        lstmcore.Model([a, b.replace(inputs=read), L.Add("end", inputs=("a", "b"))], backend=backend)
        for read in (("a",), ("input",))
    ]
    one, two = (model.stateful() for model in models)
    assert set(one.state()) == {"a.h_l0", "b.h_l0", "ticks", "model"}
    with pytest.raises(ValueError, match="it is the state of another model"):
        two.restore(one.state())
