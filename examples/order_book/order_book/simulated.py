"""Part one: the simulated book. Every seed has markets of its own and models of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmcore import metrics, train
from lstmcore.demo.market import TICK_SIZE, features
from lstmcore.layers import Array
from order_book import intervals, models, script
from order_book.answers import SEQUENCE, Answers
from order_book.market import Session, simulate
from order_book.samples import WINDOW, Part, rises, usable

HORIZON = 25  # ticks: the longest wait for the taker and its longest purchase take 24
RISE = 3  # the up-move, in the book's smallest price steps
YARDSTICK = "the script (nobody has it)"


@dataclass(frozen=True)
class Sizes:
    """Ticks of each part's market, and how far apart samples stand."""

    training: int = 60_000
    stopping: int = 20_000
    stacking: int = 20_000
    test: int = 80_000
    stride: int = 3

    def scaled(self, scale: float) -> Sizes:
        """Markets of another length."""
        lengths = {name: int(scale * ticks) for name, ticks in asdict(self).items() if name != "stride"}
        return replace(self, **lengths)

    def small(self) -> Sizes:
        """For a try: figures of no worth."""
        return Sizes(6000, 3000, 3000, 6000, 6)


class Market(NamedTuple):
    """A part's samples with the market they come from."""

    part: Part
    session: Session


class Run(NamedTuple):
    """One seed: its figures, and what the plots need."""

    figures: dict[str, Any]
    test: Market
    answers: Answers


def run(
    seeds: Sequence[int],
    sizes: Sizes,
    settings: train.Settings,
    out: Path,
    *,
    processes: int = 1,
    resume: bool = False,
) -> Iterator[Run]:
    """The whole study, a seed at a time; the models' files go to `out`/seed_N."""
    every = [_markets(seed, sizes) for seed in seeds]
    jobs = [
        models.Job(
            models.Parts(**{name: market.part for name, market in markets.items()}),
            replace(settings, seed=seed),
            out / f"seed_{seed}",
        )
        for seed, markets in zip(seeds, every, strict=True)
    ]
    fitted = models.fit_many(jobs, processes, resume)
    for seed, markets, (parts, *_), answers in zip(seeds, every, jobs, fitted, strict=True):
        test = markets["test"]
        scores = answers.test | {YARDSTICK: _known(test)}
        told = told_rows(test)
        figures = {
            "seed": seed,
            "samples": {name: len(market.part.rows) for name, market in markets.items()},
            "rises": {name: float(market.part.y.mean()) for name, market in markets.items()},
            "told_episodes": len(told),
            "auc": {name: metrics.auc(parts.test.y, score) for name, score in scores.items()},
            "auc_told": {name: _auc_told(test, told, score) for name, score in scores.items()},
            "deployed": answers.deployed,
            "history": answers.history,
        }
        yield Run(figures, test, answers)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds with 95 % t-intervals, and the LSTM's lead over each other model, seed by seed."""
    found: dict[str, Any] = {}
    for kind in ("auc", "auc_told"):
        columns = {name: np.array([run[kind][name] for run in runs]) for name in (*models.NAMES, YARDSTICK)}
        found[kind] = {name: intervals.t_interval(column) for name, column in columns.items()}
        found[f"{kind}_lead_of_lstm"] = {
            name: intervals.t_interval(columns["LSTM"] - column)
            for name, column in columns.items()
            if name not in ("LSTM", YARDSTICK)
        }
    best_last = max(found["auc"][name]["high"] for name in models.LAST_TICK)
    found["sequence_models_apart_from_last_tick"] = {name: found["auc"][name]["low"] > best_last for name in SEQUENCE}
    found["largest_auc_difference_torch_c"] = max(
        each["auc_difference"] for run in runs for each in run["deployed"].values()
    )
    return found


def _markets(seed: int, sizes: Sizes) -> dict[str, Market]:
    """A seed's four markets."""
    lengths = {name: ticks for name, ticks in asdict(sizes).items() if name != "stride"}
    return {name: _market(ticks, 10 * seed + n, sizes.stride) for n, (name, ticks) in enumerate(lengths.items())}


def _market(ticks: int, seed: int, stride: int) -> Market:
    """A market and its samples; the moments at which an episode is told are among them."""
    session = simulate(ticks, seed)
    labels = rises(session.quotes.mid, HORIZON, RISE * TICK_SIZE)
    part = Part(features(session.quotes), labels, usable(labels, stride))
    return Market(part, session)


def told_rows(market: Market) -> Array:
    """Of each episode the last tick before a taker could begin: (episodes,) places in the part's rows.

    Rows stand `stride` apart, so it is the last sample that is not later, if it is not before the telling's end.
    """
    last = np.array([episode.told + script.PATIENCE[0] - 1 for episode in market.session.script.episodes])
    told = np.array([episode.told for episode in market.session.script.episodes])
    rows = market.part.rows
    at = np.searchsorted(rows, last, side="right") - 1
    return at[(at >= 0) & (rows[at] >= told)]


def _auc_told(market: Market, told: Array, score: Array) -> float:
    return metrics.auc(market.part.y[told], score[told])


def _known(market: Market) -> Array:
    """How often a spoof's taker buys less sells within the horizon, known from the end of the telling on, (n,).

    Not a bound: the noise traders' book says a little too. But nothing else of the script can be foreseen.
    """
    ticks = len(market.session.quotes.bid)
    taker = market.session.script.taker.astype(np.float64)
    known = np.zeros(ticks)
    for episode in market.session.script.episodes:
        if episode.kind == "spoof":
            end = min(episode.told + script.PATIENCE[1] + script.TAKING[1], ticks)
            for now in range(episode.told, end):
                known[now] = taker[now + 1 : min(now + 1 + HORIZON, end)].sum()
    return known[market.part.rows]


def example(market: Market, kind: str, side: int = -1) -> int | None:
    """An episode of this kind, told whole and with room around; its number in the script, None if there is none."""
    ticks = len(market.session.quotes.bid)
    for n, episode in enumerate(market.session.script.episodes):
        if episode.kind == kind and episode.side == side and 2 * WINDOW < episode.start < ticks - 4 * WINDOW:
            return n
    return None
