"""The study's pictures, from what results.json and equity.json hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from outcomes import BASELINE, MODELS, RULES

from lstmcore.demo.plot import BLUE, GREY, INK, ORANGE, RED
from lstmcore.files import write_figure
from lstmcore.terminal import need

GREEN = "#3d7a5f"
COLORS = dict(zip(RULES, (GREY, "#8a6fb0", ORANGE, BLUE, GREEN, INK), strict=True))
LSTM = MODELS["lstm"]
REACHABLE = RULES[:-1]  # without the oracle, beside which the others are a line


def draw(folder: Path, results: dict[str, Any]) -> list[Path]:
    """Write all pictures into `folder`; their paths. Raises ImportError where matplotlib is not installed."""
    need("matplotlib", "plot")
    return [
        _rules(folder / "rules.png", results),
        _equity(folder / "equity.png", results),
        _groups(folder / "folds_and_regimes.png", results),
        _lengths(folder / "lengths.png", results),
        _failures(folder / "failures.png", results),
        _lives(folder / "lives.png", results),
    ]


def _figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25, linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, color=INK)


def _save(figure: Any, path: Path) -> Path:
    write_figure(path, figure)
    return path


def _interval(axes: Any, at: float, mean: float, interval: list[float], color: str, vertical: bool = False) -> None:
    ends = [[at, at], interval] if vertical else [interval, [at, at]]
    axes.plot(*ends, color=color, linewidth=2.2, solid_capstyle="butt")
    axes.plot(*((at, mean) if vertical else (mean, at)), "o", color=color, markersize=6)


def _rules(path: Path, results: dict[str, Any]) -> Path:
    """Expectancy, and the difference from the trailing stop on the same trades, with intervals."""
    figure, axes = _figure(1, 2, (10, 3.2), sharey=True)
    for place, rule in enumerate(REACHABLE):
        row = results["rules"][rule]
        _interval(axes[0, 0], -place, row["expectancy"], row["expectancy_interval"], COLORS[rule])
        if rule != BASELINE:
            _interval(axes[0, 1], -place, row["difference"], row["difference_interval"], COLORS[rule])
            axes[0, 1].plot(row["difference_interval_months"], [-place - 0.22] * 2, color=COLORS[rule], linewidth=0.9)
    for one in axes.flat:
        one.axvline(0, color=INK, linewidth=0.8)
        one.locator_params(axis="x", nbins=6)
    axes[0, 0].set_yticks(range(0, -len(REACHABLE), -1), REACHABLE)
    axes[0, 0].set_xlabel("R a trade")
    axes[0, 1].set_xlabel("R a trade; thin: drawn by months")
    _title(axes[0, 0], f"expectancy, {results['rules'][LSTM]['trades']} test trades, 95%")
    _title(axes[0, 1], "less the trailing stop's, on the same trades")
    return _save(figure, path)


def _equity(path: Path, results: dict[str, Any]) -> Path:
    """The summed results over time; for the models the mean over seeds and each seed."""
    figure, axes = _figure(1, 1, (10, 4.2))
    for rule in REACHABLE:
        for number, curve in enumerate(results["equity"][rule]):
            dates = np.array(curve["closed"], "datetime64[D]")
            axes[0, 0].step(
                dates,
                curve["r"],
                where="post",
                color=COLORS[rule],
                linewidth=1.6 if len(results["equity"][rule]) == 1 else 1.1,
                alpha=1 if number == 0 else 0.45,
                label=rule if number == 0 else None,
            )
    axes[0, 0].axhline(0, color=INK, linewidth=0.8)
    axes[0, 0].set_ylabel("R, summed by closing date")
    axes[0, 0].legend(frameon=False, fontsize=9, loc="upper left")
    _title(
        axes[0, 0],
        "all test trades, one R each, after costs; paler: further seeds; models that never leave lie upon hold",
    )
    return _save(figure, path)


def _groups(path: Path, results: dict[str, Any]) -> Path:
    """What the models add to the trailing stop, fold by fold and regime by regime."""
    figure, axes = _figure(1, 2, (10, 3.8), sharey=True, width_ratios=[2, 1])
    years = [f"{fold['test'][0][:4]}–{int(fold['test'][1][:4]) - 1}" for fold in results["folds"]]
    for one, key, names in ((axes[0, 0], "by_fold", years), (axes[0, 1], "by_regime", list(results["by_regime"]))):
        for place, rows in enumerate(results[key].values()):
            for shift, rule in ((-0.2, "hold"), (0, MODELS["lstm"]), (0.2, MODELS["gru"])):
                row = rows[rule]
                _interval(one, place + shift, row["difference"], row["difference_interval_months"], COLORS[rule], True)
        one.set_xticks(range(len(names)), names)
        one.axhline(0, color=INK, linewidth=0.8)
        one.grid(visible=False, axis="x")
    for rule in ("hold", *MODELS.values()):
        axes[0, 1].plot([], [], "o-", color=COLORS[rule], label=rule, linewidth=2.2)
    axes[0, 1].legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("R a trade")
    _title(axes[0, 0], "less the trailing stop's, by test block, 95% by months")
    _title(axes[0, 1], "by volatility at entry")
    return _save(figure, path)


def _lengths(path: Path, results: dict[str, Any]) -> Path:
    """AUC and expectancy against the number of bars that the model may see."""
    figure, axes = _figure(1, 2, (10, 3.4))
    rows = results["lengths"]
    for place, row in enumerate(rows):
        _interval(axes[0, 0], place, row["auc"], [row["low"], row["high"]], BLUE, True)
        _interval(axes[0, 1], place, row["difference"], row["difference_interval"], BLUE, True)
    axes[0, 0].plot([row["auc"] for row in rows], color=BLUE, linewidth=0.8)
    axes[0, 1].plot([row["difference"] for row in rows], color=BLUE, linewidth=0.8)
    for one, level in ((axes[0, 0], 0.5), (axes[0, 1], 0)):
        one.axhline(level, color=INK, linewidth=0.8)
        one.set_xticks(range(len(rows)), [row["length"] for row in rows])
        one.set_xlabel("bars that the model may see")
    axes[0, 0].set_ylabel("AUC")
    axes[0, 1].set_ylabel("R a trade")
    _title(axes[0, 0], "AUC on the test trades' bars, 95% by months")
    _title(axes[0, 1], "expectancy less the trailing stop's")
    return _save(figure, path)


def _failures(path: Path, results: dict[str, Any]) -> Path:
    """What each wrong run reports, and what it gives live."""
    rows = results["failures"]
    figure, axes = _figure(1, 2, (10, 4.4), sharey=True)
    for place, row in enumerate(rows):
        for shift, view, color in ((0.14, "reported", RED), (-0.14, "live", BLUE)):
            found = row[view]
            if found is not None:
                at = shift - place
                _interval(axes[0, 0], at, found["auc"], [found["low"], found["high"]], color)
                _interval(axes[0, 1], at, found["expectancy"], found["expectancy_interval"], color)
    for one, key in ((axes[0, 0], "auc"), (axes[0, 1], "expectancy")):
        one.axvline(rows[0]["live"][key], color=INK, linewidth=0.8, linestyle=":")
    axes[0, 0].set_yticks(range(0, -len(rows), -1), [row["name"] for row in rows])
    axes[0, 0].set_xlabel("AUC; dotted: the honest run")
    axes[0, 1].set_xlabel("R a trade")
    for view, color in (("as reported", RED), ("live", BLUE)):
        axes[0, 1].plot([], [], "o-", color=color, label=view, linewidth=2.2)
    axes[0, 1].legend(frameon=False, fontsize=9)
    _title(axes[0, 0], "AUC of runs that do one thing wrong, 95%")
    _title(axes[0, 1], "their expectancy")
    return _save(figure, path)


def _lives(path: Path, results: dict[str, Any]) -> Path:
    """Single trades from entry to end: profit, exit score, and where each rule left."""
    lives = results["lives"]
    figure, axes = _figure(2, -(-len(lives) // 2), (12, 6.4))
    for one, life in zip(axes.T.flat, lives, strict=False):
        profit, score = np.array(life["profit"]), np.array(life["score"])
        bars = np.arange(1, len(profit) + 1)
        one.axhline(0, color=INK, linewidth=0.6)
        one.plot(bars, profit, color=INK, linewidth=1.3)
        for rule, marker in ((BASELINE, "v"), (LSTM, "o"), ("oracle", "*")):
            place = life["places"][rule]
            if place < len(profit):
                one.plot(bars[place], profit[place], marker, color=COLORS[rule], markersize=8, zorder=4)
        other = one.twinx()
        other.spines["top"].set_visible(False)
        other.fill_between(bars, score, color=BLUE, alpha=0.18, linewidth=0, step="mid")
        other.axhline(life["threshold"], color=BLUE, linewidth=0.9, linestyle="--")
        other.set_ylim(0, 1)
        other.tick_params(colors=BLUE, labelsize=8)
        one.set_zorder(other.get_zorder() + 1)
        one.patch.set_visible(False)
        one.locator_params(axis="x", integer=True, nbins=7)
        _title(one, f"{life['name']}\n{life['kind']}")
    for one in axes[:, 0]:
        one.set_ylabel("profit at the close, R")
    for one in axes[-1]:
        one.set_xlabel("bar of the trade; shaded: exit score, 0 to 1")
    for rule, marker in ((BASELINE, "v"), (LSTM, "o"), ("oracle", "*")):
        axes[0, 0].plot([], [], marker, color=COLORS[rule], label=f"{rule} leaves", markersize=7)
    axes[0, 0].plot([], [], "--", color=BLUE, label="threshold (1: never leaves)")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return _save(figure, path)
