"""Ctrl-C in the middle of long calls: heard within a second, whatever the call, and nothing is left half done."""

from __future__ import annotations

import gc
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
from lstmcore.backends import numba_program
from lstmcore.demo.run import MODEL
from lstmcore.feed import simulator
from lstmcore.pool import SlidingPool

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
    a = make(L.LSTM, "a", rng, input_size=10, hidden_size=8, return_sequences=True)
    b = make(L.GRU, "b", rng, input_size=10, hidden_size=8, return_sequences=True).replace(inputs=("input",))
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
    "helper": lambda backend: model(backend, 128).sliding(20_000, catch_up="thread"),
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


def test_what_any_handler_raises_ends_the_call_and_one_that_returns_does_not() -> None:
    m, heard = model("c"), []

    def refuse(number: int, frame: object) -> None:
        raise TimeoutError("enough")

    before = signal.signal(signal.SIGALRM, refuse)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeoutError, match="enough"):
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
    before = numba_program.WORK_AT_ONCE
    expected = m(x)
    try:
        numba_program.WORK_AT_ONCE = 1 + seed % 50_000
        pieces = lstmcore.Model(layers, backend="numba")
        for _ in range(2):
            np.testing.assert_array_equal(pieces(x), expected)
    finally:
        numba_program.WORK_AT_ONCE = before


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
        from test_train_command import CONFIG, write_data

        write_data(folder)
        (folder / "config.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 10000"))
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
