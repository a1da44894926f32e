"""Who answers a stream of ticks, and how long each answer took: what `lstmcore replay` sets side by side."""

from __future__ import annotations

import abc
import time

import numpy as np

from lstmcore.layers import Array
from lstmcore.measure import peers
from lstmcore.model import Model

NAMES = ("lstmcore", "onnxruntime")
TRIALS = 200  # windows that each of a peer's settings answers before the best is taken


class Engine(abc.ABC):
    """Takes ticks one by one; from the T-th on, each is answered as the last of a window of T."""

    label: str
    settings: str

    @abc.abstractmethod
    def take(self, rows: Array) -> tuple[Array, Array, Array]:
        """Take ticks (N, F) float32, one after the other.

        Returns:
            The answers (N, outputs) float32, NaN where there are not yet T ticks; the ns of each answer, (N,) int64;
            and the ns of what had to be done afterwards, before the next, (N,) int64.
        """


class Sliding(Engine):
    """This project: a push, then the catching up."""

    label = "lstmcore"

    def __init__(self, model: Model, window: int) -> None:
        self.stream = model.sliding(window=window)
        self.settings = f"{model.backend} {model.kernel or ''}".strip()
        if not self.stream.incremental:
            self.settings += ", whole windows"

    def take(self, rows: Array) -> tuple[Array, Array, Array]:
        stream, clock = self.stream, time.perf_counter_ns
        tick, push, catch_up = stream.input, stream.push_bound, stream.catch_up
        answers, times = [], []
        for row in rows:
            tick[...] = row  # not timed: a bot's features are made in place
            start = clock()
            answer = push()
            answered = clock()
            catch_up()
            times.append((answered - start, clock() - answered))
            answers.append(answer)
        urgent, afterwards = np.array(times, np.int64).reshape(-1, 2).T
        return np.array(answers, np.float32).reshape(len(rows), -1), urgent, afterwards


class Peer(Engine):
    """Another library: at every tick the whole window."""

    def __init__(self, name: str, model: Model, window: int) -> None:
        self.window = np.zeros((window, model.input_size), np.float32)
        self.peer = min(peers.build(name, model, window, [1, None]), key=self._trial)
        self.label, self.settings = self.peer.label, self.peer.settings
        self.seen = 0

    def _trial(self, peer: peers.Peer) -> float:
        """Seconds for some answers: not the median's, since in a queue the slow ones count."""
        with peer.ready():
            for _ in range(TRIALS // 10):
                peer(self.window)
            start = time.perf_counter()
            for _ in range(TRIALS):
                peer(self.window)
            return time.perf_counter() - start

    def take(self, rows: Array) -> tuple[Array, Array, Array]:
        window, peer, clock = self.window, self.peer, time.perf_counter_ns
        answers, times = [], []
        with peer.ready():
            for row in rows:
                start = clock()
                window[:-1] = window[1:]
                window[-1] = row
                answer = peer(window)
                times.append(clock() - start)
                answers.append(np.array(answer).reshape(-1))
        out, urgent = np.array(answers, np.float32).reshape(len(rows), -1), np.array(times, np.int64)
        out[: max(0, len(window) - 1 - self.seen)] = np.nan
        self.seen += len(rows)
        return out, urgent, np.zeros_like(urgent)


def build(name: str, model: Model, window: int) -> Engine:
    """An engine by its name, one of `NAMES`; a peer with the fastest of its settings.

    Raises:
        ValueError: A window that the model does not take.
        ImportError: A library that is not installed.
        UnsupportedError: A model that cannot be exported.
    """
    return Sliding(model, window) if name == "lstmcore" else Peer(name, model, window)
