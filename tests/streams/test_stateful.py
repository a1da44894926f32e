"""Stateful streams: the answer after n ticks is that of one run over all n of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, normal
from streams import KERNELS, MODELS, OPERATIONS, lead, of_every_beginning, same_bits, small, ticks
from tolerances import RELATIVE, TIMES_TORCH

import lstmcore
from lstmcore import layers as L

FUZZ = settings(max_examples=80, deadline=None)

#: Without a Flatten, which takes windows of one length.
ANY_LENGTH = MODELS.filter(lambda built: not any(isinstance(layer, L.Flatten) for layer in built[0]))


@pytest.mark.parametrize("kernel", KERNELS)
@given(built=ANY_LENGTH, operations=OPERATIONS, seed=SEEDS, special=st.booleans())
@FUZZ
def test_whatever_is_done_answers_have_the_bits_of_one_run(
    kernel: str, built: tuple[list[L.Layer], int], operations: list[tuple[str, int]], seed: int, special: bool
) -> None:
    model, rng = lstmcore.Model(built[0], kernel=kernel), np.random.default_rng(seed)
    lead(
        model.stateful,
        of_every_beginning(model),
        operations,
        lambda count: ticks(rng, count, model.input_size, special),
        same_bits,
    )


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@given(built=ANY_LENGTH, operations=OPERATIONS, seed=SEEDS, wide=st.booleans())
@settings(FUZZ, max_examples=8)
def test_other_backends_answer_as_one_run(
    backend: str, built: tuple[list[L.Layer], int], operations: list[tuple[str, int]], seed: int, wide: bool
) -> None:
    """Step by step, products are summed in another order than over all ticks."""
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    model, rng = lstmcore.Model(built[0], backend=backend), np.random.default_rng(seed)
    exact = lstmcore.Model(built[0], backend="numpy").astype(np.float64)
    if wide:
        model = model.astype(np.float64)
    errors: list[float] = []

    def close(answers: Any, expected: Any) -> None:
        assert answers.dtype in (model.runner.dtype, np.float64)  # a single number is a float
        # Twice the error that the same equations have over the whole run, where that is more.
        allowed = max(RELATIVE * max(1.0, np.abs(expected).max()), TIMES_TORCH * errors[-1])
        np.testing.assert_allclose(answers, expected, rtol=0, atol=allowed)

    def expected(history: Any) -> Any:
        answers, true = of_every_beginning(model)(history), of_every_beginning(exact)(history.astype(np.float64))
        errors.append(float(np.abs(answers - true).max()))
        return answers

    lead(model.stateful, expected, operations, lambda count: ticks(rng, count, model.input_size), close)


@pytest.mark.parametrize("kernel", KERNELS)
@given(built=ANY_LENGTH, calls=st.lists(st.lists(st.integers(0, 39), max_size=80), max_size=6), seed=SEEDS)
@FUZZ
def test_streams_without_an_end_go_together(
    kernel: str, built: tuple[list[L.Layer], int], calls: list[list[int]], seed: int
) -> None:
    """The core serves any number of them; `Stateful` has one."""
    model, rng = lstmcore.Model(built[0], kernel=kernel), np.random.default_rng(seed)
    together, alone = model.runner.slider(None, 40), [model.stateful() for _ in range(40)]
    for ids in [*calls, list(range(40))]:
        x = ticks(rng, len(ids), model.input_size)
        answers = np.empty((len(ids), *together.ys[0].shape), np.float32)
        together.push(np.array(ids, np.uintp), [model.runner.take(x)], [answers])
        for n, tick, answer in zip(ids, x, answers, strict=True):
            same_bits(answer, np.reshape(alone[n].push(tick), answer.shape))


@pytest.mark.parametrize("special", [np.nan, np.inf])
@pytest.mark.parametrize("key", ["weight_ih_l0", "weight_hh_l0", "weight_hh_l1", "bias_ih_l1"])
def test_weights_that_are_no_numbers(key: str, special: float) -> None:
    rng = np.random.default_rng(1)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=20, num_layers=2, return_sequences=True)
    weights = {name: w.copy() for name, w in lstm.weights.items()}
    weights[key][5] = special
    x = normal(rng, 40, 3)
    for kernel in KERNELS:
        model = lstmcore.Model([lstm.replace(weights=weights)], kernel=kernel)
        same_bits(model.stateful().push_many(x), model(x))


def test_a_nan_stays_until_reset() -> None:
    model = small(hidden=20, num_layers=2)
    stream = model.stateful()
    x = normal(np.random.default_rng(1), 300, 3)
    clean = stream.push_many(x)
    stream.reset()
    x[100] = np.nan
    answers = stream.push_many(x)
    same_bits(answers[:100], clean[:100])
    assert np.isnan(answers[100:]).all()
    stream.reset()
    same_bits(stream.push_many(x[:100]), clean[:100])


def test_a_long_run() -> None:
    """100,000 ticks, through several of the pieces in which a long series is taken."""
    rng = np.random.default_rng(5)
    lstm = make(L.LSTM, "lstm", rng, gain=1.0, input_size=2, hidden_size=5, num_layers=2, return_sequences=True)
    model, x = lstmcore.Model([lstm]), normal(rng, 100_000, 2)
    stream = model.stateful()
    answers = np.concatenate([stream.push_many(x[:777]), stream.push_many(x[777:])])
    same_bits(answers, model(x))
    assert stream.ticks == len(x)


def test_models_of_single_ticks_have_streams_too() -> None:
    """Without an LSTM nothing is carried."""
    rng = np.random.default_rng(2)
    layers = [make(L.Linear, "fc", rng, in_features=3, out_features=2), L.Tanh("tanh")]
    x = normal(rng, 20, 3)
    for backend in ("c", "numpy"):
        model = lstmcore.Model(layers, backend=backend)
        stream = model.stateful()
        np.testing.assert_allclose(stream.push_many(x), model(x), rtol=0, atol=1e-6)
        stream.restore(stream.state())
        assert stream.copy().ticks == 20


def test_a_model_of_one_window_length_has_no_stream_without_an_end() -> None:
    rng = np.random.default_rng(3)
    lstm = make(L.LSTM, "lstm", rng, input_size=2, hidden_size=3, return_sequences=True)
    head = [L.Flatten("flatten", 7), make(L.Linear, "fc", rng, in_features=21, out_features=1)]
    model = lstmcore.Model([lstm, *head])
    with pytest.raises(ValueError, match=r"the model answers windows of 7 ticks \(Flatten\), not single ticks"):
        model.stateful()
    with pytest.raises(ValueError, match="window: the model takes 7 ticks, got 6"):
        model.sliding(6)
    with pytest.raises(ValueError, match="window: the model takes 7 ticks, got 8"):
        model.predict_windows(np.zeros((20, 2)), 8)
    assert not model.sliding(7).incremental
    with pytest.raises(ValueError, match=r"on_nan: expected one of .*, got 'drop'"):
        small().stateful(on_nan="drop")
