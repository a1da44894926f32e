"""The study's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import metrics, plot
from lstmcore.demo.market import TICK_SIZE
from lstmcore.files import write_figure
from lstmcore.layers import Array
from lstmcore.plot.canvas import COLORS, GREY, INK, figure, heading, lines
from order_book import models
from order_book.samples import WINDOW
from order_book.simulated import RISE, YARDSTICK, Run, example, told_rows

OF = dict(zip(models.NAMES, (COLORS[5], COLORS[1], COLORS[3], GREY, COLORS[2], COLORS[0], INK), strict=True))
STORIES = ("spoof", "sell-off first", "cancel first", "real wall")
BINS = 10  # of a calibration: equally many samples each


def leads(
    path: Path,
    panels: Mapping[str, Mapping[str, dict[str, float]]],
    dots: Sequence[Mapping[str, list[float]]],
    said: str,
) -> None:
    """Figures with their intervals, a panel a kind: the models from top to bottom, single seeds as dots."""
    canvas = figure(5.2 * len(panels), 3.6)
    axes = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for at, (title, found), single in zip(axes, panels.items(), dots, strict=True):
        for y, (name, interval) in enumerate(found.items()):
            color = OF.get(name, GREY)
            at.plot(single.get(name, []), [y] * len(single.get(name, [])), "o", color=color, alpha=0.3, markersize=4)
            if np.isfinite(interval["low"]):
                at.plot([interval["low"], interval["high"]], [y, y], color=color, linewidth=2.5, solid_capstyle="butt")
            at.plot(interval["mean"], y, "o", color=color, markersize=7)
        at.set_yticks(range(len(found)), list(found))
        lines(at, title, said, "")
    axes[0].invert_yaxis()
    write_figure(path, canvas)


def rocs(path: Path, run: Run) -> None:
    """The ROC of every model on one seed's test market: all ticks, and the ticks at which an episode has been told."""
    canvas = figure(10, 4.8)
    told = told_rows(run.test)
    labels = run.test.part.y
    kinds: dict[str, Any] = {
        f"every sample ({len(labels):,})": slice(None),
        f"before the taker ({len(told):,} episodes)": told,
    }
    axes = canvas.subplots(1, 2, sharey=True)
    for at, (title, rows) in zip(axes, kinds.items(), strict=True):
        for name, scores in run.answers.test.items():
            wrong, right = metrics.roc(labels[rows], scores[rows])
            area = metrics.auc(labels[rows], scores[rows])
            at.plot(wrong, right, color=OF[name], linewidth=1.4, label=f"{name}  {area:.3f}")
        at.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
        lines(at, title, "share of the other ticks called a rise", "share of rises found" if at is axes[0] else "")
        at.legend(loc="lower right", fontsize=8, frameon=False, title="AUC", title_fontsize=8)
    write_figure(path, canvas)


def calibration(path: Path, run: Run) -> None:
    """Mean score against the share of rises, in groups of equally many samples."""
    canvas = figure(6.2, 5)
    axes = canvas.subplots()
    labels = run.test.part.y
    highest = 0.0
    for name in (models.LAST_TICK[0], models.ROLLING, "LSTM", models.BLEND):
        groups = np.array_split(np.argsort(run.answers.test[name], kind="stable"), BINS)
        said, came = ([float(x[g].mean()) for g in groups] for x in (run.answers.test[name], labels))
        highest = max(highest, *said, *came)
        axes.plot(said, came, "o-", color=OF[name], markersize=5, linewidth=1.2, label=name)
    axes.plot([0, highest], [0, highest], color=GREY, linewidth=0.8, linestyle=":")
    lines(
        axes, f"Calibration: tenths of the test samples, by score (seed {run.figures['seed']})", "mean score", "rises"
    )
    axes.legend(frameon=False, fontsize=9)
    write_figure(path, canvas)


