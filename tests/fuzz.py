"""Feed damaged files to a reader: it may answer, or refuse with one of lstmcore's own errors, and nothing else.

    python tests/fuzz.py [READER ...] [--count N] [--start K] [--seed S] [--keep FOLDER]

READER is safetensors, state, torch, keras, h5 or onnx; all of them if none is named. The files come from a small corpus
that is made here; each is damaged in its bytes or inside it, in a zip's member or a protobuf's field, and loaded in a
worker process, so that a crash or a hang is seen. A file is its reader, seed and number and nothing else, so a long run
can be taken in pieces: --start 5000 --count 5000 is the second of those.

Counted as faults: another exception, an error of several lines, a crash, more than a second, and more memory than ten
times the file's size and 4 MiB. What Python and numpy allocate is traced for one file in 20; for all, the process must
not grow by more. A fault's file is kept.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import layers as L
from lstmcore import terminal
from lstmcore.text import clean

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_mutants import mutated

SUFFIXES = {
    "safetensors": (".safetensors",), "state": (".safetensors",), "torch": (".pt",),
    "keras": (".keras",), "h5": (".h5",), "onnx": (".onnx",),
}  # fmt: skip
READERS = tuple(SUFFIXES)
SLOWEST = 1.0  # seconds
HANGS = 20.0  # seconds without a word from the worker
MEMORY = 10  # times the file's size
MEASURED = 20  # every such file is loaded with memory traced, which takes time
FLOOR = 4 << 20  # bytes that any reader may take: interpreters, modules, buffers of fixed size
LONGEST = 2000  # characters of an error
RESIDENT = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss, in bytes


def drawn(cls: type[L.Layer], name: str, **settings: Any) -> L.Layer:
    rng = np.random.default_rng(0)
    shapes = cls.weight_shapes(**settings)
    return cls(name, weights={k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}, **settings)


def small() -> lstmcore.Model:
    lstm = drawn(L.LSTM, "lstm", input_size=3, hidden_size=5, bidirectional=True, num_layers=2, bias=True)
    layers = [lstm, drawn(L.Linear, "fc", in_features=10, out_features=1, bias=True)]
    return lstmcore.Model(layers, backend="numpy")


def gru(backend: str = "numpy") -> lstmcore.Model:
    layer = drawn(L.GRU, "gru", input_size=3, hidden_size=4, num_layers=1, bias=True)
    return lstmcore.Model([layer], backend=backend)


def corpus(reader: str, folder: Path) -> list[Path]:
    """The sound files of a reader."""
    folder.mkdir(exist_ok=True)
    if reader == "safetensors":
        for n, model in enumerate((small(), gru())):
            model.save(folder / f"{n}.safetensors")
    elif reader == "state":
        gru("auto").sliding(4).save(folder / "0.safetensors")
    elif reader == "onnx":
        import onnx_corpus

        onnx_corpus.write(folder)
    elif reader == "torch":
        import torch

        net = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 5, 2), "fc": torch.nn.Linear(5, 1)})
        torch.save(net.state_dict(), folder / "0.pt")
        torch.save({"epoch": 3, "state_dict": net.half().state_dict()}, folder / "1.pt")
    else:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras

        recurrent = keras.layers.Bidirectional(keras.layers.GRU(4))
        chain = [keras.Input((7, 3)), keras.layers.LSTM(5, return_sequences=True), recurrent, keras.layers.Dense(1)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keras.Sequential(chain).save(folder / f"0.{reader}")
    return sound(reader, folder)


def sound(reader: str, folder: Path) -> list[Path]:
    """The files of a corpus, without what lies beside them."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES[reader])


def damage(reader: str) -> Callable[[bytes, random.Random], bytes]:
    """What makes damaged copies of a reader's files."""
    if reader != "onnx":
        return mutated
    from onnx_mutants import damaged

    return damaged


def load(reader: str, path: str) -> None:
    if reader == "state":
        gru("auto").sliding(4).restore(path)
    elif reader == "torch":
        lstmcore.load(path, layers=[("lstm", "LSTM"), ("fc", "Linear")], backend="numpy")
    else:
        lstmcore.load(path, backend="numpy")


def fault(reader: str, path: Path, measure: bool) -> str:
    """What was wrong with loading a file; empty: nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if measure:
        tracemalloc.start()
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(reader, str(path))
    except (lstmcore.ModelFormatError, lstmcore.UnsupportedError) as error:
        text = str(error)
        if len(text) > LONGEST or len(text.splitlines()) > 1:
            return f"no error of one line: {text:.200}"
    except ValueError as error:
        if reader != "state":  # a state that does not fit the stream is a ValueError by its documentation
            return f"ValueError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        taken = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1] if measure else 0
        tracemalloc.stop()
    if not measure:
        if taken > SLOWEST:
            return f"{taken:.1f} s"
        peak = RESIDENT * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    limit = FLOOR + MEMORY * path.stat().st_size
    return f"{peak:,} bytes of memory" if peak > limit else ""


def work(reader: str, folder: Path, begin: int, end: int, seed: int) -> None:
    """The worker: one line for each file, its number and its fault."""
    paths = sound(reader, folder / "corpus")
    files = [path.read_bytes() for path in paths]
    for path in paths:
        load(reader, str(path))  # modules are imported with the first file: their memory is nobody's fault
    damaged = damage(reader)
    for number in range(begin, end):
        draw = random.Random(f"{reader} {seed} {number}")
        path = folder / f"{number}{SUFFIXES[reader][0]}"
        path.write_bytes(damaged(draw.choice(files), draw))
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
            while (line := _next(lines)) is not None:
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


def _next(lines: queue.Queue[str | None]) -> str | None:
    try:
        return lines.get(timeout=HANGS)
    except queue.Empty:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", metavar="READER", nargs="*", choices=(*READERS, []), help=", ".join(READERS))
    parser.add_argument("--count", type=int, default=100_000, help="files for each reader (100,000)")
    parser.add_argument("--start", type=int, default=0, help="the number of the first file (0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="where the faults' files go (out/fuzz)")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
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
