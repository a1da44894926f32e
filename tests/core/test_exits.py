"""The end of a program: with live streams, and while threads that nobody waits for are inside the core."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

START = """
import gc, sys, threading, time
import numpy as np
import lstmcore
from streams import branched, small
rng = np.random.default_rng(0)
"""

#: Work that takes long without the interpreter, for a thread that is in it when the program ends.
LONG = {
    "a window": "model(x[:400_000])",
    "a window of another shape": "(model(x[:10]), model(x[:400_000]))",
    "a batch": "model(x[:400_000].reshape(4000, 100, 3))",
    "states": "model(x[:400_000], (np.ones((1, 60)), np.ones((1, 60))))",
    "predict_windows": "model.predict_windows(x, 100)",
    "predict_windows, threads": "model.predict_windows(x, 10_000, threads=3)",  # for hours
    "short predict_windows, threads": "model.predict_windows(x[:200], 100, threads=3)",
    "predict_windows, whole windows": "whole.predict_windows(x, 100)",
    "push_many": "model.sliding(400).push_many(x)",
    "catch_up": "[(stream.push(x[0]), stream.catch_up()) for _ in x]",
    "push": "[stream.push(tick) for tick in x]",
    "push, with a helper": "[helped.push(tick) for tick in x]",
    "push_many, with a helper": "helped.push_many(x)",
    "stateful": "model.stateful().push_many(x)",
    "a pool": "lstmcore.SlidingPool(model, 400, 20).push_many([n % 20 for n in range(len(x))], x)",
    "a graph": "[graph(x[:5000]) for _ in x]",
}

LEAVE = """
model, whole = small(hidden=60), small(hidden=60, return_sequences=True)
{more}
x = rng.standard_normal((1_000_000, 3)).astype(np.float32)
inside = threading.Event()
def work():
    inside.set()
    while True:
        {call}
threading.Thread(target=work, daemon=True).start()
inside.wait()
time.sleep(0.3)
"""


def end_of(code: str, **environment: str) -> str:
    """What another Python says on stderr; it has to end with status 0."""
    # Freed memory is overwritten at once, so that nothing works by chance.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_PERTURB_": "165"} | (
        environment
    )
    done = subprocess.run(
        [sys.executable, "-c", START + code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stderr


@pytest.mark.parametrize("what", LONG)
def test_a_program_may_end_while_a_daemon_thread_computes(what: str) -> None:
    made = {"stream": "stream = model.sliding(2000)", "helped": 'helped = model.sliding(2000, catch_up="thread")'}
    made["graph"] = "graph = branched()"
    more = "; ".join(line for name, line in made.items() if name in LONG[what])
    assert end_of(LEAVE.format(call=LONG[what], more=more)) == ""


def test_a_numba_window_may_be_left_too() -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    more = 'model = model.with_backend("numba"); model(np.zeros((10, 3)))'
    assert end_of(LEAVE.format(call="model(x[:400_000])", more=more)) == ""


#: Streams that live until the end, and where the last name for them is.
STREAMS = {
    "sliding": "small().sliding(5)",
    "helper": 'small().sliding(5, catch_up="thread")',
    "spinning helper": 'small().sliding(5, catch_up="thread", spin=True)',
    "stateful": "small().stateful()",
    "pool": "lstmcore.SlidingPool(small(), 5, 3)",
    "numpy": 'small().with_backend("numpy").sliding(5)',
    "graph": "branched().stateful()",
    "model": "small()",
}
PLACES = {
    "a module's global": "kept = {stream}",
    "a class": "class Bot:\n    kept = {stream}",
    "a cycle": "class Bot: pass\nbot = Bot(); bot.self = bot; bot.kept = {stream}",
    "sys": "sys.kept = {stream}",
    "a thread's own": "local = threading.local(); local.kept = {stream}",
    "a daemon thread": (
        "ready = threading.Event()\n"
        "def work():\n    kept = {stream}; ready.set(); time.sleep(1000)\n"
        "threading.Thread(target=work, daemon=True).start(); ready.wait()"
    ),
    "a module that goes late": "import abc; abc.kept = {stream}",
    "builtins": "import builtins; builtins.kept = {stream}",
    "a default argument": "def f(kept={stream}): pass",
    "an exception": "try:\n    kept = {stream}; 1 / 0\nexcept ZeroDivisionError as error:\n    sys.kept = error",
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_said_when_streams_live_until_the_end(place: str) -> None:
    every = "[" + ", ".join(STREAMS.values()) + "]"
    assert end_of(PLACES[place].format(stream=every)) == ""


def test_nothing_is_said_with_a_compiled_loop_either() -> None:
    """numba keeps the modules of what it compiled longer than others."""
    pytest.importorskip("numba", reason="numba is not installed")
    loop = "import numba\n@numba.njit\ndef loop(x):\n    return x + 1\n"
    every = "[" + ", ".join(STREAMS.values()) + "]"
    assert end_of(f"{loop}\nkept = {every}\nloop(1)\n{PLACES['a class'].format(stream=every)}") == ""
