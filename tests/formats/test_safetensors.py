"""The project's own files: round trips, and every way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, make, stacks

import lstmcore
from lstmcore import layers as L


@given(stack=stacks(), seed=SEEDS, wide=st.booleans())
@settings(max_examples=25, deadline=None)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, stack: tuple[list[L.Layer], int], seed: int, wide: bool
) -> None:
    model = lstmcore.Model(stack[0])
    model = model.astype(np.float64) if wide else model
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    model.save(path)
    again = lstmcore.load(path)
    assert again == model
    assert again.dtype == model.dtype


def layers() -> list[L.Layer]:
    rng = np.random.default_rng(0)
    return [
        make(L.LSTM, "encoder.lstm", rng, input_size=3, hidden_size=4, num_layers=2),
        L.LeakyReLU("act", 0.1),
        make(L.Linear, "head.0", rng, in_features=4, out_features=1),
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    lstmcore.Model(layers()).save(file)
    return file


def test_weights_are_stored_under_torchs_names(path: Path) -> None:
    names = set(safetensors.numpy.load_file(path))
    assert {"encoder.lstm.weight_ih_l0", "encoder.lstm.bias_hh_l1", "head.0.weight", "head.0.bias"} <= names


def test_saving_over_a_file_leaves_no_parts(path: Path) -> None:
    lstmcore.Model(layers()).save(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_failed_save_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(part: object, target: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        lstmcore.Model(layers()[:1]).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_name_that_load_would_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model.pt: expected a name that ends in .safetensors"):
        lstmcore.Model(layers()).save(tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent"):
        lstmcore.Model(layers()).save(tmp_path / "absent" / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def refused(path: Path) -> str:
    with pytest.raises(lstmcore.ModelFormatError) as caught:
        lstmcore.load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_every_truncation_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refused(path)


def test_every_changed_byte_of_the_header_is_refused_or_harmless(path: Path) -> None:
    data = bytearray(path.read_bytes())
    header = 8 + struct.unpack("<Q", data[:8])[0]
    for at in range(header):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 7)
        path.write_bytes(changed)
        with contextlib.suppress(lstmcore.ModelFormatError):  # and no other error
            assert isinstance(lstmcore.load(path), lstmcore.Model)  # another name or setting may be valid


def test_an_oversized_header_is_refused_before_it_is_read(path: Path) -> None:
    for length in (2**63, 2**40, 5 << 20):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        assert f"header of {length} bytes" in refused(path)


def test_a_file_that_is_cut_in_half_is_called_truncated(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    assert "truncated" in refused(path)


def test_a_tensor_of_no_elements_and_endless_axes(tmp_path: Path) -> None:
    """For numpy it is too big, though it has nothing in it."""
    entry = {"dtype": "F32", "shape": [0, 1 << 62, 5], "data_offsets": [0, 0]}
    header = json.dumps({"fc.bias": entry}).encode()
    file = tmp_path / "empty.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "'fc.bias': expected a shape of at most" in refused(file)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b"PK\x03\x04\x14\x00\x00\x00\x00\x00", "a zip archive, as .keras and .pt files are"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", "HDF5, as .h5 files are"),
        (b"\x08\x0a\x12\x07pytorch", "a .onnx file"),
    ],
)
def test_another_formats_file_is_called_what_it_looks_like(path: Path, start: bytes, text: str) -> None:
    path.write_bytes(start + bytes(100))
    assert f"no safetensors file: it looks like {text}; give it that format's suffix" in refused(path)


def test_an_exported_file_under_another_name(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    lstmcore.load(path).export_onnx(tmp_path / "m.onnx")
    path.write_bytes((tmp_path / "m.onnx").read_bytes())
    assert "it looks like a .onnx file" in refused(path)


def renamed(path: Path, key: str, twin: str) -> None:
    """Give a key in the header the name of another one of the same length."""
    data = path.read_bytes()
    assert data.count(f'"{key}"'.encode()) == 1
    path.write_bytes(data.replace(f'"{key}"'.encode(), f'"{twin}"'.encode()))


def test_a_key_that_is_there_twice(path: Path) -> None:
    """safetensors itself takes the last of two."""
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(tensors, path, {**metadata, "lstmcork": "{}"})
    renamed(path, "lstmcork", "lstmcore")
    with safetensors.safe_open(path, framework="numpy") as opened:
        assert list(opened.metadata()) == ["lstmcore"]
    assert "a key stands in an object twice" in refused(path)
    text = metadata["lstmcore"].replace('"version": 3', '"version": 3, "version": 3')
    safetensors.numpy.save_file(tensors, path, {"lstmcore": text})
    assert "metadata 'lstmcore' is not JSON: 'a key stands in an object twice'" in refused(path)


@pytest.mark.parametrize("piece", ["[]", "{}", '{"a":1}', '"a"'])
def test_json_that_takes_much_more_than_its_text(piece: str, tmp_path: Path) -> None:
    file = tmp_path / "many.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(3, "f4")}, file, {"lstmcore": "[" + ",".join([piece] * 150_000) + "]"})
    tracemalloc.start()
    try:
        assert "values and keys; at most" in refused(file)
        assert tracemalloc.get_traced_memory()[1] < (4 << 20) + 10 * file.stat().st_size
    finally:
        tracemalloc.stop()


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Store the file again with its architecture and tensors changed."""
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        spec = json.loads(opened.metadata()["lstmcore"])
    change(spec, tensors)
    safetensors.numpy.save_file(tensors, path, {"lstmcore": json.dumps(spec)})


