"""Streams, threads and memory: one thread at a time, helpers that come and go, and nothing freed that is still read."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import printed, run
from strategies import normal
from streams import CATCH_UP, KERNELS, branched, of_every_window, python, same_bits, small

import lstmcore
from lstmcore.streaming import Stream


@pytest.fixture(autouse=True)
def _impatient() -> Iterator[None]:
    """Threads take turns often, so that they meet."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or None where it is refused because another thread is in the stream."""
    try:
        return call()
    except RuntimeError as error:
        if "another thread" not in str(error):
            raise
        return None


def together(*works: Callable[[], None]) -> None:
    """Run all of them at once, each in a thread; raises what one of them raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        start.wait()
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def stateful(model: lstmcore.Model) -> Stream:
    return model.stateful()


def sliding(model: lstmcore.Model, **how: Any) -> Stream:
    return model.sliding(60, **how)


@pytest.mark.parametrize(
    "new",
    [stateful, *(functools.partial(sliding, **how) for how in CATCH_UP[:3])],
    ids=["stateful", "push", "sleeps", "spins"],
)
def test_two_threads_in_one_stream_are_told_so_or_answered(new: Callable[[lstmcore.Model], Stream]) -> None:
    model = small(hidden=64, num_layers=2)
    stream = new(model)
    done = [0, 0]

    def push(which: int) -> None:
        x = normal(np.random.default_rng(which), 8, 3)
        for n in range(1500):
            call = functools.partial(stream.push_many, x) if n % 3 else functools.partial(stream.push, x[0])
            while attempt(call) is None:
                pass
            done[which] += len(x) if n % 3 else 1

    def do_other_things() -> None:
        for n in range(300):
            attempt((stream.catch_up, stream.state, stream.copy)[n % 3])  # type: ignore[attr-defined]

    together(lambda: push(0), lambda: push(1), do_other_things)
    assert stream.ticks == sum(done)
    assert min(done) == 8500
    stream.reset()
    x = normal(np.random.default_rng(9), 150, 3)
    same_bits(stream.push_many(x), new(model).push_many(x))


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_thread_that_only_looks_at_the_ticks_is_in_nobodys_way(backend: str) -> None:
    """Of a branched model, too, whose chains have streams of their own."""
    for stream in (branched().with_backend(backend).stateful(), small().with_backend(backend).stateful()):
        ended, seen = threading.Event(), [0]

        def look(stream: Stream = stream, ended: threading.Event = ended, seen: list[int] = seen) -> None:
            while not ended.is_set():
                assert 0 <= stream.ticks <= 2000
                seen[0] += 1

        def push(stream: Stream = stream, ended: threading.Event = ended) -> None:
            try:
                for _ in range(2000):
                    stream.push([1, 2, 3])
            finally:
                ended.set()

        together(push, look)
        assert stream.ticks == 2000
        assert seen[0]


def test_threads_that_take_turns_in_a_pool_get_their_streams_answers() -> None:
    """A refused call has done nothing, so that it can be repeated."""
    model, window = small(hidden=40), 30
    pool = lstmcore.SlidingPool(model, window, 2)
    x = normal(np.random.default_rng(0), 2, 2000, 3)
    answers: list[list[Any]] = [[], []]

    def push(which: int) -> None:
        for n in range(0, len(x[which]), 4):
            call = functools.partial(pool.push_many, [which] * 4, x[which, n : n + 4])
            while (answer := attempt(call)) is None:
                pass
            answers[which].append(answer)

    together(lambda: push(0), lambda: push(1))
    for which in range(2):
        same_bits(np.concatenate(answers[which]), model.sliding(window).push_many(x[which]))


def native_threads() -> int:
    """How many threads the process has; 0 where the system does not say."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


def test_helpers_come_and_go() -> None:
    """Streams freed while their helper is at work, is about to, or has never begun."""
    model = small(hidden=60, num_layers=2)
    x = normal(np.random.default_rng(1), 70, 3)
    expected = of_every_window(model, 30)(x)
    before = native_threads()
    for n in range(300):
        stream = model.sliding(30, **CATCH_UP[1 + n % 4])
        for tick in x[: n % 3]:
            stream.push(tick)
        if n % 10 == 0:
            stream.reset()
            same_bits([stream.push(tick) for tick in x], expected[:, 0])
        del stream
    assert native_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forks_child_goes_on_without_the_helper() -> None:
    """Forked while the helper is at work, is about to, or sleeps: parent and child answer alike, and both can end."""
    code = """
import os, signal, time
import numpy as np
from streams import CATCH_UP, small
model, window = small(hidden=150, num_layers=2), 200  # whose steps take long
x = np.random.default_rng(0).standard_normal((window + 5, 3)).astype(np.float32)
expected = model.predict_windows(x, window)[1:, 0]
before = model.sliding(window)
before.push_many(x[:window])
for how in CATCH_UP[1:]:
    for n in range(9):
        stream = model.sliding(window, **how)
        stream.restore(before.state())
        got = [stream.push(x[window])]
        time.sleep(n % 3 * 3e-4)
        child = os.fork()
        if not child:
            signal.alarm(60)
        got += [stream.push(tick) for tick in x[window + 1 : window + 4]]
        other = stream.copy()  # with a helper of its own
        got.append(other.push(x[window + 4]))
        same = np.array_equal(got, expected)
        del stream, other
        if not child:
            os._exit(not same)
        assert os.waitpid(child, 0)[1] == 0 and same, (how, n)
"""
    assert python(code, PYTHONWARNINGS="ignore::DeprecationWarning") == []


wraps = pytest.mark.skipif(
    sys.platform != "linux", reason="scarce is linked with --wrap, which only Linux's linkers have"
)


@wraps
@pytest.mark.parametrize("kernel", KERNELS)
def test_memory_that_is_refused_is_told_and_what_there_was_given_back(
    native: Path, native_hashes: dict[str, list[str]], kernel: str
) -> None:
    assert printed(native / "scarce", kernel) == native_hashes[kernel]


@wraps
@pytest.mark.parametrize(("fault", "told"), [("silent", "did not say that"), ("leak", "did not give back")])
def test_scarce_finds_planted_faults(native: Path, fault: str, told: str) -> None:
    done = run(native / "scarce", KERNELS[0], fault)
    assert done.returncode == 1
    assert told in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's allocator can be told to overwrite what is freed")
def test_nothing_is_freed_that_is_still_read() -> None:
    """A stream may outlive its model, and its methods the stream; freed memory is overwritten here at once."""
    code = """
import gc
import numpy as np
from streams import CATCH_UP, small
import lstmcore
for how in CATCH_UP:
    for name in ("push", "push_bound", "copy", "input"):
        stream = small(hidden=30).sliding(20, **how)
        stream.push(np.ones(3))
        kept = getattr(stream, name)
        del stream
        gc.collect()
        junk = [np.full(64, np.nan) for _ in range(100)]
        if callable(kept):
            kept(np.zeros(3)) if name == "push" else kept()
        del kept
        gc.collect()
for left in (small().stateful(), lstmcore.SlidingPool(small(), 5, 4)):
    del left
    gc.collect()
"""
    assert python(code, MALLOC_PERTURB_="165") == []
