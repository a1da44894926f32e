"""What the Python edge costs: the time of a call from Python beyond that of the bare C call.

    python benchmarks/edge.py [--seconds S] [--json FILE]

Both run in one process, on the same weights and windows, in the interleaved rounds of `measure.bench`: Python calls
the Model or pushes into a stream, a loop in C (benchmarks/edge.c) calls lstmcore_run or lstmcore_streams_push, and each
call is timed by itself. The edge is the difference of the two medians inside a round. All that Python adds is in it:
the call and its checks, the copies of the window and of the answer, the binding, the caches that Python's own work
takes from the core's, and the clock, which costs Python more than C; an empty call shows how much. C and Python take
turns within milliseconds because two programs timed one after the other differ by more than what is measured here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import results
from cffi import FFI
from models import SHAPES, lstm
from steps import Bound

import lstmcore
from lstmcore import _core, terminal
from lstmcore.layers import Array
from lstmcore.measure import bench
from lstmcore.measure.comparison import random_windows

SOURCE = Path(__file__).with_name("edge.c")
ffi = FFI()
ffi.cdef(
    """int time_calls(void *run, void *push, void *session, const float *x, size_t windows, size_t steps,
    size_t features, size_t first, float *y, int untimed, int calls, int64_t *taken);"""
)


@dataclass
class Case:
    """One way to ask from Python, and its counterpart in C."""

    shape: str
    input: str
    ask: Callable[[Any], Any]
    asked: Sequence[Any]  # what `ask` takes, one after the other
    pool: Array  # (N, T, F) float32: the same for C
    function: str  # of the core
    session: Any  # what it takes
    y: Array  # where C answers
    expected: Callable[[int], Array]  # what stands there after n calls


def windows(title: str, model: lstmcore.Model, steps: int) -> Iterator[Case]:
    """model(window), on the session that the Model has in this thread."""
    pool = random_windows(model, bench.POOL, steps, 1.0, np.random.default_rng(0))
    inputs = {
        "float32": list(pool),
        "float32, every second row of an array": [np.repeat(window, 2, axis=0)[::2] for window in pool],
        "float64": list(pool.astype(np.float64)),
    }
    y = np.ravel(model(pool[0])).copy()
    session = model.runner._taken().handle  # type: ignore[attr-defined]  # of the C backend, no public name
    for name, asked in inputs.items():
        yield Case(
            title, f"window, {name}", model, asked, pool, "lstmcore_run", session, y,
            lambda n: model(pool[(n - 1) % len(pool)]),
        )  # fmt: skip


def ticks(title: str, model: lstmcore.Model) -> Iterator[Case]:
    """Streams' pushes, C with a stream of its own."""
    pool = random_windows(model, bench.POOL, 1, 1.0, np.random.default_rng(0))
    asked = list(pool[:, 0])
    ways: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
        "tick pushed, float32": (model.stateful().push, asked),
        "tick pushed, float64": (model.stateful().push, [tick.astype(np.float64) for tick in asked]),
        "tick written into `input`": (Bound(model.stateful()), asked),
    }

    def expected(n: int) -> Array:
        last: Array = model.stateful().push_many(np.resize(pool, (n, 1, model.input_size))[:, 0])[-1]
        return last

    for name, (ask, given) in ways.items():
        slider = model.runner.slider(None, 1)
        session = slider._handle  # type: ignore[attr-defined]  # of the C backend, no public name
        y = np.ravel(slider.ys[0]).copy()
        yield Case(title, name, ask, given, pool, "lstmcore_streams_push", session, y, expected)


class CLoop(bench.Contender):
    """The bare C call."""

    def __init__(self, loop: Any, case: Case) -> None:
        super().__init__("C", case.function, len)
        self.loop, self.case, self.done = loop, case, 0
        function = address(_core.ffi.addressof(_core.lib, case.function))
        self.functions = (function, ffi.NULL) if case.function == "lstmcore_run" else (ffi.NULL, function)

    def warm_up(self, windows: Sequence[Any]) -> None:
        """See how many calls a burst can hold."""
        self.burst(iter(()))
        (taken,) = self.rounds
        self.rounds.clear()
        self.calls = int(np.clip(bench.BURST / (taken.mean() / 1e9), 1, bench.MAX_CALLS))

    def burst(self, windows: Iterator[Any]) -> None:
        case, taken = self.case, np.empty(self.calls, np.int64)
        code = self.loop.time_calls(
            *self.functions, address(case.session), ffi.from_buffer("float[]", case.pool), *case.pool.shape, self.done,
            ffi.from_buffer("float[]", case.y), bench.UNTIMED, self.calls, ffi.from_buffer("int64_t[]", taken),
        )  # fmt: skip
        if code:
            raise RuntimeError(f"{case.function}: code {code}")
        self.done += bench.UNTIMED + self.calls
        self.rounds.append(taken)


def address(pointer: Any) -> Any:
    """A pointer of the binding's, as this module's cffi takes it."""
    return ffi.cast("void *", int(_core.ffi.cast("intptr_t", pointer)))


def measure(loop: Any, case: Case, seconds: float) -> dict[str, Any]:
    """One row: the medians in microseconds, and the edge with the middle 90 % of the rounds."""
    c, python = CLoop(loop, case), bench.Contender("Python", case.input, case.ask)
    empty = bench.Contender("empty call", "", len)
    for _ in bench.measure([c, python, empty], case.asked, seconds, seed=0):
        pass
    if not np.array_equal(case.y, np.ravel(case.expected(c.done))):
        raise AssertionError(f"{case.shape}, {case.input}: C and Python answer differently")
    medians = [np.array([np.median(times) for times in each.rounds]) / 1e3 for each in (c, python, empty)]
    low, edge, high = np.percentile(medians[1] - medians[0], [5, 50, 95])
    return {
        "shape": case.shape, "input": case.input, "rounds": len(c.rounds),
        "c_p50": bench.rows([c])[0].p50, "python_p50": bench.rows([python])[0].p50,
        "edge": float(edge), "edge_low": float(low), "edge_high": float(high),
        "empty_call": float(np.median(medians[2])),
    }  # fmt: skip


def build(folder: Path) -> Any:
    """edge.c as a library: it is not linked with the core, which runs where Python has loaded it."""
    path = folder / "edge.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(path)], check=True)
    return ffi.dlopen(str(path))


def cases() -> Iterator[Case]:
    """All that is measured; the first shape has next to nothing to compute."""
    yield from windows("1 x 1, hidden 1", lstm(1, 1), 1)
    for name in ("quant", "exit"):
        shape = SHAPES[name]
        yield from windows(shape.title, shape.build(), shape.steps)
    yield from ticks("one step, hidden 64, input 10", SHAPES["step"].build())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="how long to measure each row (4)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loop = build(Path(folder))
        every = list(cases())
        rows = [
            measure(loop, case, options.seconds) for case in terminal.progress(every, len(every), "the Python edge")
        ]
    print("µs; edge: the call from Python beyond the bare C call, in the same round")
    terminal.table(
        ["shape", "input", ">C p50", ">Python p50", ">edge", "5-95 %", ">of it an empty call"],
        [
            (
                row["shape"], row["input"], f"{row['c_p50']:.2f}", f"{row['python_p50']:.2f}", f"{row['edge']:.2f}",
                f"{row['edge_low']:.2f}-{row['edge_high']:.2f}", f"{row['empty_call']:.2f}",
            )
            for row in rows
        ],
    )  # fmt: skip
    if options.json:
        results.write(options.json, {"machine": lstmcore.info(), "rows": rows})


if __name__ == "__main__":
    main()