CHANGES: list[tuple[Callable[[Any, Any], Any], str]] = [
    (lambda s, t: s.update(version=4), "format version 4; this lstmcore reads version 3"),
    (lambda s, t: s.update(version=2), "format version 2"),
    (lambda s, t: s.update(version=True), "format version True"),
    (lambda s, t: s["layers"][0].update(inputs="input"), "inputs: expected a list of layers' names, got 'input'"),
    (lambda s, t: s["layers"][0].update(inputs=["fc"]), "input 'fc': expected 'input' or a layer before it"),
    (lambda s, t: s["layers"][0].pop("inputs"), "expected inputs, kind, name, settings"),
    (lambda s, t: s.pop("version"), "format version None"),
    (lambda s, t: s.update(extra=1), "expected a version, lists of layers, inputs, outputs, and states, weights"),
    (lambda s, t: s.update(layers={}), "expected a version, lists of layers"),
    (lambda s, t: s.pop("states"), "expected a version, lists of layers"),
    (lambda s, t: s.update(weights="int8"), "weights: this lstmcore knows null alone, got 'int8'"),
    (lambda s, t: s["inputs"][0].update(dtype="int32"), "dtype: this lstmcore knows \"float32\" alone, got 'int32'"),
    (lambda s, t: s["inputs"][0].update(features=["a"]), "features: this lstmcore knows null alone"),
    (lambda s, t: s["inputs"][0].update(rank="matrix"), "input 0: input 'input': rank: expected one of"),
    (lambda s, t: s["inputs"][0].update(size=4), "expected 3 features"),
    (lambda s, t: s["inputs"][0].update(size=2**40), "size: expected an integer"),
    (lambda s, t: s["inputs"][0].pop("range"), "input 0: expected dtype, features, name, range, rank, size"),
    (lambda s, t: s["inputs"].append(s["inputs"][0]), "two inputs have the name 'input'"),
    (lambda s, t: s["inputs"].clear(), "inputs: expected at least one sequence"),
    (lambda s, t: s["outputs"].clear(), "outputs: expected 1 to 256, got 0"),
    (lambda s, t: s["outputs"].append(s["outputs"][0]), "output 1: expected a name of its own"),
    (lambda s, t: s["outputs"][0].update(layer="act"), "head.0 (Linear): no layer reads what comes out of it"),
    (lambda s, t: s["outputs"][0].update(layer=3), "output 0: expected a name of its own and a layer's"),
    (lambda s, t: s["outputs"][0].update(layer="gone"), "outputs: 'answer': there is no layer 'gone'"),
    (lambda s, t: s["layers"].clear(), "encoder.lstm.bias_hh_l0: no layer uses this key"),
    (lambda s, t: (s["layers"].clear(), t.clear()), "at least one layer"),
    (lambda s, t: s["layers"][0].pop("name"), "layer 0: expected inputs, kind, name, settings"),
    (lambda s, t: s["layers"][0].update(kind="Transformer"), "layer 0: kind 'Transformer'; known are"),
    (lambda s, t: s["layers"][0].update(name=3), "layer 0: expected a name"),
    (
        lambda s, t: s["layers"][0]["settings"].update(hidden_size=-4),
        "setting 'hidden_size': expected an integer",
    ),
    (
        lambda s, t: s["layers"][0]["settings"].update(hidden_size=2**40),
        "setting 'hidden_size': expected an integer",
    ),
    (
        lambda s, t: s["layers"][0]["settings"].update(hidden_size=True),
        "setting 'hidden_size': expected an integer",
    ),
    (lambda s, t: s["layers"][0]["settings"].update(num_layers=10**6), "setting 'num_layers'"),
    (lambda s, t: s["layers"][0]["settings"].update(bias="yes"), "setting 'bias': expected true or false"),
    (lambda s, t: s["layers"][0]["settings"].update(peephole=True), "unknown setting 'peephole'"),
    (lambda s, t: s["layers"][0]["settings"].pop("bias"), "setting 'bias' is missing"),
    (lambda s, t: s["layers"][0]["settings"].update(hidden_size=5), "expected shape (20, 3), got (16, 3)"),
    (lambda s, t: s["layers"][1]["settings"].update(negative_slope="x"), "expected a finite number"),
    (lambda s, t: t.pop("head.0.bias"), "head.0.bias: missing; expected shape (1,)"),
    (lambda s, t: t.update(ghost=np.zeros(3, "f4")), "ghost: no layer uses this key"),
    (lambda s, t: t.update({"head.0.bias": np.zeros(2, "f4")}), "head.0.bias: expected shape (1,), got (2,)"),
    (
        lambda s, t: t.update({"head.0.bias": np.zeros(1, "f2")}),
        "head.0.bias: expected dtype F32 or F64, got F16",
    ),
    (lambda s, t: t.update({"head.0.bias": np.zeros(1, "f8")}), "several dtypes"),
    (lambda s, t: s["layers"].append(s["layers"][1]), "two layers have the name 'act'"),
    (lambda s, t: s["layers"].reverse(), "encoder.lstm (LSTM): no layer reads what comes out of it"),
]


