"""Models that see a sequence tick by tick: the interface behind `lstmcore.streaming`, and what serves every backend."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from lstmcore.layers import Array, Shape
from lstmcore.ports import by_name

if TYPE_CHECKING:
    from lstmcore.backends.program import States
    from lstmcore.backends.runner import Runner

#: The parts of a stream's state, by name: arrays of these shapes.
Parts = dict[str, Array]


def answer_shape(output: Shape, window: int | None) -> tuple[int, ...]:
    """The shape of the answer to a tick: where the model answers every step, those of a window or the tick's own."""
    sizes = output if window is None else [window if isinstance(n, str) else n for n in output]
    return tuple(n for n in sizes if isinstance(n, int))


def state_parts(states: Iterable[States], rows: int) -> dict[str, tuple[int, int]]:
    """Of some states of a `Program.recurrent`: "lstm.h_l0", "lstm.c_l0", ...: (rows, width) each, in their order."""
    return {
        one.key(letter): (rows, width)
        for one in states
        for letter, width in (("h", one.layer.state_width), ("c", one.layer.cell_width))
        if width
    }


Run = Callable[[], Any]
Ask = Callable[[Any], Any]

F = TypeVar("F", bound=Callable[..., Any])


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
    def only_one(self: Slider, *args: Any) -> Any:
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


class Slider(abc.ABC):
    """Sequences of ticks: every window of T ticks is answered, or, without a window, all the ticks so far."""

    incremental: bool  # a tick costs a step of each layer; else a whole window
    xs: list[Array]  # (F,) for each input: the next tick of stream 0, as `Runner.take` makes it
    ys: list[Array]  # the answer after it, for each output

    def __init__(self, runner: Runner, window: int | None) -> None:
        self.runner = runner
        #: Of the arrays that ticks come in. While there is this view of it, it can be neither resized nor freed.
        self.memory: list[memoryview] = []
        self.xs = [self._buffer(one.size, runner.dtype) for one in runner.inputs]
        self.ys = [np.zeros(answer_shape(output, window), runner.dtype) for output in runner.outputs.values()]
        #: Where ticks come in before the mean is subtracted: x itself where there is none.
        self.given = [
            x if mean is None else self._buffer(x.size, x.dtype) for x, mean in zip(self.xs, runner.means, strict=True)
        ]
        self.taken = False

    def _buffer(self, size: int, dtype: np.dtype[Any]) -> Array:
        """Zeros (size,)."""
        self.memory.append(memoryview(bytearray(size * dtype.itemsize)))
        # A view of a view: `base` leads from the ones that users get past this one, so that its shape stays.
        return np.frombuffer(self.memory[-1], dtype).view()

    def input(self) -> Any:
        """Where `bound` takes ticks from, (F,) for each input, as arrays whose shape and dtype may be changed: it keeps
        its own."""
        return by_name((one.name for one in self.runner.inputs), [given.view() for given in self.given])

    @abc.abstractmethod
    def push(self, streams: Array, xs: Sequence[Array], ys: Sequence[Array]) -> None:
        """Ticks (N, F) for each input, from `Runner.take`, of the streams (N,) uintp, answered in (N, *output) for each
        output, NaN before T ticks; all C-contiguous.
        """

    @abc.abstractmethod
    def _push_own(self) -> None:
        """Push the tick in `xs` into stream 0; the answer goes into `ys`."""

    def bound(self, as_tick: Callable[[Any], list[Array]], finite: bool) -> tuple[Run, Ask]:
        """What takes the tick that is in `input()`, and what takes any tick, leaving it there; both answer.

        Args:
            as_tick: Makes an array (F,) for each input of a tick, or raises.
            finite: Whether `as_tick` is to be asked about NaN and infinity.
        """
        return functools.partial(self._answer, self.given), lambda x: self._answer(as_tick(x))

    @alone
    def _answer(self, tick: Sequence[Array]) -> Any:
        if len(tick) > 1 and tick is not self.given:  # views of `input()` may come crosswise
            tick = [came.copy() for came in tick]
        for n, (x, given, came) in enumerate(zip(self.xs, self.given, tick, strict=True)):
            if came is not given:
                with np.errstate(over="ignore"):
                    given[...] = came
            if given is not x:
                x[...] = self.runner.take(came, n)
        self._push_own()
        return by_name(self.runner.outputs, [y.item() if y.size == 1 else y.copy() for y in self.ys])

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


