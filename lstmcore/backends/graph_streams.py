"""Streams without an end through models that branch: each chain has a stream of its own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore.backends.sliders import Busy, OneByOne, Parts, Slider, alone, answer_shape
from lstmcore.layers import Array, Layer, Recurrent
from lstmcore.reference import merged

if TYPE_CHECKING:
    from lstmcore.backends.graph import Node


class GraphSlider(OneByOne):
    """A tick goes through the nodes in their order."""

    incremental = True

    def __init__(
        self,
        nodes: Sequence[Node],
        merges: Mapping[type[Layer], str],
        answer: tuple[int, ...],
        features: int,
        dtype: np.dtype[Any],
        streams: int,
    ) -> None:
        super().__init__(features, answer, dtype, streams)
        self.nodes, self.merges = nodes, merges
        self.sliders: list[Slider | None] = [
            node.runner.slider(None, streams) if node.runner is not None and _carries(node) else None for node in nodes
        ]
        self._begun: Callable[[], None] | None = None  # what not all chains may have done yet

    def _take(self, stream: int, x: Array, y: Array) -> None:
        self._settle()  # `seen` is then what it is
        self._do(functools.partial(self._take_tick, stream, x.copy(), y, self.seen[stream] + 1, {}))

    def _do(self, action: Callable[[], None]) -> None:
        """What concerns all chains: they do it, or none does. It may be begun again wherever it was interrupted."""
        self._settle()
        self._begun = action
        try:
            self._settle()
        except BaseException:  # Ctrl-C; where another one comes, the next call of any method goes on
            self._settle()
            raise

    def _settle(self) -> None:
        if self._begun is not None:
            self._begun()
            self._begun = None

    def _take_tick(self, stream: int, x: Array, y: Array, ticks: int, answers: dict[int, Array]) -> None:
        """Let the chains that have taken fewer than `ticks` take `x`; `answers` has those of the others."""
        values = [x]
        for n, (node, slider) in enumerate(zip(self.nodes, self.sliders, strict=True)):
            given = [values[read] for read in node.reads]
            if type(node.layers[0]) in self.merges:
                with np.errstate(invalid="ignore", over="ignore", under="ignore"):
                    out = merged(given, self.merges[type(node.layers[0])])
            elif node.runner is None:
                out = given[0]
            else:
                tick = np.ascontiguousarray(given[0]).reshape(1, node.features)
                if slider is None:
                    out = node.runner.run(tick[np.newaxis], None, None)
                else:
                    out = answers.setdefault(n, np.empty((1, *slider.y.shape), slider.y.dtype))
                    if slider.ticks(stream) < ticks:
                        slider.push(np.array([stream], np.uintp), tick, out)
            values.append(out.reshape(answer_shape(node.shape, None)))
        y[...] = values[-1].reshape(y.shape)
        self.seen[stream] = ticks

    def _reset(self, stream: int) -> None:
        self._do(functools.partial(self._reset_all, stream))

    def _reset_all(self, stream: int) -> None:
        for slider in self.sliders:
            if slider is not None:
                slider.reset(stream)
        self.seen[stream] = 0

    def ticks(self, stream: int) -> int:
        if self._begun is not None:  # whoever is at it will be through, and only looks need no other
            with contextlib.suppress(Busy):
                self._go_on()
        return self.seen[stream]

    @alone
    def _go_on(self) -> None:
        self._settle()

    def _get(self, stream: int) -> tuple[Parts, int]:
        self._settle()
        parts: Parts = {}
        for slider in self.sliders:
            if slider is not None:
                parts |= slider.get(stream)[0]
        return parts, self.seen[stream]

    def _set(self, stream: int, parts: Parts, ticks: int) -> None:
        self._do(functools.partial(self._set_all, stream, parts, ticks))

    def _set_all(self, stream: int, parts: Parts, ticks: int) -> None:
        for slider in self.sliders:
            if slider is not None:
                slider.set(stream, {name: parts[name] for name in slider.get(stream)[0]}, ticks)
        self.seen[stream] = ticks


def _carries(node: Node) -> bool:
    return any(isinstance(layer, Recurrent) for layer in node.layers)
