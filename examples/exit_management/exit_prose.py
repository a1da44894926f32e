"""The report: what was asked, how it was answered, and what to make of it; for somebody who was not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import exits
import split
from bars import MARKETS
from exit_report import LSTM, Table, conclusions, tables
from features import FEATURES
from labels import HORIZON
from outcomes import BASELINE, MODELS
from trades import BREAKOUT_BARS, MAX_BARS, RISK_IN_ATR

from lstmcore.files import write_text


def write(path: Path, results: dict[str, Any]) -> None:
    """The report as Markdown; its pictures lie beside it."""
    write_text(path, "\n\n".join(_sections(results)) + "\n")


def markdown(table: Table) -> str:
    """The table as Markdown."""
    _, columns, rows = table
    rule = ["---:" if name.startswith(">") else "---" for name in columns]
    lines: Iterable[Sequence[str]] = [[name.removeprefix(">") for name in columns], rule, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _sections(results: dict[str, Any]) -> list[str]:
    made = {name: markdown(table) for name, table in tables(results).items()}
    plan, recipe = results["config"]["plan"], results["config"]["recipe"]
    machine = results["machine"]
    quick = plan["folds"] < 6
    return [
        "# When to leave a trade: an exit model against simple rules",
        f"Seed {results['config']['seed']}, {results['training_minutes']:.0f} minutes of training, all models "
        f"together, on {machine['device']}, torch {machine['torch']}, "
        f"Python {machine['python']}, {machine['processor']}."
        + (" **A small run: too little to conclude from.**" if quick else ""),
        "## What was asked",
        "A position is open. Does a recurrent network that has seen the trade so far know better when to leave it "
        "than a trailing stop does? And would one see it, if it only seemed so?",
        "## What to conclude",
        "\n".join(f"- {line}" for line in [*_verdicts(results), *conclusions(results)]),
        "![](rules.png)",
        "## Data",
        f"Daily bars of {' and '.join(MARKETS)}, 1999 to 2018, which the PyPI package `arch` carries; it has no other "
        "series with highs and lows. "
        f"{results['trades']} trades with {results['bars']} bars to decide at; {results['label_share']:.1%} of these "
        "are labelled 1. The two indices move together, so their trades are not independent: hence the intervals "
        f"drawn by months. Some opens repeat the close before, as if nobody had noted them: {_opens(results)}.",
        f"- Entry: at the open after the first close beyond the extreme of the {BREAKOUT_BARS} bars before, long or "
        f"short. R is {RISK_IN_ATR:g} ATR; a trade ends at a loss of one R (in the bar), or after {MAX_BARS} bars.\n"
        f"- Costs: {exits.COST:.2%} of the price each way.\n"
        f"- Features of a bar, known at its close: {', '.join(f'`{name}`' for name in FEATURES)}.\n"
        f"- Label of a bar: 1 where the profit at this close is more than {HORIZON} bars later.",
        "## Exits",
        "All decide at a close and are filled at the next open, so all choose among the same prices.",
        f"- hold: never leaves by itself.\n- time stop: after {exits.TIME_STOP_BARS} bars.\n"
        f"- {BASELINE}: {exits.TRAIL_IN_R:g} R under the best close; the yardstick, fixed before any run.\n"
        "- exit models: at the first close whose score is above a threshold, which is the one of "
        "seven quantiles of the validation scores, or never, that earned most on the validation trades.\n"
        "- oracle: the best moment in hindsight. It bounds what any exit could add, and nothing can reach it.",
        "## Split",
        f"Walk-forward: train on {split.TRAIN}, stop and choose the threshold on {split.VALIDATION}, test on "
        f"{split.TEST}, then go on by {split.TEST}. A trade whose labels reach within {split.EMBARGO} of the next part "
        "is purged. The scaler is fitted on the training trades.",
        made["folds"],
        "## Models",
        f"Two recurrent layers of 64 units, dropout {recipe['dropout']} between them, a head of 32 (`lstmcore.train`'s "
        f"exit model, and the same with GRU cells); AdamW, at most {recipe['epochs']} epochs, stopped after "
        f"{recipe['patience']} without a better validation AUC. {plan['seeds']} seeds a fold; the tables show the mean "
        "over seeds, trade by trade, and draw trades, not seeds. Trained in torch, saved as safetensors, scored in a "
        "process in which `import torch` fails, one `push` a bar; the exits below come of those scores.",
        made["deployed"],
        "## Results",
        "R a trade after costs, with 95% bootstrap intervals; `less trailing` is paired, on the same trades. "
        "Drawdown is of all trades' R summed by closing date, one R each; for models the mean over seeds. Many "
        "intervals are shown, and one in twenty leaves out zero by chance.",
        made["rules"],
        "How much hangs on the yardstick: the same trades with trailing stops at other distances. None of these was "
        "chosen by anything, and the best of them is the best in hindsight.",
        made["trailing"],
        "![](equity.png)",
        made["by_fold"],
        made["by_regime"],
        made["by_market"],
        "![](folds_and_regimes.png)",
        "## Single trades",
        "Chosen by rule from the first seed's LSTM: by what it earned over the trailing stop, the two best, two from "
        "the middle, the two worst.",
        "![](lives.png)",
        "## How much of the past",
        f"The LSTM, trained and scored with a trade's last bars only; folds: {plan['length_folds']}, models of each: "
        f"{plan['length_seeds']}. The "
        "features sum up the trade so far (best, worst, bars held), so one bar tells much already.",
        made["lengths"],
        "![](lengths.png)",
        "## Failures, committed",
        f"The study's LSTM with one thing done wrong; the last folds: {plan['failure_folds']}, models of each: "
        f"{plan['failure_seeds']}. `reported` is what such a run would show of itself; `live` is the same model where "
        "it trades, without the possibility of the mistake. The last two columns are of a trade's first "
        "five bars, live: the AUC there, and the deviation of the score between seeds.",
        made["failures"],
        "![](failures.png)",
        "\n".join(f"- **{row['name']}**: {row['meaning']}" for row in results["failures"]),
        _failures_said(results),
        "## How to make this again",
        "    python examples/exit_management/run.py" + (" --quick" if quick else "") + "\n\n"
        "The same seed on the same machine gives the same figures; another processor or torch changes the last digits "
        "of training, and with them single exits. All figures stand in `results.json`, settings in `config.json`, "
        "weights in `models/`.",
    ]


def _opens(results: dict[str, Any]) -> str:
    """How many opens repeat the close before."""
    since = results["folds"][0]["test"][0]
    return "; ".join(
        f"{market} {share['before']:.0%} before {since}, {share['since']:.0%} since"
        for market, share in results["repeated_opens"].items()
    )


def _verdicts(results: dict[str, Any]) -> list[str]:
    """What follows for a user, in the cases that there are."""
    rows = results["rules"]
    lines = []
    model, trailing, hold = (rows[name] for name in (LSTM, BASELINE, "hold"))
    if model["difference_interval_months"][0] > 0:
        beaten = "The exit model earned more than the trailing stop."
    elif model["difference_interval_months"][1] < 0:
        beaten = "The exit model earned less than the trailing stop: use the stop."
    else:
        beaten = "That the exit model beats the trailing stop was not shown."
    lines.append(f"{beaten} Take the difference as an estimate of these {model['trades']} trades, not of the next.")
    if hold["expectancy"] >= model["expectancy"]:
        lines.append(
            f"Doing nothing ({hold['expectancy']:+.3f} R a trade) earned as much as the model or more, at a "
            f"drawdown of {hold['max_drawdown']:.0f} R against {model['max_drawdown']:.0f} R."
        )
    better = [row for row in results["trailing"] if row["expectancy"] > model["expectancy"]]
    if better:
        distances = ", ".join(f"{row['distance']:g}" for row in better)
        lines.append(
            f"The yardstick matters: trailing stops at {distances} R earned more than the model on these trades (up to "
            f"{max(row['expectancy'] for row in better):+.3f} R a trade), so a wider stop than the yardstick's "
            f"{exits.TRAIL_IN_R:g} R may add what the model adds, or more."
        )
    never = sum(m["threshold"] == exits.NEVER for m in results["models"])
    if never:
        lines.append(
            f"For {never} of {len(results['models'])} models no threshold beat staying in, on the validation trades: "
            "they never leave, and there the model's figures are those of holding on."
        )
    auc = results["auc"][LSTM]["all"]
    if auc["low"] > 0.5:
        lines.append(
            f"The score knows something of the next {HORIZON} bars (AUC {auc['auc']:.3f}, from {auc['low']:.3f}), but "
            "little; a score that ranks bars is not yet an exit that earns."
        )
    below = [name for name in (BASELINE, *MODELS.values()) if rows[name]["expectancy_interval_months"][0] <= 0]
    if below:
        lines.append(
            f"That they earn money after costs was not shown of {', '.join(below)} "
            f"(trailing stop: {trailing['expectancy']:+.3f} R a trade)."
        )
    lengths = results["lengths"]
    if max(row["low"] for row in lengths) < min(row["high"] for row in lengths):
        lines.append(
            f"That more of the past helps was not shown: from {lengths[0]['length']} bar to {lengths[-1]['length']} "
            f"the AUC is {min(row['auc'] for row in lengths):.3f} to {max(row['auc'] for row in lengths):.3f}, "
            "with intervals that overlap."
        )
    lines.append(
        f"The oracle's {rows['oracle']['expectancy']:+.3f} R a trade is the room that hindsight has. An exit rule "
        "should be judged by its distance to the simple rules, not to the oracle."
    )
    return lines


def _failures_said(results: dict[str, Any]) -> str:
    """What each mistake did, from the figures."""
    honest = results["failures"][0]["reported"]
    said = []
    for row in results["failures"][1:]:
        found, live = row["reported"], row["live"]
        text = (
            f"{row['name']}: reported AUC {found['auc']:.3f} where the honest run has {honest['auc']:.3f}, "
            f"{found['expectancy']:+.3f} R a trade where it has {honest['expectancy']:+.3f}"
        )
        if live:
            text += (
                f"; live {live['auc']:.3f} and {live['expectancy']:+.3f}, AUC {live['auc_of_first_bars']:.3f} at first"
            )
        flatters = found["low"] > honest["high"] or found["expectancy_interval"][0] > honest["expectancy_interval"][1]
        text += ". It flatters." if flatters else ". Here it does not show: such a mistake has to be found in the code."
        said.append(f"- {text}")
    return "\n".join(said)
