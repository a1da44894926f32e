"""Fuzz each reader with files that its own branches lead to: atheris sees which lines of lstmcore a file reaches.

    python tests/support/fuzz_guided.py [TARGET ...] [--seconds S | --runs N] [--jobs N] [--folder build/fuzz]

TARGET is one of the readers in `fuzz_readers`, or `api`: random sequences of calls of the C interface, under ASan and
UBSan (tests/c/api_fuzz.c; guided where clang is installed); all of them if none is named.
Kept between runs, for each target: FOLDER/corpus, the files that reached something new, which grows and is made small
again after each run; and FOLDER/findings, the files of faults, each with a text that says what was wrong and how to
see it again. What is a fault no longer joins the corpus.

Faults are those of `fuzz_readers`, and a crash or a hang. Only the branches of lstmcore and of the live bot's frames
count; what libhdf5, protobuf or pyarrow make of a file is theirs, as far as the reader lets it come to them. The exit
status is 1 where there is a finding.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

WATCHED = "lstmcore", "frames"  # the second is examples/live_bot's
API = "api"
API_RUNS = 100_000
HANGS = 20  # seconds for one file
MOST_MEMORY = 4096  # MiB of the whole process
LARGEST = 1 << 16  # bytes of a file
STARTS = 600  # seconds that imports may take
RESTARTS = 20  # after crashes
MEASURED = 20  # every such file is loaded with memory traced
SANITIZED = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
# What ASan sees too is not checked twice: clang takes minutes of a kernel with it.
GUIDED = " -fsanitize=fuzzer-no-link -fno-sanitize=null,alignment,pointer-overflow,object-size"
CLANGS = "clang", *(f"clang-{n}" for n in range(20, 13, -1))


def instrument() -> Any:
    """Count the branches of every module in WATCHED that is imported from here on; the module atheris."""
    import atheris

    plain = SourceFileLoader.get_code

    # atheris's own hook does not see the modules of an editable install
    def get_code(self: SourceFileLoader, name: str) -> Any:
        code = plain(self, name)
        return atheris.patch_code(code, True) if code and name.partition(".")[0] in WATCHED else code

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    return atheris


def child(reader: str, findings: Path, scratch: Path, arguments: Sequence[str]) -> None:
    """Fuzz one reader, as libFuzzer's arguments say; one fault of each kind is written to `findings`."""
    atheris = instrument()
    import fuzz_readers
    from fuzz_parts import damaged

    tried = scratch / f"tried{fuzz_readers.SUFFIXES[reader][0]}"
    tried.unlink(missing_ok=True)
    for path in fuzz_readers.corpus(reader, scratch):
        fuzz_readers.load(reader, str(path))
    count, seen = 0, Counter(path.read_text().partition(":")[0] for path in findings.glob("*.txt"))

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        tried.write_bytes(data)
        found = fuzz_readers.fault(reader, tried, count % MEASURED == 0)
        kind = found.partition(":")[0]
        if kind in ("time", "memory"):  # of modules that this file was the first to need?
            found = fuzz_readers.fault(reader, tried, count % MEASURED == 0)
        if found and not seen[kind]:
            seen[kind] += 1
            note(findings / hashlib.sha256(data).hexdigest()[:12], data, found)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        def spoil(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part, len(part) + 64))

        return damaged(reader, data, random.Random(seed), spoil)[:most]

    # The first argument is what libFuzzer starts anew to merge.
    atheris.Setup([" ".join(command(reader, findings, scratch)), *arguments], one, custom_mutator=mutate)
    atheris.Fuzz()


def note(path: Path, data: bytes, found: str) -> None:
    """Keep a file, and beside it what was wrong."""
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(" ".join(found.split()) + "\n")


def command(target: str, findings: Path, scratch: Path) -> list[str]:
    """What fuzzes a target, before libFuzzer's arguments."""
    if target == API:
        return [str(scratch / "api_fuzz")]
    return [sys.executable, str(HERE / "fuzz_guided.py"), "--child", target, str(findings), str(scratch)]


def again(target: str, scratch: Path, file: Path) -> list[str]:
    """What tries one file; its status is 0 where there is no fault."""
    if target == API:
        return [*command(API, file, scratch), str(file)]
    return [sys.executable, str(HERE / "fuzz.py"), target, "--file", str(file)]


def build(scratch: Path, log: Path) -> None:
    """Build the program that calls the C interface, guided where clang has its libraries. Raises CalledProcessError."""
    clang = next(filter(None, map(shutil.which, CLANGS)), None)
    for compiler in (clang, None) if clang else (None,):
        shutil.rmtree(scratch, ignore_errors=True)
        flags = SANITIZED + (GUIDED if compiler else "")
        setup = [
            "cmake",
            "-S",
            str(HERE.parents[1]),
            "-B",
            str(scratch),
            "-DLSTMCORE_TESTS=ON",
            "-DCMAKE_BUILD_TYPE=None",
            "-DLSTMCORE_OPTIMIZATION=-O1",
        ]
        setup += [f"-DCMAKE_C_FLAGS={flags}", *([f"-DCMAKE_C_COMPILER={compiler}"] if compiler else [])]
        with log.open("ab") as file:
            for each in (setup, ["cmake", "--build", str(scratch), "--parallel", "2", "--target", "api_fuzz"]):
                done = subprocess.run(each, stdout=file, stderr=file, check=compiler is None)
                if done.returncode:
                    print(f"fuzz: {compiler} cannot build it, see {log}; without guidance", file=sys.stderr)
                    break
            else:
                return


