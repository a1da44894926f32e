"""Feed damaged files to a reader: it may answer, or refuse with one of lstmcore's own errors, and nothing else.

    python tests/fuzz.py [READER ...] [--count N] [--seed S] [--keep FOLDER]

READER is safetensors, state, torch, keras, h5 or onnx; all of them if none is named. The files come from a small corpus
that is made here; each is mutated in its bytes or, where it is a zip, inside one of its members, and loaded in a worker
process, so that a crash or a hang is seen. Counted as faults: another exception, a crash, more than a second, and more
than ten times the file's size in memory beyond what the whole corpus file takes. A fault's file is kept.
"""

from __future__ import annotations

import argparse
import io
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import layers as L
from lstmcore import terminal

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
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def drawn(cls: type[L.Layer], name: str, **settings: Any) -> L.Layer:
    rng = np.random.default_rng(0)
    shapes = cls.weight_shapes(**settings)
    return cls(name, weights={k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}, **settings)


def small() -> lstmcore.Model:
    lstm = drawn(L.LSTM, "lstm", input_size=3, hidden_size=5, bidirectional=True, num_layers=2, bias=True)
    return lstmcore.Model([lstm, drawn(L.Linear, "fc", in_features=10, out_features=1, bias=True)])


def corpus(reader: str, folder: Path) -> list[Path]:
    """The sound files of a reader."""
    folder.mkdir(exist_ok=True)
    gru = lstmcore.Model([drawn(L.GRU, "gru", input_size=3, hidden_size=4, num_layers=1, bias=True)])
    if reader == "safetensors":
        for n, model in enumerate((small(), gru)):
            model.save(folder / f"{n}.safetensors")
    elif reader == "state":
        gru.sliding(4).save(folder / "0.safetensors")
    elif reader == "onnx":
        for n, model in enumerate((small(), gru)):
            model.export_onnx(folder / f"{n}.onnx")
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
    return sorted(folder.iterdir())


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A damaged copy."""
    if draw.random() < 0.5 and zipfile.is_zipfile(io.BytesIO(data)):
        return _mutated_member(data, draw)
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if not out:
            break
        at = draw.randrange(len(out))
        size = min(draw.choice((1, 2, 4, 8, 16, 64)), len(out) - at)
        kind = draw.randrange(7)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at] = draw.choice((0, 0xFF, 0x7F, 0x80, draw.randrange(256)))
        elif kind == 2:
            number = draw.choice((*NUMBERS, len(data), draw.getrandbits(64))).to_bytes(
                16, draw.choice(("little", "big"))
            )
            out[at : at + size] = (number[:size] if draw.random() < 0.5 else number[-size:])[: len(out) - at]
        elif kind == 3:
            del out[at : at + size]
        elif kind == 4:
            out[at:at] = out[at : at + size]
        elif kind == 5:
            other = draw.randrange(len(out))
            out[at : at + size] = out[other : other + size]
        else:
            del out[at:]
    return bytes(out)


def _mutated_member(data: bytes, draw: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    chosen = draw.choice(sorted(members))
    members[chosen] = mutated(members[chosen], draw)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def load(reader: str, path: str) -> None:
    if reader == "state":
        gru = drawn(L.GRU, "gru", input_size=3, hidden_size=4, num_layers=1, bias=True)
        lstmcore.Model([gru]).sliding(4).restore(path)
    elif reader == "torch":
        lstmcore.load(path, layers=[("lstm", "LSTM"), ("fc", "Linear")], backend="numpy")
    else:
        lstmcore.load(path, backend="numpy")


def fault(reader: str, path: Path, measure: bool) -> str:
    """What was wrong with loading a file; empty: nothing."""
    if measure:
        tracemalloc.start()
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(reader, str(path))
    except (lstmcore.ModelFormatError, lstmcore.UnsupportedError):
        pass
    except ValueError as error:
        if reader != "state":  # a state that does not fit the stream is a ValueError by its documentation
            return f"ValueError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        taken = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1] if measure else 0
        if measure:
            tracemalloc.stop()
    if not measure and taken > SLOWEST:
        return f"{taken:.1f} s"
    limit = FLOOR + MEMORY * path.stat().st_size
    return f"{peak:,} bytes of memory" if peak > limit else ""


def work(reader: str, folder: Path, begin: int, end: int, seed: int) -> None:
    """The worker: one line for each file, its number and its fault."""
    files = [path.read_bytes() for path in sorted((folder / "corpus").iterdir())]
    for path in sorted((folder / "corpus").iterdir()):
        load(reader, str(path))  # modules are imported with the first file: their memory is nobody's fault
    for number in range(begin, end):
        draw = random.Random(f"{reader} {seed} {number}")
        path = folder / f"{number}{SUFFIXES[reader][0]}"
        path.write_bytes(mutated(draw.choice(files), draw))
        found = fault(reader, path, number % MEASURED == 0)
        if not found:
            path.unlink()
        print(number, terminal.clean(found), flush=True)


def run(reader: str, count: int, seed: int, folder: Path) -> list[str]:
    """The faults of `count` files."""
    for path in corpus(reader, folder / "corpus"):
        load(reader, str(path))
    faults: list[str] = []
    for _ in terminal.progress(_rounds(reader, count, seed, folder, faults), count, f"fuzz {reader}", float):
        pass
    return faults


def _rounds(reader: str, count: int, seed: int, folder: Path, faults: list[str]) -> Iterator[int]:
    """Yields how many files are done; a worker that dies or hangs is a fault, and the next goes on behind it."""
    done = 0
    while done < count:
        command = [
            sys.executable,
            __file__,
            reader,
            "--worker",
            str(folder),
            str(done),
            str(count),
            "--seed",
            str(seed),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            lines: queue.Queue[str | None] = queue.Queue()
            threading.Thread(target=_read, args=(worker, lines.put), daemon=True).start()
            while (line := _next(lines)) is not None:
                number, _, found = line.strip().partition(" ")
                if found:
                    faults.append(f"{reader} {number}: {found}")
                done = int(number) + 1
                yield done
            hung = worker.poll() is None
            worker.kill()
        if done < count:
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
            faults = run(reader, options.count, options.seed, folder)
            taken = time.perf_counter() - start
            left = [path for path in folder.iterdir() if path.is_file()]
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
