"""Pieces of work that are independent of each other: run side by side, and kept, so that a run can go on later."""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstmcore.files import write_text
from lstmcore.terminal import progress


class OutOfTime(Exception):
    """The time that was given is over, and there are pieces left."""


@dataclass(frozen=True)
class Piece:
    """One call, whose result is JSON."""

    name: str
    settings: dict[str, Any]  # all that the result depends on
    make: Callable[..., dict[str, Any]]  # a function of a module, so that another process finds it
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Pieces:
    """Where results are kept, each in a file of its own, and how many are made at a time."""

    folder: Path
    resume: bool  # use what is there, where it was made with the same settings
    jobs: int  # processes
    until: float = math.inf  # time.monotonic() at which no further piece is begun

    def run(self, todo: Sequence[Piece], what: str) -> list[dict[str, Any]]:
        """The results, in the order of `todo`.

        Raises:
            OutOfTime: It is late, and not all are there. Those that are there are kept.
        """
        found = {piece.name: known for piece in todo if (known := self._known(piece)) is not None}
        missing = [piece for piece in todo if piece.name not in found]
        for piece, (result, seconds) in progress(self._made(missing), len(missing), what):
            self._keep(piece, result, seconds)
            found[piece.name] = result
            if time.monotonic() > self.until and len(found) < len(todo):
                raise OutOfTime(f"{what}: {len(found)} of {len(todo)} are done")
        return [found[piece.name] for piece in todo]

    def seconds(self) -> float:
        """What all results that are kept have taken, each on one core."""
        return sum(json.loads(path.read_text())["seconds"] for path in self.folder.glob("*.json"))

    def _made(self, missing: Sequence[Piece]) -> Iterator[tuple[Piece, tuple[dict[str, Any], float]]]:
        """Each with its result and the seconds that it took, as they come."""
        if self.jobs == 1 or len(missing) < 2:
            for piece in missing:
                yield piece, timed(piece.make, piece.arguments)
            return
        fresh = multiprocessing.get_context("spawn")  # a copy of a process in which torch has run may hang
        with ProcessPoolExecutor(self.jobs, fresh, one_thread) as pool:
            running = {pool.submit(timed, piece.make, piece.arguments): piece for piece in missing}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            finally:
                pool.shutdown(cancel_futures=True)  # where nobody takes them any more

    def _known(self, piece: Piece) -> dict[str, Any] | None:
        path = self._file(piece)
        if not self.resume or not path.exists():
            return None
        kept = json.loads(path.read_text())
        return kept["result"] if kept["settings"] == piece.settings else None

    def _keep(self, piece: Piece, result: dict[str, Any], seconds: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {"settings": piece.settings, "seconds": seconds, "result": result}
        write_text(self._file(piece), json.dumps(kept))

    def _file(self, piece: Piece) -> Path:
        return self.folder / f"{piece.name}.json"


def timed(make: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> tuple[dict[str, Any], float]:
    """What a call gives, and how many seconds it took."""
    start = time.perf_counter()
    result = make(*arguments)
    return result, time.perf_counter() - start


def one_thread() -> None:
    """Steps this small gain nothing from threads, and on a busy machine the threads wait for each other."""
    import torch

    torch.set_num_threads(1)
