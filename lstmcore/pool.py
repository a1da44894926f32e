"""Sliding windows of many streams over one model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lstmcore.inputs import as_integer, as_numbers
from lstmcore.layers import Array
from lstmcore.streaming import Answer, check_window

if TYPE_CHECKING:
    from lstmcore.model import Model

MAX_STREAMS = 1 << 20


class SlidingPool:
    """Sliding windows of many streams, symbols for example, over one model; each answers as if it were alone.

    Args:
        model: Their model.
        window: T.
        streams: How many, then called 0, 1, ...; or their names.

    Raises:
        ValueError: A window that the model does not take, no streams, or a name twice.
    """

    def __init__(self, model: Model, window: int, streams: int | Iterable[Hashable]) -> None:
        self.model = model
        self.window = check_window(model, window)
        names: Sequence[Hashable]
        names = list(streams) if isinstance(streams, Iterable) else range(as_integer(streams, "streams", 1))
        if not 1 <= len(names) <= MAX_STREAMS:
            raise ValueError(f"streams: expected 1 to {MAX_STREAMS:,}, got {len(names):,}")
        self._numbers = {name: n for n, name in enumerate(names)}
        if len(self._numbers) < len(names):
            raise ValueError("streams: a name occurs twice")
        self._slider = model.runner.slider(self.window, len(names))

    @property
    def streams(self) -> list[Hashable]:
        """The streams' names."""
        return list(self._numbers)

    def push(self, stream: Hashable, x: npt.ArrayLike) -> Answer:
        """One tick (F,) of one stream: its answer, NaN before its T-th tick. Raises KeyError for an unknown one."""
        y = self.push_many([stream], self._as_ticks(x, 1))
        return float(y[0]) if y.ndim == 1 else y[0]

    def push_many(self, streams: Iterable[Hashable], x: npt.ArrayLike) -> Array:
        """A tick of each of N streams, in this order where one occurs twice: (N, F) -> (N,) or (N, outputs).

        Raises:
            KeyError: An unknown stream; none has then taken its tick.
            ValueError, TypeError: Ticks of another shape, or that are no numbers.
        """
        try:
            numbers = np.array([self._numbers[name] for name in streams], np.uintp)
        except KeyError as error:
            raise KeyError(f"no stream {error.args[0]!r} in this pool of {len(self._numbers)}") from None
        ticks = self._as_ticks(x, len(numbers))
        shape = self._slider.y.shape
        y = np.empty((len(ticks), *shape), self._slider.y.dtype)
        self._slider.push(numbers, ticks, y)
        return y.reshape(len(y)) if self._slider.y.size == 1 else y

    def catch_up(self) -> None:
        """Let all windows in flight take their streams' last ticks' steps now."""
        self._slider.catch_up()

    def ready(self, stream: Hashable) -> bool:
        """Whether T ticks of the stream have come."""
        return self._slider.ticks(self._numbers[stream]) >= self.window

    def reset(self, stream: Hashable) -> None:
        """Forget a stream's ticks."""
        self._slider.reset(self._numbers[stream])

    def _as_ticks(self, x: npt.ArrayLike, count: int) -> Array:
        array = as_numbers(x, self._slider.x.dtype, "ticks")
        size = self._slider.x.size
        if array.shape == (size,) and count == 1:
            array = array[np.newaxis]
        if array.shape != (count, size):
            raise ValueError(f"ticks: expected ({count}, {size}), got shape {array.shape}")
        return array
