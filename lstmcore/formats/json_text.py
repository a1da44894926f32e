"""JSON in model files: an object, each key once, and not more of it than the file may ask for."""

from __future__ import annotations

import json
from typing import Any

from lstmcore.errors import ModelFormatError

MARKS = b"[", b"{", b",", b":"  # for each value and key there is one of them
COST = 96  # bytes that a value or a key takes in Python, the text of a string apart


def parse(data: bytes, what: str, limit: int, *, finite: bool = True) -> dict[str, Any]:
    """The object in a JSON text, which may take `limit` bytes. Raises ModelFormatError, beginning with `what`.

    Python writes NaN, Infinity and -Infinity, which JSON does not have; they are read where not all has to be `finite`.
    """

    def constant(text: str) -> float:
        if finite:
            raise ValueError(f"a number is {text}")
        return float(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a key stands in an object twice")
        return dict(pairs)

    values = sum(map(data.count, MARKS))
    if values * COST > limit:
        raise ModelFormatError(f"{what}: JSON of {values} values and keys; at most {limit // COST} are taken")
    try:
        found = json.loads(data.decode(), parse_constant=constant, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{what} is not JSON: {' '.join(str(error).split())!r:.200}") from None
    if not isinstance(found, dict):
        raise ModelFormatError(f"{what}: expected an object, got {found!r:.100}")
    return found
