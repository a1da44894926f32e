"""SlidingPool: many streams over one model, each answered as if it were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, normal
from streams import KERNELS, MODELS, of_every_window, python, same_bits, small, ticks

import lstmcore
from lstmcore import layers as L

FUZZ = settings(max_examples=80, deadline=None)

#: How many streams, and calls: the streams that get a tick, and what is done afterwards.
CALLS = st.integers(1, 40).flatmap(
    lambda streams: st.tuples(
        st.just(streams),
        st.lists(
            st.tuples(
                st.lists(st.integers(0, streams - 1), max_size=80), st.sampled_from(["", "", "catch_up", "reset"])
            ),
            min_size=1,
            max_size=8,
        ),
    )
)


def check_pool(model: lstmcore.Model, window: int, calls: Any, rng: np.random.Generator, special: bool = False) -> None:
    """Every stream's answers beside the windows of its own ticks."""
    streams, calls = calls
    pool = lstmcore.SlidingPool(model, window, [f"symbol {n}" for n in range(streams)])
    histories: list[Any] = [np.empty((0, model.input_size), model.runner.dtype)] * streams
    answers: list[list[Any]] = [[] for _ in range(streams)]
    expected = of_every_window(model, window)

    def check(stream: int) -> None:
        assert pool.ready(f"symbol {stream}") == (len(histories[stream]) >= window)
        if answers[stream]:
            same_bits(np.stack(answers[stream]), expected(histories[stream]).reshape(len(answers[stream]), -1))

    for ids, then in [*calls, (list(range(streams)), "")]:
        x = ticks(rng, len(ids), model.input_size, special)
        y = pool.push_many([f"symbol {n}" for n in ids], x)
        assert len(y) == len(ids)
        for n, tick, answer in zip(ids, x, y, strict=True):
            histories[n] = np.concatenate([histories[n], tick[np.newaxis]])
            answers[n].append(np.ravel(answer))
        if then == "catch_up":
            pool.catch_up()
        elif then == "reset":
            n = int(rng.integers(streams))
            check(n)
            pool.reset(f"symbol {n}")
            histories[n], answers[n] = histories[n][:0], []
    for n in range(streams):
        check(n)


@pytest.mark.parametrize("kernel", KERNELS)
@given(built=MODELS, calls=CALLS, seed=SEEDS, special=st.booleans())
@FUZZ
def test_streams_together_answer_as_each_alone(
    kernel: str, built: tuple[list[L.Layer], int], calls: Any, seed: int, special: bool
) -> None:
    layers, window = built
    # Short windows, so that streams that get few ticks have whole ones too.
    fixed = any(isinstance(layer, L.Flatten) for layer in layers)
    model = lstmcore.Model(layers, kernel=kernel)
    check_pool(model, window if fixed else 1 + window % 9, calls, np.random.default_rng(seed), special)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@given(built=MODELS, calls=CALLS, seed=SEEDS)
@settings(FUZZ, max_examples=15)
def test_other_backends(backend: str, built: tuple[list[L.Layer], int], calls: Any, seed: int) -> None:
    if backend == "numba":
        pytest.importorskip("numba", reason="numba is not installed")
    layers, window = built
    fixed = any(isinstance(layer, L.Flatten) for layer in layers)
    model = lstmcore.Model(layers, backend=backend)
    check_pool(model, window if fixed else 1 + window % 9, calls, np.random.default_rng(seed))


def test_more_streams_than_go_together() -> None:
    """A hundred at once, and each of them twice in a call, over windows longer than a chunk."""
    model, rng = small(hidden=20, num_layers=2), np.random.default_rng(0)
    calls = [(list(rng.permutation(100)), "") for _ in range(60)]
    calls += [([*range(100), *range(100)], "catch_up"), ([3] * 70, "reset"), (list(np.repeat(range(100), 2)), "")]
    check_pool(model, 40, (100, calls), rng)


def test_one_stream_of_a_pool_is_pushed_alone() -> None:
    model, rng = small(outputs=2), np.random.default_rng(1)
    pool, alone = lstmcore.SlidingPool(model, 4, 3), model.sliding(4)
    assert pool.streams == [0, 1, 2]
    for tick in normal(rng, 9, 3):
        pool.push(0, tick[::-1])
        answer = pool.push(2, tick.tolist())
        same_bits(answer, alone.push(tick))
    assert (pool.ready(0), pool.ready(1), pool.ready(2)) == (True, False, True)
    single = lstmcore.SlidingPool(small(), 1, ["a"])
    assert type(single.push("a", [1, 2, 3])) is float
    assert single.push_many([], np.zeros((0, 3))).shape == (0,)
    assert single.push_many("aa", np.zeros((2, 3))).shape == (2,)


@pytest.mark.parametrize(
    ("streams", "error", "text"),
    [
        (0, ValueError, "streams: expected at least 1, got 0"),
        (-1, ValueError, "streams: expected at least 1, got -1"),
        (1.5, TypeError, "streams: expected an integer, got float 1.5"),
        (True, TypeError, "streams: expected an integer, got True"),
        (None, TypeError, "streams: expected an integer, got NoneType"),
        ([], ValueError, "streams: expected 1 to 1,048,576, got 0"),
        (10**12, ValueError, "streams: expected 1 to 1,048,576, got 1,000,000,000,000"),
        (["a", "b", "a"], ValueError, "streams: a name occurs twice"),
    ],
)
def test_streams_that_are_refused(streams: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        lstmcore.SlidingPool(small(), 5, streams)


def test_memory_that_is_not_there() -> None:
    pytest.importorskip("resource", reason="the system has no limits to set")
    code = """
import resource, lstmcore
from streams import small
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
for streams in (20_000, 2_000):
    try:
        lstmcore.SlidingPool(small(), 1 << 16, streams)  # windows of 4 MiB thrice each
    except MemoryError as error:
        print(error)
print(lstmcore.SlidingPool(small(), 50, 20_000).push(7, [1, 2, 3]))
"""
    lines = python(code)
    assert [line.partition(":")[0] for line in lines] == [
        "the states of 20000 streams of windows of 65536 ticks",
        "the states of 2000 streams of windows of 65536 ticks",
        "nan",
    ]


def test_calls_that_are_refused_change_nothing() -> None:
    pool = lstmcore.SlidingPool(small(), 2, ["a", "b"])
    before = pool.push_many(["a", "b", "a", "b"], np.ones((4, 3)))
    with pytest.raises(KeyError, match=r"no stream 'c' in this pool of 2"):
        pool.push_many(["a", "c"], np.ones((2, 3)))
    with pytest.raises(KeyError, match=r"no stream 0 in this pool"):
        pool.push(0, np.ones(3))
    with pytest.raises(ValueError, match=r"ticks: expected \(2, 3\), got shape \(3, 3\)"):
        pool.push_many(["a", "b"], np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"ticks: expected \(2, 3\), got shape \(3,\)"):
        pool.push_many(["a", "b"], np.ones(3))
    with pytest.raises(ValueError, match=r"ticks: expected \(1, 3\), got shape \(4,\)"):
        pool.push("a", np.ones(4))
    with pytest.raises(TypeError, match="ticks: expected real numbers, got str"):
        pool.push("a", "abc")
    for ask in (pool.ready, pool.reset):
        with pytest.raises(KeyError, match="c"):
            ask("c")
    same_bits(pool.push_many(["a", "b"], np.ones((2, 3))), before[2:])