def episodes(path: Path, run: Run) -> None:
    """One telling of each of four stories: mid, lots at the best prices, and the LSTM's score as it would come live."""
    canvas = figure(13, 7)
    grid = canvas.subplots(3, len(STORIES), sharex="col", sharey="row", height_ratios=[1.2, 1, 1])
    for column, kind in enumerate(STORIES):
        number = example(run.test, kind)
        if number is not None:
            _episode(grid[:, column], run, number)
        heading(grid[0, column], kind)
    for row, name in enumerate(("mid, price steps", "lots at the best", "LSTM's score")):
        grid[row, 0].set_ylabel(name)
    handles, names = grid[1, 0].get_legend_handles_labels()
    canvas.legend(handles, names, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    write_figure(path, canvas)


def _episode(column: Array, run: Run, number: int) -> None:
    market, quotes, told = run.test, run.test.session.quotes, run.test.session.script
    episode = told.episodes[number]
    following = told.episodes[number + 1].start if number + 1 < len(told.episodes) else len(quotes.bid)
    shown = np.arange(episode.start - WINDOW // 2, min(episode.told + WINDOW, following))
    x = shown - episode.told
    scores = run.answers.models["LSTM"].predict_windows(
        market.part.series[shown[0] - WINDOW + 1 : shown[-1] + 1], window=WINDOW
    )
    price = (quotes.mid[shown] - quotes.mid[episode.told]) / TICK_SIZE
    column[0].plot(x, price, color=INK, linewidth=1.2, drawstyle="steps-post")
    column[1].plot(x, quotes.bid_size[shown], color=COLORS[0], linewidth=1.2, label="bid")
    column[1].plot(x, quotes.ask_size[shown], color=COLORS[1], linewidth=1.2, label="ask")
    column[2].plot(x, scores.reshape(-1), color=OF["LSTM"], linewidth=1.4)
    for axes in column:
        spans = {"wall": told.wall, "crowd sells": told.crowd, "taker buys": told.taker}
        for (name, there), color in zip(spans.items(), (COLORS[5], COLORS[3], COLORS[2]), strict=True):
            axes.fill_between(
                x, 0, 1, where=there[shown] != 0, step="post", color=color, alpha=0.22, linewidth=0,
                transform=axes.get_xaxis_transform(), label=name,
            )  # fmt: skip
        lines(axes, "", "", "")
    column[0].axhline(RISE, color=GREY, linewidth=0.8, linestyle=":")
    column[2].set_xlabel("ticks since all was told")


def gates(path: Path, run: Run) -> None:
    """The LSTM's gates over the window of one spoof that ends a few ticks before the taker could begin."""
    number = example(run.test, "spoof")
    if number is not None:
        end = run.test.session.script.episodes[number].told + 1
        write_figure(path, plot.gates(run.answers.models["LSTM"].trace(run.test.part.series[end - WINDOW : end])))


def trading(path: Path, found: Mapping[str, dict[str, Any]]) -> None:
    """What a trade earned before costs, and what is left behind spread and fees."""
    acted = {name: figures for name, figures in found.items() if "net_bp" in figures}
    canvas = figure(9, 3.8)
    axes = canvas.subplots()
    kinds = {"gross_bp": "mid to mid", "after_spread_bp": "after the spread", "net_bp": "after spread and fees"}
    for n, (key, label) in enumerate(kinds.items()):
        y = np.arange(len(acted)) + 0.24 * (n - 1)
        mean, low, high = (np.array([f[key][k] for f in acted.values()]) for k in ("mean", "low", "high"))
        axes.barh(y, mean, 0.22, color=COLORS[(2, 5, 1)[n]], label=label, xerr=[mean - low, high - mean], ecolor=GREY)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(acted)), list(acted))
    axes.invert_yaxis()
    lines(axes, "A trade's result, with 95 % bootstrap intervals", "basis points a trade", "")
    canvas.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    write_figure(path, canvas)


def simulated(folder: Path, run: Run, runs: Sequence[dict[str, Any]], found: Mapping[str, Any]) -> list[Path]:
    """All pictures of part one; their paths."""
    panels = {"every sample": found["auc"], "before the taker could begin": found["auc_told"]}
    dots = [
        {name: [each[kind][name] for each in runs] for name in (*models.NAMES, YARDSTICK)}
        for kind in ("auc", "auc_told")
    ]
    names = ("auc", "roc", "calibration", "episodes", "gates")
    paths = [folder / f"{name}.png" for name in names]
    leads(paths[0], panels, dots, "AUC, 95 % interval over seeds")
    for path, draw in zip(paths[1:], (rocs, calibration, episodes, gates), strict=True):
        draw(path, run)
    return [path for path in paths if path.exists()]


def recorded(folder: Path, found: Mapping[str, Any], dots: Mapping[str, list[float]]) -> list[Path]:
    """All pictures of part two; their paths."""
    paths = [folder / "recorded_auc.png", folder / "recorded_trading.png"]
    leads(
        paths[0],
        {"the mid stands higher a horizon later": found["auc"]},
        [dots],
        "AUC, 95 % interval over stretches of 5 s",
    )
    trading(paths[1], found["trading"])
    return paths
