"""The measured results: one JSON file for each shape and each script, in benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lstmcore.files import write_json

FOLDER = Path(__file__).with_name("results")


def write(path: Path, facts: dict[str, Any]) -> None:
    """Write `facts` as JSON, whole or not at all, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, facts)


def read(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The facts of those of the names that have been measured."""
    paths = {name: FOLDER / f"{name}.json" for name in names}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}
