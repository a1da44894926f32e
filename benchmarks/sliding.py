"""What a tick costs where every tick is answered over the last T: the exact sliding window beside whole windows.

    python benchmarks/sliding.py [--only NAME] [--seconds S] [--json FILE]

One interleaved run for each shape, over one series: a stream takes its ticks, ONNX Runtime the windows that end with
them. The first row is `push` where the stream has caught up between two ticks, which is outside the time; "back to
back" is `push` where nobody did, so that the next push does it first, and the whole of it is timed. With a helper
thread, the next tick comes when twice the time to catch up has passed. ONNX Runtime stands here with each of its
settings.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results
from models import SHAPES, Shape
from steps import Bound

import lstmcore
from lstmcore import bench, peers, terminal
from lstmcore.commands import bench as command
from lstmcore.comparison import largest_difference, oracle
from lstmcore.layers import Array
from lstmcore.streaming import SlidingWindow
from lstmcore.windows import windows

NAMES = ("quant", "exit", "a")
THREADS = (1, None)
SEED = 0
GAP = 2.0  # times the time to catch up: when the next tick comes, where a helper thread catches up


class Ticks(bench.Contender):
    """Someone who is asked about ticks, where the others are asked about windows."""

    ticks: Sequence[Array]

    def warm_up(self, windows: Sequence[Array]) -> None:
        super().warm_up(self.ticks)
        self.left = itertools.cycle(self.ticks)

    def burst(self, windows: Iterator[Array]) -> None:
        super().burst(self.left)


class Helped:
    """A stream with a helper thread, which is there during the bursts alone: it would take a core from the others."""

    def __init__(self, model: lstmcore.Model, window: int, spin: bool, gap: float) -> None:
        self.new = lambda: model.sliding(window, catch_up="thread", spin=spin)
        self.gap = int(gap * 1e9)
        self.stream: SlidingWindow | None = None

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        stream = self.new()
        self.push = stream.push
        try:
            yield
        finally:
            del self.push, stream

    def __call__(self, tick: Array) -> Any:
        return self.push(tick)

    def wait(self) -> None:
        """Until the next tick comes. Busily: after a sleep the processor is another one."""
        clock = time.perf_counter_ns
        end = clock() + self.gap
        while clock() < end:
            pass


def streams(model: lstmcore.Model, window: int) -> list[Ticks]:
    """The ways to push, the one that all others are compared with first; catching up by itself last."""
    label = f"lstmcore {model.backend}"
    caught_up, bound, back_to_back, behind = (model.sliding(window) for _ in range(4))
    tick = np.zeros(model.input_size, np.float32)

    def catch_up(_: Array) -> float:
        behind.catch_up()
        return float("nan")

    catching = Ticks(label, "catch_up alone", catch_up, between=lambda: behind.push(tick))
    catching.between()
    helped = {
        f"push, a helper {how}": Helped(model, window, how == "spins", GAP * time_of(behind, tick))
        for how in ("sleeps", "spins")
    }
    return [
        Ticks(label, "push", caught_up.push, between=caught_up.catch_up),
        Ticks(label, "push_bound", Bound(bound), between=bound.catch_up),
        *(Ticks(label, how, each, each.ready, between=each.wait) for how, each in helped.items()),
        Ticks(label, "push, back to back", back_to_back.push),
        catching,
    ]


def time_of(stream: SlidingWindow, tick: Array) -> float:
    """About how many seconds it takes to catch up."""
    taken = []
    for _ in range(200):
        stream.push(tick)
        start = time.perf_counter()
        stream.catch_up()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def compare(
    own: Sequence[Ticks], others: Sequence[bench.Contender], model: lstmcore.Model, series: Array
) -> list[Array]:
    """Set every contender's `difference` and every stream's ticks; returns the windows of the series."""
    window = len(series) - bench.POOL + 1
    pool = [np.ascontiguousarray(x) for x in windows(series, window)]
    reference = oracle(model)
    expected = np.stack([np.ravel(reference(x)) for x in pool])
    for each in (*own[:-1], *others):
        asked: Sequence[Array] = series if isinstance(each, Ticks) else pool  # type: ignore[assignment]  # rows of an array
        with each.ready():
            answers = []
            for x in asked:
                answers.append(np.array(each.answer(x)).ravel())
                each.between()
        each.difference = largest_difference(np.stack(answers[-len(pool) :]), expected).value
    for stream in own:
        stream.ticks = list(series)
    return pool


def measure(shape: Shape, seconds: float) -> dict[str, Any]:
    """Everything about one shape, ready for JSON."""
    model, names = shape.build(), [name for name in peers.installed() if name == "onnxruntime"]
    own = streams(model, shape.steps)
    whole = [bench.Contender(own[0].label, "model(window)", model)]
    others = [*whole, *command.others(names, model, shape.steps, THREADS, compiled=False)]
    rng = np.random.default_rng(SEED)
    series = rng.standard_normal((shape.steps + bench.POOL - 1, model.input_size)).astype(np.float32)
    pool = compare(own, others, model, series)
    return {
        "model": shape.title,
        "window": [shape.steps, model.input_size],
        "gap": GAP,
        **command.timed([*own, *others], pool, seconds, SEED),
    }


def show(facts: dict[str, Any]) -> None:
    print(f"{facts['model']}: {facts['rounds']} rounds; µs a tick, × of the first row")
    time_, ratio = (lambda value, digits=digits: "-" if value is None else f"{value:.{digits}f}" for digits in (1, 2))
    terminal.table(
        ["who", "how", ">p50", ">p99", ">ratio", "5-95 %", ">of p99s", ">difference"],
        [
            (
                row["label"], row["settings"], time_(row["p50"]), time_(row["p99"]), ratio(row["ratio"]),
                f"{ratio(row['ratio_low'])}-{ratio(row['ratio_high'])}", ratio(row["ratio_p99"]),
                f"{row['difference']:.1e}",
            )
            for row in facts["rows"]
        ],
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=NAMES, action="append", help="this shape; may be given several times")
    parser.add_argument("--seconds", type=float, default=45.0, help="how long to measure each shape (45)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    shapes = {}
    for name in options.only or NAMES:
        shapes[name] = measure(SHAPES[name], options.seconds)
        show(shapes[name])
    if options.json:
        results.write(options.json, {"shapes": shapes})
    return 0


if __name__ == "__main__":
    sys.exit(main())
