"""What the tests of streams share: random models and ticks, and streams that are led through random operations."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from strategies import SEEDS, make, normal, stacks

import lstmcore
from lstmcore import layers as L
from lstmcore.backends import c as core
from lstmcore.streaming import Stream

KERNELS = core.kernels_here()

SPECIAL = [np.nan, np.inf, -np.inf, 1e-41, -0.0, 3e38]

#: Ways to let windows catch up: by the next push, or a thread that sleeps or waits busily, tied to a processor or not.
CATCH_UP: list[dict[str, Any]] = [
    {},
    {"catch_up": "thread"},
    {"catch_up": "thread", "spin": True},
    {"catch_up": "thread", "cpu": 0},
    {"catch_up": "thread", "spin": True, "cpu": 0},
]

#: What can be done with a stream, and how often.
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["push", "push", "push_bound", "push_many", "catch_up", "reset", "copy", "through a file", "through a dict"]
        ),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=8,
)

#: Expected answers of the ticks (N, F) since the stream began: (N, *answer).
Oracle = Callable[[Any], Any]


def bits(array: Any) -> Any:
    return np.ascontiguousarray(array, np.float32).view(np.uint32)


def same_bits(answers: Any, expected: Any) -> None:
    np.testing.assert_array_equal(bits(answers), bits(expected))


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[L.Layer], int]:
    """Models with several LSTM layers and layers between them; as `stacks`, layers and a window length."""
    rng = np.random.default_rng(draw(SEEDS))
    features = draw(st.integers(1, 20))
    layers: list[L.Layer] = []
    if draw(st.booleans()):
        layers += [make(L.Linear, "embed", rng, in_features=features, out_features=features), L.Tanh("tanh")]
    width = features
    last = draw(st.integers(1, 3))
    for n in range(last + 1):
        hidden = draw(st.integers(1, 40))
        sizes = {"input_size": width, "hidden_size": hidden, "num_layers": draw(st.integers(1, 2))}
        layers.append(make(L.LSTM, f"lstm{n}", rng, gain=1.0, **sizes, return_sequences=n < last))
        if draw(st.booleans()):
            layers.append(make(L.BatchNorm1d, f"norm{n}", rng, num_features=hidden))
        if draw(st.booleans()):
            layers.append(L.ReLU(f"relu{n}"))
        width = hidden
    if draw(st.booleans()):
        layers.append(make(L.Linear, "fc", rng, in_features=width, out_features=draw(st.integers(1, 5))))
    return layers, draw(st.integers(1, 70))


#: Layers of models that slide and of models that do not, and a window length that they take.
MODELS = st.one_of(stacks(), chains())


def small(seed: int = 0, hidden: int = 8, features: int = 3, outputs: int = 1, **settings: Any) -> lstmcore.Model:
    """A model that slides: an LSTM and a Linear."""
    rng = np.random.default_rng(seed)
    lstm = make(L.LSTM, "lstm", rng, gain=1.0, input_size=features, hidden_size=hidden, **settings)
    return lstmcore.Model([lstm, make(L.Linear, "fc", rng, in_features=hidden, out_features=outputs)])


def branched() -> lstmcore.Model:
    """A model that is no chain."""
    rng = np.random.default_rng(0)
    lstm = make(L.LSTM, "lstm", rng, input_size=3, hidden_size=5)
    heads = [make(L.Linear, name, rng, in_features=5, out_features=2).replace(inputs=("lstm",)) for name in "ab"]
    return lstmcore.Model([lstm, *heads, L.Add("sum", inputs=("a", "b"))])


def ticks(rng: np.random.Generator, count: int, features: int, special: bool = False) -> Any:
    """(count, features) float32; with `special`, some are NaN, infinite, subnormal or huge."""
    x = normal(rng, count, features)
    if special:
        x[rng.random(x.shape) < 0.02] = rng.choice(SPECIAL)
    return x


def of_every_window(model: lstmcore.Model, window: int) -> Oracle:
    """model(window) at every tick, NaN before there is one."""

    def expected(history: Any) -> Any:
        answers = [model(history[n - window + 1 : n + 1]) for n in range(window - 1, len(history))]
        shape = model(np.zeros((window, model.input_size))).shape
        before = np.full((min(window - 1, len(history)), *shape), np.nan, model.runner.dtype)
        return np.concatenate([before, answers]) if answers else before

    return expected


def of_every_beginning(model: lstmcore.Model) -> Oracle:
    """model(all ticks so far) at every tick; its last row where every step answers."""
    every_step = "T" in model.output_shape

    def expected(history: Any) -> Any:
        if every_step:
            return model(history)
        return np.stack([model(history[: n + 1]) for n in range(len(history))])

    return expected


def lead(
    new: Callable[[], Stream],
    expected: Oracle,
    operations: list[tuple[str, int]],
    more: Callable[[int], Any],
    compare: Callable[[Any, Any], None],
) -> None:
    """Do the operations, and compare all answers since the stream began with the expected ones.

    Args:
        new: Makes a stream without any ticks.
        expected: Their answers.
        operations: Of `OPERATIONS`.
        more: The next ticks (count, F), so many.
        compare: Fails where two arrays differ.
    """
    stream = new()
    history = np.empty((0, stream.input.size), stream.input.dtype)
    answers: list[Any] = []

    def check() -> None:
        assert stream.ticks == len(history)
        if answers:
            compare(np.stack([np.ravel(a) for a in answers]), expected(history).reshape(len(history), -1))

    for name, count in [*operations, ("push", 3)]:
        if name.startswith("push"):
            x = more(count)
            if name == "push_bound":  # whose ticks are written in the stream's own dtype
                x = x.astype(stream.input.dtype)
            history = np.concatenate([history, x])
            if name == "push_many":
                answers += list(stream.push_many(x))
            for tick in x if name == "push" else ():
                answers.append(stream.push(tick))
            for tick in x if name == "push_bound" else ():
                stream.input[...] = tick
                answers.append(stream.push_bound())
        elif name == "catch_up":
            stream.catch_up()
        elif name == "reset":
            check()
            stream.reset()
            history, answers = history[:0], []
        else:
            before, stream = stream, copied(stream, new, name, more)
            before.push(more(1)[0])  # which is nothing to the other
            before.reset()
    check()


def copied(stream: Stream, new: Callable[[], Stream], how: str, more: Callable[[int], Any]) -> Stream:
    """A stream that goes on from the state of `stream`."""
    if how == "copy":
        return stream.copy()  # type: ignore[attr-defined,no-any-return]
    other = new()
    other.push_many(more(5))  # which it is to forget
    if how == "through a dict":
        state = stream.state()
        other.restore(state)
        for part in state.values():  # a state is the caller's own
            if part.flags.writeable:
                part[...] = 1
        return other
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        stream.save(path)
        other.restore(path)
    return other


def python(code: str, **environment: str) -> list[str]:
    """The lines that another Python prints, which can import what this one can and has to end well."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()
