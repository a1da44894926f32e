"""The TOML file of `lstmcore train`: what is read, what is trained, how it is judged."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from lstmcore.files import read_whole
from lstmcore.formats.near import near
from lstmcore.terminal import need
from lstmcore.text import NAME, clean, quoted
from lstmcore.train.modules import MODELS, Classifier
from lstmcore.train.settings import Settings, check

T = TypeVar("T")

MAX_BYTES = 1 << 16  # of a file; a thousand features have a fifth of that
MAX_DEPTH = 16  # parts of a dotted key, brackets in brackets: the reader takes the square of the first, and recurses
MAX_DIGITS = 1 << 13  # for each of which the reader takes a hundred bytes
MAX_HIDDEN, MAX_STACK, MAX_WEIGHTS = 1 << 14, 64, 1 << 26  # the last: 256 MB
#: What may hold any dots and brackets, text of all four forms and comments: how it begins, and where it ends. That of
#: many lines may have one or two quotes before the last three. After a backslash a quote ends nothing.
BEGIN = re.compile(r"\"{3}|'{3}|[\"'#]")
ENDS = {
    '"""': re.compile(r"\\.|\"{3,5}", re.DOTALL),
    '"': re.compile(r"\\.|[\"\n]"),
    "'''": re.compile(r"'{3,5}"),
    "'": re.compile(r"['\n]"),
    "#": re.compile(r"\n"),
}
DIGITS = re.compile(rf"[0-9_]{{{MAX_DIGITS + 1}}}")
DOTS = re.compile(rf"\.(?:[^.=,\[\]{{}}\n]*\.){{{MAX_DEPTH - 1}}}")


