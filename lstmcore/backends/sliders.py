"""Models that see a sequence tick by tick: the interface behind `lstmcore.streaming`, and what serves every backend."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from lstmcore.layers import Array, Recurrent, Shape

if TYPE_CHECKING:
    from lstmcore.backends.program import Program
    from lstmcore.backends.runner import Runner

#: The parts of a stream's state, by name: arrays of these shapes.
Parts = dict[str, Array]


def answer_shape(output: Shape, window: int | None) -> tuple[int, ...]:
    """The shape of the answer to a tick: where the model answers every step, those of a window or the tick's own."""
    sizes = output if window is None else [window if isinstance(n, str) else n for n in output]
    return tuple(n for n in sizes if isinstance(n, int))


def state_parts(states: Iterable[tuple[str, Recurrent]], rows: int) -> dict[str, tuple[int, int]]:
    """Of some states of a `Program.recurrent`: "lstm.h_l0", "lstm.c_l0", ...: (rows, width) each, in their order."""
    return {
        name.format(part): (rows, width)
        for name, layer in states
        for part, width in (("h", layer.state_width), ("c", layer.cell_width))
        if width
    }


Run = Callable[[], Any]
Ask = Callable[[Any], Any]

F = TypeVar("F", bound=Callable[..., Any])


class Slider(abc.ABC):
    """Sequences of ticks: every window of T ticks is answered, or, without a window, all the ticks so far."""

    incremental: bool  # a tick costs a step of each layer; else a whole window
    x: Array  # (F,): the next tick of stream 0, as `Runner.take` makes it
    y: Array  # the answer after it

    def __init__(self, features: int, answer: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        #: Of the arrays that ticks come in. While there is this view of it, it can be neither resized nor freed.
        self.memory: list[memoryview] = []
        self.x, self.y = self._buffer(features, dtype), np.zeros(answer, dtype)
        self._given = self.x

    def _buffer(self, size: int, dtype: np.dtype[Any]) -> Array:
        """Zeros (size,)."""
        self.memory.append(memoryview(bytearray(size * dtype.itemsize)))
        # A view of a view: `base` leads from the ones that users get past this one, so that its shape stays.
        return np.frombuffer(self.memory[-1], dtype).view()

    def input(self) -> Array:
        """Where `bound` takes ticks from, (F,), as an array whose shape and dtype may be changed: it keeps its own."""
        return self._given.view()

    def _apart(self, runner: Runner) -> Array:
        """Where ticks come in before the mean is subtracted: x itself where there is none."""
        if runner.mean is not None and self._given is self.x:
            self._given = self._buffer(self.x.size, self.x.dtype)
        return self._given

    @abc.abstractmethod
    def push(self, streams: Array, x: Array, y: Array) -> None:
        """Ticks (N, F), from `Runner.take`, of the streams (N,) uintp, answered in y (N, *output), NaN before T ticks;
        all C-contiguous.
        """

    @abc.abstractmethod
    def bound(self, runner: Runner, as_tick: Callable[[Any], Array], finite: bool) -> tuple[Run, Ask]:
        """What takes the tick that is in `input()`, and what takes any tick, leaving it there; both answer.

        Args:
            runner: Whose slider this is.
            as_tick: Makes an array (F,) of a tick, or raises.
            finite: Whether `as_tick` is to be asked about NaN and infinity.
        """

    @abc.abstractmethod
    def catch_up(self) -> None:
        """Do now what the next push would begin with."""

    @abc.abstractmethod
    def start_helper(self, spins: bool, cpu: int) -> None:
        """Let a thread catch up: `spins` if it waits busily, on the processor `cpu`, -1 for any."""

    @abc.abstractmethod
    def reset(self, stream: int) -> None:
        """Forget a stream's ticks."""

    @abc.abstractmethod
    def ticks(self, stream: int) -> int:
        """How many ticks of a stream have come."""

    @abc.abstractmethod
    def get(self, stream: int) -> tuple[Parts, int]:
        """A stream's state, and how many ticks it has seen."""

    @abc.abstractmethod
    def set(self, stream: int, parts: Parts, ticks: int) -> None:
        """Go on from such a state."""


class Busy(RuntimeError):
    """Somebody is in it."""

    def __init__(self) -> None:
        super().__init__(
            "the stream is in use at this moment, by another thread or by a call that a handler of signals has "
            "interrupted; it belongs to one at a time"
        )


def alone(method: F) -> F:
    """Only one of an object's methods that are marked so runs at a time: another caller is refused."""

    @functools.wraps(method)
    def only_one(self: OneByOne, *args: Any) -> Any:
        # Between these, and on the way out, Python lets neither another thread nor a handler of signals run. It would
        # where a function of its own begins or ends, so this is no context manager.
        was, self.taken = self.taken, True
        try:
            if was:
                raise Busy
            return method(self, *args)
        finally:
            if not was:
                self.taken = False

    return cast("F", only_one)


class OneByOne(Slider):
    """What the sliders below share: ticks taken one after the other, nothing left to do behind a push.

    Of the methods without an underscore only one runs at a time, as in the C core.
    """

    def __init__(self, features: int, answer: tuple[int, ...], dtype: np.dtype[Any], streams: int) -> None:
        super().__init__(features, answer, dtype)
        self.seen = [0] * streams
        self.taken = False

    @abc.abstractmethod
    def _take(self, stream: int, x: Array, y: Array) -> None:
        """One tick (F,), answered in y (*output,)."""

    @abc.abstractmethod
    def _reset(self, stream: int) -> None:
        """See `Slider.reset`."""

    @abc.abstractmethod
    def _get(self, stream: int) -> tuple[Parts, int]:
        """See `Slider.get`."""

    @abc.abstractmethod
    def _set(self, stream: int, parts: Parts, ticks: int) -> None:
        """See `Slider.set`."""

    @alone
    def push(self, streams: Array, x: Array, y: Array) -> None:
        for n, stream in enumerate(streams.tolist()):
            self._take(stream, x[n], y[n, ...])

    @alone
    def reset(self, stream: int) -> None:
        self._reset(stream)

    @alone
    def get(self, stream: int) -> tuple[Parts, int]:
        return self._get(stream)

    @alone
    def set(self, stream: int, parts: Parts, ticks: int) -> None:
        self._set(stream, parts, ticks)

    def bound(self, runner: Runner, as_tick: Callable[[Any], Array], finite: bool) -> tuple[Run, Ask]:
        given = self._apart(runner)
        return functools.partial(self._answer, runner, given), lambda x: self._answer(runner, as_tick(x))

    @alone
    def _answer(self, runner: Runner, tick: Array) -> Any:
        given = self._given
        if tick is not given:
            with np.errstate(over="ignore"):
                given[...] = tick
        if given is not self.x:
            self.x[...] = runner.take(tick)
        self._take(0, self.x, self.y)
        return self.y.item() if self.y.size == 1 else self.y.copy()

    def catch_up(self) -> None:
        """Nothing."""

    def start_helper(self, spins: bool, cpu: int) -> None:
        """Nothing, for there is nothing to catch up with."""

    def ticks(self, stream: int) -> int:
        return self.seen[stream]


class ReferenceSteps(OneByOne):
    """The reference's steps, states carried, for the backends that have none of their own."""

    incremental = True

    def __init__(self, program: Program, answer: tuple[int, ...], dtype: np.dtype[Any], streams: int) -> None:
        from lstmcore.backends.numpy import Steps

        super().__init__(program.features, answer, dtype, streams)
        self.steps = Steps(program, dtype)
        #: Of each stream: its states by name, and how many ticks it has seen.
        self.states: list[tuple[Parts, int]] = [(self.steps.start(), 0) for _ in range(streams)]

    def _take(self, stream: int, x: Array, y: Array) -> None:
        states, seen = self.states[stream]
        answer, new = self.steps.take(x, states)
        y[...] = answer.reshape(y.shape)
        self.states[stream] = new, seen + 1  # at once: Ctrl-C may come between any two operations

    def ticks(self, stream: int) -> int:
        return self.states[stream][1]

    def _reset(self, stream: int) -> None:
        self.states[stream] = self.steps.start(), 0

    def _get(self, stream: int) -> tuple[Parts, int]:
        states, seen = self.states[stream]
        return {name: row[np.newaxis].copy() for name, row in states.items() if row.size}, seen

    def _set(self, stream: int, parts: Parts, ticks: int) -> None:
        start = self.steps.start()
        self.states[stream] = start | {name: part[0].copy() for name, part in parts.items()}, ticks


class WholeWindows(OneByOne):
    """The last T ticks of each stream, answered as a whole window: for every backend and every model."""

    incremental = False

    def __init__(self, runner: Runner, answer: tuple[int, ...], window: int, streams: int) -> None:
        super().__init__(runner.features, answer, runner.dtype, streams)
        self.runner = runner
        #: What a state calls them: those of a model with a mean are not the ticks as they came.
        self.part = "history" if runner.mean is None else "history_less_mean"
        #: The last T ticks of each stream, the newest last.
        self.windows = np.zeros((streams, window, runner.features), runner.dtype)

    def _take(self, stream: int, x: Array, y: Array) -> None:
        window = np.concatenate([self.windows[stream, 1:], x[np.newaxis]])
        seen = self.seen[stream] + 1
        y[...] = self.runner.run_window(window) if seen >= len(window) else np.nan
        self.windows[stream] = window  # only now, and in one go: an answer may be interrupted
        self.seen[stream] = seen

    def _reset(self, stream: int) -> None:
        self.windows[stream] = 0
        self.seen[stream] = 0

    def _get(self, stream: int) -> tuple[Parts, int]:
        return {self.part: self.windows[stream].copy()}, self.seen[stream]

    def _set(self, stream: int, parts: Parts, ticks: int) -> None:
        self.windows[stream] = parts[self.part]
        self.seen[stream] = ticks
