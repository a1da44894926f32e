"""How long the bot took, from the socket to the signal, and what it did meanwhile."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmcore import terminal
from lstmcore.feed import delays

if TYPE_CHECKING:
    from bot import Bot

#: The parts of a tick's time, by the moments at which they begin and end.
PARTS = {
    "waiting": ("read", "begun"),
    "parse": ("begun", "parsed"),
    "features": ("parsed", "featured"),
    "model": ("featured", "answered"),
    "tick to signal": ("read", "answered"),
    "act": ("answered", "acted"),
    "catch up": ("acted", "caught_up"),
}


def moments(bot: Bot) -> dict[str, Any]:
    """The kept moments of every tick by their names, each (ticks,) int64, ns."""
    from bot import STAMPS

    return dict(zip(STAMPS, bot.times().T, strict=True))


def facts(bot: Bot) -> dict[str, Any]:
    """Everything that is reported, ready for JSON; times in microseconds."""
    at = moments(bot)
    position = bot.position
    return {
        "counts": bot.counts(),
        "answers": int(np.sum(np.isfinite(bot.answers))),
        "latency_us": {part: delays.percentiles(at[end] - at[start]) for part, (start, end) in PARTS.items()},
        "by_burst": [asdict(burst) for burst in delays.by_burst(at["read"], at["answered"] - at["read"])],
        "paper": {"trades": position.trades, "profit": position.profit, "open": position.side},
        "runs_on": f"{bot.stream.model.backend} {bot.stream.model.kernel or ''}".strip(),
    }


def show(found: dict[str, Any]) -> None:
    """Print it."""
    counts, paper = found["counts"], found["paper"]
    print(", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n))
    print(f"{found['answers']:,} answers from a whole window, backend {found['runs_on']}\n")
    terminal.table(
        ["part", *(f">{name}, µs" for name in delays.PERCENTILES)],
        [(part, *map(_us, us.values())) for part, us in found["latency_us"].items()],
        "From the read of the socket to the signal, and what comes behind it",
    )
    terminal.table(
        [">ticks in the last ms", ">ticks", *(f">{name}, µs" for name in delays.PERCENTILES)],
        [(b["label"], f"{b['ticks']:,}", *map(_us, b["delay_us"].values())) for b in found["by_burst"]],
        "Tick to signal, in bursts",
    )
    still = {0: "nothing", 1: "a long position", -1: "a short position"}[paper["open"]]
    print(f"On paper: {paper['trades']} trades, profit {paper['profit']:.2f} price units a unit, {still} left open.")


def _us(value: float) -> str:
    return f"{value:,.1f}"
