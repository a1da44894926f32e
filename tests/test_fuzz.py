"""Some hundreds of damaged files for each reader, and more where that is quick; `make fuzz` takes 100,000."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import fuzz
import pytest

import lstmcore

COUNTS = dict.fromkeys(fuzz.READERS, 300) | {"onnx": 1500}
NEEDS = {"torch": "torch", "keras": "keras", "h5": "keras", "onnx": "onnx"}


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_files_are_refused(reader: str, tmp_path: Path) -> None:
    if reader in NEEDS:
        pytest.importorskip(NEEDS[reader], reason=f"{NEEDS[reader]} is not installed")
    assert fuzz.run(reader, COUNTS[reader], 1, tmp_path) == []


def test_faults_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"x" * 100)

    def loads(act: object) -> str:
        monkeypatch.setattr(fuzz, "load", act)
        return fuzz.fault("safetensors", file, True)

    assert loads(lambda reader, path: None) == ""
    assert "KeyError" in loads(lambda reader, path: {}["x"])
    assert "memory" in loads(lambda reader, path: bytes(8 << 20))

    def refuse(reader: str, path: str) -> None:
        raise lstmcore.ModelFormatError("two\nlines")

    assert "one line" in loads(refuse)


@pytest.mark.parametrize("reader", ["safetensors", "onnx"])
def test_pieces_are_the_files_of_the_whole(reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reader in NEEDS:
        pytest.importorskip(NEEDS[reader], reason=f"{NEEDS[reader]} is not installed")

    def files(name: str, *numbers: int) -> list[bytes]:
        folder = tmp_path / name
        folder.mkdir()
        fuzz.corpus(reader, folder / "corpus")
        seen: list[bytes] = []
        monkeypatch.setattr(fuzz, "fault", lambda reader, path, measure: seen.append(path.read_bytes()) or "")
        for begin, end in itertools.pairwise(numbers):
            fuzz.work(reader, folder, begin, end, 7)
        return seen

    whole = files("whole", 0, 20)
    assert files("pieces", 0, 5, 20) == whole
    assert len({*whole}) > 15


def test_mutants_are_damaged_and_the_same_again() -> None:
    data = bytes(range(256)) * 4
    mutants = [fuzz.mutated(data, random.Random(seed)) for seed in range(50)]
    assert mutants == [fuzz.mutated(data, random.Random(seed)) for seed in range(50)]
    assert sum(mutant != data for mutant in mutants) > 40
