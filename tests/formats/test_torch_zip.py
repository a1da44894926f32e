"""Damaged and hostile archives around state dicts: refused by name, soon, and without large allocations."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch_files import (
    EDITS,
    SIX,
    as_numpy,
    edited,
    read_cheaply,
    records,
    refused,
    refused_cheaply,
    same,
    storage,
    tensor,
    write,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def test_every_truncation_is_refused(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    data = path.read_bytes()
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        refused(path, "expected a state_dict that torch.save wrote")
    path.write_bytes(data + b"\0")
    refused(path, "no end of a zip archive at the end of the file")


def test_damaged_numbers_are_noticed(path: Path) -> None:
    write(path, records())
    data = path.read_bytes()
    at = data.index(SIX.tobytes())
    path.write_bytes(data[: at + 5] + bytes([data[at + 5] ^ 1]) + data[at + 6 :])
    refused(path, "record 'data/0' is damaged: expected checksum")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_records_are_refused_before_they_are_unpacked(method: int, path: Path) -> None:
    bomb = records({"w": tensor((2**22,), (1,), 0, storage(elements=2**22))}, **{"data/0": bytes(2**24)})
    write(path, bomb, compression=method)
    assert path.stat().st_size < 2**17
    refused_cheaply(path, "is compressed or encrypted")


LISTED = "<4s6H3I5H2I"  # one record in the directory: section 4.3.12 of PKWARE's APPNOTE
FIELDS = {"flags": 3, "method": 4, "checksum": 7, "packed": 8, "size": 9, "name": 10, "extra": 11, "comment": 12}
FIELDS |= {"disk": 13, "place": 16}


def relist(path: Path, record: str, **values: int) -> None:
    """Change what the directory says of a record."""
    data = bytearray(path.read_bytes())
    at = data.rindex(record.encode()) - struct.calcsize(LISTED)
    fields = list(struct.unpack_from(LISTED, data, at))
    assert fields[0] == b"PK\x01\x02"
    for field, value in values.items():
        fields[FIELDS[field]] = value
    struct.pack_into(LISTED, data, at, *fields)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("record", "values", "text"),
    [
        ("data/0", {"size": 2**31, "packed": 2**31}, "record 'archive/data/0': 2147483648 bytes at"),
        ("data/0", {"size": 2**31}, "record 'archive/data/0' is compressed or encrypted"),
        ("data/0", {"method": 8}, "record 'archive/data/0' is compressed or encrypted"),
        ("data/0", {"flags": 1}, "record 'archive/data/0' is compressed or encrypted"),
        (
            "data/0",
            {"place": 2**32 - 1},
            "record 'archive/data/0': its place, 4294967295, is taken or outside the file",
        ),
        ("data/0", {"place": 0}, "its place, 0, is taken"),
        ("data/0", {"place": 3}, "its place, 3, is taken"),
        ("data.pkl", {"place": 1}, "record 'archive/data.pkl': its header and the directory differ"),
        ("byteorder", {"size": 7, "packed": 7}, "record 'archive/data/0': its place, .*, is taken"),
        ("data/0", {"disk": 1}, "a damaged directory"),
        ("version", {"name": 2**16 - 1}, "a damaged directory"),
        ("version", {"extra": 2**16 - 1}, "a damaged directory"),
        ("data.pkl", {"comment": 46}, "a damaged directory"),
        ("data/0", {"checksum": 0}, "record 'data/0' is damaged: expected checksum 00000000"),
    ],
)
def test_archives_that_lie(record: str, values: dict[str, int], text: str, path: Path) -> None:
    write(path, records())
    relist(path, f"archive/{record}", **values)
    refused_cheaply(path, text)


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (0, 0, "'archive/version': its header and the directory differ"),
        (8, 8, "'archive/version': its header and the directory differ"),
        (26, 0, "'archive/version': its header and the directory differ"),
        (30, 0, "'archive/version': its header and the directory differ"),
        (28, 1, "'archive/version': 2 bytes at .* in a file with .* bytes of records"),
    ],
)
def test_headers_that_lie(at: int, value: int, text: str, path: Path) -> None:
    write(path, records())
    data = bytearray(path.read_bytes())
    data[data.index(b"archive/version") - 30 + at] = value
    path.write_bytes(data)
    refused_cheaply(path, text)


@pytest.mark.parametrize(
    ("offset", "form", "value", "text"),
    [
        (22 - 8, "<H", 5, "no end of a zip archive"),
        (22 - 8, "<I", 5 << 16 | 5, "expected 5 records, got 4"),
        (22 - 12, "<I", 2**32 - 1, "a directory of 4294967295 bytes"),
        (22 - 16, "<I", 2**32 - 1, "a directory of .* bytes at 4294967295"),
        (22 - 20, "<H", 1, "no end of a zip archive"),
    ],
)
def test_an_end_that_lies(offset: int, form: str, value: int, text: str, path: Path) -> None:
    write(path, records())
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, len(data) - offset, value)
    path.write_bytes(data)
    refused_cheaply(path, text)


def test_a_file_too_large_for_a_model(path: Path) -> None:
    write(path, records())
    os.truncate(path, 5 << 30)  # takes no room on the disk
    refused_cheaply(path, "a file of 5368709120 bytes; at most 4294967295")


def test_two_records_of_one_name(path: Path) -> None:
    parts = {f"archive/{name}": data for name, data in records().items()}
    write(path, parts | {"archive/dat@/0": SIX.tobytes()}, folder="")
    path.write_bytes(path.read_bytes().replace(b"dat@", b"data"))
    refused(path, "two records of one name: 'archive/data/0'")


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ({"data/0": None}, "w: expected 6 elements of float32, 24 bytes, in record 'data/0', got none"),
        ({"data/0": bytes(20)}, "w: expected 6 elements of float32, 24 bytes, in record 'data/0', got 20 bytes"),
        ({"data/0": bytes(28)}, "w: expected 6 elements of float32, 24 bytes, in record 'data/0', got 28 bytes"),
        ({"data.pkl": None}, "expected one folder with a data.pkl in the archive, got the folders .'archive'."),
        ({"version": None}, "record '.data/version' is missing"),
        ({"version": b"11"}, "expected an archive of version 1 to 10, got b'11'"),
        ({"version": b"-1"}, "expected an archive of version 1 to 10, got b'-1'"),
        ({"version": b"3" * 99}, "record 'version': expected at most 16 bytes, got 99"),
        ({"byteorder": b"middle"}, "expected little or big as the record 'byteorder', got b'middle'"),
    ],
)
def test_records_that_do_not_fit(others: dict[str, bytes | None], text: str, path: Path) -> None:
    write(path, records(**others))
    refused(path, text)


def test_a_name_that_is_no_text(path: Path) -> None:
    write(path, records())
    path.write_bytes(path.read_bytes().replace(b"byteorder", b"byte\xffrder"))
    refused(path, r"a damaged directory: a record's name is b'archive/byte\\xffrder'")


def test_a_directory_too_large_for_a_model(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(70):
            info = zipfile.ZipInfo(f"archive/{n}")
            info.comment = bytes(2**16 - 1)
            archive.writestr(info, b"")
    refused_cheaply(path, "a directory of 4591[0-9]* bytes")


def test_records_outside_the_folder(path: Path) -> None:
    write(path, {f"archive/{name}": data for name, data in records().items()} | {"other/data.pkl": b""}, folder="")
    refused(path, "expected one folder with a data.pkl in the archive, got the folders .'archive', 'other'.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("torch_file")


@pytest.fixture(scope="module")
def sound(folder: Path) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file that torch wrote, and the arrays in it."""
    torch.manual_seed(0)
    state = torch.nn.LSTM(3, 4, num_layers=2).state_dict() | {"steps": torch.tensor(7), "half": torch.rand(3).half()}
    torch.save({"epoch": 3, "state_dict": state}, folder / "sound.pt")
    return (folder / "sound.pt").read_bytes(), as_numpy(state)


@given(edits=EDITS)
@settings(max_examples=400, deadline=None)
def test_whatever_the_damage_a_file_is_refused_or_read_right(folder: Path, sound: Any, edits: list[Any]) -> None:
    (folder / "damaged.pt").write_bytes(edited(sound[0], edits))
    found = read_cheaply(folder / "damaged.pt")
    assert found is None or same(found, sound[1])
