"""The commands of the command line, one module each, and the arguments that several of them take."""

from __future__ import annotations

import argparse
import os
from typing import Any

import lstmcore
from lstmcore.backends import NAMES
from lstmcore.errors import ModelFormatError
from lstmcore.files import read_whole
from lstmcore.formats.guard.json_text import parse_any
from lstmcore.formats.guard.limits import allowed
from lstmcore.formats.torch.torch_suggest import NoLayersError
from lstmcore.text import quoted

MODEL = "a model file: .safetensors, .keras, .h5, .onnx, or .pt/.pth with --layers"
MAX_LAYERS = 4 << 20  # bytes; the JSON of a thousand layers takes a tenth


def add_model(parser: argparse.ArgumentParser, metavar: str = "MODEL") -> None:
    """A model file, and `--layers`."""
    parser.add_argument("model", metavar=metavar, help=MODEL)
    parser.add_argument(
        "--layers", metavar="FILE", help="JSON: the layers of a state_dict (.pt, .pth), as lstmcore.load takes them"
    )


def load(
    options: argparse.Namespace, *, backend: str = "auto", kernel: str | None = None, option: str = "--layers"
) -> lstmcore.Model:
    """The model that `add_model`'s arguments name; `option` is what the one for its layers is called."""
    layers = _layers(options.layers)
    try:
        return lstmcore.load(options.model, layers=layers, backend=backend, kernel=kernel)
    except NoLayersError as error:
        raise ModelFormatError(error.on_command_line(option)) from None
    except (ValueError, TypeError) as error:
        if layers is None or not str(error).startswith("layers"):
            raise
        raise type(error)(f"{options.layers}: {error}") from None


def _layers(path: str | None) -> Any:
    if path is None:
        return None
    data = read_whole(path, MAX_LAYERS)
    return parse_any(data, f"{path}: the list of layers", allowed(len(data)), finite=False)


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


def counted(text: str) -> int:
    """An argument that counts something, or numbers it, from 0 on."""
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {quoted(text)}")
    return int(text)


def check_new(path: str, force: bool, *read: str) -> None:
    """Raise FileExistsError where something is at `path`, unless `force`; ValueError for one of the files to `read`."""
    if os.path.lexists(path) and not force:
        raise FileExistsError(f"{path}: exists already; --force overwrites it")
    if os.path.exists(path) and any(os.path.exists(each) and os.path.samefile(each, path) for each in read):
        raise ValueError(f"{path}: would replace a file that is read; give another name")
