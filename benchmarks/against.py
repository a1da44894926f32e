"""Whether this version is slower or faster than another revision, and whether it answers with the same bits.

    python benchmarks/against.py [REV] [--python] [--kernel K] [--only SHAPE ...] [--seconds S] [--json FILE]

REV is what git takes for a revision; HEAD~ where none is named. The core of REV and that of the working tree are built
by the same compiler and loaded into one program, where a loop in C (benchmarks/against.c) times the calls of either, in
the interleaved rounds of `measure.bench`. In each round the median of this version is divided by that of REV; shown
are the median of these ratios and their 5-95 % range: 0.9 is a tenth faster, and a range with 1 in it says nothing.

The rows of "a call" compute next to nothing: what they take beyond the clock, whose row is the last, is what the call
itself costs.

With --python both are installed, each into a folder of its own, and two processes (benchmarks/against_worker.py) take
turns: that times what Python adds too, and works where the C functions have changed. Status 1 where bits differ.
"""

from __future__ import annotations

import abc
import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results
from against_core import ROOT, Core, cores, ffi, sources
from models import CALL, SHAPES, SMALL

from lstmcore import _core, info, terminal
from lstmcore.backends.c.binding import inputs, outputs
from lstmcore.measure import bench

WORKER = Path(__file__).with_name("against_worker.py")
WINDOWS = ("quant", "exit", "hidden32", "hidden128", "gru")
STREAMS = ("quant", "exit")
SERIES = 300  # ticks of a series, whose every window is answered
DOORS = ("window", "push", "push_bound", "series", "carried", "clock")  # as against.c counts them
ASKED = {name: SHAPES[name] for name in dict.fromkeys((*WINDOWS, "step", *STREAMS))} | SMALL


class Side(bench.Contender, abc.ABC):
    """One revision's answers to one case, which `time` asks for."""

    def __init__(self, label: str) -> None:
        super().__init__(label, "", len)
        self.done = 0

    @abc.abstractmethod
    def time(self, untimed: int, calls: int) -> Any:
        """Ask for `untimed` answers, and then for `calls` whose nanoseconds are returned: (calls,)."""

    @abc.abstractmethod
    def bits(self) -> bytes:
        """The answers to all of the pool, from a fresh start."""

    def warm_up(self, windows: Sequence[Any]) -> None:
        """See how many calls a burst can hold."""
        taken = self.time(bench.UNTIMED, 5)
        self.calls = int(np.clip(bench.BURST / (np.median(taken) / 1e9), 1, bench.MAX_CALLS))

    def burst(self, windows: Iterator[Any]) -> None:
        self.rounds.append(self.time(min(bench.UNTIMED, self.calls), self.calls))


class CoreSide(Side):
    """A model in one revision's core, asked through one of `DOORS`."""

    def __init__(self, label: str, core: Core, shape: str, door: str, kernel: str | None) -> None:
        super().__init__(label)
        asked = ASKED[shape]
        model, self.core, self.door, self.window = asked.build(), core, DOORS.index(door), asked.steps
        steps = SERIES if door == "series" else asked.steps if door == "window" else 1
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((bench.POOL, steps, model.input_size)).astype(np.float32)
        self.y = np.zeros((steps, *model.output_shape), np.float32)
        self.bound = np.zeros(model.input_size, np.float32)
        self.model = core.model(model, kernel)
        self.stream = 0 if asked.carried else self.window
        self._begin()

    def _begin(self) -> None:
        follows = DOORS[self.door].startswith(("push", "carried"))
        out = _core.ffi.new(f"lstmcore_{'streams' if follows else 'session'} **")
        if follows:
            self.core.check(self.core.lstmcore_streams_new(self.model, self.stream, 1, out), "streams_new")
            self.core.check(self.core.lstmcore_streams_bind(out[0], inputs(self.bound), outputs(self.y)), "bind")
        else:
            self.core.check(self.core.lstmcore_session_new(self.model, 0, out), "session_new")
        free = self.core.lstmcore_streams_free if follows else self.core.lstmcore_session_free
        self.handle, self.done = _core.ffi.gc(out[0], free), 0

    def time(self, untimed: int, calls: int) -> Any:
        taken = np.empty(calls, np.int64)
        rows, steps, features = self.x.shape
        code = self.core.library.against_time(
            self.door, ffi.cast("void *", int(_core.ffi.cast("uintptr_t", self.handle))),
            ffi.from_buffer("float[]", self.x), rows, steps * features, steps, self.window, self.done,
            ffi.from_buffer("float[]", self.bound), ffi.from_buffer("float[]", self.y), untimed, calls,
            ffi.from_buffer("int64_t[]", taken),
        )  # fmt: skip
        self.core.check(code, DOORS[self.door])
        self.done += untimed + calls
        return taken

    def bits(self) -> bytes:
        self._begin()
        answers = []
        for _ in range(2 if DOORS[self.door] == "series" else 2 * bench.POOL):  # a stream's first answers are NaN
            self.time(0, 1)
            answers.append(self.y.tobytes())
        return b"".join(answers)


