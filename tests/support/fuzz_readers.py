"""Every reader that is fed damaged files: its sound files, how it is called, and what of it is a fault.

A reader may answer, or refuse with one line that names the file, in one of the exceptions that it documents. Counted as
faults: another exception, an error of several lines, more than a second of the processor's time, and more memory than
ten times the file's size and 4 MiB. (A .parquet file is pyarrow's to read and is left out.)
"""

from __future__ import annotations

import functools
import gzip
import os
import resource
import sys
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import data
from lstmcore import layers as L

SUFFIXES = {
    "safetensors": (".safetensors",), "state": (".safetensors",), "torch": (".pt",),
    "keras": (".keras",), "h5": (".h5",), "onnx": (".onnx",),
    "npy": (".npy",), "csv": (".csv",), "toml": (".toml",), "recording": (".txt", ".gz"),
    "frames": (".frames",),
}  # fmt: skip
READERS = tuple(SUFFIXES)

OURS = lstmcore.ModelFormatError, lstmcore.UnsupportedError
#: What a reader may raise.
REFUSALS: dict[str, tuple[type[Exception], ...]] = {
    "state": (*OURS, ValueError),  # a state that does not fit the stream
    "npy": (ValueError,), "csv": (ValueError,), "toml": (ValueError, TypeError), "recording": (ValueError,),
    "frames": (ConnectionError,),
}  # fmt: skip

SLOWEST = 1.0  # seconds
MEMORY = 10  # times the file's size
FLOOR = 4 << 20  # bytes that any reader may take: interpreters, modules, buffers of fixed size
LONGEST = 2000  # characters of an error
RESIDENT = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss, in bytes
PACKAGE = Path(lstmcore.__file__).parent
sys.path.append(str(Path(__file__).parents[2] / "examples" / "live_bot"))  # its frames are read here too

CONFIG = """
[data]
path = "ticks.csv"
timestamp = "time"
features = ["a", "b", "c"]
target = "up"
window = 10
horizon = 4

[split]
train = "30 days"
validation = "8 days"
test = 800.5
expanding = true

[model]
kind = "exit"
hidden = 8
layers = 1
dropout = 0.25

[training]
epochs = 2
batch_size = 64
pos_weight = "balanced"
"""

CSV = 'time,"a",b,note\n2024-01-01T00:00:00Z,1.5,-2e-3,x\n2024-01-02,,7,"y, z"\n2024-01-03,nan,8, \n'


def drawn(cls: type[L.Layer], name: str, **settings: Any) -> L.Layer:
    rng = np.random.default_rng(0)
    shapes = cls.weight_shapes(**settings)
    return cls(name, weights={k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}, **settings)


def small() -> lstmcore.Model:
    lstm = drawn(L.LSTM, "lstm", input_size=3, hidden_size=5, bidirectional=True, num_layers=2, bias=True)
    layers = [lstm, drawn(L.Linear, "fc", in_features=10, out_features=1, bias=True)]
    return lstmcore.Model(layers, backend="numpy")


@functools.cache
def gru(backend: str = "numpy") -> lstmcore.Model:
    layer = drawn(L.GRU, "gru", input_size=3, hidden_size=4, num_layers=1, bias=True)
    return lstmcore.Model([layer], backend=backend)


def _models(folder: Path) -> None:
    for n, model in enumerate((small(), gru())):
        model.save(folder / f"{n}.safetensors")


def _state(folder: Path) -> None:
    stream = gru("auto").sliding(4)
    for n in range(2):
        stream.save(folder / f"{n}.safetensors")
        stream.push(np.ones(3, np.float32))


def _onnx(folder: Path) -> None:
    import onnx_corpus

    onnx_corpus.write(folder)


def _torch(folder: Path) -> None:
    import torch

    net = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 5, 2), "fc": torch.nn.Linear(5, 1)})
    torch.save(net.state_dict(), folder / "0.pt")
    torch.save({"epoch": 3, "state_dict": net.half().state_dict()}, folder / "1.pt")


