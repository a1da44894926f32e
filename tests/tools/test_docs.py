"""What the documents say is run: their code blocks, the docstrings' examples, the commands and tables they name."""

from __future__ import annotations

import argparse
import contextlib
import doctest
import importlib
import io
import os
import pkgutil
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import lstmcore
from lstmcore.commands.cli import parser
from lstmcore.formats.gates import ORDERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
NEEDED = {  # what is imported by blocks, by the page's name
    "README.md": ("torch", "onnx"),
    "quickstart.md": ("torch",),
    "formats.md": ("torch", "onnx"),
    "cli.md": ("onnx", "onnxruntime", "msgspec"),
    "live-bot.md": ("msgspec",),
    "numba.md": ("numba",),
    "train.md": ("torch", "torchmetrics", "pytorch_lightning", "matplotlib"),
}

BLOCK = re.compile(r"^<!-- (run|prints)(?: (\w+))? -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A marked block of a page."""

    marker: str  # run or prints
    machine: str | None  # the one kind of processor that it is for
    language: str
    text: str
    line: int  # of its first line of text


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [Block(m[1], m[2], m[3], m[4], text.count("\n", 0, m.start(4)) + 1) for m in BLOCK.finditer(text)]
    marked = len(re.findall(r"^<!-- (?:run|prints)\b", text, re.MULTILINE))
    assert len(found) == marked, f"{page.name}: a marker without a block behind it"
    return found


def run_python(page: Path, block: Block, names: dict[str, Any]) -> str:
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()


def run_shell(page: Path, block: Block, folder: Path) -> str:
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    command = commands / "lstmcore"  # whether or not the package's own is on the PATH
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lstmcore "$@"\n')
    command.chmod(0o755)
    package = str(Path(lstmcore.__file__).parents[1])
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": package}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{page.name}:{block.line}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_blocks_of_code(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDED.get(page.name, ()):
        pytest.importorskip(package, reason=f"{package} is not installed; {page.name} cannot be run")
    monkeypatch.chdir(tmp_path)
    for shown in ("csrc", "docs", "examples"):
        (tmp_path / shown).symlink_to(ROOT / shown)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    for block in blocks(page):
        if block.marker == "prints":
            if printed is not None:
                same = doctest.OutputChecker().check_output(block.text, printed, doctest.ELLIPSIS)
                assert same, f"{page.name}:{block.line}: printed instead:\n{printed}"
        elif block.machine not in (None, platform.machine()):
            printed = None  # for another processor
        else:
            assert block.language in ("python", "sh"), f"{page.name}:{block.line}: cannot run {block.language}"
            is_python = block.language == "python"
            printed = run_python(page, block, names) if is_python else run_shell(page, block, tmp_path)


def test_there_are_blocks_to_run() -> None:
    assert {p.name for p in PAGES if blocks(p)} >= {"README.md", "quickstart.md", "formats.md", "cli.md", "embed.md"}


def modules() -> list[str]:
    found = pkgutil.walk_packages(lstmcore.__path__, "lstmcore.")
    return ["lstmcore", *(m.name for m in found if not m.name.endswith(("__main__", "_core")))]


def test_examples_in_docstrings() -> None:
    attempted = 0
    for name in modules():
        try:
            module = importlib.import_module(name)
        except (ImportError, lstmcore.UnsupportedError):  # its optional package is not here
            continue
        failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
        assert not failed, name
        attempted += tried
    assert attempted > 10


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = [a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(choices)


def sections(page: Path) -> dict[str, str]:
    """A page's `## ` sections by their titles."""
    parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_command_has_its_section() -> None:
    assert list(sections(DOCS / "cli.md")) == list(commands())


@pytest.mark.parametrize("command", commands())
def test_every_option_is_told_and_none_is_made_up(command: str) -> None:
    actions = commands()[command]._actions
    known = {option for action in actions for option in action.option_strings if option.startswith("--")}
    rows = re.findall(r"^\| (`-.*?) \|", sections(DOCS / "cli.md")[command], re.MULTILINE)
    told = {option for row in rows for option in re.findall(r"`(--[\w-]+)`", row)}
    assert told == known - {"--help"}


def tables(page: Path) -> list[list[list[str]]]:
    """The cells of a page's tables, the headings first."""
    found: list[list[list[str]]] = [[]]
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            found.append([])
        elif not set(line) <= set("|-: "):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [table for table in found if table]


def test_the_table_of_gate_orders() -> None:
    (table,) = [t for t in tables(DOCS / "formats.md") if t[0] == ["source", *ORDERS]]
    for source, *orders in table[1:]:
        assert [order.replace(" ", "") for order in orders] == [ORDERS[kind][source] for kind in ORDERS]
    assert [row[0] for row in table[1:]] == list(ORDERS["LSTM"])


def test_the_table_of_kernels() -> None:
    (table,) = [t for t in tables(DOCS / "kernels.md") if t[0][0] == "kernel"]
    order = re.findall(r"^KERNEL\((\w+),", (ROOT / "csrc/kernels/kernels.def").read_text(), re.MULTILINE)
    assert [row[0] for row in table[1:]] == order
    for name, lanes, rows, _ in table[1:]:
        defined = dict(
            re.findall(r"^#define (\w+) (\d+)", (ROOT / f"csrc/kernels/vec_{name}.h").read_text(), re.MULTILINE)
        )
        assert defined == {"VEC_LANES": lanes, "TILE_ROWS": rows}


FILES = re.compile(
    r"`((?:lstmcore|csrc|tests|benchmarks|examples|docs)/[\w./]+|CMakeLists\.txt|pyproject\.toml|\.ci/run)`"
)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    for target in links:
        if target and not target.startswith("https://"):
            assert (page.parent / target).exists(), f"link to {target}"
    for name in FILES.findall(text):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_the_place_of_the_benchmark_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"<!-- bench:begin -->\n.+\n<!-- bench:end -->", text, re.DOTALL)
