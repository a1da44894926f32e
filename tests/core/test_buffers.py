"""Arrays that users hold: whatever they do to a buffer of ours or hand in, the answer is right or an error."""

from __future__ import annotations

import contextlib
import functools
import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, normal
from streams import branched, same_bits, small

import lstmcore
from lstmcore import layers as L
from lstmcore import windows
from lstmcore.feed.features import Features
from lstmcore.streaming import Stream

FUZZ = settings(max_examples=25, deadline=None)
FEATURES, WINDOW = 3, 4


def every_step() -> lstmcore.Model:
    """A model that answers every step: its streams compute whole windows."""
    lstm = make(L.LSTM, "lstm", np.random.default_rng(6), input_size=FEATURES, hidden_size=5, return_sequences=True)
    return lstmcore.Model([lstm])


@functools.cache
def model(kind: str) -> lstmcore.Model:
    """The models of this file, made once: nothing done to their arrays may change them."""
    return {
        "one output": small,
        "two outputs": lambda: small(outputs=2),
        "every step": every_step,
        "graph": branched,
        "numpy": lambda: small().with_backend("numpy"),
        "two outputs, numpy": lambda: small(outputs=2).with_backend("numpy"),
        "float64": lambda: small().astype(np.float64).with_backend("numpy"),
    }[kind]()


#: Streams of every sort behind the one interface.
STREAMS: dict[str, Callable[[], Stream]] = {
    "sliding": lambda: model("one output").sliding(WINDOW),
    "sliding with a helper": lambda: model("one output").sliding(WINDOW, catch_up="thread"),
    "several outputs": lambda: model("two outputs").sliding(WINDOW, on_nan="raise"),
    "stateful": lambda: model("one output").stateful(),
    "whole windows": lambda: model("every step").sliding(WINDOW),
    "a graph": lambda: model("graph").stateful(),
    "numpy": lambda: model("numpy").sliding(WINDOW),
    "numpy, float64": lambda: model("float64").stateful(),
}

#: What can be done to an array, or to what it is a view of. Much of it raises, which is as well.
HOSTILE: dict[str, Callable[[Any], Any]] = {
    "narrower": lambda a: setattr(a, "dtype", np.uint8),
    "wider": lambda a: setattr(a, "dtype", f"V{a.nbytes}"),
    "no axis": lambda a: setattr(a, "shape", ()),
    "two axes": lambda a: setattr(a, "shape", (a.size, 1)),
    "no steps": lambda a: setattr(a, "strides", (0,) * a.ndim),
    "resized": lambda a: a.resize(100_000, refcheck=False),
    "nothing left": lambda a: a.resize(0, refcheck=False),
    "moved": lambda a: setattr(a, "data", np.zeros(1 << 16, np.uint8).data),
    "read-only": lambda a: a.setflags(write=False),
    "other bytes": lambda a: a.byteswap(inplace=True),
    "released": lambda a: a.release(),
    "cleared": lambda a: a.clear(),
    "extended": lambda a: a.extend(bytes(1 << 20)),
}


def behind(array: Any) -> list[Any]:
    """The array and all that can be reached from it: what it is a view of."""
    found = [array]
    while True:
        last = found[-1]
        owner = last.obj if isinstance(last, memoryview) else getattr(last, "base", None)
        if owner is None:
            return found
        found.append(owner)


def attack(array: Any, what: str, depth: int) -> None:
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        HOSTILE[what](behind(array)[depth])


WAYS = st.sampled_from(["push", "push_bound", "push_many"])
ATTACKS = st.lists(st.tuples(st.sampled_from([*HOSTILE]), st.integers(0, 3)), max_size=6)


