"""Some hundreds of damaged files for each reader, and more where that is quick; `make fuzz` takes 100,000, and more."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import fuzz
import fuzz_guided
import fuzz_parts
import fuzz_readers
import pytest
import safetensors

from lstmcore.streaming import files

COUNTS = dict.fromkeys(fuzz.READERS, 300) | {"onnx": 1500}
NEEDS = {
    "torch": "torch",
    "keras": "keras",
    "h5": "keras",
    "onnx": "onnx",
    "toml": "torch",
    "recording": "msgspec",
    "frames": "websockets",
}


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_files_are_refused(reader: str, tmp_path: Path) -> None:
    if reader in NEEDS:
        pytest.importorskip(NEEDS[reader], reason=f"{NEEDS[reader]} is not installed")
    assert fuzz.run(reader, COUNTS[reader], 1, tmp_path) == []


def test_faults_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"x" * 100)

    def loads(act: object) -> str:
        monkeypatch.setattr(fuzz_readers, "load", act)
        return fuzz.fault("csv", file, True)

    def refuse(text: str) -> str:
        def act(reader: str, path: str) -> None:
            raise ValueError(text)

        return loads(act)

    assert loads(lambda reader, path: None) == ""
    assert "KeyError" in loads(lambda reader, path: {}["x"])
    assert "memory" in loads(lambda reader, path: bytes(8 << 20))
    assert refuse(f"{file}: one line") == ""
    assert "no error of one line" in refuse(f"{file}: two\nlines")
    assert "no error of one line" in refuse(f"{file}: {'long' * 1000}")
    assert "without the file's name" in refuse("one line")


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


def packed(reader: str, path: Path) -> bytes:
    """What a reader checks first."""
    data = path.read_bytes()
    if reader in ("torch", "keras"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return b"".join(map(archive.read, archive.infolist()))  # checks each CRC-32
    if reader == "state":
        with safetensors.safe_open(path, framework="numpy") as opened:
            whole = files.checksum({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
            assert opened.metadata()[files.CHECKSUM] == whole
    if reader in ("state", "safetensors"):
        json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return data


@pytest.mark.parametrize("reader", ["safetensors", "state", "torch", "keras"])
def test_parts_are_damaged_behind_right_checksums(reader: str, tmp_path: Path) -> None:
    """Many damaged copies pass the first checks, and differ in what lies behind them."""
    if reader in NEEDS:
        pytest.importorskip(NEEDS[reader], reason=f"{NEEDS[reader]} is not installed")
    file = fuzz.corpus(reader, tmp_path / "corpus")[0]
    sound = packed(reader, file)
    damaged, passed = tmp_path / "damaged", 0
    for seed in range(60):
        draw = random.Random(seed)
        spoil = functools.partial(fuzz.mutated, draw=draw)
        damaged.write_bytes(fuzz_parts.damaged(reader, file.read_bytes(), draw, spoil))
        with contextlib.suppress(Exception):  # damaged where the checks are
            passed += packed(reader, damaged) != sound
    assert passed > 10


def test_one_file_is_judged_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("a,b\n1,2\n")
    assert fuzz.main(["csv", "--file", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out == "no fault\n"


def test_a_fuzzer_that_does_not_run_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_guided, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('broken')"])
    assert fuzz_guided.main(["csv", "--folder", str(tmp_path)]) == 1


def test_guided_fuzzing_finds_what_is_planted(tmp_path: Path) -> None:
    """One step of three leads to the next."""
    pytest.importorskip("atheris", reason="atheris is not installed, or has no wheel for this Python")
    planted = """
import sys, fuzz_guided
if sys.argv[1] == "--child":
    plain = fuzz_guided.instrument
    def instrument():
        atheris = plain()
        from lstmcore import data
        known = data.read
        @atheris.instrument_func
        def read(path, columns=None):
            text = open(path, "rb").read()
            if text[:1] >= b"\\x80":
                if text[1:2] >= b"\\x80":
                    if text[2:3] >= b"\\x80":
                        raise KeyError("planted")
            return known(path, columns)
        data.read = read
        return atheris
    fuzz_guided.instrument = instrument
    fuzz_guided.child(sys.argv[2], fuzz_guided.Path(sys.argv[3]), fuzz_guided.Path(sys.argv[4]), sys.argv[5:])
else:
    fuzz_guided.command = lambda *given: [sys.executable, __file__, "--child", *map(str, given)]
    fuzz_guided.again = lambda target, scratch, file: [sys.executable, "-c", "raise SystemExit('as planted')"]
    sys.exit(fuzz_guided.main(sys.argv[1:]))
"""
    script = tmp_path / "planted.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(Path(fuzz_guided.__file__).parent)!r})\n{planted}")
    command = [sys.executable, str(script), "csv", "--runs", "4000", "--folder", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "csv: KeyError in" in done.stdout) == (1, True), done.stdout + done.stderr
    texts = (tmp_path / "out/findings/csv").glob("*.txt")
    [file] = [path.with_suffix("") for path in texts if path.read_text().startswith("KeyError")]
    assert min(file.read_bytes()[:3]) >= 0x80
    assert len(list((tmp_path / "out/corpus/csv").iterdir())) > 3


def test_words_that_are_repeated_again_and_again_take_little_memory() -> None:
    class Most(random.Random):
        """Repeats the last word as often as it can, in each round."""

        def choice(self, among: Any) -> Any:
            return among[-1]

        def randrange(self, start: int, *_: Any) -> int:
            return 1 if start == 5 else start - 1

    assert len(fuzz_parts._in_words(b"a,b", Most(), lambda part: part)) < 1 << 23
