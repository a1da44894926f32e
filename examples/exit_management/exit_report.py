"""The tables of the study: gathered for results.json, printed, and what their figures allow to say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import store
from bars import MARKETS, load, repeated_opens
from excerpts import equity, lives
from exits import NEVER
from outcomes import BASELINE, MODELS, RULES, collect
from samples import Sample
from score import LIMIT

from lstmcore import terminal
from lstmcore.windows import Fold

LSTM = MODELS["lstm"]

Table = tuple[str, Sequence[str], list[list[str]]]  # title, columns (">": set to the right), rows


def gather(out: Path, samples: Sequence[Sample], folds: Sequence[Fold]) -> dict[str, Any]:
    """All figures of the main part, from what the two processes left in `out`."""
    outcomes = collect(out, samples, folds)
    trained = json.loads(store.train_report(out).read_text())
    scored = json.loads(store.score_report(out).read_text())
    models = [a | b for a, b in zip(trained, scored, strict=True)]
    first = min(model["seed"] for model in models)
    thresholds = {m["fold"]: m["threshold"] for m in models if m["cell"] == "lstm" and m["seed"] == first}
    return {
        "trades": len(samples),
        "repeated_opens": {market: repeated_opens(load(market), str(folds[0].test_bounds[0])) for market in MARKETS},
        "bars": int(sum(len(sample.labels) for sample in samples)),
        "label_share": float(np.mean(np.concatenate([sample.labels for sample in samples]))),
        "folds": [fold.to_dict() for fold in folds],
        "models": models,
        **outcomes.tables(),
        "equity": equity(outcomes),
        "lives": lives(outcomes, thresholds),
    }


def number(value: float | None, signed: bool = True) -> str:
    """Three digits behind the point."""
    if value is None:
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def spread(interval: Sequence[float], signed: bool = True) -> str:
    """[low, high]"""
    return f"[{number(interval[0], signed)}, {number(interval[1], signed)}]"


def tables(results: dict[str, Any]) -> dict[str, Table]:
    """All tables by name; the report and the terminal show the same."""
    return {
        "folds": _folds(results),
        "rules": _rules(results),
        "trailing": _trailing(results),
        "deployed": _deployed(results),
        "by_fold": _groups("By test block", results, "by_fold"),
        "by_regime": _groups("By volatility at entry (terciles of the training trades)", results, "by_regime"),
        "by_market": _groups("By market and side", results, "by_market", "by_side"),
        "lengths": _lengths(results),
        "failures": _failures(results),
    }


def _folds(results: dict[str, Any]) -> Table:
    rows = []
    for fold in results["folds"]:
        spans = [" to ".join(fold[part]) + f" ({fold[part + '_samples']})" for part in ("train", "validation", "test")]
        rows.append([str(fold["fold"]), *spans, str(fold["purged_samples"])])
    return "Folds: from, to before, (trades)", ["fold", "train", "validation", "test", ">purged"], rows


def _rules(results: dict[str, Any]) -> Table:
    columns = [
        "exit",
        ">R a trade",
        "95%",
        ">hit rate",
        ">drawdown, R",
        ">bars held",
        ">less trailing",
        "95%",
        "by months",
    ]
    rows = []
    for rule in RULES:
        row = results["rules"][rule]
        against = [
            number(row["difference"]),
            spread(row["difference_interval"]),
            spread(row["difference_interval_months"]),
        ]
        rows.append(
            [
                rule,
                number(row["expectancy"]),
                spread(row["expectancy_interval"]),
                f"{row['hit_rate']:.1%}",
                f"{row['max_drawdown']:.1f}",
                f"{row['bars_held']:.1f}",
                *(["–"] * 3 if rule == BASELINE else against),
            ]
        )
    return f"Exits of the same {results['rules'][LSTM]['trades']} test trades", columns, rows


def _trailing(results: dict[str, Any]) -> Table:
    rows = [
        [
            f"{row['distance']:g}",
            number(row["expectancy"]),
            spread(row["expectancy_interval_months"]),
            number(row["model_less"]),
            spread(row["model_less_interval_months"]),
        ]
        for row in results["trailing"]
    ]
    columns = [">distance, R", ">R a trade", "95%, by months", ">LSTM less it", "95%, by months"]
    return "Trailing stops at other distances", columns, rows


def _deployed(results: dict[str, Any]) -> Table:
    columns = [
        "model",
        ">train AUC",
        ">validation AUC",
        ">test AUC",
        "95%",
        ">never leaves",
        ">from torch",
        ">p50, µs",
        ">p99, µs",
    ]
    rows = []
    for cell, name in MODELS.items():
        own = [model for model in results["models"] if model["cell"] == cell]
        auc = results["auc"][name]["all"]
        rows.append(
            [
                name,
                *(number(float(np.mean([m[k] for m in own])), False) for k in ("train_auc", "validation_auc")),
                number(auc["auc"], False),
                spread([auc["low"], auc["high"]], False),
                f"{sum(m['threshold'] == NEVER for m in own)} of {len(own)}",
                f"{max(m['largest_difference'] for m in own):.1e}",
                *(f"{np.median([m['microseconds'][k] for m in own]):.1f}" for k in ("p50", "p99")),
            ]
        )
    return "The models, scored by the C backend, one push a bar", columns, rows


def _groups(title: str, results: dict[str, Any], *keys: str) -> Table:
    shown = ("hold", "time stop", BASELINE, *MODELS.values())
    rows = []
    for key in keys:
        for name, group in results[key].items():
            label = name
            if key == "by_fold":
                label = next(" to ".join(f["test"]) for f in results["folds"] if str(f["fold"]) == name)
            row = group[LSTM]
            means = [number(group[rule]["expectancy"]) for rule in shown]
            rows.append([label, str(row["trades"]), *means, spread(row["difference_interval_months"])])
    columns = ["", ">trades", *(f">{rule}" for rule in shown), "LSTM less trailing, by months"]
    return title + ": R a trade", columns, rows


def _lengths(results: dict[str, Any]) -> Table:
    rows = [
        [
            str(row["length"]),
            number(row["auc"], False),
            spread([row["low"], row["high"]], False),
            number(row["expectancy"]),
            number(row["difference"]),
            spread(row["difference_interval"]),
        ]
        for row in results["lengths"]
    ]
    columns = [">bars seen", ">test AUC", "95%, by months", ">R a trade", ">less trailing", "95%, by months"]
    return "Sequence length", columns, rows


def _failures(results: dict[str, Any]) -> Table:
    rows = []
    for row in results["failures"]:
        cells = [row["name"]]
        for view in ("reported", "live"):
            found = row[view]
            if found is None:
                cells += ["–"] * 3
            else:
                cells += [
                    number(found["auc"], False),
                    number(found["expectancy"]),
                    spread(found["expectancy_interval"]),
                ]
        early = row["live"] or dict.fromkeys(("auc_of_first_bars", "spread_of_first_bars"))
        cells += [number(early["auc_of_first_bars"], False), number(early["spread_of_first_bars"], False)]
        rows.append(cells)
    columns = [
        "run",
        ">reported AUC",
        ">R a trade",
        "95%",
        ">live AUC",
        ">R a trade",
        "95%",
        ">bars 1–5: AUC",
        ">spread",
    ]
    return "Failures: what the run reports, and what the same model gives live", columns, rows


def show(results: dict[str, Any]) -> None:
    """Print the tables, and what to conclude."""
    for title, columns, rows in tables(results).values():
        terminal.table(columns, rows, title)
    print("\n".join(conclusions(results)))


def conclusions(results: dict[str, Any]) -> list[str]:
    """What the figures allow to say, in words that follow from them."""
    models = results["models"]
    lines = []
    for name in MODELS.values():
        row, auc = results["rules"][name], results["auc"][name]["all"]
        trades, months = row["difference_interval"], row["difference_interval_months"]
        line = (
            f"{name}: {_verdict(months, 'the trailing stop')} by {row['difference']:+.3f} R a trade, "
            f"{spread(months)} drawn by months; AUC {auc['auc']:.3f}, {spread([auc['low'], auc['high']], False)}."
        )
        if months[0] <= 0 < trades[0]:
            line += (
                f" Drawn trade by trade, {spread(trades)}, it would look better than the stop; but trades that were "
                "open together won and lost together."
            )
        lines.append(line)
    best = max((rule for rule in RULES if rule != "oracle"), key=lambda rule: results["rules"][rule]["expectancy"])
    row = results["rules"][best]
    lines.append(
        f"Highest expectancy of these rules, but for the oracle's: {best}, {row['expectancy']:+.3f} R a trade, "
        f"{spread(row['expectancy_interval_months'])} drawn by months."
    )
    lines.append(
        f"Largest difference between torch and the C backend ({models[0]['kernel']}): "
        f"{max(m['largest_difference'] for m in models):.1e} (allowed {LIMIT:.0e}), over {len(models)} models, "
        f"{sum(m['test_trades'] for m in models)} trades and {sum(m['test_bars'] for m in models)} bars; "
        f"other decisions: {sum(m['other_decisions'] for m in models)}."
    )
    return lines


def _verdict(interval: Sequence[float], other: str) -> str:
    if interval[0] > 0:
        return f"better than {other}"
    if interval[1] < 0:
        return f"worse than {other}"
    return f"not told apart from {other}, differing"
