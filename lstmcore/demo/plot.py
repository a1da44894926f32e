"""The demo's picture: the signal beside the mid price, and how long the answers took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lstmcore.demo import market
from lstmcore.demo.run import WINDOW, latency
from lstmcore.files import write_figure
from lstmcore.layers import Array
from lstmcore.terminal import need

EXCERPT = 600  # ticks; more would be a smear
INK, BLUE, ORANGE, RED, GREY = "#222222", "#2563a8", "#d9822b", "#b3261e", "#b5b5b5"


def draw(path: Path, mid: Array, signal: Array, ns: Array, title: str) -> None:
    """Write a PNG.

    Args:
        path: Where to.
        mid: (N,), price units.
        signal: (M,), the answers to the last M ticks.
        ns: (M,), nanoseconds of each answer.
        title: What ran where.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.add_gridspec(3, 1, height_ratios=[1.2, 1, 1.1])
    price = figure.add_subplot(grid[0])
    strength = figure.add_subplot(grid[1], sharex=price)
    times = figure.add_subplot(grid[2])

    shown = min(EXCERPT, len(signal))
    ticks = np.arange(len(mid) - shown, len(mid))
    price.plot(ticks, mid[-shown:], color=INK, linewidth=1.1, drawstyle="steps-post")
    price.set_title(f"Mid price, the last {shown} of {len(mid):,} ticks", loc="left", fontsize=10)
    price.set_ylabel("mid (price units)")
    price.tick_params(labelbottom=False)
    price.ticklabel_format(useOffset=False)

    recent = signal[-shown:]
    strength.fill_between(ticks, 0.5, recent, where=recent >= 0.5, color=BLUE, alpha=0.75, step="post", linewidth=0)
    strength.fill_between(ticks, 0.5, recent, where=recent < 0.5, color=ORANGE, alpha=0.75, step="post", linewidth=0)
    strength.axhline(0.5, color=INK, linewidth=0.8)
    strength.set_ylim(0, 1)
    strength.set_xlim(ticks[0], ticks[-1] + 1)
    strength.set_title(
        f"Signal: probability that the mid is higher {market.HORIZON} ticks later (blue: above one half)",
        loc="left",
        fontsize=10,
    )
    strength.set_ylabel("signal")
    strength.set_xlabel("tick")

    _histogram(times, ns / 1e3)
    for axes in (price, strength, times):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    write_figure(path, figure)


def _histogram(axes: Any, us: Array) -> None:
    """Latencies, both scales logarithmic, so that the tail is seen beside the bulk."""
    from matplotlib import ticker

    edges = np.geomspace(us.min() * 0.97, us.max() * 1.03, 100)
    axes.hist(us, bins=edges, color=GREY)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_yscale("log")
    axes.set_ylim(0.7, None)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    for (name, value), color in zip(latency(us * 1e3).items(), (BLUE, ORANGE, RED, INK), strict=True):
        axes.axvline(value, color=color, linewidth=1.4, label=f"{name}  {value:.1f} µs")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=4, frameon=False, fontsize=9)
    axes.set_title(f"Time of {len(us):,} calls of model(window), {WINDOW} ticks each", loc="left", fontsize=10)
    axes.set_xlabel("microseconds, logarithmic")
    axes.set_ylabel("calls, logarithmic")
