"""The plot of the measured results: for every shape each engine's p50, with a whisker to its p99."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

#: What a bar is called, the label and mark of its row, and its colour. "first" is the row that ratios are to.
BARS = (
    ("lstmcore c", "lstmcore c", "first", "#0f6f6f"),
    ("ONNX Runtime", "ONNX Runtime", "best", "#7d7d7d"),
    ("same, 1 thread", "ONNX Runtime", "best_one_thread", "#949494"),
    ("OpenVINO", "OpenVINO", "best", "#ababab"),
    ("torch", "torch", "best", "#c6c6c6"),
)


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Write an SVG file; the same results give the same file. A panel a shape, each with its own scale."""
    columns = 2
    rows = math.ceil(len(results) / columns)
    fixed: Any = {"svg.hashsalt": "lstmcore", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with pyplot.rc_context(fixed):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(9, 1.45 * rows + 0.5), squeeze=False, layout="constrained"
        )
        panels = axes.ravel()
        for panel, facts in zip(panels, results.values(), strict=False):
            shape(panel, facts)
        for empty in panels[len(results) :]:
            empty.set_axis_off()
        figure.supxlabel(
            "µs from the Python call to its result: bar p50, whisker p99, each engine at its best setting", fontsize=9
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor="white", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def shape(panel: Any, facts: dict[str, Any]) -> None:
    """One panel: the engines from the top, p50 written behind its bar; a row stands there once."""
    shown: dict[str, tuple[dict[str, Any], str]] = {}
    for name, label, mark, colour in BARS:
        for n, row in enumerate(facts["rows"]):
            marked = n == 0 if mark == "first" else row[mark]
            if marked and row["label"] == label and all(row is not other for other, _ in shown.values()):
                shown[name] = row, colour
    names = list(shown)
    p50 = [row["p50"] for row, _ in shown.values()]
    beyond = [0 if row["p99"] is None else row["p99"] - row["p50"] for row, _ in shown.values()]
    panel.barh(names, p50, color=[colour for _, colour in shown.values()], height=0.7)
    panel.errorbar(p50, names, xerr=[[0] * len(p50), beyond], fmt="none", ecolor="#333333", capsize=2, linewidth=0.8)
    for name, middle, right in zip(names, p50, beyond, strict=True):
        end = (middle + right, name)
        panel.annotate(f"{middle:,.1f}", end, (4, 0), textcoords="offset points", va="center", fontsize=8)
    panel.invert_yaxis()
    panel.margins(x=0.18)
    panel.set_xlim(left=0)
    panel.set_title(facts["model"], loc="left", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
