"""Ticks as they come into streams, and the answers to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import ports
from lstmcore.inputs import check_finite
from lstmcore.layers import Array
from lstmcore.ports import Given, by_name
from lstmcore.text import quoted

if TYPE_CHECKING:
    from lstmcore.backends.runner import Runner
    from lstmcore.backends.sliders import Slider

TICKS_AT_ONCE = 4096  # of a long series that one call into a backend takes, so that Ctrl-C is heard
ONLY = np.zeros(TICKS_AT_ONCE, np.uintp)  # the one stream, as often as such a piece names it


def as_tick(x: Given, runner: Runner, finite: bool) -> list[Array]:
    """A tick (F,) of each input in a dtype of its own, for `Runner.take`. Raises as `Stream.push` does."""
    given = ports.as_tick(x, runner.inputs)
    if finite:
        _check_finite(runner, runner.take_all(given), given)
    return given


def as_ticks(x: Given, runner: Runner, finite: bool, count: int | None = None) -> list[Array]:
    """Ticks (N, F) of each input as `Runner.take` makes them, `count` of them where it is given.

    Raises as `Stream.push_many` does.
    """
    given = ports.as_ticks(x, runner.inputs, count)
    taken = runner.take_all(given)
    if finite:
        _check_finite(runner, taken, given)
    return taken


def _check_finite(runner: Runner, taken: Sequence[Array], given: Sequence[Array]) -> None:
    for one, x, came in zip(runner.inputs, taken, given, strict=True):
        check_finite(x, came, "" if len(taken) == 1 else f"{quoted(one.name)}: ")


def room_for(slider: Slider, count: int) -> list[Array]:
    """Room for the answers to so many ticks, for each output."""
    return [np.empty((count, *y.shape), y.dtype) for y in slider.ys]


def answers_of(runner: Runner, ys: Sequence[Array]) -> Any:
    """The answers to N ticks as they are given out: (N,) where there is one number for each."""
    return by_name(runner.outputs, [y.reshape(len(y)) if math.prod(y.shape[1:]) == 1 else y for y in ys])
