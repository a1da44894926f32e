"""What all pictures share: figures without a screen, axes, heat maps, colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lstmcore.layers import Array
from lstmcore.terminal import need
from lstmcore.text import plotted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.ticker import MaxNLocator

#: Where a picture goes: a figure, or a part of one.
Canvas: TypeAlias = "Figure | SubFigure"

INK, GREY = "#222222", "#8a8a8a"
#: Apart also for those who see no red or green, and in print: Okabe & Ito 2008, without the yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
#: Of what is never negative, and of what is either side of zero.
ONE_SIDED, TWO_SIDED = "viridis", "RdBu_r"
MOST_LABELS = 20  # rows of a heat map that are named one by one
LABEL = 40  # characters of such a name


def figure(width: float, height: float) -> Figure:
    """A figure of so many inches that needs no screen. Raises ImportError where matplotlib is not installed."""
    need("matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(made)
    return made


def canvas_of(into: object, width: float, height: float) -> Canvas:
    """Where to draw: `into`, or where that is None a new figure of so many inches.

    Raises TypeError for what is neither figure nor part of one, ImportError where matplotlib is not installed.
    """
    if into is None:
        return figure(width, height)
    need("matplotlib", "plot")
    from matplotlib.figure import Figure, SubFigure

    if not isinstance(into, (Figure, SubFigure)):
        came = type(into).__name__
        raise TypeError(f"into: expected a Figure or a SubFigure (Figure.subfigures makes them), got {came}")
    return into


def whole(canvas: Canvas) -> Figure:
    """The figure that a part belongs to."""
    found: Figure = canvas.figure  # of a Figure itself
    return found


def heading(axes: Axes, text: str) -> None:
    """What the axes show."""
    axes.set_title(text, loc="left", fontsize=10, color=INK)


def lines(axes: Axes, text: str, x: str, y: str) -> None:
    """Axes for lines: a heading, labels, a light grid."""
    heading(axes, text)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def legend_beside(axes: Axes) -> None:
    """What the lines are, to the right of the axes: in the narrowest part of a figure it touches no heading."""
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def common_edges(made: Figure) -> None:
    """Give all axes the same left and right edge, each colour bar beside its own; the layout is final after this.

    The parts of the figure must be as wide as the figure.
    """
    made.draw_without_rendering()  # each part's layout is found on its own
    made.set_layout_engine("none")
    bars = {axes.images[0].colorbar.ax: axes for axes in made.axes if axes.images and axes.images[0].colorbar}
    places = {axes: axes.get_position(original=True) for axes in made.axes}
    panels = [axes for axes in made.axes if axes not in bars]
    left, right = max(places[axes].x0 for axes in panels), min(places[axes].x1 for axes in panels)
    for axes, place in places.items():
        x, width = left, right - left
        if axes in bars:
            x, width = place.x0 + right - places[bars[axes]].x1, place.width
        axes.set_position((x, place.y0, width, place.height))


def heat_map(
    axes: Axes, values: Array, text: str, rows: str | Sequence[str], limits: tuple[float, float], color_map: str
) -> Any:
    """Values (T, rows) with time from left to right, the first row on top; what a colour bar needs.

    `rows` is what they are, or a name for each. NaN stays white.
    """
    image = axes.imshow(
        values.T, aspect="auto", interpolation="nearest", cmap=color_map, vmin=limits[0], vmax=limits[1]
    )
    heading(axes, text)
    if isinstance(rows, str):
        axes.set_ylabel(rows)
        axes.yaxis.set_major_locator(whole_numbers())
    else:
        axes.set_yticks(range(len(rows)), [plotted(row, LABEL) for row in rows], fontsize=8)
    axes.xaxis.set_major_locator(whole_numbers())
    return image


def whole_numbers(most: int = 10, prune: Literal["upper"] | None = None) -> MaxNLocator:
    """Where an axis of counts has its numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, prune=prune)


def around_zero(values: Array) -> tuple[float, float]:
    """Limits for `TWO_SIDED`: as far below zero as above it."""
    finite = np.abs(values[np.isfinite(values)])
    most = float(finite.max(initial=0)) or 1.0
    return -most, most
