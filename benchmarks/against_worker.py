"""One revision's package, which benchmarks/against.py asks line by line: see there."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from models import SHAPES

import lstmcore

POOL, SERIES = 64, 300  # as in against.py


class Case:
    """What is asked, and the rows that it is asked with, in turn."""

    def __init__(self, shape: str, door: str) -> None:
        model, window = SHAPES[shape].build(), SHAPES[shape].steps
        door, _, dtype = door.partition(", ")
        steps = {"window": window, "series": SERIES}.get(door)
        size = (POOL, model.input_size) if steps is None else (POOL, steps, model.input_size)
        rows: Sequence[Any] = list(
            np.random.default_rng(0).standard_normal(size).astype(np.float32).astype(dtype or "f4")
        )
        self.before: Callable[[Any], object] = len
        self.after: Callable[[], object] = list
        if door == "window":
            self.ask: Callable[[Any], Any] = model
        elif door == "series":
            self.ask = lambda series: model.predict_windows(series, window)
        else:
            stream = model.stateful() if SHAPES[shape].carried else model.sliding(window)
            self.ask, self.after = stream.push, stream.catch_up
            if door == "push_bound":
                self.before = functools.partial(np.copyto, stream.input)
                self.ask = lambda _, push=stream.push_bound: push()
        self.rows = itertools.cycle(rows)
        self.compared = 2 if door == "series" else 2 * POOL

    def time(self, untimed: int, calls: int) -> list[int]:
        """Nanoseconds of each call that is timed."""
        clock, taken = time.perf_counter_ns, []
        for row in itertools.islice(self.rows, untimed + calls):
            self.before(row)
            start = clock()
            self.ask(row)
            taken.append(clock() - start)
            self.after()
        return taken[untimed:]

    def bits(self) -> str:
        """A digest of the answers' bits."""
        digest = hashlib.sha256()
        for row in itertools.islice(self.rows, self.compared):
            self.before(row)
            digest.update(np.asarray(self.ask(row), np.float32).tobytes())
            self.after()
        return digest.hexdigest()


def main() -> None:
    if not Path(lstmcore.__file__).is_relative_to(sys.argv[1]):
        raise SystemExit(f"lstmcore comes from {lstmcore.__file__}, not from {sys.argv[1]}")
    made = functools.cache(Case)
    for line in sys.stdin:
        asked = json.loads(line)
        shape, door = asked["shape"], asked["door"]
        found = (
            Case(shape, door).bits() if "bits" in asked else made(shape, door).time(asked["untimed"], asked["calls"])
        )
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
