"""Sliding windows of many streams over one model."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore.inputs import ON_NAN, as_choice, as_integer
from lstmcore.layers import Array
from lstmcore.ports import Given, by_name
from lstmcore.streaming import states
from lstmcore.streaming.streams import Answer, check_window, facts
from lstmcore.streaming.ticks import answers_of, as_tick, as_ticks, room_for

if TYPE_CHECKING:
    from typing import NoReturn

    from lstmcore.model import Model

MAX_STREAMS = 1 << 20


class SlidingPool:
    """Sliding windows of many streams, symbols for example, over one model; each answers as if it were alone.

    Args:
        model: Their model.
        window: T.
        streams: How many, then called 0, 1, ...; or their names.
        on_nan: "propagate": a NaN tick makes its stream's answers NaN while it is in the window. "raise": NaN and
            infinity are refused.

    Raises:
        ValueError: A window that the model does not take, no streams, a name twice, another `on_nan`.
        TypeError: A window or a number of streams that is no integer; one string, whose letters would be the names.
    """

    kind = "pool"

    def __init__(
        self, model: Model, window: int, streams: int | Iterable[Hashable], *, on_nan: str = "propagate"
    ) -> None:
        if not hasattr(model, "runner"):
            raise TypeError(f"model: expected a Model, got {type(model).__name__}; lstmcore.load reads a file")
        self._model = model
        self._window = check_window(model, window)
        self._on_nan = as_choice(on_nan, "on_nan", ON_NAN)
        self._raise = on_nan == "raise"
        names: Sequence[Hashable]
        if isinstance(streams, Iterable):
            names = list(_no_string(streams))
        else:
            names = range(as_integer(streams, "streams", 1))
        if not 1 <= len(names) <= MAX_STREAMS:
            raise ValueError(f"streams: expected 1 to {MAX_STREAMS:,}, got {len(names):,}")
        try:
            self._numbers = {name: n for n, name in enumerate(names)}
        except TypeError as error:
            raise TypeError(f"streams: expected names that can be a dict's keys; {error}") from None
        if len(self._numbers) < len(names):
            raise ValueError("streams: a name occurs twice")
        self._slider = model.runner.slider(self.window, len(names))

    @property
    def model(self) -> Model:
        """The streams' model."""
        return self._model

    @property
    def window(self) -> int:
        """T."""
        return self._window

    @property
    def streams(self) -> list[Hashable]:
        """The streams' names."""
        return list(self._numbers)

    @property
    def incremental(self) -> bool:
        """Whether a push costs one step of each layer, not a whole window."""
        return self._slider.incremental

    def push(self, stream: Hashable, x: Given) -> Answer:
        """One tick (F,) of one stream: its answer, NaN before its T-th tick; of several inputs or outputs by names, as
        `SlidingWindow.push`.

        Raises:
            KeyError: An unknown stream.
            ValueError, TypeError: As `push_many`. The stream is then as it was before.
        """
        runner, number = self._model.runner, self._number(stream)
        ys = self._push([number], [tick[np.newaxis] for tick in runner.take_all(as_tick(x, runner, self._raise))])
        return by_name(runner.outputs, [y.item() if y.size == 1 else y[0] for y in ys])

    def push_many(self, streams: Iterable[Hashable], x: Given) -> Any:
        """A tick of each of N streams, in this order where one occurs twice: (N, F) -> (N,) or (N, outputs).

        Raises:
            KeyError: An unknown stream.
            ValueError: Ticks of another shape; with `on_nan="raise"`, a NaN or infinity.
            TypeError: Ticks that are no numbers; one string for `streams`.
            RuntimeError: The pool is in use at this moment, by another thread or by a call that a handler of signals
                has interrupted.

        None of the streams has then taken its tick.
        """
        numbers = [self._number(name) for name in _no_string(streams)]
        runner = self._model.runner
        return answers_of(runner, self._push(numbers, as_ticks(x, runner, self._raise, len(numbers))))

    def _push(self, numbers: Sequence[int], xs: Sequence[Array]) -> list[Array]:
        ys = room_for(self._slider, len(numbers))
        self._slider.push(np.array(numbers, np.uintp), xs, ys)
        return ys

    def catch_up(self) -> None:
        """Let all windows in flight take their streams' last ticks' steps now."""
        self._slider.catch_up()

    def ticks(self, stream: Hashable) -> int:
        """How many ticks of the stream have come."""
        return self._slider.ticks(self._number(stream))

    def ready(self, stream: Hashable) -> bool:
        """Whether T ticks of the stream have come."""
        return self.ticks(stream) >= self.window

    def reset(self, stream: Hashable) -> None:
        """Forget a stream's ticks."""
        self._slider.reset(self._number(stream))

    def state(self, stream: Hashable) -> dict[str, Array]:
        """All that is remembered of one stream: what `SlidingWindow.state` returns, and either restores."""
        return states.keep(self._slider, self._number(stream), self.window, self.model)

    def restore(self, stream: Hashable, state: states.Source) -> None:
        """Let one stream go on from a state, or from the file that `SlidingWindow.save` wrote; the others as they are.

        Raises:
            KeyError: An unknown stream.
            FileNotFoundError, ModelFormatError, ValueError: As `SlidingWindow.restore`.
        """
        states.go_on(self._slider, self._number(stream), states.fit(state, "sliding", self.state(stream)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the states of all streams to one safetensors file, whole or not at all.

        A path is looked at when it is written to, not before. Names are written as their `repr`.

        Raises:
            ValueError: A name of the file that does not end in .safetensors; names of streams with the same `repr`.
            FileNotFoundError: No such folder.
        """
        from lstmcore.streaming import files

        files.check_name(path)
        in_common, count = self._in_common(), len(self._numbers)
        rows = {name: np.empty((count, *part.shape), part.dtype) for name, part in self._row(0).items()}
        for n in range(count):
            for name, part in self._row(n).items():
                rows[name][n] = part
        files.save(rows | in_common, self.kind, path)

    def restore_all(self, path: str | os.PathLike[str]) -> None:
        """Let all streams go on from a file that `save` wrote, each from its own state, in whatever order they were.

        Where it raises one of these, the streams are as they were before; Ctrl-C may leave some with their new states.

        Raises:
            FileNotFoundError: No such file.
            ModelFormatError: A file that holds no state, or a damaged one.
            ValueError: States of other streams, of another model or window, or of another backend that keeps another
                sort of state.
        """
        own = {name: np.broadcast_to(x, (len(self._numbers), *x.shape)) for name, x in self._row(0).items()}
        found = states.fit(path, self.kind, own | self._in_common())
        row_of = {name: row for row, name in enumerate(states.names(found["streams"]))}
        for stream, n in self._numbers.items():
            states.go_on(self._slider, n, {name: found[name][row_of[repr(stream)]] for name in own})

    def copy(self) -> SlidingPool:
        """Another pool whose streams go on from the same states."""
        other = SlidingPool(self.model, self.window, self._numbers, on_nan=self._on_nan)
        for n in self._numbers.values():
            other._slider.set(n, *self._slider.get(n))
        return other

    def _row(self, n: int) -> dict[str, Array]:
        """What the n-th stream has of its own in the pool's state."""
        parts, ticks = self._slider.get(n)
        return {**parts, "ticks": np.array(ticks)}

    def _in_common(self) -> dict[str, Array]:
        """The other parts of the pool's state."""
        names = states.name_part(self._numbers)
        if len(set(states.names(names))) < len(self._numbers):
            raise ValueError("streams: two names have the same repr, which is what a file keeps of them")
        return {"window": np.array(self.window), "model": states.digest(self.model), "streams": names}

    def _number(self, stream: Hashable) -> int:
        try:
            return self._numbers[stream]
        except TypeError as error:
            raise TypeError(f"stream: expected a stream's name; {error}") from None
        except KeyError:
            raise KeyError(f"no stream {stream!r} in this pool of {len(self._numbers)}") from None

    def __repr__(self) -> str:
        ready = sum(self.ready(stream) for stream in self._numbers)
        about = facts(self.model, self.window, self._slider)
        return f"<SlidingPool: {', '.join([f'{len(self._numbers):,} streams', *about, f'{ready:,} ready'])}>"

    def __reduce__(self) -> NoReturn:
        states.refuse_to_pickle(self)


def _no_string(streams: Iterable[Hashable]) -> Iterable[Hashable]:
    if isinstance(streams, str | bytes):
        raise TypeError(f"streams: expected names, such as [{streams!r}], got one {type(streams).__name__} {streams!r}")
    return streams
