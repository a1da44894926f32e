"""The exact sliding window: at every tick, through every door, the bits of model(window)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, normal
from streams import CATCH_UP, KERNELS, MODELS, OPERATIONS, bits, lead, of_every_window, same_bits, small, ticks

import lstmcore
from lstmcore import layers as L

FUZZ = settings(max_examples=80, deadline=None)


def last_lstm(model: lstmcore.Model) -> L.LSTM:
    return model.recurrent_layers[-1]


@pytest.mark.parametrize("kernel", KERNELS)
@given(
    built=MODELS,
    operations=OPERATIONS,
    how=st.sampled_from(CATCH_UP),
    seed=SEEDS,
    special=st.booleans(),
)
@FUZZ
def test_whatever_is_done_answers_have_the_bits_of_whole_windows(
    kernel: str,
    built: tuple[list[L.Layer], int],
    operations: list[tuple[str, int]],
    how: dict[str, Any],
    seed: int,
    special: bool,
) -> None:
    layers, window = built
    model, rng = lstmcore.Model(layers, kernel=kernel), np.random.default_rng(seed)
    assert model.sliding(window).incremental == (not last_lstm(model).return_sequences)
    lead(
        lambda: model.sliding(window, **how),
        of_every_window(model, window),
        operations,
        lambda count: ticks(rng, count, model.input_size, special),
        same_bits,
    )


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@given(built=MODELS, operations=OPERATIONS, seed=SEEDS, wide=st.booleans())
@settings(FUZZ, max_examples=12)
def test_other_backends_answer_whole_windows(
    backend: str, built: tuple[list[L.Layer], int], operations: list[tuple[str, int]], seed: int, wide: bool
) -> None:
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    layers, window = built
    model, rng = lstmcore.Model(layers, backend=backend), np.random.default_rng(seed)
    if wide:
        model = model.astype(np.float64)
    lead(
        lambda: model.sliding(window, catch_up="thread"),
        of_every_window(model, window),
        operations,
        lambda count: ticks(rng, count, model.input_size),
        np.testing.assert_array_equal,
    )


@pytest.mark.parametrize("key", ["weight_ih_l0", "weight_hh_l0", "weight_hh_l1", "bias_ih_l1"])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", [1, 2, 33])
def test_weights_that_are_no_numbers(key: str, special: float, window: int) -> None:
    """A zero state times NaN is no zero, so the step that needs no product of finite weights needs this one."""
    rng = np.random.default_rng(window)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=20, num_layers=2)
    weights = {name: w.copy() for name, w in lstm.weights.items()}
    weights[key][5] = special
    for kernel in KERNELS:
        model = lstmcore.Model([lstm.replace(weights=weights)], kernel=kernel)
        x = normal(rng, 2 * window + 3, 3)
        expected = of_every_window(model, window)(x)
        assert not np.isfinite(expected[-1]).all() or np.isinf(special)
        same_bits(model.sliding(window).push_many(x), expected)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", [1, 7, 40])
def test_a_tick_that_is_no_number_is_forgotten_with_its_windows(special: float, window: int) -> None:
    model = small(hidden=20, num_layers=2)
    x = normal(np.random.default_rng(1), 3 * window, 3)
    clean = model.sliding(window).push_many(x)
    x[window, 1] = special
    answers = model.sliding(window).push_many(x)
    same_bits(answers, of_every_window(model, window)(x)[:, 0])
    wrong = slice(window, 2 * window)
    assert (bits(answers[wrong]) != bits(clean[wrong])).any()
    assert np.isnan(answers[wrong]).all() == np.isnan(special)
    same_bits(answers[2 * window :], clean[2 * window :])


@pytest.mark.parametrize("how", CATCH_UP, ids=str)
def test_a_long_run(how: dict[str, Any]) -> None:
    """200,000 ticks through one stream, through several of the pieces in which a long series is taken."""
    model, window = small(3, hidden=6, num_layers=2), 24
    rng = np.random.default_rng(3)
    x = normal(rng, 200_000 if not how else 20_000, 3)
    stream = model.sliding(window, **how)
    answers = np.concatenate([stream.push_many(x[:1000]), stream.push_many(x[1000:])])
    assert stream.ticks == len(x)
    assert stream.ready
    assert np.isnan(answers[: window - 1]).all()
    for n in [window - 1, len(x) - 1, *rng.integers(window, len(x), 500)]:
        same_bits(answers[n], model(x[n - window + 1 : n + 1])[0])
    assert len(np.unique(answers)) > 0.5 * len(x), "answers must differ to say anything"


def test_ready_and_nan_before_it() -> None:
    model = small()
    stream = model.sliding(5)
    for n in range(1, 9):
        answer = stream.push([n, 2, 3])
        assert type(answer) is float
        assert stream.ready == (n >= 5) == (not np.isnan(answer))
    stream.reset()
    assert (stream.ticks, stream.ready) == (0, False)


def test_ticks_are_converted_as_windows_are() -> None:
    model = small(outputs=2)
    x = np.random.default_rng(4).integers(-5, 5, (9, 6))
    expected = model.sliding(3).push_many(x[:, ::2].astype(np.float32))
    for ways in (x[:, ::2].tolist(), x[:, ::2], x[:, ::2].astype(np.float64), x[:, ::2].astype(">f4")):
        stream = model.sliding(3)
        same_bits(np.stack([stream.push(tick) for tick in ways]), expected)
        same_bits(model.sliding(3).push_many(ways), expected)
    stream = model.sliding(3)
    kept = [stream.push(tick) for tick in x[:, ::2]]
    same_bits(np.stack(kept), expected)  # an answer is the caller's own
    assert model.sliding(3).push_many(x[:0, ::2]).shape == (0, 2)
