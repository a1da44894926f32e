"""What a tick costs where every tick is answered over the last T: the exact sliding window beside whole windows.

    python benchmarks/sliding.py [--only NAME] [--seconds S] [--json FILE]

One interleaved run for each shape, over one series: a stream takes its ticks, ONNX Runtime the windows that end with
them. The first row is `push` where the stream has caught up between two ticks, which is outside the time. So is, for
`push_bound`, writing the tick into the stream's input: a bot can let its features come to stand there. "Back to back"
is `push` where nobody caught up, so that the next push does it first, and the whole of it is timed. With a helper,
the next tick comes when twice the time to catch up has passed; these streams are timed in a second run, beside `push`
alone, since threads of other libraries would stand where the helper should. ONNX Runtime stands here with each of its
settings.

To look at the clock twice takes Python a good part of a push, so a call that does nothing is timed in the same rounds,
between the same catch-ups, and the advantage over ONNX Runtime is given as timed and with that taken from both.
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

import lstmcore
from lstmcore import terminal
from lstmcore.commands import bench as command
from lstmcore.layers import Array
from lstmcore.measure import bench, peers
from lstmcore.measure.comparison import largest_difference, oracle
from lstmcore.streaming import SlidingWindow
from lstmcore.windows import windows

NAMES = ("quant", "exit", "a", "gru")
THREADS = (1, None)
SEED = 0
HEADLINES = ("push", "push_bound", "push, back to back")  # whose advantage is told
ANSWERLESS = ("catch_up alone", "an empty call")
START = 0.01  # seconds for a new thread to be given a processor of its own
GAP = 2.0  # times the time to catch up: when the next tick comes, where a helper thread catches up


class Ticks(bench.Contender):
    """Someone who is asked about ticks, where the others are asked about windows."""

    ticks: Sequence[Array]

    def warm_up(self, windows: Sequence[Array]) -> None:
        super().warm_up(self.ticks)
        self.left = itertools.cycle(self.ticks)

    def burst(self, windows: Iterator[Array]) -> None:
        super().burst(self.left)


class Bound(Ticks):
    """`push_bound`: a tick is written into the stream's input before each call, outside its time."""

    def __init__(self, label: str, stream: SlidingWindow) -> None:
        self.stream = stream
        super().__init__(label, "push_bound", self.write_and_push, between=stream.catch_up)

    def write_and_push(self, tick: Array) -> Any:
        self.stream.input[:] = tick
        return self.stream.push_bound()

    def burst(self, windows: Iterator[Array]) -> None:
        """As any other's, but the call has no argument, and nothing is put around it that takes one."""
        times = []
        run, tick, catch_up, clock = self.stream.push_bound, self.stream.input, self.between, time.perf_counter_ns
        for n, tick[:] in enumerate(itertools.islice(self.left, bench.UNTIMED + self.calls)):
            start = clock()
            run()
            stop = clock()
            if n >= bench.UNTIMED:
                times.append(stop - start)
            catch_up()
        self.rounds.append(np.array(times))


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
        time.sleep(START)
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
    """The ways to push, the one that all others are compared with first; last what gives no answer."""
    label = f"lstmcore {model.backend}"
    caught_up, bound, back_to_back, behind, idle = (model.sliding(window) for _ in range(5))
    tick = np.zeros(model.input_size, np.float32)

    def catch_up(_: Array) -> None:
        behind.catch_up()

    def step() -> None:
        idle.push(tick)
        idle.catch_up()

    catching = Ticks(label, "catch_up alone", catch_up, between=lambda: behind.push(tick))
    catching.between()
    return [
        Ticks(label, "push", caught_up.push, between=caught_up.catch_up),
        Bound(label, bound),
        Ticks(label, "push, back to back", back_to_back.push),
        catching,
        Ticks(label, "an empty call", len, between=step),
    ]


def helped(model: lstmcore.Model, window: int) -> list[Ticks]:
    """The ways to push with a helper thread, behind one without to compare them with."""
    label, alone = f"lstmcore {model.backend}", model.sliding(window)
    gap = GAP * time_of(model.sliding(window), np.zeros(model.input_size, np.float32))
    ways = {f"push, a helper {how}": Helped(model, window, how == "spins", gap) for how in ("sleeps", "spins")}
    return [
        Ticks(label, "push", alone.push, between=alone.catch_up),
        *(Ticks(label, how, each, each.ready, between=each.wait) for how, each in ways.items()),
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
    for each in (*own, *others):
        if each.settings in ANSWERLESS:
            continue
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


def advantages(own: Sequence[Ticks], others: Sequence[bench.Contender]) -> list[dict[str, Any]]:
    """How many times their time ONNX Runtime takes at the setting that is best against each: medians of the rounds."""
    empty = own[-1].rounds
    found = []
    for each in own:
        if each.settings not in HEADLINES:
            continue
        for other in others:
            rounds = [r for r in zip(each.rounds, other.rounds, empty, strict=True) if all(map(len, r))]
            mine, theirs, clock = (np.array([np.median(times) for times in part]) for part in zip(*rounds, strict=True))
            low, ratio, high = np.percentile(theirs / mine, [5, 50, 95])
            own_p99, other_p99 = (np.percentile(np.concatenate(x.rounds), 99) for x in (each, other))
            found.append({
                "settings": each.settings, "other": f"{other.label} {other.settings}", "threads": other.threads,
                "clock": float(np.median(clock)) / 1e3, "ratio": float(ratio), "ratio_low": float(low),
                "ratio_high": float(high), "ratio_net": float(np.median((theirs - clock) / (mine - clock))),
                "ratio_p99": float(other_p99 / own_p99),
            })  # fmt: skip
    best = {s: min((x for x in found if x["settings"] == s), key=lambda x: x["ratio"], default=None) for s in HEADLINES}
    return [x for x in best.values() if x]


def measure(shape: Shape, seconds: float) -> dict[str, Any]:
    """Everything about one shape, ready for JSON."""
    model, names = shape.build(), [name for name in peers.installed() if name == "onnxruntime"]
    own = streams(model, shape.steps)
    whole = [bench.Contender(own[0].label, "model(window)", model)]
    helpers = helped(model, shape.steps)
    others = [*whole, *command.others(names, model, shape.steps, THREADS, compiled=False)]
    rng = np.random.default_rng(SEED)
    series = rng.standard_normal((shape.steps + bench.POOL - 1, model.input_size)).astype(np.float32)
    pool = compare([*own, *helpers], others, model, series)
    timed = command.timed([*own, *others], pool, seconds * 3 / 4, SEED)
    # By themselves: the threads of other libraries would be where the helper should be.
    with_helper = command.timed(helpers, pool, seconds / 4, SEED)
    return {
        "model": shape.title,
        "window": [shape.steps, model.input_size],
        "gap": GAP,
        "advantages": advantages(own, others[len(whole) :]),
        **timed,
        "rows": [*timed["rows"], *with_helper["rows"][1:]],
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
    for row in facts["advantages"]:
        spread = f"{row['ratio']:.1f} times ({row['ratio_low']:.1f}-{row['ratio_high']:.1f})"
        print(
            f"{row['other']} takes {spread} as long as {row['settings']}, {row['ratio_net']:.1f} without the clock's "
            f"{row['clock']:.2f} µs; p99s {row['ratio_p99']:.1f}"
        )


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