@dataclass(frozen=True)
class DataSection:
    """Which columns of which file are what."""

    path: str  # .csv or .parquet, from the folder of the TOML file
    features: list[str]  # columns, in the order that the model will take them
    window: int  # T, rows that the model sees
    horizon: int  # rows behind a window that its label reads
    timestamp: str | None = None  # a column of numbers or dates; without it rows are counted
    target: str | None = None  # a column of 0 and 1, empty where there is no label
    price: str | None = None  # instead of a target: a column from which labels are made
    threshold: float = 0.0  # by which share the price must be higher, `horizon` rows later, for a 1

    def __post_init__(self) -> None:
        if (self.target is None) == (self.price is None):
            raise ValueError("data: expected one of target, a column of labels, and price, to make them from")
        if len(set(self.features)) < len(self.features) or not self.features:
            raise ValueError("data.features: expected at least one column, and none of them twice")
        for what, column in (("target", self.target), ("timestamp", self.timestamp)):
            if column in self.features:
                raise ValueError(
                    f"data.features: {quoted(column)} is the {what}, which a model must not see; leave it out"
                )
        for name, least in (("window", 1), ("horizon", 0 if self.price is None else 1)):
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}: expected at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class ModelSection:
    """The model; what is not given is the kind's own."""

    kind: str = "quant"  # or "exit"
    cell: str = "lstm"  # or "gru", "rnn"
    hidden: int | None = None
    layers: int | None = None
    dropout: float | None = None
    head_dropout: float | None = None
    seed: int = 0  # of the weights

    def __post_init__(self) -> None:
        if self.kind not in MODELS:
            raise ValueError(f"model.kind: expected one of {', '.join(MODELS)}, got {quoted(self.kind)}")
        for name, most in (("hidden", MAX_HIDDEN), ("layers", MAX_STACK)):
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"model.{name}: expected at most {most}, got {getattr(self, name)}")
        with torch.device("meta"):  # shapes without weights
            weights = sum(weight.numel() for weight in self.build(1).parameters())
        if weights > MAX_WEIGHTS:
            raise ValueError(f"model.hidden, model.layers: expected at most {MAX_WEIGHTS:,} weights, got {weights:,}")

    def build(self, features: int) -> Classifier:
        """The module. Raises ValueError where a size is out of range."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"}
        return MODELS[self.kind](features, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class SplitSection:
    """Arguments of `windows.walk_forward`: sizes as text, such as "12 months", or as numbers where stamps are.

    Its `window`, and how far a label reads, are in the section data.
    """

    train: int | float | str
    test: int | float | str
    validation: int | float | str
    step: int | float | str | None = None
    embargo: int | float | str = 0
    expanding: bool = False
    min_coverage: float = 0.5


@dataclass(frozen=True)
class Config:
    """A whole file, checked."""

    data: DataSection
    split: SplitSection
    model: ModelSection
    training: Settings


SECTIONS: Mapping[str, type] = {
    "data": DataSection,
    "split": SplitSection,
    "model": ModelSection,
    "training": Settings,
}


def read_config(path: Path) -> Config:
    """Read and check a TOML file.

    Raises:
        OSError: A file that cannot be opened.
        ValueError: A file that is no TOML, or larger or deeper than any config, a section or key that is unknown or
            missing, a value out of range.
        TypeError: A value of another type. The text names file and key.
    """
    toml = need("tomllib" if sys.version_info >= (3, 11) else "tomli", "train")
    data = read_whole(path, MAX_BYTES, ValueError)
    try:
        text = data.decode().replace("\r\n", "\n")
        _check_depth(text)
        document = toml.loads(text)
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of too many digits
        raise ValueError(f"{path}: not a TOML file: {clean(error, 2 * NAME)}") from None
    except RecursionError:
        raise ValueError(f"{path}: not a TOML file: too many brackets in brackets") from None
    try:
        for name in document:
            if name not in SECTIONS:
                raise ValueError(
                    f"unknown section [{clean(name, NAME)}]{near(name, SECTIONS)}; known are {', '.join(SECTIONS)}"
                )
        return Config(**{name: _section(name, kind, document.get(name)) for name, kind in SECTIONS.items()})
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from None


def _check_depth(text: str) -> None:
    """Raise ValueError for what would take the reader long, or more of the stack than there is."""
    bare = _without_text(text)
    found = DOTS.search(bare)
    if found:
        raise ValueError(f"line {_line(bare, found.start())}: a key of more than {MAX_DEPTH} parts")
    found = DIGITS.search(bare)
    if found:
        raise ValueError(f"line {_line(bare, found.start())}: a number of more than {MAX_DIGITS} digits")
    depth = 0
    for at, mark in ((each.start(), each[0]) for each in re.finditer(r"[][{}]", bare)):
        depth = depth + 1 if mark in "[{" else max(0, depth - 1)
        if depth > MAX_DEPTH:
            raise ValueError(f"line {_line(bare, at)}: more than {MAX_DEPTH} brackets in brackets")


def _without_text(toml: str) -> str:
    """What is left without text and comments, with as many lines."""
    parts, at = [], 0
    while begin := BEGIN.search(toml, at):
        parts.append(toml[at : begin.start()])
        at = begin.end()
        while (end := ENDS[begin[0]].search(toml, at)) and end[0].startswith("\\"):
            at = end.end()
        at = end.end() if end else len(toml)  # where it has no end, the reader stops too
        parts.append("\n" * toml.count("\n", begin.start(), at))
    return "".join([*parts, toml[at:]])


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _section(name: str, kind: type[T], given: Any) -> T:
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"{name}: expected a section, [{name}], got {type(given).__name__}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    values: dict[str, Any] = given or {}
    for key, value in values.items():
        if key not in known:
            others = [f"{each}.{key}" for each, other in SECTIONS.items() if key in {f.name for f in fields(other)}]
            hint = f"; it is {' or '.join(others)}" if others else near(key, known)
            raise ValueError(f"{name}.{clean(key, NAME)}: unknown key{hint}; known are {', '.join(known)}")
        check(f"{name}.{key}", str(known[key].type), value)
    missing = [key for key, field in known.items() if field.default is MISSING and key not in values]
    if missing:
        raise ValueError(f"{name}.{missing[0]}: missing; [{name}] needs it")
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        text = str(error)
        raise type(error)(text if text.startswith(name) else f"{name}.{text}") from None