@pytest.mark.parametrize(("change", "text"), CHANGES, ids=[text[:40] for _, text in CHANGES])
def test_inconsistent_files_are_refused_by_name(path: Path, change: Any, text: str) -> None:
    rewrite(path, change)
    assert text in refused(path)


def test_widths_that_no_weight_covers(tmp_path: Path) -> None:
    """A run keeps some rows of each value: a small file of wide ones would take gigabytes."""
    file, count = tmp_path / "wide.safetensors", 16
    model = lstmcore.Model(
        [L.ReLU(f"r{n}", inputs=(f"x{n}",)) for n in range(count)],
        inputs=[L.Input(f"x{n}", 1) for n in range(count)], outputs=[f"r{n}" for n in range(count)],
    )  # fmt: skip
    model.save(file)
    assert lstmcore.load(file) == model
    rewrite(file, lambda spec, tensors: [one.update(size=1 << 20) for one in spec["inputs"]])
    tracemalloc.start()
    try:
        assert "its inputs and layers are 33,554,432 numbers wide in all" in refused(file)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"w": np.zeros(3, "f4")}, foreign)
    assert "a state_dict says nothing of the architecture: give it as layers=" in refused(foreign)
    safetensors.numpy.save_file({"w": np.zeros(3, "f4")}, foreign, {"lstmcore": "{"})
    assert "is not JSON" in refused(foreign)
    safetensors.numpy.save_file({"w": np.zeros(3, "f4")}, foreign, {"lstmcore": "[" * 30000})
    assert "is not JSON" in refused(foreign)
    checkpoint = tmp_path / "model.pt"
    checkpoint.write_bytes(b"PK\x03\x04")
    assert str(checkpoint) in refused(checkpoint)
    nothing = tmp_path / "model.bin"
    assert "expected a name that ends in .safetensors, .keras" in refused(nothing)
    with pytest.raises(ValueError, match="layers: this file has its architecture; leave them out"):
        lstmcore.load(foreign, layers=[])
    with pytest.raises(FileNotFoundError):
        lstmcore.load(tmp_path / "absent.safetensors")


@pytest.mark.filterwarnings("ignore:.*NaN or infinite weights:RuntimeWarning")
def test_nan_weights_are_kept(tmp_path: Path) -> None:
    spoiled = [layer.map_weights(lambda w: np.where(w > 0, np.nan, w).astype("f4")) for layer in layers()]
    lstmcore.Model(spoiled).save(tmp_path / "nan.safetensors")
    again = lstmcore.load(tmp_path / "nan.safetensors")
    assert again == lstmcore.Model(spoiled)
    assert np.isnan(again(np.ones((4, 3)))).all()
