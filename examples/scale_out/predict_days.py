"""Answer every window of every file in a folder, on all cores of this machine or on a Dask cluster.

    python examples/scale_out/predict_days.py MODEL SERIES ANSWERS --window T [--workers N | --scheduler ADDRESS]

SERIES/SYMBOL/DAY.npy, (ticks, features), becomes ANSWERS/SYMBOL/DAY.npy, (ticks - T + 1, outputs). Started again, it
does what is left.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import lstmcore
from lstmcore import terminal
from lstmcore.files import write_whole
from lstmcore.streaming import digest
from lstmcore.text import clean

terminal.ask_or_exit("scale", "dask", "distributed")

from dask.distributed import Client, LocalCluster, as_completed  # noqa: E402  # behind the question


def answer_file(model: str, expected: bytes, source: str, target: str, window: int) -> int:
    """Answer the windows of one file with the weights that `expected` is the digest of; how many windows they were."""
    loaded = lstmcore.load(model)
    if digest(loaded).tobytes() != expected:
        raise ValueError(f"{model}: this worker finds another model there than the one that was asked for")
    answers = loaded.predict_windows(np.load(source, mmap_mode="r"), window)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    np.save(file, answers)
    write_whole(target, file.getvalue())
    return len(answers)


def answer_all(client: Client, model: Path, jobs: dict[Path, Path], window: int) -> Iterator[tuple[Path, int | str]]:
    """Answer each source of `jobs` in its target: as they get done, the source and how many windows, or the error."""
    expected = digest(lstmcore.load(model)).tobytes()
    tasks = {}
    for source, target in jobs.items():
        paths = (str(path.resolve()) for path in (source, target))
        tasks[client.submit(answer_file, str(model.resolve()), expected, *paths, window, pure=False)] = source
    for task in as_completed(tasks):
        error = task.exception()
        yield tasks[task], task.result() if error is None else f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """A client of the scheduler at that address, or of one process for each core here."""
    if scheduler is not None:
        with Client(scheduler) as client:
            yield client
        return
    # A task's error comes back to us, so that the workers need not log it.
    local = LocalCluster(workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL)
    with local as cluster, Client(cluster) as client:
        yield client


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("series", type=Path, help="the folder with SYMBOL/DAY.npy")
    parser.add_argument("answers", type=Path, help="the folder that gets the answers under the same names")
    parser.add_argument("--window", type=int, required=True, help="ticks in a window")
    parser.add_argument("--workers", type=int, help="processes on this machine (one for each core)")
    parser.add_argument("--scheduler", help="the address of a Dask scheduler instead, such as tcp://10.0.0.1:8786")
    options = parser.parse_args()
    targets = {path: options.answers / path.relative_to(options.series) for path in options.series.glob("*/*.npy")}
    jobs = {source: target for source, target in sorted(targets.items()) if not target.exists()}
    print(f"{clean(options.series)}: {len(targets)} files, {len(targets) - len(jobs)} of them answered already")
    wrong, windows = {}, 0
    with connected(options.scheduler, options.workers) as client:
        results = answer_all(client, options.model, jobs, options.window)
        for source, result in terminal.progress(results, len(jobs), "files"):
            if isinstance(result, str):
                wrong[source] = result
            else:
                windows += result
    print(f"{clean(options.answers)}: {windows:,} windows answered")
    for source, error in sorted(wrong.items()):
        terminal.note(f"{source}: {error}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
