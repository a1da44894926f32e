"""What the pictures need beyond the tables: the summed results over time, and six trades' lives."""

from __future__ import annotations

from typing import Any

import numpy as np
from outcomes import BASELINE, MODELS, RULES, Outcomes

SHORTEST_LIFE = 12  # bars; less shows little
LSTM = MODELS["lstm"]


def equity(outcomes: Outcomes) -> dict[str, Any]:
    """For each rule and seed the dates at which trades were closed, and the results summed up to each, R."""
    found: dict[str, Any] = {}
    for rule in RULES:
        found[rule] = []
        for r, closed in zip(outcomes.results(rule), outcomes.closed(rule), strict=True):
            order = np.argsort(closed, kind="stable")
            dates, last = np.unique(closed[order][::-1], return_index=True)
            summed = np.cumsum(r[order])[len(order) - 1 - last]  # after the day's last trade
            found[rule].append({"closed": [str(date) for date in dates], "r": np.round(summed, 4).tolist()})
    return found


def lives(outcomes: Outcomes, thresholds: dict[int, float]) -> list[dict[str, Any]]:
    """Six trades under the first seed's LSTM, chosen by rule and not by eye.

    Of the trades with SHORTEST_LIFE bars or more, by what the model earned over the trailing stop: the two best, the
    two in the middle, the two worst.

    Args:
        outcomes: All test trades.
        thresholds: The first seed's LSTM's, by fold.
    """
    model, baseline = outcomes.results(LSTM)[0], outcomes.results(BASELINE)[0]
    long_lived = [n for n, sample in enumerate(outcomes.samples) if sample.trade.open_bars >= SHORTEST_LIFE]
    ranked = sorted(long_lived, key=lambda n: float(model[n] - baseline[n]))
    middle = len(ranked) // 2
    chosen = [*ranked[:-3:-1], *ranked[middle - 1 : middle + 1], *ranked[:2]]
    return [
        {
            "name": outcomes.samples[n].name,
            "kind": f"model {model[n]:+.2f} R, trailing stop {baseline[n]:+.2f} R",
            "profit": np.round(outcomes.samples[n].features[:, 0].astype(float), 4).tolist(),
            "score": np.round(outcomes.scores[LSTM][0][n].astype(float), 6).tolist(),
            "threshold": thresholds[int(outcomes.fold[n])],
            "places": {rule: int(outcomes.places[rule][0, n]) for rule in RULES},
        }
        for n in chosen
    ]
