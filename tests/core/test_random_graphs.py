"""Random graphs: the float64 equations, and the same bits through every door and kernel of the core."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from answers import check
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graph, ticks
from strategies import SEEDS
from tolerances import WRONG

import lstmcore
from lstmcore import layers as L
from lstmcore.backends.c import kernels_here

STEPS = 7


@given(seed=SEEDS, vector=st.booleans(), steps=st.integers(1, 70))
@settings(max_examples=100, deadline=None)
def test_the_equations(seed: int, vector: bool, steps: int) -> None:
    layers, x = graph(seed, vector=vector), np.stack([ticks(seed + n, steps) for n in range(2)])
    exact = lstmcore.Model(layers, backend="numpy")(x)
    check("c", layers, exact, x)


@given(seed=SEEDS, vector=st.booleans(), windows=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_bits_of_every_kernel_and_of_batches(seed: int, vector: bool, windows: int) -> None:
    """However many windows take each step together, and whichever end first."""
    layers, x = graph(seed, vector=vector), np.stack([ticks(seed + n, 40) for n in range(windows)])
    first, *others = (lstmcore.Model(layers, backend="c", kernel=kernel) for kernel in kernels_here())
    answers = first(x)
    for model in others:
        assert model(x).tobytes() == answers.tobytes()
    assert np.stack([first(window) for window in x]).tobytes() == answers.tobytes()
    lengths = np.random.default_rng(seed).integers(1, 41, windows)
    short = first(x, lengths=lengths)
    for n, length in enumerate(lengths):
        alone = first(x[n, :length])
        assert short[n][: len(alone)].tobytes() == alone.tobytes()
        assert vector or not np.any(short[n, length:])


@given(seed=SEEDS, window=st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_the_bits_of_streams(seed: int, window: int) -> None:
    """Sliding or not: each window, also one of a series. Carried: one long run."""
    model = lstmcore.Model(graph(seed), backend="c")
    x = ticks(seed, window + 9)
    expected = np.stack([model(x[n : n + window]) for n in range(10)])
    assert model.predict_windows(x, window).tobytes() == expected.tobytes()
    assert model.predict_windows(x, window, window).tobytes() == expected[::window].tobytes()
    stream, caught = model.sliding(window), model.sliding(window)
    answers = stream.push_many(x)
    assert np.isnan(answers[: window - 1]).all()
    assert answers[window - 1 :].tobytes() == expected.tobytes()
    for n, tick in enumerate(x):
        answer = caught.push(tick)
        caught.catch_up()
        assert n < window - 1 or answer.tobytes() == expected[n - window + 1].tobytes()
    try:
        carried = model.stateful()
    except ValueError:
        assert not stream.incremental
        return
    assert stream.incremental
    for n, tick in enumerate(x):
        assert carried.push(tick).tobytes() == model(x[: n + 1]).tobytes()
        if n % 3 == 0:
            carried.catch_up()
        if n == 5:
            again = model.stateful()
            again.restore(carried.state())
            carried = again


def test_most_kinds_of_graphs_occur() -> None:
    """The tests above would mean little if nothing slid, or everything did."""
    models = [lstmcore.Model(graph(seed), backend="c") for seed in range(150)]
    slide = sum(model.sliding(3).incremental for model in models)
    assert 50 < slide < 130
    found = {type(layer) for model in models for layer in model.layers}
    assert found >= {L.LSTM, L.GRU, L.RNN, L.Masking, L.Reverse, L.Add, L.Mul, L.Mean, L.Concat, L.LayerNorm, L.Dropout}


@pytest.mark.parametrize("kind", [L.LSTM, L.GRU, L.RNN])
def test_a_bidirectional_layer_read_at_its_last_step_slides(kind: Any) -> None:
    """Its backward half takes one step, the newest tick's."""
    rng = np.random.default_rng(1)
    shapes = kind.weight_shapes(input_size=3, hidden_size=4, bidirectional=True)
    weights = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    layer = kind("both", 3, 4, bidirectional=True, return_sequences=True, weights=weights)
    at_the_end, final = (
        lstmcore.Model(layers, backend="c")
        for layers in ([layer, L.Last("last")], [layer.replace(return_sequences=False)])
    )
    x = rng.normal(size=(STEPS + 5, 3))
    for model, slides in ((at_the_end, True), (final, False)):
        stream = model.sliding(STEPS)
        assert stream.incremental == slides
        assert stream.push_many(x)[-1].tobytes() == model(x[-STEPS:]).tobytes()
    assert at_the_end.stateful().push_many(x)[-1].tobytes() == at_the_end(x).tobytes()
    assert np.abs(at_the_end(x) - final(x)).max() > WRONG
    with pytest.raises(ValueError, match=rf"both \({kind.__name__}\): what it puts out depends on ticks that have not"):
        final.stateful()
