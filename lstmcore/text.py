"""Text from outside (names, keys, cells, paths, others' errors) as a terminal, a report or a picture may show it.

Whoever wrote a file chose the names in it. They may hold escape codes, new lines, markup, or 100,000 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sized

LINE = 4000  # characters of a message
WORD = 400  # of a part of it without a space: longer than paths are
NAME = 100  # of a name among other text
NAMES = 20  # of a list of names
CUT = "…"  # where something is left out

#: What Markdown, HTML in it, or GitHub's mathematics may take for a sign. An underscore within a word is none.
SIGNS = re.compile(r"[\\`*\[\]<>|~$&#!{}]|(?<![^\W_])_|_(?![^\W_])")


def clean(text: object, most: int = LINE) -> str:
    """One line without control characters, at most `most` long: the middle of what is longer is left out."""
    line = _cut(" ".join(_cut(word, min(most, WORD)) for word in _shown(text, str).split()), most)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def quoted(value: object, most: int = NAME) -> str:
    """`repr(value)`, cleaned."""
    return clean(_shown(value, repr), most)


def listed(names: Iterable[object]) -> str:
    """The first `NAMES` names with commas between, and how many there are beside them."""
    every = list(names)
    more = len(every) - NAMES
    return ", ".join(clean(name, NAME) for name in every[:NAMES]) + (f" and {more:,} more" if more > 0 else "")


def markdown(text: object, most: int = NAME) -> str:
    """`text` for a line or a table's cell of Markdown, shown as it is: no markup is read from it."""
    return SIGNS.sub(r"\\\g<0>", clean(text, most))


def plotted(text: object, most: int = NAME) -> str:
    """`text` for matplotlib, which takes what stands between two dollars for mathematics."""
    return clean(text, most).replace("$", r"\$")


def _shown(value: object, show: Callable[[object], str]) -> str:
    """What `show` makes of it; or type and size of an integer of over 4,300 digits, and of what is nested too far."""
    try:
        return show(value)
    except (ValueError, RecursionError):
        bits = f" of {value.bit_length()} bits" if isinstance(value, int) else ""
        return f"<{type(value).__name__}{f' of length {len(value)}' if isinstance(value, Sized) else bits}>"


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}{CUT}{text[-end:]}"
