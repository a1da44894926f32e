"""JSON in model files: each key once, not nested deeply, and not more of it than the file may ask for."""

from __future__ import annotations

import json
import math
from typing import Any

from lstmcore.errors import ModelFormatError

MARKS = b"[", b"{", b",", b":"  # for each value and key there is one of them
COST = 96  # bytes that a value or a key takes in Python, the text of a string apart
MAX_DEPTH = 128  # what is read, compared and shown of a value goes as deep on Python's stack


def parse(data: bytes, what: str, limit: int, *, finite: bool = True) -> dict[str, Any]:
    """The object in a JSON text, as `parse_any` reads it."""
    found = parse_any(data, what, limit, finite=finite)
    if not isinstance(found, dict):
        raise ModelFormatError(f"{what}: expected an object, got {found!r:.100}")
    return found


def parse_any(data: bytes, what: str, limit: int, *, finite: bool = True) -> Any:
    """What a JSON text says, which may take `limit` bytes. Raises ModelFormatError, beginning with `what`.

    Python writes NaN, Infinity and -Infinity, which JSON does not have, and takes 1e999 for infinity; they are read
    where not all has to be `finite`.
    """

    def number(text: str) -> float:
        value = float(text)
        if finite and not math.isfinite(value):
            raise ValueError(f"a number is {text}")
        return value

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key stands in an object twice")
        return dict(pairs)

    values = sum(map(data.count, MARKS))
    if values * COST > limit:
        raise ModelFormatError(f"{what}: JSON of {values} values and keys; at most {limit // COST} are taken")
    try:
        found = json.loads(data.decode(), parse_constant=number, parse_float=number, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{what} is not JSON: {' '.join(str(error).split())!r:.200}") from None
    if _depth(found) > MAX_DEPTH:
        raise ModelFormatError(f"{what}: values in values, more than {MAX_DEPTH} deep")
    return found


def _depth(value: Any) -> int:
    """How many lists and objects lie in each other."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
