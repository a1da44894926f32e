"""The C cores of two revisions in one program, for benchmarks/against.py: see there."""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from cffi import FFI

from lstmcore import _core
from lstmcore.backends.c.adding import Builder
from lstmcore.backends.program import lower
from lstmcore.folding import fold
from lstmcore.model import Model

ROOT = Path(__file__).parents[1]
SOURCE = Path(__file__).with_name("against.c")
ffi = FFI()
ffi.cdef(
    """void *against_function(const char *name);
    int against_time(int door, void *handle, const float *x, size_t rows, size_t size, size_t steps, size_t window,
                     size_t first, float *bound, float *y, int untimed, int calls, int64_t *taken);"""
)


class Core:
    """A revision's C functions, called as `lstmcore._core.lib`'s are."""

    def __init__(self, path: Path) -> None:
        self.library = ffi.dlopen(str(path), ffi.RTLD_LOCAL | ffi.RTLD_NOW)

    def __getattr__(self, name: str) -> Any:
        if name.isupper():
            return getattr(_core.lib, name)
        found = self.library.against_function(name.encode())
        if found == ffi.NULL:
            raise AttributeError(f"{name}: benchmarks/against.c does not hand it out")
        kind = _core.ffi.typeof(_core.ffi.addressof(_core.lib, name))
        return _core.ffi.cast(kind, int(ffi.cast("uintptr_t", found)))

    def check(self, code: int, what: str) -> None:
        """Raise RuntimeError with the core's text for a code that is not 0."""
        if code:
            raise RuntimeError(f"{what}: {_core.ffi.string(self.lstmcore_error(code)).decode()}")

    def model(self, model: Model, kernel: str | None) -> Any:
        """A model's layers, folded, as a model of this core."""
        return Builder(kernel, self).build(lower(fold(model.wiring)))


def sources(revision: str, folder: Path) -> Path:
    """The files of a revision, in a folder. Raises ValueError where git knows no such revision."""
    made = subprocess.run(["git", "archive", "--format=tar", revision], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        raise ValueError(f"{revision}: git: {made.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def declarations(source: Path) -> dict[str, str]:
    """What csrc/lstmcore.h declares of the functions that against.c calls, by their names."""
    header = re.sub(r"/\*.*?\*/", "", (source / "csrc/lstmcore.h").read_text(encoding="utf-8"), flags=re.DOTALL)
    called = set(re.findall(r"lstmcore_\w+", SOURCE.read_text(encoding="utf-8")))
    found = re.findall(r"^([\w ]+[ *](lstmcore_\w+)\([^;]*\));", header, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for text, name in found if name in called}


def build(source: Path, folder: Path) -> Path:
    """The core of `source` as a library that hands out its functions through against.c."""
    library = folder / "against.so"
    commands = [
        ["cmake", "-S", str(source), "-B", str(folder)],
        ["cmake", "--build", str(folder), "--target", "lstmcore", "--parallel"],
        [
            *(os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{source}/csrc"),
            *(str(SOURCE), str(folder / "liblstmcore.a"), "-lm", "-lpthread", "-o", str(library)),
        ],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return library


def cores(revision: str, folder: Path) -> tuple[Core, Core]:
    """That of the revision, and that of the working tree."""
    other = sources(revision, folder / "source")
    here, there = declarations(ROOT), declarations(other)
    changed = sorted(name for name in here if there.get(name) != here[name])
    if changed and "lstmcore_model_seal" in there:  # else its models are chains: benchmarks/against_chains.h
        raise ValueError(f"{revision}: it declares {', '.join(changed)} otherwise, or not: compare with --python")
    return Core(build(other, folder / "other")), Core(build(ROOT, folder / "this"))
