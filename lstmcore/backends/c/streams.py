"""The C backend's streams."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore.backends.c.binding import (
    BAD_ARGUMENT,
    STOP,
    STOPPED,
    Bound,
    address,
    check,
    ffi,
    floats,
    function,
    inputs,
    lib,
    outputs,
    plan_of,
)
from lstmcore.backends.sliders import Ask, Parts, Run, Slider, state_parts
from lstmcore.layers import Array, Recurrent

if TYPE_CHECKING:
    from lstmcore.backends.c.runner import CRunner

PUSH_BOUND, BEHIND, HURRY = (function(f"lstmcore_streams_{name}") for name in ("push_bound", "behind", "hurry"))
MAX_INT = (1 << 31) - 1  # of C's int


class CSlider(Slider):
    """The core's streams; see csrc/core/streams.c."""

    incremental = True

    def __init__(self, runner: CRunner, window: int | None, streams: int) -> None:
        model, program = runner.model, runner.folded
        out = ffi.new("lstmcore_streams **")
        what = f"the states of {streams} streams of windows of {window} ticks"
        check(lib.lstmcore_streams_new(model, window or 0, streams, out), what)
        check(lib.lstmcore_streams_watch(out[0], STOP, ffi.NULL), "watch")
        self._handle = ffi.gc(out[0], lib.lstmcore_streams_free)
        super().__init__(runner, window)
        check(lib.lstmcore_streams_bind(self._handle, inputs(*self.xs), outputs(*self.ys)), "bind")
        carried = [plan_of(model, n).carried for n, op in enumerate(program.ops) if isinstance(op.layer, Recurrent)]
        states = (state for state, is_carried in zip(program.recurrent, carried, strict=True) if is_carried)
        self._shapes = state_parts(states, window or 1)

    def push(self, streams: Array, xs: Sequence[Array], ys: Sequence[Array]) -> None:
        ids = ffi.from_buffer("size_t[]", streams)
        check(lib.lstmcore_streams_push(self._handle, len(streams), ids, inputs(*xs), outputs(*ys)), "push")

    def _push_own(self) -> None:
        check(lib.lstmcore_streams_push_bound(self._handle), "push")

    def bound(self, as_tick: Callable[[Any], list[Array]], finite: bool) -> tuple[Run, Ask]:
        if not self.runner.single:
            return super().bound(as_tick, finite)
        (x,), (y,), (given,), (mean,) = self.xs, self.ys, self.given, self.runner.means

        def slow(value: Any) -> Array:
            (tick,) = as_tick(value)
            with np.errstate(over="ignore"):
                return np.array(tick, np.float64)

        bound = Bound(
            PUSH_BOUND, address(self._handle), x, y,
            slow, None if y.size == 1 else y.copy, functools.partial(check, what="push"), np.ndarray,
            (self._handle, *self.memory),
            behind=BEHIND, catch_up=HURRY, finite=finite, input=None if given is x else given, mean=mean,
        )  # fmt: skip
        return bound.run, bound.ask

    def catch_up(self) -> None:
        if (code := lib.lstmcore_streams_catch_up(self._handle)) == STOPPED:
            check(code, "catch_up")

    def start_helper(self, spins: bool, cpu: int) -> None:
        code = lib.lstmcore_streams_start_helper(self._handle, spins, min(cpu, MAX_INT))
        if code == BAD_ARGUMENT:
            raise ValueError(f"cpu: there is no processor {cpu} that this process may run on")
        check(code, "the helper thread")

    def reset(self, stream: int) -> None:
        check(lib.lstmcore_streams_reset(self._handle, stream), "reset")

    def ticks(self, stream: int) -> int:
        return int(lib.lstmcore_streams_ticks(self._handle, stream))

    def get(self, stream: int) -> tuple[Parts, int]:
        state = np.zeros(lib.lstmcore_streams_state_size(self._handle), np.float32)
        ticks = ffi.new("size_t *")
        check(lib.lstmcore_streams_get_state(self._handle, stream, floats(state), ticks), "get_state")
        parts, at = {}, 0
        for name, shape in self._shapes.items():
            size = shape[0] * shape[1]
            parts[name], at = state[at : at + size].reshape(shape), at + size
        return parts, int(ticks[0])

    def set(self, stream: int, parts: Parts, ticks: int) -> None:
        state = np.concatenate([np.empty(0, np.float32), *(parts[name].ravel() for name in self._shapes)])
        check(lib.lstmcore_streams_set_state(self._handle, stream, floats(state), ticks), "set_state")
