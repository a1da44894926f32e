"""Two pictures: where a tick's time goes, and what bursts make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from report import PARTS

from lstmcore.demo.plot import BLUE, GREY, INK, ORANGE, RED
from lstmcore.feed import delays
from lstmcore.files import write_figure
from lstmcore.layers import Array
from lstmcore.terminal import need
from lstmcore.text import plotted

COLORS = dict(zip(PARTS, (GREY, "#6f9fc8", "#3d7a5f", ORANGE, INK, "#8a6fb0", RED), strict=True))
MOST = 20_000  # points


def draw(folder: Path, at: dict[str, Array], title: str) -> list[Path]:
    """Write both into `folder`; their paths. Raises ImportError where matplotlib is not installed.

    Args:
        folder: It is there.
        at: The kept moments by their names, each (ticks,) int64, ns.
        title: What ran.
    """
    need("matplotlib", "plot")
    return [_parts(folder / "latency.png", at, title), _bursts(folder / "bursts.png", at, title)]


def _axes(title: str) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(plotted(title), loc="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _parts(path: Path, at: dict[str, Array], title: str) -> Path:
    """For each part, how many ticks took longer than so many microseconds."""
    figure, axes = _axes(f"{title}: share of ticks that took longer")
    for part, (start, end) in PARTS.items():
        us = np.sort(at[end] - at[start]) / 1e3
        longer = 1 - np.arange(len(us)) / len(us)
        thick = 2.2 if part == "tick to signal" else 1.2
        axes.plot(np.maximum(us, 0.05), longer, color=COLORS[part], linewidth=thick, label=part, drawstyle="steps-pre")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("microseconds, logarithmic")
    axes.set_ylabel("share of ticks, logarithmic")
    axes.legend(frameon=False)
    write_figure(path, figure)
    return path


def _bursts(path: Path, at: dict[str, Array], title: str) -> Path:
    """Tick to signal over the number of ticks within the last millisecond."""
    delay = at["answered"] - at["read"]
    count = delays.ticks_within(at["read"])
    shown = np.unique(np.linspace(0, len(delay) - 1, MOST).astype(int))
    figure, axes = _axes(f"{title}: tick to signal in bursts")
    axes.scatter(count[shown], delay[shown] / 1e3, s=5, color=BLUE, alpha=0.25, linewidths=0)
    groups = delays.by_burst(at["read"], delay)
    starts = [int(group.label.split("-")[0].split()[0]) for group in groups]
    for name, color in (("p50", INK), ("p99", RED)):
        level = [group.delay_us[name] for group in groups]
        axes.step([*starts, max(count.max() + 1, starts[-1] + 1)], [*level, level[-1]], where="post", color=color,
                  linewidth=1.6, label=name)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("ticks within the last millisecond, logarithmic")
    axes.set_ylabel("microseconds, logarithmic")
    axes.legend(frameon=False)
    write_figure(path, figure)
    return path