class PythonSide(Side):
    """A process with one revision's package."""

    def __init__(self, label: str, process: subprocess.Popen[str], shape: str, door: str) -> None:
        super().__init__(label)
        self.process, self.case = process, {"shape": shape, "door": door}

    def ask(self, **question: Any) -> Any:
        """Send a line and read one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(self.case | question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.label}: its process ended; what it says is above")
        return json.loads(line)

    def time(self, untimed: int, calls: int) -> Any:
        return np.array(self.ask(untimed=untimed, calls=calls))

    def bits(self) -> bytes:
        return bytes.fromhex(self.ask(bits=True))


@contextlib.contextmanager
def processes(revision: str, folder: Path, kernel: str | None) -> Iterator[list[subprocess.Popen[str]]]:
    """A process with the package of the revision, and one with that of the working tree."""
    with contextlib.ExitStack() as stack:
        started = []
        for name, source in (("other", sources(revision, folder / "source")), ("this", ROOT)):
            target = folder / name
            install = ["-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target", str(target)]
            subprocess.run([sys.executable, *install, str(source)], check=True)
            # -S: no .pth files, of which one would bring the package that this environment has in its place.
            paths = [str(target), *(path for path in sys.path if path)]
            more = {"PYTHONPATH": os.pathsep.join(paths)} | ({} if kernel is None else {"LSTMCORE_KERNEL": kernel})
            command = [sys.executable, "-S", str(WORKER), str(target)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen(command, text=True, env=os.environ | more, **pipes)  # type: ignore[call-overload]
            started.append(stack.enter_context(process))
        yield started


def cases(python: bool, only: Sequence[str] | None) -> list[tuple[str, str]]:
    """Shapes and doors."""
    dtypes = ("", ", float64") if python else ("",)
    every = [(shape, "window" + dtype) for shape in WINDOWS for dtype in dtypes]
    every += [("step", "push" + dtype) for dtype in dtypes]
    every += [(shape, door) for shape in STREAMS for door in ("push", "push_bound")]
    every.append(("quant", "series"))
    if not python:
        every += [(shape, "carried") for shape in SMALL]
        every += [(CALL.name, door) for door in ("window", "clock")]
    return [case for case in every if only is None or case[0] in only]


def measure(other: Side, this: Side, seconds: float) -> dict[str, Any]:
    """One row: medians in microseconds, and this version's share of the other's time."""
    same = other.bits() == this.bits()
    for _ in bench.measure([other, this], [None], seconds, seed=0):
        pass
    base, row = bench.rows([other, this])
    return {
        "rounds": len(this.rounds), "other_p50": base.p50, "this_p50": row.p50,
        "ratio": row.ratio, "ratio_low": row.ratio_low, "ratio_high": row.ratio_high, "same_bits": same,
    }  # fmt: skip


def compare(
    revision: str, python: bool, kernel: str | None, only: Sequence[str] | None, seconds: float
) -> list[dict[str, Any]]:
    """Every case's row. Raises ValueError for a revision that is none, or that cannot be compared so."""
    rows = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked: Any = None
        if python:
            asked = stack.enter_context(processes(revision, folder, kernel))
        else:
            asked = cores(revision, folder)
        every = cases(python, only)
        for shape, door in terminal.progress(every, len(every), f"against {revision}"):
            if python:
                pair: list[Side] = [PythonSide(revision, process, shape, door) for process in asked]
            else:
                pair = [CoreSide(revision, core, shape, door, kernel) for core in asked]
            rows.append({"shape": ASKED[shape].title, "door": door} | measure(pair[0], pair[1], seconds))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print a row for each shape and door."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", metavar="REV", nargs="?", default="HEAD~", help="what git calls it (HEAD~)")
    parser.add_argument("--python", action="store_true", help="time the Python package, not the C core alone")
    parser.add_argument("--kernel", help="the kernel of both, such as avx2 (the best that runs here)")
    parser.add_argument("--only", nargs="+", choices=ASKED, help="these shapes")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long to measure each row (4)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(argv)
    if not cases(options.python, options.only):
        parser.error(f"--only {' '.join(options.only)}: asked in C alone, so not with --python")
    rows = compare(options.revision, options.python, options.kernel, options.only, options.seconds)
    print(f"p50 in µs; ratio: this version's time over that of {options.revision}, in the same round")
    terminal.table(
        ["shape", "door", f">{options.revision}", ">this", ">ratio", "5-95 %", "bits"],
        [
            (
                row["shape"], row["door"], f"{row['other_p50']:.3f}", f"{row['this_p50']:.3f}", f"{row['ratio']:.3f}",
                f"{row['ratio_low']:.3f}-{row['ratio_high']:.3f}", "same" if row["same_bits"] else "DIFFER",
            )
            for row in rows
        ],
    )  # fmt: skip
    if options.json:
        facts = {"machine": info(), "revision": options.revision, "python": options.python, "rows": rows}
        results.write(options.json, facts)
    return 0 if all(row["same_bits"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
