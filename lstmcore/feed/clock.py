"""In which unit a time since 1970 is told: a number alone does not say it, its size does."""

from __future__ import annotations

#: Units of time, and their nanoseconds.
NS_PER = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
#: 2001-09-09 to 2262-04-11, ns: in between, the same moment in two units never looks alike.
FIRST_NS, END_NS = 10**18, 1 << 63


def unit_of(time: int) -> str | None:
    """The unit, of `NS_PER`, in which `time` is a moment from 2001 to 2262; None where it is one in no unit.

    >>> from lstmcore.feed.clock import unit_of
    >>> unit_of(1723161255088169167), unit_of(1723161255088169), unit_of(1723161255088), unit_of(1723161255)
    ('ns', 'us', 'ms', 's')
    >>> unit_of(88169167) is None  # since the machine started, perhaps
    True
    """
    return next((unit for unit, ns in NS_PER.items() if FIRST_NS <= time * ns < END_NS), None)