class Row(NamedTuple):
    """What came out for a target."""

    target: str
    seconds: float
    runs: int
    corpus: int  # files
    coverage: int  # branches that were reached
    new: int  # of them, that the corpus had not reached before
    findings: list[str]


def fuzz(target: str, options: argparse.Namespace) -> Row:
    """Fuzz one target."""
    corpus, findings, logs = (options.folder / name / target for name in ("corpus", "findings", "logs"))
    for each in (corpus, findings, logs):
        each.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    start, runs, covered, broken = time.monotonic(), 0, [0], []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        scratch = Path(name)
        if target == API:
            scratch = options.folder / "build"  # the kernels take a minute
            build(scratch, logs / "build.log")
        limits = [f"-timeout={HANGS}", f"-rss_limit_mb={MOST_MEMORY}", f"-max_len={LARGEST}", "-print_final_stats=1"]
        for n in range(RESTARTS):
            wanted = API_RUNS if target == API and options.runs is None else options.runs
            left = int(options.seconds - (time.monotonic() - start)) if wanted is None else wanted - runs
            if left <= 0:
                break
            most = f"-max_total_time={left}" if wanted is None else f"-runs={left}"
            seeds = [] if target == API else [name]
            log = logs / f"{n}.log"
            places = [f"-artifact_prefix={findings}/", most, str(corpus), *seeds]
            status = call([*command(target, findings, scratch), *limits, *places], log)
            text = log.read_text(errors="replace")
            covered += map(int, re.findall(r"cov: (\d+)", text))
            runs += max(map(int, re.findall(r"^#(\d+)", text, re.MULTILINE)), default=0)
            if status == 0:
                break
            ended = [path for path in findings.iterdir() if not path.suffix and not path.with_suffix(".txt").exists()]
            for path in ended:
                path.with_suffix(".txt").write_text(f"ends the process, status {status}; see {log}\n")
            if not ended:
                broken = [f"{target}: the fuzzer itself ended, status {status}; see {log}"]
                break
        taken = time.monotonic() - start
        minimise(command(target, findings, scratch), corpus, logs / "merge.log")
        found = confirm(target, scratch, findings, corpus, before)
    reached = covered[1:] or covered
    return Row(
        target, taken, runs, len(list(corpus.iterdir())), max(reached), max(reached) - reached[0], broken + found
    )


def call(arguments: Sequence[str], log: Path) -> int:
    """Run a program, what it says going to `log`; its status."""
    with log.open("wb") as file:
        return subprocess.run(arguments, stdout=file, stderr=file, stdin=subprocess.DEVNULL, check=False).returncode


def minimise(fuzzer: Sequence[str], corpus: Path, log: Path) -> None:
    """Leave in `corpus` only files that are needed to reach what all of them do."""
    fewer = corpus.with_name(f"{corpus.name}.fewer")
    shutil.rmtree(fewer, ignore_errors=True)
    fewer.mkdir()
    if call([*fuzzer, "-merge=1", str(fewer), str(corpus)], log) == 0 and any(fewer.iterdir()):
        shutil.rmtree(corpus)
        fewer.rename(corpus)
    else:
        shutil.rmtree(fewer)


def confirm(target: str, scratch: Path, findings: Path, corpus: Path, before: set[Path]) -> list[str]:
    """Try each finding once more, alone and not instrumented; those that are faults. The others join the corpus."""
    faults = []
    for path in sorted(path for path in findings.iterdir() if path.suffix != ".txt"):
        try:
            done = subprocess.run(
                again(target, scratch, path), capture_output=True, timeout=HANGS + STARTS, check=False
            )
            seen, said = done.returncode != 0, done.stdout.decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            seen, said = True, "hangs"
        text = path.with_suffix(".txt")
        if seen or (path.name.startswith("crash-") and path not in before):
            reproduce = " ".join(again(target, scratch, path))
            was = text.read_text().splitlines()[0] if text.exists() else "ends the process"
            text.write_text(f"{was}\nalone: {said[-1000:] if seen else 'no fault'}\n\n{reproduce}\n")
            faults.append(f"{target}: {was:.200} ({path})")
        else:
            path.rename(corpus / path.name)
            text.unlink(missing_ok=True)
    return faults


def main(arguments: Sequence[str]) -> int:
    import fuzz_readers

    from lstmcore import terminal

    targets = *fuzz_readers.READERS, API
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", metavar="TARGET", nargs="*", choices=(*targets, []), help=", ".join(targets))
    parser.add_argument("--seconds", type=float, default=600, help="for each reader (600)")
    parser.add_argument("--runs", type=int, help=f"instead, for each target; of {API} {API_RUNS:,} without it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time (one a processor)")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="what is kept (build/fuzz)")
    options = parser.parse_args(arguments)
    options.folder = options.folder.absolute()
    rows = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda target: fuzz(target, options), options.targets or targets):
            rows.append(row)
            terminal.note(f"{row.target}: {row.seconds:.0f} s, {row.runs:,} runs, {len(row.findings)} findings")
    columns = ["target", ">seconds", ">runs", ">corpus", ">branches", ">new", ">findings"]
    terminal.table(columns, [(*row[:1], f"{row.seconds:.0f}", *row[2:6], len(row.findings)) for row in rows])
    faults = [found for row in rows for found in row.findings]
    print("\n".join(faults) or "no finding")
    return bool(faults)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
    else:
        sys.exit(main(sys.argv[1:]))
