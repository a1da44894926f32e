"""The commands of the command line, one module each, and the arguments that several of them take."""

from __future__ import annotations

import argparse
import os

from lstmcore.backends import NAMES


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: one JSON document on stdout and nothing else there."""
    parser.add_argument("--json", action="store_true", help="write one JSON document on stdout")


def add_backend(parser: argparse.ArgumentParser, text: str = "what runs the model") -> None:
    """`--backend` and `--kernel`."""
    parser.add_argument("--backend", choices=("auto", *NAMES), default="auto", help=text)
    parser.add_argument("--kernel", help="the c backend's kernel, as `lstmcore info` names it")


def positive(text: str) -> int:
    """An argument that counts something."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def check_new(path: str, force: bool) -> None:
    """Raise FileExistsError where something is at `path`, unless `force`."""
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path}: exists already; --force overwrites it")
