"""Model.predict_windows: every window of a series, with the bits that each window alone gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, normal
from streams import KERNELS, MODELS, bits, same_bits, small, ticks

import lstmcore
from lstmcore import layers as L
from lstmcore import windows
from lstmcore.streaming import series as module

FUZZ = settings(max_examples=60, deadline=None)


def one_by_one(model: lstmcore.Model, series: Any, window: int, stride: int) -> Any:
    return np.stack([model(x) for x in windows.windows(series, window, stride)])


#: Of the window: below it, at it, beyond it; and plain numbers.
STRIDES = st.one_of(
    st.integers(1, 5), st.sampled_from([-1, 0, 1]).map(lambda beyond: ("window", beyond)), st.integers(30, 90)
)


@pytest.mark.parametrize("kernel", KERNELS)
@given(
    built=MODELS,
    stride=STRIDES,
    further=st.integers(0, 150),
    threads=st.integers(1, 3),
    at_once=st.sampled_from([1, 40, 1 << 14]),
    seed=SEEDS,
    special=st.booleans(),
)
@FUZZ
def test_answers_have_the_bits_of_each_window_alone(
    kernel: str,
    built: tuple[list[L.Layer], int],
    stride: Any,
    further: int,
    threads: int,
    at_once: int,
    seed: int,
    special: bool,
) -> None:
    layers, window = built
    model = lstmcore.Model(layers, kernel=kernel)
    stride = max(1, window + stride[1]) if isinstance(stride, tuple) else stride
    x = ticks(np.random.default_rng(seed), window + further, model.input_size, special)
    expected = one_by_one(model, x, window, stride)
    with mock.patch.object(module, "TICKS_AT_ONCE", at_once):
        answers = model.predict_windows(x, window, stride, threads=threads)
        out = np.full_like(expected, np.nan)
        assert model.predict_windows(x, window, stride, threads=threads, out=out) is out
    assert answers.shape == expected.shape
    same_bits(answers, expected)
    same_bits(out, expected)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@given(built=MODELS, stride=st.integers(1, 90), further=st.integers(0, 60), threads=st.integers(1, 3), seed=SEEDS)
@settings(FUZZ, max_examples=15)
def test_other_backends(
    backend: str, built: tuple[list[L.Layer], int], stride: int, further: int, threads: int, seed: int
) -> None:
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    layers, window = built
    model = lstmcore.Model(layers, backend=backend)
    x = normal(np.random.default_rng(seed), window + further, model.input_size)
    with mock.patch.object(module, "TICKS_AT_ONCE", 20):
        answers = model.predict_windows(x, window, stride, threads=threads)
    np.testing.assert_array_equal(answers, one_by_one(model, x, window, stride))


@pytest.mark.parametrize(
    ("window", "stride"), [(400, 1), (1200, 1), (700, 20), (3, 2000), (300, 299), (1, 1), (70, 700)]
)
def test_windows_and_strides_that_are_long(window: int, stride: int) -> None:
    """Fewer windows go together where their ticks would not stay in the cache; long ones take some ticks at a time."""
    model = small(hidden=20, num_layers=2)
    x = normal(np.random.default_rng(window), 10_000 if stride > 100 else window + 300, 3)
    answers = model.predict_windows(x, window, stride)
    for n in np.random.default_rng(0).integers(len(answers), size=50):
        same_bits(answers[n], model(x[n * stride : n * stride + window]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_memory_maps(dtype: Any, tmp_path: Path) -> None:
    """A series that is read piece by piece, and answers that go to disk; the threads change nothing."""
    model = small(outputs=2)
    series = np.memmap(tmp_path / "series", dtype, "w+", shape=(50_000, 3))
    series[:] = np.random.default_rng(0).normal(size=series.shape) * 3
    out = np.memmap(tmp_path / "answers", np.float32, "w+", shape=(49_991, 2))
    model.predict_windows(series, 10, threads=2, out=out)
    out.flush()
    answers = np.fromfile(tmp_path / "answers", np.float32).reshape(out.shape)
    same_bits(answers, model.predict_windows(np.array(series), 10))
    same_bits(answers[-1], model(series[-10:]))


def test_answers_equal_those_of_the_sliding_window() -> None:
    model = small()
    x = normal(np.random.default_rng(1), 500, 3)
    same_bits(model.predict_windows(x, 30)[:, 0], model.sliding(30).push_many(x)[29:])


def test_a_list_and_a_view_are_series_too() -> None:
    model = small()
    x = np.random.default_rng(2).integers(-4, 4, (40, 6))
    expected = model.predict_windows(x[::2, ::2].astype(np.float32), 5)
    same_bits(model.predict_windows(x[::2, ::2].tolist(), 5), expected)
    same_bits(model.predict_windows(x[::2, ::2], 5), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"series": np.zeros((20, 4))}, ValueError, r"series: expected \(rows, 3\), got shape \(20, 4\)"),
        ({"series": np.zeros(20)}, ValueError, r"series: expected \(rows, 3\), got shape \(20,\)"),
        ({"series": np.zeros((4, 3))}, ValueError, "series: expected at least the window's 5 rows, got 4"),
        ({"series": np.zeros((0, 3))}, ValueError, "series: expected at least the window's 5 rows, got 0"),
        ({"series": "ticks.csv"}, TypeError, "series: expected real numbers, got str"),
        ({"series": [[1, 2, 3], [1, 2]]}, ValueError, "series: not a regular array"),
        ({"window": 0}, ValueError, "window: expected at least 1, got 0"),
        ({"window": -1}, ValueError, "window: expected at least 1, got -1"),
        ({"window": 1.5}, TypeError, "window: expected an integer, got float 1.5"),
        ({"window": 10**6}, ValueError, "window: at most 65,536 ticks"),
        ({"stride": 0}, ValueError, "stride: expected at least 1, got 0"),
        ({"stride": -3}, ValueError, "stride: expected at least 1, got -3"),
        ({"stride": 2.0}, TypeError, "stride: expected an integer, got float 2.0"),
        ({"stride": "1"}, TypeError, "stride: expected an integer, got str '1'"),
        ({"threads": 0}, ValueError, "threads: expected at least 1, got 0"),
        ({"threads": 1.5}, TypeError, "threads: expected an integer, got float 1.5"),
        (
            {"out": np.zeros((16, 2), "f4")},
            ValueError,
            r"out: expected a float32 array of shape \(16, 1\), got .*16, 2",
        ),
        ({"out": np.zeros((15, 1), "f4")}, ValueError, r"out: expected a float32 array .* got float32 \(15, 1\)"),
        ({"out": np.zeros(16, "f4")}, ValueError, r"out: expected a float32 array .* got float32 \(16,\)"),
        ({"out": np.zeros((16, 1))}, ValueError, r"out: expected a float32 array .* got float64 \(16, 1\)"),
        ({"out": [[0.0]] * 16}, ValueError, r"out: expected a float32 array .* got list"),
        ({"out": np.zeros((16, 2), "f4")[:, :1]}, ValueError, "out: expected a C-contiguous, aligned, writable array"),
        (
            {"out": np.broadcast_to(np.float32(0), (16, 1))},
            ValueError,
            "out: expected a C-contiguous, aligned, writable",
        ),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        small().predict_windows(**({"series": np.zeros((20, 3)), "window": 5} | arguments))


def test_an_error_in_a_thread_is_raised() -> None:
    model = small()
    with (
        mock.patch.object(module, "TICKS_AT_ONCE", 10),
        mock.patch.object(type(model.runner), "take", side_effect=MemoryError("no room")),
        pytest.raises(MemoryError, match="no room"),
    ):
        model.predict_windows(np.zeros((100, 3)), 5, threads=2)


def test_sequences_of_answers() -> None:
    """Where every step answers, a window's answer is all of them."""
    rng = np.random.default_rng(3)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=4, return_sequences=True)
    model, x = lstmcore.Model([lstm]), normal(rng, 30, 3)
    answers = model.predict_windows(x, 6, 4)
    assert answers.shape == (7, 6, 4)
    same_bits(answers[2], model(x[8:14]))
    assert (bits(answers[2]) != bits(answers[3])).any()
