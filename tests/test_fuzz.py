"""Some hundreds of damaged files for each reader; `make fuzz` takes 100,000."""

from __future__ import annotations

import random
from pathlib import Path

import fuzz
import pytest

COUNT = 300
NEEDS = {"torch": "torch", "keras": "keras", "h5": "keras", "onnx": "onnx"}


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_files_are_refused(reader: str, tmp_path: Path) -> None:
    if reader in NEEDS:
        pytest.importorskip(NEEDS[reader], reason=f"{NEEDS[reader]} is not installed")
    assert fuzz.run(reader, COUNT, 1, tmp_path) == []


def test_faults_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"x" * 100)

    def loads(act: object) -> str:
        monkeypatch.setattr(fuzz, "load", act)
        return fuzz.fault("safetensors", file, True)

    assert loads(lambda reader, path: None) == ""
    assert "KeyError" in loads(lambda reader, path: {}["x"])
    assert "memory" in loads(lambda reader, path: bytes(8 << 20))


def test_mutants_are_damaged_and_the_same_again() -> None:
    data = bytes(range(256)) * 4
    mutants = [fuzz.mutated(data, random.Random(seed)) for seed in range(50)]
    assert mutants == [fuzz.mutated(data, random.Random(seed)) for seed in range(50)]
    assert sum(mutant != data for mutant in mutants) > 40
