"""The hot calls: from a numpy array to the answer in one call of C."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from streams import same_bits, small

from lstmcore.backends.c.binding import Bound, address, function
from lstmcore.streaming import SlidingWindow


def test_the_hot_calls_are_those_of_the_core() -> None:
    stream = small().sliding(3)
    assert type(getattr(stream.push, "__self__", None)) is Bound
    assert type(getattr(stream.push_bound, "__self__", None)) is Bound
    other = small().with_backend("numpy").sliding(3)
    assert type(getattr(other.push, "__self__", None)) is not Bound


@pytest.mark.parametrize(
    "like",
    [
        lambda x: x,
        lambda x: x.copy(),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.asfortranarray(np.stack([x, x]))[1],
        lambda x: np.broadcast_to(x, (2, len(x)))[0],
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: x.tolist(),
        lambda x: np.ma.array(x),
        lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32),
    ],
    ids=["same", "copy", "every other", "backwards", "column-major", "broadcast", "float64", "big-endian", "list",
         "masked array without a mask", "unaligned"],
)  # fmt: skip
def test_every_way_to_hold_a_tick_is_the_same_tick(like: Any) -> None:
    ticks = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    one, other = small().sliding(3), small().sliding(3)
    for tick in ticks:
        held = like(tick)
        if isinstance(held, np.ndarray):
            held.flags.writeable = False
        same_bits(one.push(tick), other.push(held))


@pytest.mark.parametrize(
    "like", [np.asfortranarray, lambda x: x[:, ::-1].copy()[:, ::-1], lambda x: np.repeat(x, 2, 0)[::2]]
)
def test_windows_of_any_strides(like: Any) -> None:
    model, window = small(), np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    expected = model(window)
    same_bits(model(like(window)), expected)
    same_bits(model(window.astype(">f4")), expected)


def test_a_subclass_has_the_last_word() -> None:
    class Loud(SlidingWindow):
        def push(self, x: Any) -> Any:
            return "loud"

    assert Loud(small(), 3).push(np.zeros(3, np.float32)) == "loud"


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("caught_up", [True, False], ids=["caught up", "behind"])
def test_threads_that_share_a_stream_do_not_mix_up_their_ticks(backend: str, caught_up: bool) -> None:
    """Each gets the answer to its own tick, or is told that the other one is pushing."""
    model = small().with_backend(backend)
    stream = model.sliding(1)  # answers to the newest tick alone
    ticks = np.random.default_rng(2).standard_normal((2, 3)).astype(np.float32)
    expected = [model.sliding(1).push(tick) for tick in ticks]
    wrong, refused = [], []

    def push(n: int) -> None:
        try:
            answer = stream.push(ticks[n])
        except RuntimeError as error:
            refused.append(str(error))
        else:
            if answer != expected[n]:
                wrong.append(answer)

    def work(n: int) -> None:
        for _ in range(20_000 if backend == "c" else 1_000):
            push(n)
            if caught_up:
                stream.catch_up()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(text.startswith("the stream is in use at this moment, by another thread or by") for text in refused)


def test_a_stream_is_freed_with_its_last_name() -> None:
    gc.collect()
    gc.disable()
    try:
        stream = small().sliding(3, catch_up="thread")
        gone = weakref.ref(stream)
        push, tick = stream.push, np.zeros(3, np.float32)
        push(tick)
        del stream
        assert gone() is None
        push(tick)  # the core's side lives as long as the call
    finally:
        gc.enable()


def test_arrays_that_do_not_fit_are_refused() -> None:
    y = np.zeros(1, np.float32)

    def bind(x: Any, y: Any) -> Bound:
        return Bound(function("lstmcore_error"), address(0), x, y, None, None, "", np.ndarray, None)

    for x in (np.zeros((), "f4"), np.zeros((1, 1, 1), "f4"), np.zeros(2), np.zeros(2, ">f4")):
        with pytest.raises(ValueError, match="expected float32 arrays"):
            bind(x, y)
    for x in (np.zeros(4, "f4")[::2], np.broadcast_to(np.zeros(1, "f4"), (3,)), 1.0):
        with pytest.raises((ValueError, BufferError, TypeError)):
            bind(x, y)
    with pytest.raises(TypeError):
        Bound()  # type: ignore[call-arg]
