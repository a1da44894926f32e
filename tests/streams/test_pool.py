"""SlidingPool: many streams over one model, each answered as if it were alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, normal
from streams import KERNELS, MODELS, of_every_window, python, same_bits, small, ticks

import lstmcore
from lstmcore import layers as L
from lstmcore.errors import ModelFormatError
from lstmcore.streaming import files

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
    assert single.push_many(iter("aa"), np.zeros((2, 3))).shape == (2,)


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
        ([["a"]], TypeError, "streams: expected names that can be a dict's keys; unhashable type: 'list'"),
        ("BTC", TypeError, r"streams: expected names, such as \['BTC'\], got one str 'BTC'"),
        (b"BTC", TypeError, r"streams: expected names, such as \[b'BTC'\], got one bytes b'BTC'"),
    ],
)
def test_streams_that_are_refused(streams: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        lstmcore.SlidingPool(small(), 5, streams)


def test_a_pool_is_one_of_a_model() -> None:
    with pytest.raises(TypeError, match=r"model: expected a Model, got str; lstmcore.load reads a file"):
        lstmcore.SlidingPool("exit.safetensors", 5, 2)  # type: ignore[arg-type]


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
    with pytest.raises(ValueError, match=r"tick: expected shape \(3,\), got \(4,\)"):
        pool.push("a", np.ones(4))
    with pytest.raises(ValueError, match=r"tick: expected shape \(3,\), got \(1, 3\)"):
        pool.push("a", np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"ticks: expected \(1, 3\), got shape \(3,\)"):
        pool.push_many(["a"], np.ones(3))
    with pytest.raises(TypeError, match="tick: expected real numbers, got str"):
        pool.push("a", "abc")
    with pytest.raises(TypeError, match=r"streams: expected names, such as \['ab'\], got one str 'ab'"):
        pool.push_many("ab", np.ones((2, 3)))
    for ask in (pool.ready, pool.reset, pool.ticks, pool.state, lambda name: pool.restore(name, pool.state("a"))):
        with pytest.raises(KeyError, match=r"no stream 'c' in this pool of 2"):
            ask("c")
    same_bits(pool.push_many(["a", "b"], np.ones((2, 3))), before[2:])


# --- states -----------------------------------------------------------------------------------------------------

NAMES = ["BTC", 7, ("SOL", "perpetual")]


def used(model: lstmcore.Model, window: int = 5, seed: int = 0, **settings: Any) -> lstmcore.SlidingPool:
    """A pool of three streams that have seen different numbers of ticks, and have something to catch up with."""
    pool, rng = lstmcore.SlidingPool(model, window, NAMES, **settings), np.random.default_rng(seed)
    streams = [NAMES[n] for n in (0, 0, 1, 0, 0, 2, 0, 0, 0, 1, 0, 1, 1, 1, 1)]
    pool.push_many(streams, normal(rng, len(streams), model.input_size))
    return pool


def go_on_alike(a: lstmcore.SlidingPool, b: lstmcore.SlidingPool) -> None:
    assert [a.ticks(name) for name in NAMES] == [b.ticks(name) for name in NAMES]
    for x in normal(np.random.default_rng(9), 12, 3, a.model.input_size):
        same_bits(a.push_many(NAMES, x), b.push_many(NAMES, x))


BACKENDS = pytest.mark.parametrize("backend", ["c", "numpy"])


@BACKENDS
def test_a_pool_goes_on_from_a_file(backend: str, tmp_path: Path) -> None:
    """Also one whose streams are in another order, and that has seen other ticks."""
    model, path = small(num_layers=2).with_backend(backend), tmp_path / "pool.safetensors"
    pool = used(model)
    pool.save(path)
    other = lstmcore.SlidingPool(model, 5, NAMES[::-1])
    other.push_many(NAMES, np.ones((3, 3)))
    other.restore_all(str(path))
    assert [other.ticks(name) for name in NAMES] == [8, 6, 1]
    go_on_alike(pool, other)


@BACKENDS
def test_a_copy_goes_on_alike_and_by_itself(backend: str) -> None:
    pool = used(small().with_backend(backend), on_nan="raise")
    other, third = pool.copy(), pool.copy()
    other.push_many(NAMES, np.ones((3, 3)))
    with pytest.raises(ValueError, match="on_nan is 'raise'"):
        other.push(7, [1, np.nan, 1])
    assert (other.ticks(7), third.ticks(7)) == (7, 6)
    go_on_alike(pool, third)


@BACKENDS
def test_a_pools_stream_and_a_window_take_up_each_others_states(backend: str, tmp_path: Path) -> None:
    model = small(num_layers=2).with_backend(backend)
    pool, alone, x = used(model), model.sliding(5), normal(np.random.default_rng(3), 10, 3)
    before = [pool.state(name) for name in NAMES[1:]]
    alone.restore(pool.state("BTC"))
    assert alone.ticks == 8
    for part, value in pool.state("BTC").items():
        np.testing.assert_array_equal(alone.state()[part], value)
    assert pool.state("BTC").keys() == alone.state().keys()
    same_bits([pool.push("BTC", tick) for tick in x], alone.push_many(x))

    alone.push_many(x)
    for source in (alone.state(), tmp_path / "alone.safetensors"):
        alone.save(tmp_path / "alone.safetensors")
        pool.restore("BTC", source)
        assert pool.ticks("BTC") == 28
    for state, name in zip(before, NAMES[1:], strict=True):  # nothing to them
        for part, value in pool.state(name).items():
            np.testing.assert_array_equal(state[part], value)
    same_bits([pool.push("BTC", tick) for tick in x], alone.push_many(x))


def test_states_that_do_not_fit_a_pool_are_refused(tmp_path: Path) -> None:
    """And the streams go on as if nobody had asked."""
    path, alone = tmp_path / "pool.safetensors", tmp_path / "alone.safetensors"
    model = small()
    used(model).save(path)
    model.sliding(5).save(alone)

    def of(streams: Any, window: int = 5, other: lstmcore.Model = model) -> lstmcore.SlidingPool:
        return lstmcore.SlidingPool(other, window, streams)

    refused = [
        (of(NAMES[:2]), r"streams: this pool has no \('SOL', 'perpetual'\)"),
        (of([*NAMES, "DOGE"]), "streams: it has no 'DOGE'"),
        (of(["BTC", "7", *NAMES[2:]]), "streams: it has no '7'"),
        (of(1), "streams: it has no 0"),
        (of(["BTC", "a", "b"]), "streams: it has no 'a' and 1 more"),
        (of(NAMES, 6), "window: expected 6, got 5"),
        (of(NAMES, 6, small(hidden=9)), "it is the state of another model, or of other weights"),
        (
            of(NAMES, 5, model.with_backend("numpy")),
            "kept by a stream that computes a step of each layer; this one, .* whole windows",
        ),
    ]
    for pool, text in refused:
        name = pool.streams[0]
        pool.push(name, [1, 2, 3])
        with pytest.raises(ValueError, match=rf"pool.safetensors: {text}"):
            pool.restore_all(path)
        assert pool.ticks(name) == 1
    with pytest.raises(ValueError, match=r"expected the state of a pool, got that of a sliding stream"):
        of(NAMES).restore_all(alone)
    with pytest.raises(ValueError, match=r"expected the state of a sliding stream, got that of a pool"):
        of(NAMES).restore("BTC", path)
    with pytest.raises(ValueError, match=r"state: window: expected 6, got 5"):
        of(NAMES, 6).restore("BTC", of(NAMES).state("BTC"))
    with pytest.raises(FileNotFoundError):
        of(NAMES).restore_all(tmp_path / "none.safetensors")


def test_names_and_paths_that_a_file_cannot_have(tmp_path: Path) -> None:
    class Name:
        def __repr__(self) -> str:
            return "name"

    with pytest.raises(ValueError, match="two names have the same repr"):
        lstmcore.SlidingPool(small(), 5, [Name(), Name()]).save(tmp_path / "pool.safetensors")
    with pytest.raises(ValueError, match=r"expected a name that ends in .safetensors, such as pool.safetensors"):
        used(small()).save(tmp_path / "pool.npz")
    with pytest.raises(FileNotFoundError, match="no folder"):
        used(small()).save(tmp_path / "none" / "pool.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"streams": np.frombuffer(b"[" * 10_000, np.uint8)}, "streams: it has no"),
        ({"streams": np.frombuffer(b"7", np.uint8)}, "streams: it has no"),
        ({"streams": np.zeros(40, np.float32)}, "streams: expected uint8, got float32"),
        ({"streams": files.states.name_part([*NAMES, 7])}, "streams: a name occurs twice"),
        ({"ticks": np.array([1, 2])}, r"ticks: expected int64 \(3,\), got int64 \(2,\)"),
        ({"ticks": np.array([1, -2, 3])}, r"ticks: expected 0 to 2\*\*62, got -2"),
        ({"lstm.h_l0": np.zeros((2, 5, 8), "f4")}, r"lstm.h_l0: expected float32 \(3, 5, 8\), got"),
        ({"more": np.zeros(3)}, "expected the parts"),
    ],
)
def test_files_that_an_enemy_wrote(parts: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.safetensors"
    pool = used(small())
    pool.save(path)
    whole = safetensors.numpy.load(path.read_bytes())
    for found, error, why in ((whole | parts, ValueError, text), (whole, ModelFormatError, "damaged")):
        checksum = files.checksum(found) if error is ValueError else "0"
        path.write_bytes(safetensors.numpy.save(found, {"lstmcore_state": "pool", "sha256": checksum}))
        with pytest.raises(error, match=rf"pool.safetensors: {why}"):
            pool.restore_all(path)
    assert [pool.ticks(name) for name in NAMES] == [8, 6, 1]


@BACKENDS
@pytest.mark.parametrize("special", [np.nan, np.inf, 1e300])
def test_ticks_that_are_no_numbers_can_be_refused(backend: str, special: float) -> None:
    """By all streams of the call; by default they go to the answers of their own stream."""
    model = small().with_backend(backend)
    x = np.ones((3, 3))
    x[1, 2] = special
    pool = lstmcore.SlidingPool(model, 1, 3, on_nan="raise")
    with pytest.raises(ValueError, match=rf"feature 2 of tick 1 is {special!s:.3}.*on_nan is 'raise'; .*not changed"):
        pool.push_many([0, 1, 2], x)
    with pytest.raises(ValueError, match=f"feature 2 is {special!s:.3}"):
        pool.push(1, x[1])
    assert [pool.ticks(n) for n in range(3)] == [0, 0, 0]
    same_bits(lstmcore.SlidingPool(model, 1, 3).push_many([0, 2], x[::2]), pool.push_many([0, 2], x[::2]))
    answers = lstmcore.SlidingPool(model, 1, 3).push_many([0, 1, 2], x)
    assert np.isnan(answers).tolist() == [False, bool(np.isnan(special)), False]
    with pytest.raises(ValueError, match=r"on_nan: expected one of .*, got 'drop'"):
        lstmcore.SlidingPool(model, 1, 3, on_nan="drop")
