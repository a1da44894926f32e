"""Damaged and hostile files of Keras: one line that says what is wrong, and nothing large allocated before."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_models import K, keras, layers_in, load, quiet, refused, rewritten, save, sequential
from torch_files import small_allocations

import lstmcore
from lstmcore.formats.keras.hdf5 import Hdf5
from lstmcore.formats.keras.keras import read

LAYERS = [("LSTM", {"units": 3}), ("BatchNormalization", {}), ("Dense", {"units": 2})]


@pytest.fixture(scope="module", params=[".keras", ".h5"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Keras."""
    layers = [("LSTM", {"units": 3, "name": "lstm"}), *LAYERS[1:]]
    with quiet():
        model = sequential((5, 4), layers)
    return save(model, tmp_path_factory.mktemp("files") / f"m{request.param}")


#: .h5 files are no archives, and of the HDF5 file in an archive no text is read.
ZIP_ONLY = pytest.mark.parametrize("original", [".keras"], indirect=True)
H5_ONLY = pytest.mark.parametrize("original", [".h5"], indirect=True)


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    copy = tmp_path / original.name
    copy.write_bytes(original.read_bytes())
    return copy


def damaged(path: Path, text: str) -> None:
    with small_allocations(8):
        refused(path, text, lstmcore.ModelFormatError)


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, parts: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def change_weights(path: Path, change: Callable[[h5py.File, str], None]) -> Path:
    """The file of weights inside, or the file itself, changed; with the path of the LSTM's kernel."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as opened:
            change(opened, find_kernel(opened))
        return path
    parts = parts_of(path)
    inner = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(inner, "a") as opened:
        change(opened, find_kernel(opened))
    return write(path, parts | {"model.weights.h5": inner.getvalue()})


def find_kernel(opened: h5py.File) -> str:
    found = []
    opened.visititems(lambda name, item: found.append(name) if getattr(item, "shape", None) == (4, 12) else None)
    return found[0]


def replace(make: Callable[[h5py.File, str, Any], Any]) -> Callable[[h5py.File, str], None]:
    def change(opened: h5py.File, name: str) -> None:
        values = opened[name][()]
        del opened[name]
        make(opened, name, values)

    return change


def vds(opened: h5py.File, name: str, values: Any) -> None:
    layout = h5py.VirtualLayout((4, 12), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "w", (4, 12))
    opened.create_virtual_dataset(name, layout)


def soft(opened: h5py.File, name: str, values: Any) -> None:
    opened["elsewhere"] = values
    opened[name] = h5py.SoftLink("/elsewhere")


def twice(opened: h5py.File, name: str, values: Any) -> None:
    opened[name] = values
    opened["again"] = opened[name]


def cycle(opened: h5py.File, name: str, values: Any) -> None:
    opened[name] = values
    opened[name].parent["up"] = opened["/"]


HOSTILE: dict[str, tuple[Any, str]] = {
    "missing": (lambda f, n, v: None, "is missing|h5py|names and the groups|damaged"),
    "shape": (lambda f, n, v: f.create_dataset(n, data=v.T.copy()), r"expected shape \(4, 12\), got \(12, 4\)"),
    "scalar": (lambda f, n, v: f.create_dataset(n, data=np.float32(1)), r"expected shape \(4, 12\), got \(\)"),
    "empty": (lambda f, n, v: f.create_dataset(n, data=h5py.Empty("f4")), r"expected shape \(4, 12\)"),
    "float16": (lambda f, n, v: f.create_dataset(n, data=v.astype("f2")), "expected float32, got another type"),
    "float64": (lambda f, n, v: f.create_dataset(n, data=v.astype("f8")), "expected float32, got another type"),
    "integers": (lambda f, n, v: f.create_dataset(n, data=v.astype("i4")), "expected float32, got another type"),
    "texts": (
        lambda f, n, v: f.create_dataset(n, data=np.full((4, 12), "x", object), dtype=h5py.string_dtype()),
        "expected float32, got another type",
    ),
    "compound": (lambda f, n, v: f.create_dataset(n, (4, 12), dtype=[("a", "f4")]), "expected float32, got another"),
    "named type": (lambda f, n, v: f.__setitem__(n, np.dtype("f4")), "expected a group or a dataset, got Datatype"),
    "no bytes": (lambda f, n, v: f.create_dataset(n, (4, 12), "f4"), "more than the file holds"),
    "external": (
        lambda f, n, v: f.create_dataset(n, (4, 12), "f4", external=[("/etc/passwd", 0, 192)]),
        "lie in another file",
    ),
    "virtual": (vds, "lie in another file"),
    "soft link": (soft, "soft or external link"),
    "external link": (lambda f, n, v: f.__setitem__(n, h5py.ExternalLink("/etc/o.h5", "w")), "soft or external link"),
    "two names": (twice, "the same thing under two names"),
    "cycle": (cycle, "the same thing under two names"),
    "lzf": (lambda f, n, v: f.create_dataset(n, data=v, compression="lzf"), r"filters.*\[32000\]"),
    "checksums": (lambda f, n, v: f.create_dataset(n, data=v, fletcher32=True), r"filters.*\[3\]"),
    "chunks without data": (lambda f, n, v: f.create_dataset(n, (4, 12), "f4", chunks=(2, 2)), "is missing or of an"),
    "vast chunks": (
        lambda f, n, v: f.create_dataset(n, (4, 12), "f4", chunks=(1 << 12, 1 << 12), maxshape=(None, None)),
        "more than the file can hold|missing",
    ),
    "one too many": (
        lambda f, n, v: (f.__setitem__(n, v), f[n].parent.create_dataset("9", data=v)),
        "no layer has this",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_datasets(name: str, path: Path) -> None:
    make, text = HOSTILE[name]
    damaged(change_weights(path, replace(make)), text)


@pytest.mark.parametrize("how", [{"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"chunks": (3, 5)}])
@pytest.mark.parametrize("kind", ["<f4", ">f4"])
def test_chunks_are_read(how: dict[str, Any], kind: str, path: Path) -> None:
    before = load(path).layers
    change_weights(path, replace(lambda f, n, v: f.create_dataset(n, data=v.astype(kind), dtype=kind, **how)))
    assert load(path).layers == before


def test_a_chunk_that_unpacks_to_too_much(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as opened:
        found = opened.create_dataset("w", (4, 12), "f4", chunks=(4, 12), compression="gzip")
        found.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 17)))
    with (
        pytest.raises(lstmcore.ModelFormatError, match="has another size than 192 bytes"),
        Hdf5(path.read_bytes(), "w") as opened,
    ):
        opened.read("w", (4, 12), np.dtype("f4"))


@H5_ONLY
def test_a_heap_entry_without_a_size_does_not_hang(path: Path) -> None:
    """The HDF5 library walks for ever over an entry of size 0 in the heap of texts."""
    data = bytearray(path.read_bytes())
    at = data.find(b"GCOL")
    while at >= 0:
        data[at + 16 : at + 16 + 16] = bytes(16)
        at = data.find(b"GCOL", at + 1)
    path.write_bytes(data)
    damaged(path, r"no entry \d+ in the heap")


@pytest.mark.parametrize("to", [8, 16], ids=["left", "right"])
def test_an_index_that_comes_after_itself_does_not_hang(to: int, tmp_path: Path) -> None:
    """The HDF5 library walks from node to node for ever where it measures a group's index."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as opened:
        for n in range(20):
            opened[f"group{n}/x"] = np.full(3, n, "f4")
    data = bytearray(path.read_bytes())
    at = data.find(b"TREE")
    while at >= 0:
        data[at + to : at + to + 8] = struct.pack("<Q", at)
        at = data.find(b"TREE", at + 1)
    path.write_bytes(data)
    code = f"""
import pathlib, resource
import numpy as np
from lstmcore.formats.keras.hdf5 import Hdf5
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
with Hdf5(pathlib.Path({str(path)!r}).read_bytes(), "w") as opened:
    assert len(opened.datasets) == 20
    assert opened.read("group7/x", (3,), np.dtype("f4")).tolist() == [7, 7, 7]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_heap_is_walked_once_for_all_texts(tmp_path: Path) -> None:
    """Once for each text took minutes; and heaps that lie in each other are many walks too."""
    path, count, entries = tmp_path / "w.h5", 4000, 65_000
    with h5py.File(path, "w") as opened:
        opened.attrs["names"] = np.array(["n"] * count, dtype=h5py.string_dtype())
    data = path.read_bytes()
    at = data.index(b"names\0") + 8 + 24 + 24  # behind the attribute's name, type and shape
    text = struct.pack("<IQI", 1, len(data), entries)
    data = data[:at] + text * count + data[at + len(text) * count :]
    heap = b"".join(struct.pack("<H6xQ", number, 0) for number in range(1, entries)) + struct.pack(
        "<H6xQ8s", entries, 8, b"x"
    )
    heap = struct.pack("<4sB3xQ", b"GCOL", 1, 16 + len(heap)) + heap
    begin = time.process_time()
    with Hdf5(data + heap, "w") as opened:
        assert opened.texts("", "names") == ["x"] * count
    assert time.process_time() - begin < 5

    inner = b"".join(struct.pack("<H6xQ", 9, 16) + struct.pack("<4sB3xQ", b"GCOL", 1, 1 << 40) for _ in range(count))
    places = b"".join(struct.pack("<IQI", 1, len(data) + 16 + 32 * k, 9) for k in range(count))
    data = data.replace(text * count, places) + inner
    begin = time.process_time()
    with pytest.raises(lstmcore.ModelFormatError, match="entries in heaps"), Hdf5(data, "w") as opened:
        opened.texts("", "names")
    assert time.process_time() - begin < 5


@H5_ONLY
def test_a_text_of_four_gigabytes(path: Path) -> None:
    data = path.read_bytes()
    length = len(h5py.File(path).attrs["model_config"])
    assert data.count(struct.pack("<I", length)) >= 1
    path.write_bytes(data.replace(struct.pack("<I", length), struct.pack("<I", (1 << 32) - 1)))
    damaged(path, "texts of more than|damaged")


NAN = b'{"class_name": "Sequential", "config": {"layers": NaN}}'
ARCHIVES: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "no config": (lambda p: p.pop("config.json"), "config.json is missing"),
    "no metadata": (lambda p: p.pop("metadata.json"), "metadata.json is missing"),
    "no weights": (lambda p: p.pop("model.weights.h5"), "model.weights.h5 is missing"),
    "no json": (lambda p: p.update({"config.json": b"{"}), "config.json is not JSON"),
    "a list": (lambda p: p.update({"config.json": b"[]"}), "expected an object"),
    "deep": (lambda p: p.update({"config.json": b"[" * 40_000}), "config.json is not JSON"),
    "keys": (lambda p: p.update({"config.json": b'{"a": 1, "a": 2}'}), "a key stands in an object twice"),
    "nan": (lambda p: p.update({"config.json": NAN}), "expected 1 to 1024 layers, got nan"),
    "metadata's numbers": (lambda p: p.update({"metadata.json": b'{"a": 1e999}'}), "is not JSON: 'a number is 1e999'"),
    "deeper": (lambda p: p.update({"config.json": b'{"a":' * 200 + b"1" + b"}" * 200}), "more than 128 deep"),
    "bytes": (lambda p: p.update({"config.json": b"\xff{}"}), "config.json is not JSON"),
    "no model": (lambda p: p.update({"config.json": b'{"a": 1}'}), "expected a layer with a class_name"),
    "weights": (lambda p: p.update({"model.weights.h5": b"x" * 100}), "not an HDF5 file"),
    "parent": (lambda p: p.update({"assets/../../x": b"x"}), "a path out of the archive"),
    "metadata": (lambda p: p.update({"metadata.json": b" " * (1 << 17)}), "at most 65536 are taken"),
}


@ZIP_ONLY
@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archives(name: str, path: Path) -> None:
    change, text = ARCHIVES[name]
    parts = parts_of(path)
    change(parts)
    damaged(write(path, parts), text)


@ZIP_ONLY
def test_archives_that_unpack_to_much(path: Path) -> None:
    parts = parts_of(path)
    for name in ("config.json", "model.weights.h5"):
        write(path, parts | {name: bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
        damaged(path, f"{name}: 67108864 bytes in .*are taken")
    many = b'{"a": [' + b"{}," * 200_000 + b"{}]}"
    write(path, parts | {"config.json": many}, zipfile.ZIP_DEFLATED)
    damaged(path, "config.json: JSON of .* values and keys; at most")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_weights_that_unpack_to_much(suffix: str, tmp_path: Path) -> None:
    """Packed in the HDF5 file, and that packed in the archive once more; each array alone is not too large."""
    path = save(sequential((5, 256), [("Dense", {"units": 1024})] * 8), tmp_path / f"m{suffix}")

    def pack(opened: h5py.File, _: str) -> None:
        names = []
        opened.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            shape = opened[name].shape
            del opened[name]
            opened.create_dataset(
                name, data=np.zeros(shape, "f4"), compression="gzip", compression_opts=9, chunks=shape
            )

    if suffix == ".h5":
        with h5py.File(path, "a") as opened:
            pack(opened, "")
        with h5py.File(path) as opened, h5py.File(tmp_path / "small.h5", "w") as small:  # without what was deleted
            for name in opened:
                opened.copy(name, small)
            small.attrs.update(opened.attrs)
        path = tmp_path / "small.h5"
    else:
        parts = parts_of(path)
        inner, small = io.BytesIO(parts["model.weights.h5"]), io.BytesIO()
        with h5py.File(inner, "a") as opened:
            pack(opened, "")
        with h5py.File(inner) as opened, h5py.File(small, "w") as other:
            for name in opened:
                opened.copy(name, other)
        write(path, parts | {"model.weights.h5": small.getvalue()}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with small_allocations(14):
        refused(path, "is more than the file holds of it", lstmcore.ModelFormatError)


@ZIP_ONLY
def test_members_of_one_name_and_unknown_ones(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.py", b"")
    refused(path, "unknown member 'more.py'")
    with quiet(), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", b"{}")
    damaged(path, "5 members, of which 4 have names of their own")


def test_layers_of_one_name(path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for layer in layers_in(config):
            if layer["class_name"] in ("LSTM", "Dense"):
                layer["config"]["name"] = "same"

    damaged(rewritten(path, change), "two layers have the name 'same'")


def test_a_graph_that_reads_itself(tmp_path: Path) -> None:
    x = K.Input((5, 3))
    path = save(
        keras.Model(x, K.LSTM(3, name="b")(K.LSTM(3, name="a", return_sequences=True)(x))), tmp_path / "m.keras"
    )

    def change(config: dict[str, Any]) -> None:
        text = json.dumps(config["config"]["layers"]).replace('"keras_history": ["input_layer', '"keras_history": ["b')
        config["config"]["layers"] = json.loads(text.replace('["b_1"', '["b"'))
        for layer in config["config"]["layers"][1:2]:
            layer["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["b", 0, 0]

    damaged(rewritten(path, change), "which is not there or reads it in turn")


def deep(levels: int) -> list[Any]:
    value: list[Any] = ["b", 0, 0]
    for _ in range(levels):
        value = [value]
    return value


NODES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a slice's start": (
        lambda c: c["layers"][-1]["inbound_nodes"][0]["args"][1][0].update(config={"start": [1]}),
        "GetItem.*: reads .*; supported is the last step",
    ),
    "a number for keywords": (
        lambda c: c["layers"][-1].update(inbound_nodes=[[["a", 0, 0, 5]]]),
        "expected a tensor as",
    ),
    "a tensor of two": (lambda c: c["layers"][-1].update(inbound_nodes=[[["a", 0]]]), "expected a tensor as"),
    "a keyword's tensor": (
        lambda c: c["layers"][-1]["inbound_nodes"][0]["kwargs"].update(
            mask={"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0]}}
        ),
        "layer .*expected a tensor's keras_history",
    ),
    "deep inputs": (lambda c: c.update(input_layers=deep(600)), "more than 128 deep"),
    "nested inputs": (lambda c: c.update(input_layers=deep(100)), "no layer 'b', which is named as the input"),
}


@pytest.mark.parametrize("name", NODES)
def test_calls_of_other_types(name: str, tmp_path: Path) -> None:
    change, text = NODES[name]
    with quiet():
        x = K.Input((5, 3))
        model = keras.Model(x, K.LSTM(3, name="a", return_sequences=True)(x)[:, -1])
    path = rewritten(save(model, tmp_path / "m.keras"), lambda config: change(config["config"]))
    refused(path, text, lstmcore.UnsupportedError if name == "a slice's start" else lstmcore.ModelFormatError)


def test_weights_alone(tmp_path: Path) -> None:
    model = sequential((5, 3), LAYERS)
    with quiet():
        model.save_weights(tmp_path / "m.weights.h5")
    damaged(tmp_path / "m.weights.h5", "weights alone")


def test_every_truncation(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    short = tmp_path / f"short{path.suffix}"
    for size in [*range(0, len(data), 997), len(data) - 1]:
        short.write_bytes(data[:size])
        with pytest.raises(lstmcore.ModelFormatError) as caught:
            read(str(short))
        assert str(caught.value).startswith(f"{short}: ")