@pytest.mark.parametrize("kind", STREAMS)
@given(rounds=st.lists(st.tuples(ATTACKS, WAYS), max_size=8), seed=SEEDS)
@FUZZ
def test_nothing_done_to_the_input_buffer_changes_an_answer(
    kind: str, rounds: list[tuple[list[tuple[str, int]], str]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    attacked, other = STREAMS[kind](), STREAMS[kind]()
    kept = [attacked.input]
    for attacks, how in rounds:
        kept.append(attacked.input)
        for what, depth in attacks:
            attack(kept[rng.integers(len(kept))], what, depth)
        tick = normal(rng, FEATURES).astype(other.input.dtype)
        expected = other.push(tick)
        if how == "push":
            got = attacked.push(tick)
        elif how == "push_many":
            got = attacked.push_many(tick[np.newaxis])[0]
        else:
            attacked.input[...] = tick
            got = attacked.push_bound()
        np.testing.assert_array_equal(got, expected)
    del attacked
    gc.collect()
    for array in kept:
        attack(array, "read-only", 0)


@pytest.mark.parametrize("kind", STREAMS)
def test_the_input_buffer_cannot_be_exchanged(kind: str) -> None:
    stream = STREAMS[kind]()
    before, tick = stream.input, normal(np.random.default_rng(0), FEATURES)
    with pytest.raises(AttributeError, match=r"write into it, stream.input\[...\] = tick"):
        stream.input = tick
    assert np.shares_memory(before, stream.input)


class Hostile(np.ndarray):  # type: ignore[type-arg]
    """A subclass that gives out less than it is asked for."""

    def __getitem__(self, key: Any) -> Any:
        return np.zeros(1, np.float32)

    def view(self, *_: Any) -> Any:
        return np.zeros(1, np.float32)


def _unaligned(x: Any) -> Any:
    return np.frombuffer(bytearray(b"\0" + x.tobytes()), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def _read_only(x: Any) -> Any:
    x = x.copy()
    x.flags.writeable = False
    return x


class Says:
    """No array, but something that says what it would be as one."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.x.view(Hostile)


#: The same numbers, held in other ways.
HELD: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda x: x,
    "every other": lambda x: np.repeat(x, 2, 0)[::2],
    "every other column": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "columns backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "column-major": np.asfortranarray,
    "read-only": _read_only,
    "unaligned": _unaligned,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "float16": lambda x: x.astype(np.float16),
    "float64": lambda x: x.astype(np.float64),
    "long double": lambda x: x.astype(np.longdouble),
    "int8": lambda x: x.astype(np.int8),
    "big-endian int64": lambda x: x.astype(">i8"),
    "list": lambda x: x.tolist(),
    "memoryview": lambda x: memoryview(x),
    "says so": Says,
    "subclass": lambda x: x.view(Hostile),
    "masked array": np.ma.array,
    "record array": lambda x: x.view(np.recarray),
    "memory map": lambda x: x.view(np.memmap),
    "object": lambda x: x.astype(object),
    "text": lambda x: x.astype(str),
    "complex": lambda x: x.astype(np.complex64),
    "too many axes": lambda x: x[np.newaxis, np.newaxis, np.newaxis],
    "one number": lambda x: x.flat[0],
    "empty": lambda x: x[..., :0],
    "nothing": lambda x: None,
    "broadcast": lambda x: np.broadcast_to(x.flat[0], x.shape),
    "of no size": lambda x: np.zeros((0, *x.shape[1:]), x.dtype),
}

NO_NUMBERS = {"object", "text", "complex", "nothing"}
OTHERS = {"too many axes", "one number", "empty", "broadcast", "of no size"}

SHAPES = {"tick": (FEATURES,), "ticks": (9, FEATURES), "window": (7, FEATURES), "batch": (2, 7, FEATURES)}


#: Every public function that takes an array: the shape of it, and a call that returns an array.
DOORS: dict[str, tuple[str, Callable[[lstmcore.Model, Any], Any]]] = {
    "model(window)": ("window", lambda m, x: m(x)),
    "model(window) again": ("window", lambda m, x: (m(np.zeros((7, FEATURES), np.float32)), m(x))[1]),
    "model(batch)": ("batch", lambda m, x: m(x)),
    "lengths": ("batch", lambda m, x: m(x, lengths=np.array([3, 7], ">i2")[::-1])),
    "trace": ("window", lambda m, x: m.trace(x).answer),
    "predict_windows": ("ticks", lambda m, x: m.predict_windows(x, WINDOW)),
    "predict_windows in threads": ("ticks", lambda m, x: m.predict_windows(x, WINDOW, threads=2)),
    "with_scaler": ("tick", lambda m, x: m.with_scaler(x, np.ones(FEATURES))(np.ones((3, FEATURES)))),
    "sliding push": ("tick", lambda m, x: m.sliding(1).push(x)),
    "sliding push_many": ("ticks", lambda m, x: m.sliding(WINDOW).push_many(x)),
    "stateful push": ("tick", lambda m, x: m.stateful().push(x)),
    "stateful push_many": ("ticks", lambda m, x: m.stateful(on_nan="raise").push_many(x)),
    "pool push": ("tick", lambda m, x: lstmcore.SlidingPool(m, 1, 2).push(1, x)),
    "pool push_many": ("ticks", lambda m, x: lstmcore.SlidingPool(m, WINDOW, 2).push_many([0, 1] * 4 + [0], x)),
    "windows": ("ticks", lambda m, x: m(windows.windows(x, WINDOW))),
    "windows_and_targets": ("ticks", lambda m, x: m(windows.windows_and_targets(x, x, WINDOW)[0])),
}


@pytest.mark.parametrize("kind", ["two outputs", "two outputs, numpy"], ids=["c", "numpy"])
@pytest.mark.parametrize("name", DOORS)
@given(how=st.sampled_from([*HELD]), seed=SEEDS)
@FUZZ
def test_every_array_that_can_be_handed_in(kind: str, name: str, how: str, seed: int) -> None:
    """The answer is that to the numbers, however they are held; or an error which says what was expected."""
    shape, call = DOORS[name]
    x = np.random.default_rng(seed).integers(-5, 6, SHAPES[shape]).astype(np.float32)
    given_ = HELD[how](x)
    kept = x.copy()
    if how in NO_NUMBERS:
        with pytest.raises((TypeError, ValueError), match=r"expected|array"):
            call(model(kind), given_)
    elif how in OTHERS:  # other numbers, or too many or too few
        with contextlib.suppress(ValueError):
            call(model(kind), given_)
    else:
        same_bits(call(model(kind), given_), call(model(kind), x))
    np.testing.assert_array_equal(x, kept)


@given(how=st.sampled_from([*HELD]), part=st.integers(0, 9), seed=SEEDS)
@FUZZ
def test_states_and_weights_held_in_any_way(how: str, part: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, ticks = model("one output"), normal(rng, 6, FEATURES)
    stream = one.sliding(WINDOW)
    stream.push_many(ticks)
    state = stream.state()
    names = sorted(name for name, value in state.items() if value.ndim)
    name = names[part % len(names)]
    other = one.sliding(WINDOW)
    with contextlib.suppress(ValueError, TypeError):
        other.restore(state | {name: HELD[how](state[name])})
    # Either it went on, or it is as it was.
    assert other.ticks in (0, 6)
    if other.ticks and how not in OTHERS:
        same_bits(other.push(ticks[0]), stream.push(ticks[0]))

    weights = dict(one.layers[0].weights)
    key = sorted(weights)[part % len(weights)]
    with contextlib.suppress(ValueError, TypeError):
        layer = one.layers[0].replace(weights=weights | {key: HELD[how](weights[key])})
        assert lstmcore.Model([layer, *one.layers[1:]])(ticks).shape == (1,)

    h = normal(rng, 1, 8)
    with contextlib.suppress(ValueError, TypeError):
        assert one(ticks, (h, HELD[how](h))).shape == (1,)


@given(attacks=ATTACKS, seed=SEEDS)
@FUZZ
def test_nothing_done_to_weights_changes_a_model(attacks: list[tuple[str, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, x = model("one output"), normal(rng, 6, FEATURES)
    expected = one(x)
    for what, depth in attacks:
        weights = one.parameters if rng.integers(2) else one.layers[0].weights
        attack(weights[str(rng.choice([*weights]))], what, depth)
    for backend in ("c", "numpy"):
        np.testing.assert_allclose(one.with_backend(backend)(x), expected, rtol=1e-4, atol=1e-6)
    for weight in one.parameters.values():
        with pytest.raises(ValueError, match="WRITEABLE"):
            weight.flags.writeable = True


#: Places for the answers, (6, 2) float32, and whether they are taken.
OUT: dict[str, tuple[Callable[[], Any], bool]] = {
    "array": (lambda: np.zeros((6, 2), np.float32), True),
    "unaligned": (lambda: _unaligned(np.zeros((6, 2), np.float32)), False),
    "memory map": (lambda: np.zeros((6, 2), np.float32).view(np.memmap), True),
    "part": (lambda: np.zeros((9, 2), np.float32)[2:8], True),
    "subclass": (lambda: np.zeros((6, 2), np.float32).view(Hostile), False),
    "masked array": (lambda: np.ma.zeros((6, 2), np.float32), False),
    "record array": (lambda: np.zeros((6, 2), np.float32).view(np.recarray), False),
    "read-only": (lambda: _read_only(np.zeros((6, 2), np.float32)), False),
    "column-major": (lambda: np.zeros((6, 2), np.float32, "F"), False),
    "backwards": (lambda: np.zeros((6, 2), np.float32)[::-1], False),
    "broadcast": (lambda: np.broadcast_to(np.zeros(2, np.float32), (6, 2)), False),
    "big-endian": (lambda: np.zeros((6, 2), ">f4"), False),
    "float64": (lambda: np.zeros((6, 2)), False),
    "int32": (lambda: np.zeros((6, 2), np.int32), False),
    "too short": (lambda: np.zeros((5, 2), np.float32), False),
    "flat": (lambda: np.zeros(12, np.float32), False),
    "list": (lambda: [[0.0, 0.0]] * 6, False),
    "bytes": (lambda: bytearray(48), False),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", OUT)
def test_every_place_for_answers(how: str, threads: int) -> None:
    two, x = model("two outputs"), normal(np.random.default_rng(1), 9, FEATURES)
    make_out, taken = OUT[how]
    out = make_out()
    if not taken:
        with pytest.raises(ValueError, match=r"^out: expected a "):
            two.predict_windows(x, WINDOW, threads=threads, out=out)
        return
    assert two.predict_windows(x, WINDOW, threads=threads, out=out) is out
    same_bits(np.asarray(out), two.predict_windows(x, WINDOW))


def test_answers_are_not_written_into_the_file_of_the_series(tmp_path: Path) -> None:
    """Two maps of it are different memory for numpy."""
    series = np.memmap(tmp_path / "x.f32", np.float32, "w+", shape=(400, FEATURES))
    series[:] = normal(np.random.default_rng(0), 400, FEATURES)
    series.flush()
    two = model("two outputs")
    out = np.memmap(tmp_path / "x.f32", np.float32, "r+", offset=256, shape=(400 - WINDOW + 1, 2))
    for part in (series, np.asarray(series), series[::2], np.asarray(series)[::-1], series[:300], series.T.T):
        for into in (out, np.asarray(out)):
            with pytest.raises(ValueError, match="out: it maps a part of the file of the series"):
                two.predict_windows(part, WINDOW, out=into[: len(part) - WINDOW + 1])
    count = 200 - WINDOW + 1
    inside = series.ravel()[100 * FEATURES :][: 2 * count].reshape(count, 2)
    with pytest.raises(ValueError, match="out: it shares memory with the series"):
        two.predict_windows(series[:200], WINDOW, out=inside)
    other = np.memmap(tmp_path / "y.f32", np.float32, "w+", shape=out.shape)
    two.predict_windows(series, WINDOW, out=other)
    same_bits(np.array(other), two.predict_windows(np.array(series), WINDOW))


def test_answers_go_elsewhere_in_the_file_of_the_series(tmp_path: Path) -> None:
    """Into another part of it, by the same map or by another one; and a file may be gone while it is mapped."""
    two = model("two outputs")
    x = normal(np.random.default_rng(0), 100, FEATURES)
    count = 100 - WINDOW + 1
    expected = two.predict_windows(x, WINDOW)
    path = tmp_path / "x.f32"
    whole = np.memmap(path, np.float32, "w+", shape=(1000 * FEATURES,))
    whole[: x.size] = x.ravel()
    whole.flush()
    series = whole[: x.size].reshape(x.shape)
    inside = whole[x.size : x.size + 2 * count].reshape(count, 2)
    same_bits(np.array(two.predict_windows(series, WINDOW, out=inside)), expected)
    other = np.memmap(path, np.float32, "r+", offset=x.nbytes, shape=(count, 2))
    other[:] = 0
    same_bits(np.array(two.predict_windows(series, WINDOW, out=other)), expected)
    over = np.memmap(path, np.float32, "r+", offset=x.nbytes - 4, shape=(count, 2))
    apart = np.memmap(tmp_path / "y.f32", np.float32, "w+", shape=(count, 2))
    path.unlink()
    same_bits(np.array(two.predict_windows(series, WINDOW, out=apart)), expected)
    with pytest.raises(ValueError, match="out: it maps a part of the file of the series"):
        two.predict_windows(series, WINDOW, out=over)


@given(first=st.integers(0, 40), step=st.integers(1, 3), seed=SEEDS)
@FUZZ
def test_answers_are_not_written_where_the_series_is_read(first: int, step: int, seed: int) -> None:
    """Refused where one number is in both, and right where none is, however near."""
    memory = normal(np.random.default_rng(seed), 120)
    series = memory[: 9 * 3 * step].reshape(9, 3 * step)[:, :FEATURES]
    out = memory[first : first + 12].reshape(6, 2)
    two = model("two outputs")
    expected = two.predict_windows(series, WINDOW)
    shared = {id_ for id_ in range(first, first + 12) if id_ < 27 * step and id_ % (3 * step) < FEATURES}
    if shared:
        with pytest.raises(ValueError, match="out: it shares memory with the series"):
            two.predict_windows(series, WINDOW, out=out)
    else:
        two.predict_windows(series, WINDOW, out=out)
        same_bits(out, expected)


def test_a_series_may_be_given_another_shape_meanwhile() -> None:
    """As another thread might, between two pieces of work."""
    one = model("one output")
    x = normal(np.random.default_rng(2), 50, FEATURES)
    out, runner = np.zeros((47, 1), np.float32), one.runner
    expected = one.predict_windows(x, WINDOW)

    class Runner:
        def __getattr__(self, name: str) -> Any:
            return getattr(runner, name)

        def run_windows(self, *arguments: Any) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                x.shape, out.shape = (x.size, 1), (out.size,)
            runner.run_windows(*arguments)

    from lstmcore.streaming import series

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "TICKS_AT_ONCE", 5)
        patch.setattr(lstmcore.Model, "runner", property(lambda self: Runner()))
        one.predict_windows(x, WINDOW, out=out)
    same_bits(out, expected[:, 0])


@pytest.mark.parametrize("how", [name for name, (_, taken) in OUT.items() if not taken])
def test_features_go_only_where_they_fit(how: str) -> None:
    place = OUT[how][0]()
    with pytest.raises(ValueError, match="out: expected a "):
        Features(0.1, out=place)


def test_features_keep_their_place() -> None:
    features = Features(0.1)
    for what in HOSTILE:
        for depth in range(3):
            attack(features.out, what, depth)
    features._pack(features._buffer, 0, *range(10))
    out = normal(np.random.default_rng(3), 10)
    assert Features(0.1, out=out).out is out


def test_a_memory_map_of_answers_is_written_to_disk(tmp_path: Path) -> None:
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(6, 1))
    x = normal(np.random.default_rng(4), 9, FEATURES)
    assert model("one output").predict_windows(x, WINDOW, out=out) is out
    out.flush()
    same_bits(np.fromfile(tmp_path / "out", np.float32).reshape(6, 1), model("one output").predict_windows(x, WINDOW))
