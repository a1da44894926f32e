"""Ctrl-C in the middle of long calls: heard within a second, whatever the call, and nothing is left half done."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, normal, stacks

import lstmcore
from lstmcore import layers as L
from lstmcore import stopping
from lstmcore.backends.numba import program
from lstmcore.demo.run import MODEL
from lstmcore.feed import simulator
from lstmcore.streaming.pool import SlidingPool

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="Python runs handlers in its main thread"
)
BACKENDS = ("c", "numba", "numpy")
LIMIT = 1.0  # seconds from the signal to the exception


def model(backend: str, hidden: int = 64, *, both: bool = False) -> lstmcore.Model:
    """A chain, or with `both` directions a graph."""
    rng = np.random.default_rng(0)
    lstm = make(L.LSTM, "lstm", rng, input_size=10, hidden_size=hidden, bidirectional=both)
    return lstmcore.Model(
        [lstm, make(L.Linear, "fc", rng, in_features=hidden * (1 + both), out_features=1)], backend=backend
    )


def branched(backend: str) -> lstmcore.Model:
    """A graph that carries states."""
    rng = np.random.default_rng(0)
    sizes = {"input_size": 10, "hidden_size": 64 if backend == "c" else 8, "return_sequences": True}
    a = make(L.LSTM, "a", rng, **sizes)
    b = make(L.GRU, "b", rng, **sizes).replace(inputs=("input",))
    return lstmcore.Model([a, b, L.Add("sum", inputs=("a", "b"))], backend=backend)


def interrupted(call: Callable[[], Any], after: float) -> float | None:
    """Seconds from the signal until `call` ended with its exception; None: it was done before."""
    sent = 0.0

    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # Python ignores what is raised while it calls others about a collection, as hypothesis asks for
    try:
        sent = time.perf_counter() + after
        signal.setitimer(signal.ITIMER_REAL, after)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return time.perf_counter() - sent
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    return None


X = np.random.default_rng(1).normal(size=(1_000_000, 10)).astype(np.float32)
LONG: dict[str, Callable[[lstmcore.Model], Any]] = {
    "one window": lambda m: m(X),
    "a batch": lambda m: m(X.reshape(40_000, 25, 10)),
    "predict_windows": lambda m: m.predict_windows(X[:200_000], 20_000),
    "predict_windows, threads": lambda m: m.predict_windows(X[:200_000], 20_000, threads=3),
    "predict_windows, apart": lambda m: m.predict_windows(X, 20_000, 20_000, threads=2),
}


@pytest.mark.parametrize("both", [False, True], ids=["chain", "graph"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", LONG)
def test_a_long_call_ends_within_a_second(name: str, backend: str, both: bool) -> None:
    """Each of these takes from seconds to hours, on any processor."""
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    m, window = model(backend, 256, both=both), X[:20]
    expected, threads = m(window), threading.active_count()
    for _ in range(2):
        took = interrupted(lambda: LONG[name](m), 0.1 + random.random() / 2)
        assert took is not None, "ended before; it should take longer"
        assert took < LIMIT
        until = time.monotonic() + 5
        while threading.active_count() > threads and time.monotonic() < until:
            time.sleep(0.01)
        assert threading.active_count() == threads
        np.testing.assert_array_equal(m(window), expected)


STREAMS: dict[str, Callable[[str], Any]] = {
    "sliding": lambda backend: model(backend).sliding(100 if backend == "numpy" else 2_000),
    "stateful": lambda backend: model(backend).stateful(),
    "helper": lambda backend: model(backend, 128).sliding(10_000, catch_up="thread"),
    "whole windows": lambda backend: model(backend, 8, both=True).sliding(40),
    "graph": lambda backend: branched(backend).stateful(),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_goes_on_where_it_was_interrupted(kind: str, backend: str) -> None:
    """`ticks` says how many it has taken, each of them whole."""
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    count = 600 if backend == "numpy" else 20_000
    stream, again = STREAMS[kind](backend), STREAMS[kind](backend)
    begin = time.perf_counter()
    STREAMS[kind](backend).push_many(X[: count // 20])
    apart = min(0.1, 2 * (time.perf_counter() - begin))  # at most a tenth of what all of them take
    rng, stopped = random.Random(0), 0
    for _ in range(12):
        took = interrupted(lambda: stream.push_many(X[stream.ticks : count]), rng.random() * apart)
        assert took is None or took < LIMIT
        stopped += took is not None
    assert stopped
    done, more = stream.ticks, 3 if kind == "helper" else 60
    again.push_many(X[:done])
    for name, part in again.state().items():
        np.testing.assert_array_equal(stream.state()[name], part)
    np.testing.assert_array_equal(stream.push_many(X[done : done + more]), again.push_many(X[done : done + more]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pool_goes_on_where_it_was_interrupted(backend: str) -> None:
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    m, rng = model(backend, 32), random.Random(0)
    window = 30 if backend == "numpy" else 300
    pool, streams = SlidingPool(m, window, 7), np.random.default_rng(2).integers(0, 7, 3_000).tolist()
    stopped = 0
    for _ in range(8):
        took = interrupted(lambda: pool.push_many(streams, X[: len(streams)]), rng.random() / 10)
        assert took is None or took < LIMIT
        stopped += took is not None
    assert stopped
    for n in range(7):  # whatever ticks came, the next ones make the whole window
        alone = m.sliding(window)
        for x in X[:window]:
            got, expected = pool.push(n, x), alone.push(x)
        np.testing.assert_array_equal(got, expected)


def test_one_push_that_takes_long_is_interrupted_and_loses_nothing() -> None:
    stream, again = (model("c", 200).sliding(30_000) for _ in range(2))
    for n, x in enumerate(X[:3]):
        while stream.ticks == n:  # the signal may also come when the tick has been taken
            interrupted(lambda x=x: stream.push(x), 0.05)  # type: ignore[misc]
        again.push(x)
    for name, part in again.state().items():
        np.testing.assert_array_equal(stream.state()[name], part)


@pytest.mark.parametrize("error", [TimeoutError, AttributeError])
def test_what_any_handler_raises_ends_the_call_and_one_that_returns_does_not(error: type[Exception]) -> None:
    m, heard = model("c"), []
    m(X)  # so that the next call of its shape takes the short way

    def refuse(number: int, frame: object) -> None:
        raise error("enough")

    before = signal.signal(signal.SIGALRM, refuse)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(error, match="enough"):
            m(X)
        signal.signal(signal.SIGALRM, lambda number, frame: heard.append(time.perf_counter()))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begin = time.perf_counter()
        answer = m(X[:200_000])
        took = time.perf_counter() - begin
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(heard) == 1
    assert heard[0] - begin < took  # while the core ran
    np.testing.assert_array_equal(answer, m(X[:200_000]))


def test_ctrl_c_is_the_main_threads_and_others_go_on() -> None:
    m, answers = model("c"), []
    thread = threading.Thread(target=lambda: answers.append(m(X[:300_000])))
    thread.start()
    assert interrupted(lambda: m(X), 0.1) is not None
    thread.join()
    np.testing.assert_array_equal(answers[0], m(X[:300_000]))


@given(stack=stacks(), seed=SEEDS, steps=st.integers(1, 90))
@settings(max_examples=40, deadline=None)
def test_numbas_pieces_change_no_bit(stack: tuple[list[L.Layer], int], seed: int, steps: int) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    layers = stack[0]
    m = lstmcore.Model(layers, backend="numba")
    x = normal(np.random.default_rng(seed), m.steps or steps, m.input_size)
    before = program.WORK_AT_ONCE
    expected = m(x)
    try:
        program.WORK_AT_ONCE = 1 + seed % 50_000
        pieces = lstmcore.Model(layers, backend="numba")
        for _ in range(2):
            np.testing.assert_array_equal(pieces(x), expected)
    finally:
        program.WORK_AT_ONCE = before


COMMANDS = [
    ["predict", "MODEL", "DATA"],
    ["predict", "MODEL", "DATA", "--window", "20000"],
    ["predict", "MODEL", "DATA", "--window", "20000", "--backend", "numpy"],
    ["bench", "MODEL", "--window", "200000", "--peers", "none"],
    ["bench", "MODEL", "--window", "200000", "--peers", "onnxruntime"],
    ["bench", "MODEL", "--window", "200000", "--peers", "torch"],
    ["verify", "MODEL", "--against", "numpy", "--window", "20000"],
    ["plot", "MODEL", "DATA", "-o", "FOLDER/picture.png"],
    ["demo", "--ticks", "1000000", "--backend", "numpy", "--out", "FOLDER"],
    ["replay", "RECORDING", "--model", "SHIPPED", "--backend", "numpy"],
    ["train", "FOLDER/config.toml", "--out", "FOLDER/out"],
]
NEEDS = {
    "onnxruntime": "onnxruntime",
    "torch": "torch",
    "plot": "matplotlib",
    "train": "torchmetrics",
    "replay": "msgspec",
}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that every command works on for long."""
    folder = tmp_path_factory.mktemp("interrupted")
    model("numpy", 512).save(folder / "m.safetensors")
    np.save(folder / "x.npy", X[:400_000])
    if importlib.util.find_spec("msgspec"):
        simulator.write(folder / "recording.gz", 20_000, 3)
    if importlib.util.find_spec("torchmetrics"):
        from train_files import CONFIG, write_data

        write_data(folder)
        (folder / "config.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 10000\npatience = 10000"))
    return {
        "MODEL": str(folder / "m.safetensors"), "DATA": str(folder / "x.npy"), "SHIPPED": str(MODEL),
        "RECORDING": str(folder / "recording.gz"), "FOLDER": str(folder),
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_ends_with_130_and_one_line(command: list[str], names: dict[str, str]) -> None:
    """Where another library computes, too, which hears nothing of it."""
    for word in command:
        if word in NEEDS:
            pytest.importorskip(NEEDS[word], reason=f"{NEEDS[word]} is not installed")
    for name, value in names.items():
        command = [word.replace(name, value) for word in command]
    order = [sys.executable, "-m", "lstmcore", *command]
    with subprocess.Popen(order, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(6 if "train" in command else 4)
        assert process.poll() is None, process.communicate()[1]
        sent = time.perf_counter()
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        took = time.perf_counter() - sent
    assert process.returncode == 130
    assert said.endswith("lstmcore: interrupted\n")
    assert "Traceback" not in said
    assert took < 2 * LIMIT  # with the end of the process


@pytest.mark.parametrize("window", [1, 20, 32, 33])
def test_what_a_short_window_is_told_is_not_lost(window: int) -> None:
    stream = model("c").sliding(window)
    for _ in range(4):
        took = interrupted(lambda: stream.push_many(X), 0.05)
        assert took is not None
        assert took < LIMIT


def test_a_stream_without_an_end_hears_it_between_two_ticks() -> None:
    """Its ticks are few and each of them takes long."""
    rng = np.random.default_rng(0)
    stream = lstmcore.Model([make(L.LSTM, "lstm", rng, input_size=10, hidden_size=1024)], backend="c").stateful()
    took = interrupted(lambda: stream.push_many(X[:100_000]), 0.2)
    assert took is not None
    assert took < LIMIT
    assert 0 < stream.ticks < 100_000


def handled(call: Callable[[], Any], handler: Callable[[], object]) -> tuple[Any, int]:
    """What `call` returns while `handler` runs again 10 ms after each of its ends, and how often it has."""
    times = 0

    def count(number: int, frame: object) -> None:
        nonlocal times
        handler()
        times += 1
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    before = signal.signal(signal.SIGALRM, count)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003)
        return call(), times
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("both", [False, True], ids=["chain", "graph"])
def test_a_handler_may_call_the_model_that_it_interrupts(backend: str, both: bool) -> None:
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    m, n = model(backend, both=both), 200 if backend == "numpy" else 300_000
    calls: list[Callable[[], Any]] = [
        lambda: m(X[:n]),
        lambda: [m(X[:20]) for _ in range(50)],
        lambda: [m(X[:20].tolist()) for _ in range(20)],
        lambda: m(X[: n // 20 * 20].reshape(-1, 20, 10)),
        lambda: m.predict_windows(X[:n], 30, 7),
    ]
    small = X[:60].reshape(3, 20, 10)
    right = m(X[:30]), m(small), m.predict_windows(X[:24], 20)

    def handler() -> None:
        np.testing.assert_array_equal(m(X[:30]), right[0])
        np.testing.assert_array_equal(m(small), right[1])
        np.testing.assert_array_equal(m.predict_windows(X[:24], 20), right[2])

    for call in calls:
        expected = call()
        got, _ = handled(call, handler)
        np.testing.assert_array_equal(got, expected)


def test_a_handler_may_call_a_model_that_flattens() -> None:
    """What it has flattened so far stands in its session."""
    rng = np.random.default_rng(0)
    layers = [
        make(L.LSTM, "lstm", rng, input_size=10, hidden_size=64, return_sequences=True),
        L.Flatten("flat", steps=250),
        make(L.Linear, "fc", rng, in_features=250 * 64, out_features=1),
    ]
    m, x = lstmcore.Model(layers, backend="c"), X[:50_000].reshape(200, 250, 10)
    expected = m(x)
    got, times = handled(lambda: m(x), lambda: m(x[0]))
    assert times
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["sliding", "stateful", "graph"])
def test_a_handler_that_pushes_into_the_stream_is_told_so_or_waits(kind: str, backend: str) -> None:
    """It never mixes its tick with the one that it interrupts."""
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    stream, order = STREAMS[kind](backend), []

    def handler() -> None:
        try:
            stream.push(X[-1])
            order.append(-1)
        except RuntimeError as error:
            assert "another thread" in str(error)  # noqa: PT017  # others go on

    def call() -> None:
        for n in range(40 if backend == "numpy" else 400):
            stream.input[...] = X[n]
            stream.push_bound()
            order.append(n)

    try:
        handled(call, handler)
    except RuntimeError as error:  # the handler's push came first, and is not through: this one is told
        assert "another thread" in str(error)  # noqa: PT017
    assert len(order) == stream.ticks


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["sliding", "stateful", "graph"])
def test_a_stream_is_free_wherever_a_handler_raised(kind: str, backend: str) -> None:
    """Between any two operations of a push: whoever is in it is out of it afterwards."""
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    made: dict[str, Callable[[lstmcore.Model], Any]] = {
        "sliding": lambda m: m.sliding(3), "stateful": lambda m: m.stateful(), "graph": lambda m: m.stateful()
    }  # fmt: skip
    stream = made[kind](branched(backend) if kind == "graph" else model(backend, 2))
    rng, times = random.Random(0), 0

    def push() -> None:
        while True:
            stream.push(X[0])

    until = time.monotonic() + 4
    while times < 3000 and time.monotonic() < until:
        before = stream.ticks
        assert interrupted(push, rng.uniform(2e-5, 4e-4)) is not None
        times += 1
        assert stream.ticks >= before
    assert times > 200
    stream.reset()
    stream.push(X[0])
    assert stream.ticks == 1


def test_a_helper_goes_on_after_a_look_at_the_state_was_interrupted() -> None:
    """It takes the step that the look has left."""
    from lstmcore.backends.c.binding import lib

    m, stopped = model("c", 256), 0
    for n in range(30):
        stream = m.sliding(20_000, catch_up="thread")
        stream.push(X[0])
        if interrupted(stream.state, 0.001 + 0.0005 * n) is None:
            continue
        stopped += 1
        until = time.monotonic() + 20
        while lib.lstmcore_streams_behind(stream._slider._handle) and time.monotonic() < until:
            time.sleep(0.005)
        assert not lib.lstmcore_streams_behind(stream._slider._handle)
        if stopped == 5:
            break
    assert stopped


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["sliding", "stateful", "graph", "whole windows"])
@pytest.mark.parametrize("how", ["push_many", "reset", "restore"])
def test_a_handler_that_changes_the_stream_is_heeded_or_told(how: str, kind: str, backend: str) -> None:
    """Whichever comes through counts: nothing that returned is undone."""
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    stream, again = STREAMS[kind](backend), STREAMS[kind](backend)
    again.push_many(X[:5])
    state = again.state()
    done: list[str] = []

    def handler() -> None:
        try:
            {"push_many": lambda: stream.push_many(X[:3]), "reset": stream.reset,
             "restore": lambda: stream.restore(state)}[how]()  # fmt: skip
        except RuntimeError as error:
            assert "another thread" in str(error)  # noqa: PT017  # the push goes on
        else:
            done.append(how)

    def call() -> None:
        for x in X[: 30 if backend == "numpy" else 300]:
            stream.push(x)
            done.append("push")

    with contextlib.suppress(RuntimeError):  # the handler came between this thread's check and its tick
        handled(call, handler)
    expected = 0
    for what in done:
        expected = {"push": expected + 1, "push_many": expected + 3, "reset": 0, "restore": 5}[what]
    if how == "push_many":
        assert stream.ticks == expected
    assert stream.ticks <= expected + done.count("push")
    more = 60
    stream.reset()
    again.reset()
    np.testing.assert_array_equal(stream.push_many(X[:more]), again.push_many(X[:more]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["sliding", "stateful", "graph", "whole windows"])
def test_two_threads_that_push_lose_no_tick_that_was_taken(kind: str, backend: str) -> None:
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    stream = STREAMS[kind](backend)
    taken = [0, 0]

    def push(who: int) -> None:
        for x in X[:100]:
            with contextlib.suppress(RuntimeError):
                stream.push_many(x[np.newaxis])
                taken[who] += 1

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=push, args=(who,)) for who in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert sum(taken) == stream.ticks > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_that_were_given_do_not_stay(backend: str) -> None:
    pytest.importorskip(backend if backend == "numba" else "numpy", reason=f"{backend} is not installed")
    m, rng = model(backend), random.Random(0)
    x, expected = X[:20], m(X[:20])
    state = normal(np.random.default_rng(3), 1, 1, 64), normal(np.random.default_rng(4), 1, 1, 64)
    assert not np.array_equal(m(x[np.newaxis], state)[0], expected)
    for _ in range(60):
        interrupted(lambda: [m(x[np.newaxis], state) for _ in range(1000)], rng.random() / 100)
        np.testing.assert_array_equal(m(x), expected)


def test_a_library_that_does_not_listen_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)
    ended = threading.Event()

    def alarm(after: float) -> None:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt), stopping.or_else(ended.set, 0.2):  # noqa: PT012
        alarm(0.1)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 4_000_000)
    assert ended.is_set()
    ended.clear()
    with pytest.raises(KeyboardInterrupt), stopping.or_else(ended.set, 0.2):  # noqa: PT012
        alarm(0.1)
        while True:
            time.sleep(0.01)
    with stopping.or_else(ended.set, 0.2):
        pass
    assert not ended.is_set()
    monkeypatch.setattr(stopping, "PATIENCE", 0.5)
    with stopping.or_else(ended.set, 0.2):
        alarm(0.1)
        with contextlib.suppress(KeyboardInterrupt):  # as Python does in what it calls back
            time.sleep(5)
        assert not ended.is_set()
        assert ended.wait(20)
    assert (signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)) == before
    assert not any(thread.name == "Ctrl-C" for thread in threading.enumerate())
