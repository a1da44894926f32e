"""Feed damaged files to a reader: it may answer, or refuse as it documents, and nothing else.

    python tests/support/fuzz.py [READER ...] [--count N] [--start K] [--seed S] [--keep FOLDER]
    python tests/support/fuzz.py READER --file FILE       one file as it is

READER is one of those in `fuzz_readers`; all of them if none is named. The files come from a small corpus
that is made here; each is damaged in its bytes or inside it, in a part of it behind right checksums, and loaded in a
worker process, so that a crash or a hang is seen. A file is its reader, seed and number and nothing else, so a long run
can be taken in pieces: --start 5000 --count 5000 is the second of those.

Faults are those of `fuzz_readers`, and a crash. Memory is traced for one file in 20. A fault's file is kept.
"""

from __future__ import annotations

import argparse
import functools
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lstmcore import terminal
from lstmcore.text import clean

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_mutants import mutated
from fuzz_parts import damaged
from fuzz_readers import READERS, SUFFIXES, corpus, fault, load, sound

HANGS = 20.0  # seconds without a word from the worker
STARTS = 600.0  # seconds before its first, while it imports
MEASURED = 20  # every such file is loaded with memory traced, which takes time


def work(reader: str, folder: Path, begin: int, end: int, seed: int) -> None:
    """The worker: one line for each file, its number and its fault."""
    paths = sound(reader, folder / "corpus")
    files = [path.read_bytes() for path in paths]
    for path in paths:
        load(reader, str(path))  # modules are imported with the first file: their memory is nobody's fault
    print(flush=True)
    for number in range(begin, end):
        draw = random.Random(f"{reader} {seed} {number}")
        path = folder / f"{number}{SUFFIXES[reader][0]}"
        spoil = functools.partial(mutated, draw=draw)
        path.write_bytes(damaged(reader, draw.choice(files), draw, spoil))
        found = fault(reader, path, number % MEASURED == 0)
        if not found:
            path.unlink()
        print(number, clean(found), flush=True)


def run(reader: str, count: int, seed: int, folder: Path, start: int = 0) -> list[str]:
    """The faults of `count` files, from number `start` on."""
    for path in corpus(reader, folder / "corpus"):
        load(reader, str(path))
    for path in set((folder / "corpus").iterdir()) - set(sound(reader, folder / "corpus")):
        (folder / path.name).write_bytes(path.read_bytes())  # what files name as lying beside them
    faults: list[str] = []
    for _ in terminal.progress(_rounds(reader, start, count, seed, folder, faults), count, f"fuzz {reader}", float):
        pass
    return faults


def _rounds(reader: str, start: int, count: int, seed: int, folder: Path, faults: list[str]) -> Iterator[int]:
    """Yields how many files are done; a worker that dies or hangs is a fault, and the next goes on behind it."""
    done, end = start, start + count
    while done < end:
        piece = ["--worker", str(folder), str(done), str(end), "--seed", str(seed)]
        command = [sys.executable, __file__, reader, *piece]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            lines: queue.Queue[str | None] = queue.Queue()
            threading.Thread(target=_read, args=(worker, lines.put), daemon=True).start()
            _next(lines, STARTS)
            while (line := _next(lines, HANGS)) is not None:
                number, _, found = line.strip().partition(" ")
                if found:
                    faults.append(f"{reader} {number}: {found}")
                done = int(number) + 1
                yield done - start
            hung = worker.poll() is None
            worker.kill()
        if done < end:
            faults.append(f"{reader} {done}: {'hangs' if hung else f'ends the process, status {worker.returncode}'}")
            done += 1


def _read(worker: Any, put: Callable[[str | None], None]) -> None:
    for line in worker.stdout:
        put(line)
    put(None)


def _next(lines: queue.Queue[str | None], patience: float) -> str | None:
    try:
        return lines.get(timeout=patience)
    except queue.Empty:
        return None


def judge(parser: argparse.ArgumentParser, readers: Sequence[str], path: Path) -> int:
    """Load one file, in a process that has loaded sound ones; 1 where that is a fault, which is printed."""
    if len(readers) != 1:
        parser.error("--file: expected one reader beside it")
    with tempfile.TemporaryDirectory() as name:
        sound_files = corpus(readers[0], Path(name))
        for each in sound_files:
            load(readers[0], str(each))
        copy = Path(name) / f"tried{sound_files[0].suffix}"
        copy.write_bytes(path.read_bytes())
        found = fault(readers[0], copy, False) or fault(readers[0], copy, True)
    print(terminal.clean(found) or "no fault")
    return bool(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", metavar="READER", nargs="*", choices=(*READERS, []), help=", ".join(READERS))
    parser.add_argument("--count", type=int, default=100_000, help="files for each reader (100,000)")
    parser.add_argument("--start", type=int, default=0, help="the number of the first file (0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="where the faults' files go (out/fuzz)")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help="load this file alone, as it is")
    options = parser.parse_args(arguments)
    if options.file:
        return judge(parser, options.readers, options.file)
    if options.worker:
        folder, begin, end = options.worker
        work(options.readers[0], Path(folder), int(begin), int(end), options.seed)
        return 0
    status = 0
    for reader in options.readers or READERS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            start = time.perf_counter()
            faults = run(reader, options.count, options.seed, folder, options.start)
            taken = time.perf_counter() - start
            left = sound(reader, folder)
            if left:
                options.keep.mkdir(parents=True, exist_ok=True)
            for path in left:
                (options.keep / f"{reader}-{options.seed}-{path.name}").write_bytes(path.read_bytes())
        print(f"{reader}: {options.count:,} files in {taken:.0f} s, {len(faults)} faults")
        print("\n".join(faults[:20]))
        status |= bool(faults)
    return status


if __name__ == "__main__":
    sys.exit(main())
