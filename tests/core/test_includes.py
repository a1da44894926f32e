"""The rooms of the C code: who may include whom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lstmcore
from lstmcore.backends.c.binding import ffi, lib

CSRC = Path(__file__).parents[2] / "csrc"
#: For each room, those whose headers its files may include. The public header stands above none and below all.
MAY_INCLUDE = {"kernels": {"kernels"}, "core": {"core", "kernels"}, "python": set()}


def included(file: Path) -> list[Path]:
    """The files of csrc that a file includes."""
    names = re.findall(r'^\s*#\s*include "([^"]+)"', file.read_text(encoding="utf-8"), re.MULTILINE)
    return [next(at for at in (file.parent / name, CSRC / name) if at.is_file()) for name in names]


SOURCES = sorted(p for p in CSRC.rglob("*") if p.suffix in (".c", ".h"))


@pytest.mark.parametrize("file", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_a_file_includes_its_own_room_and_those_below(file: Path) -> None:
    room = file.relative_to(CSRC).parts[0]
    for other in included(file):
        if other.name != "lstmcore.h":
            assert other.relative_to(CSRC).parts[0] in MAY_INCLUDE[room]


def test_no_headers_include_each_other_in_a_circle() -> None:
    done: set[Path] = set()

    def visit(file: Path, above: tuple[Path, ...]) -> None:
        assert file not in above, [p.name for p in (*above, file)]
        if file not in done:
            for other in included(file):
                visit(other, (*above, file))
            done.add(file)

    for file in SOURCES:
        visit(file, ())
    assert {p.name for p in done} >= {"lstmcore.h", "kernel.h", "program.h"}


def test_the_header_has_the_packages_version() -> None:
    text = (CSRC / "lstmcore.h").read_text(encoding="utf-8")
    numbers = [re.search(rf"#define LSTMCORE_VERSION_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(found[1] for found in numbers if found) == lstmcore.__version__
    assert ffi.string(lib.lstmcore_version()).decode() == lstmcore.__version__