class OneByOne(Slider):
    """What the sliders below share: ticks taken one after the other, nothing left to do behind a push.

    Of the methods without an underscore only one runs at a time, as in the C core.
    """

    def __init__(self, runner: Runner, window: int | None, streams: int, start: Parts) -> None:
        super().__init__(runner, window)
        self._start = start
        #: Of each stream: its state, which nobody writes into, and how many ticks it has seen.
        self.states: list[tuple[Parts, int]] = [(start, 0)] * streams

    @abc.abstractmethod
    def _take(self, state: Parts, seen: int, xs: Sequence[Array], ys: Sequence[Array]) -> Parts:
        """Answer a stream's (seen + 1)-th tick, (F,) for each input, in (*output,) for each output; its new state."""

    def _push(self, stream: int, xs: Sequence[Array], ys: Sequence[Array]) -> None:
        state, seen = self.states[stream]
        state = self._take(state, seen, xs, ys)
        self.states[stream] = state, seen + 1  # at once: Ctrl-C may come between any two operations

    @alone
    def push(self, streams: Array, xs: Sequence[Array], ys: Sequence[Array]) -> None:
        for n, stream in enumerate(streams.tolist()):
            self._push(stream, [x[n] for x in xs], [y[n, ...] for y in ys])

    def _push_own(self) -> None:
        self._push(0, self.xs, self.ys)

    @alone
    def reset(self, stream: int) -> None:
        self.states[stream] = self._start, 0

    @alone
    def get(self, stream: int) -> tuple[Parts, int]:
        state, seen = self.states[stream]
        return {name: part.copy() for name, part in state.items() if part.size}, seen

    @alone
    def set(self, stream: int, parts: Parts, ticks: int) -> None:
        self.states[stream] = self._start | {name: part.copy() for name, part in parts.items()}, ticks

    def catch_up(self) -> None:
        """Nothing."""

    def start_helper(self, spins: bool, cpu: int) -> None:
        """Nothing, for there is nothing to catch up with."""

    def ticks(self, stream: int) -> int:
        return self.states[stream][1]


class ReferenceSteps(OneByOne):
    """The reference's steps, states carried, for the backends that have none of their own."""

    incremental = True

    def __init__(self, runner: Runner, streams: int) -> None:
        from lstmcore.backends.numpy import Steps

        self.steps = Steps(runner.program, runner.dtype)
        super().__init__(runner, None, streams, self.steps.start())

    def _take(self, state: Parts, seen: int, xs: Sequence[Array], ys: Sequence[Array]) -> Parts:
        answers, new = self.steps.take(xs, state)
        for y, answer in zip(ys, answers, strict=True):
            y[...] = answer.reshape(y.shape)
        return new


class WholeWindows(OneByOne):
    """The last T ticks of each stream, answered as a whole window: for every backend and every model."""

    incremental = False

    def __init__(self, runner: Runner, window: int, streams: int) -> None:
        self.window = window
        #: Of each sequence, its number among the inputs, by what a state calls its last T ticks, the newest last: those
        #: of an input with a mean are not the ticks as they came.
        self.parts = {
            ("history" if mean is None else "history_less_mean")
            + ("" if len(runner.inputs) == 1 else f" of {one.name}"): n
            for n, (one, mean) in enumerate(zip(runner.inputs, runner.means, strict=True))
            if one.rank == "sequence"
        }
        start = {name: np.zeros((window, runner.inputs[n].size), runner.dtype) for name, n in self.parts.items()}
        super().__init__(runner, window, streams, start)

    def _take(self, state: Parts, seen: int, xs: Sequence[Array], ys: Sequence[Array]) -> Parts:
        windows = {name: np.concatenate([state[name][1:], xs[n][np.newaxis]]) for name, n in self.parts.items()}
        whole = list(xs)  # a vector counts for this tick's answer alone
        for name, n in self.parts.items():
            whole[n] = windows[name]
        answers = self.runner.run_window(whole) if seen + 1 >= self.window else [np.nan] * len(ys)
        for y, answer in zip(ys, answers, strict=True):
            y[...] = answer
        return windows