def _keras(folder: Path, suffix: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    recurrent = keras.layers.Bidirectional(keras.layers.GRU(4))
    chain = [keras.Input((7, 3)), keras.layers.LSTM(5, return_sequences=True), recurrent, keras.layers.Dense(1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.Sequential(chain).save(folder / f"0{suffix}")


def _arrays(folder: Path) -> None:
    for n, array in enumerate((np.ones((4, 3), np.float32), np.ones((2, 3, 4), order="F"), np.ones((3, 2), ">i2"))):
        np.save(folder / f"{n}.npy", array)


def _recordings(folder: Path) -> None:
    from lstmcore.feed import simulator

    simulator.write(folder / "0.txt", 20, 0)
    (folder / "1.gz").write_bytes(gzip.compress((folder / "0.txt").read_bytes(), mtime=0))


def _frames(folder: Path) -> None:
    from websockets.frames import Close, CloseCode, Frame, Opcode

    parts = Frame(Opcode.TEXT, b"pa", fin=False), Frame(Opcode.PING, b"?"), Frame(Opcode.CONT, "µ".encode())
    end = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "bye").serialize())
    whole = [Frame(Opcode.TEXT, b"{}"), Frame(Opcode.BINARY, b"x" * 200), Frame(Opcode.TEXT, b"y" * 70_000)]
    for n, sent in enumerate(([*whole[:2], *parts, end], [*whole[::2], *parts])):
        (folder / f"{n}.frames").write_bytes(b"".join(frame.serialize(mask=False) for frame in sent))


MAKERS: dict[str, Callable[[Path], object]] = {
    "safetensors": _models,
    "state": _state,
    "torch": _torch,
    "keras": lambda folder: _keras(folder, ".keras"),
    "h5": lambda folder: _keras(folder, ".h5"),
    "onnx": _onnx,
    "npy": _arrays,
    "csv": lambda folder: (folder / "0.csv").write_text(CSV),
    "toml": lambda folder: (folder / "0.toml").write_text(CONFIG),
    "recording": _recordings,
    "frames": _frames,
}


def corpus(reader: str, folder: Path) -> list[Path]:
    """The sound files of a reader."""
    folder.mkdir(exist_ok=True, parents=True)
    MAKERS[reader](folder)
    return sound(reader, folder)


def sound(reader: str, folder: Path) -> list[Path]:
    """The files of a corpus, without what lies beside them."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES[reader])


def load(reader: str, path: str) -> None:
    if reader == "state":
        gru("auto").sliding(4).restore(path)
    elif reader == "torch":
        lstmcore.load(path, layers=[("lstm", "LSTM"), ("fc", "Linear")], backend="numpy")
    elif reader in ("npy", "csv"):
        data.read(path)
    elif reader == "toml":
        from lstmcore.train.config import read_config

        read_config(Path(path))
    elif reader == "recording":
        _replay(path)
    elif reader == "frames":
        _receive(path)
    else:
        lstmcore.load(path, backend="numpy")


def _replay(path: str) -> None:
    from lstmcore.feed.features import Features
    from lstmcore.feed.messages import Parser
    from lstmcore.feed.recording import Recording

    recording, parse, features = Recording(path), Parser(), Features(0.1)
    recording.head(2)
    for received_ns, payload in recording:
        features.take(parse(payload), received_ns)


def _receive(path: str) -> None:
    """What the live bot makes of a server's bytes, which must not depend on how they are cut."""
    from frames import LONGEST, Frames
    from websockets.client import ClientProtocol
    from websockets.protocol import State
    from websockets.uri import parse_uri

    def messages(data: bytes, piece: int) -> tuple[list[bytes], str]:
        protocol = ClientProtocol(parse_uri("ws://host/"), state=State.OPEN, max_size=LONGEST)
        frames, found = Frames(protocol, lambda _: None), []
        try:
            for at in range(0, len(data), piece):
                frames.feed(data[at : at + piece])
                found += iter(frames.next, None)
        except ConnectionError as error:
            return found, str(error)
        return found, ""

    data = Path(path).read_bytes()
    found, wrong = messages(data, 1 << 16)
    if any(messages(data, piece) != (found, wrong) for piece in (len(data) // 3 + 1, len(data) // 200 + 1)):
        raise AssertionError("other messages from other pieces")
    if wrong:
        raise ConnectionError(f"{path}: {wrong}")


def fault(reader: str, path: Path, measure: bool) -> str:
    """What was wrong with loading a file, a kind of fault in front of a colon; empty: nothing.

    What Python and numpy allocate is traced with `measure`; without it, the process must not grow by more.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if measure:
        tracemalloc.start()
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(reader, str(path))
    except Exception as error:
        found = _wrong(error, REFUSALS.get(reader, OURS), path)
        if found:
            return found
    finally:
        taken = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1] if measure else 0
        tracemalloc.stop()
    if not measure:
        if taken > SLOWEST:
            return f"time: {taken:.1f} s"
        peak = RESIDENT * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    limit = FLOOR + MEMORY * path.stat().st_size
    return f"memory: {peak:,} bytes" if peak > limit else ""


def _wrong(error: Exception, refusals: tuple[type[Exception], ...], path: Path) -> str:
    """What is wrong with an exception; empty where it is a refusal as it should be."""
    text = str(error)
    if not isinstance(error, refusals):
        frames = traceback.extract_tb(error.__traceback__)
        ours = next((frame for frame in reversed(frames) if Path(frame.filename).is_relative_to(PACKAGE)), frames[-1])
        return f"{type(error).__name__} in {Path(ours.filename).name} line {ours.lineno}: {text}"
    if len(text) > LONGEST or len(text.splitlines()) > 1:
        return f"no error of one line: {text:.200}"
    return "" if str(path) in text else f"an error without the file's name: {text:.200}"
