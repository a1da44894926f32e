"""The C backend's streams."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore.backends.c.binding import BAD_ARGUMENT, STOP, STOPPED, Bound, address, check, ffi, floats, function, lib
from lstmcore.backends.sliders import Ask, Parts, Run, Slider, state_parts
from lstmcore.layers import Array, Layer

if TYPE_CHECKING:
    from lstmcore.backends.runner import Runner

PUSH_BOUND, BEHIND, HURRY = (function(f"lstmcore_sliding_{name}") for name in ("push_bound", "behind", "hurry"))
MAX_INT = (1 << 31) - 1  # of C's int


class CSlider(Slider):
    """The core's streams; see csrc/core/sliding.c."""

    incremental = True

    def __init__(
        self,
        model: Any,
        layers: Sequence[Layer],
        answer: tuple[int, ...],
        features: int,
        window: int | None,
        streams: int,
        start: Array | None = None,
    ) -> None:
        out = ffi.new("lstmcore_sliding **")
        what = f"the states of {streams} streams of windows of {window} ticks"
        check(lib.lstmcore_sliding_new(model, window or 0, streams, out), what)
        check(lib.lstmcore_sliding_watch(out[0], STOP, ffi.NULL), "watch")
        self._handle = ffi.gc(out[0], lib.lstmcore_sliding_free)
        super().__init__(features, answer, np.dtype(np.float32))
        check(lib.lstmcore_sliding_bind(self._handle, floats(self.x), floats(self.y)), "bind")
        self._shapes = state_parts(layers, window or 1)
        #: What a sequence begins with, laid out as the core's state; None: zeros.
        self._start = start
        for stream in range(streams if start is not None else 0):
            self.reset(stream)

    def push(self, streams: Array, x: Array, y: Array) -> None:
        ids = ffi.from_buffer("size_t[]", streams)
        check(lib.lstmcore_sliding_push(self._handle, len(x), ids, floats(x), floats(y)), "push")

    def bound(self, runner: Runner, as_tick: Callable[[Any], Array], finite: bool) -> tuple[Run, Ask]:
        given = self._apart(runner)

        def slow(x: Any) -> Array:
            tick = as_tick(x)
            with np.errstate(over="ignore"):
                return np.array(tick, np.float64)

        bound = Bound(
            PUSH_BOUND, address(self._handle), self.x, self.y,
            slow, None if self.y.size == 1 else self.y.copy, functools.partial(check, what="push"), np.ndarray,
            (self._handle, *self.memory),
            behind=BEHIND, catch_up=HURRY, finite=finite, input=None if given is self.x else given, mean=runner.mean,
        )  # fmt: skip
        return bound.run, bound.ask

    def catch_up(self) -> None:
        if (code := lib.lstmcore_sliding_catch_up(self._handle)) == STOPPED:
            check(code, "catch_up")

    def start_helper(self, spins: bool, cpu: int) -> None:
        code = lib.lstmcore_sliding_start_helper(self._handle, spins, min(cpu, MAX_INT))
        if code == BAD_ARGUMENT:
            raise ValueError(f"cpu: there is no processor {cpu} that this process may run on")
        check(code, "the helper thread")

    def reset(self, stream: int) -> None:
        if self._start is None:
            check(lib.lstmcore_sliding_reset(self._handle, stream), "reset")
        else:
            check(lib.lstmcore_sliding_set_state(self._handle, stream, floats(self._start), 0), "reset")

    def ticks(self, stream: int) -> int:
        return int(lib.lstmcore_sliding_ticks(self._handle, stream))

    def get(self, stream: int) -> tuple[Parts, int]:
        state = np.zeros(lib.lstmcore_sliding_state_size(self._handle), np.float32)
        ticks = ffi.new("size_t *")
        check(lib.lstmcore_sliding_get_state(self._handle, stream, floats(state), ticks), "get_state")
        pieces = np.split(state, np.cumsum([int(np.prod(shape)) for shape in self._shapes.values()])[:-1])
        return {n: p.reshape(s) for p, (n, s) in zip(pieces, self._shapes.items(), strict=True)}, int(ticks[0])

    def set(self, stream: int, parts: Parts, ticks: int) -> None:
        state = np.concatenate([parts[name].ravel() for name in self._shapes])
        check(lib.lstmcore_sliding_set_state(self._handle, stream, floats(state), ticks), "set_state")
