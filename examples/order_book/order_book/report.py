"""The report, made from results.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from order_book import models, verdicts
from order_book.answers import SEQUENCE
from order_book.simulated import YARDSTICK

Interval: TypeAlias = Mapping[str, float]
Table: TypeAlias = tuple[list[str], list[list[str]]]  # columns and rows


def auc_table(found: Mapping[str, Any]) -> Table:
    """Part one: both AUCs of every model."""
    columns = ["model", ">AUC, every sample", ">95 % interval", ">AUC, before the taker", ">95 % interval"]
    names = (*models.NAMES, YARDSTICK)
    return columns, [[name, *_two(found["auc"][name]), *_two(found["auc_told"][name])] for name in names]


def lead_table(found: Mapping[str, Any]) -> Table:
    """Part one: the LSTM's lead, seed by seed."""
    columns = ["LSTM less ...", ">every sample", ">95 % interval", ">before the taker", ">95 % interval"]
    one, two = found["auc_lead_of_lstm"], found["auc_told_lead_of_lstm"]
    return columns, [[name, *_two(one[name], "+"), *_two(two[name], "+")] for name in one]


def deployed_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Torch beside the C backend: the worst of all runs."""
    columns = ["deployed model", ">AUC by torch", ">AUC by C", ">largest AUC difference", ">largest score difference"]
    rows = []
    for name in SEQUENCE:
        each = [run["deployed"][name] for run in runs]
        mean = [sum(one[key] for one in each) / len(each) for key in ("auc_torch", "auc_c")]
        worst = [max(one[key] for one in each) for key in ("auc_difference", "largest_difference")]
        rows.append([name, *(f"{m:.6f}" for m in mean), *(f"{w:.1e}" for w in worst)])
    return columns, rows


def recorded_table(found: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]) -> Table:
    """Part two: AUC and the LSTM's lead, and the mean of the AUCs that each fold has by itself."""
    columns = ["model", ">AUC", ">95 % interval", ">LSTM's lead", ">95 % interval", ">AUC within folds"]
    rows = []
    for name, interval in found["auc"].items():
        lead = found["auc_lead_of_lstm"].get(name)
        within = sum(fold["auc"][name] for fold in folds) / len(folds)
        rows.append([name, *_two(interval), *(_two(lead, "+") if lead else ["", ""]), f"{within:.3f}"])
    return columns, rows


def trading_table(found: Mapping[str, Any]) -> Table:
    """Part two: what a trade earned, in basis points."""
    columns = ["model", ">trades", ">right side", ">mid to mid", ">after spread", ">after fees", ">95 % interval"]
    rows = []
    for name, each in found["trading"].items():
        if "net_bp" not in each:
            rows.append([name, "0", "", "", "", "", ""])
            continue
        net = each["net_bp"]
        rows.append(
            [
                name,
                f"{each['trades_per_seed']:.0f}",
                f"{each['right_side']:.0%}",
                *(f"{each[key]['mean']:+.2f}" for key in ("gross_bp", "after_spread_bp", "net_bp")),
                f"{net['low']:+.2f} to {net['high']:+.2f}",
            ]
        )
    return columns, rows


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report."""
    return "\n".join([*_opening(results), *_simulated(results), *_recorded(results), *_conclusion(results)])


def _opening(results: Mapping[str, Any]) -> list[str]:
    run = results["run"]
    return [
        "# Does an LSTM see the spoof?",
        "",
        f"Written by `{run['command']}` on {run['cores']} cores ({run['device']}){_duration(run)}; "
        f"torch {run['torch']}, LightGBM {run['lightgbm']}, lstmcore {run['lstmcore']}.",
        *(
            ["", f"Not the default size: markets and training samples are {run['scale']:g} times as long."]
            * _other(run)
        ),
        *(["", "**A quick run: it shows that everything works, and its figures are worth nothing.**"] * run["quick"]),
        "",
        "## What was asked",
        "",
        "A wall appears in the order book, the crowd sells into it, the wall is cancelled, and somebody buys: "
        "the price rises.",
        "Each part by itself is everyday. Can a model tell the story from others made of the same parts in another "
        "order, and does reading the last 50 ticks in sequence help? Then: does any of it carry over to a real "
        "recording, behind costs?",
        "",
    ]


def _simulated(results: Mapping[str, Any]) -> list[str]:
    part, found = results["simulated"], results["simulated"]["summary"]
    first = part["runs"][0]
    counts = ", ".join(f"{n:,} {name}" for name, n in first["samples"].items())
    return [
        "## Part one: a simulated book",
        "",
        f"**Data.** {len(part['runs'])} seed{'s' * (len(part['runs']) > 1)}; each has four markets of its own "
        f"({_ticks(part['sizes'])} ticks) and models of its own. A tick is a change of the best prices or their lots; "
        "ten features a tick, those of the live feed. "
        "What the market does, and why it was made so, stands in the README.",
        "",
        f"**Label.** 1 where the mid rises by {part['rise']} price steps or more within the next {part['horizon']} "
        f"ticks: {first['rises']['test']:.1%} of the test samples of the first seed.",
        "",
        "**Split.** One market to train on, one to stop by, one to blend by, one to test on; samples stand "
        f"{part['sizes']['stride']} ticks apart: {counts}. No two markets share a tick.",
        "",
        "**Models.** Logistic regression and LightGBM on the newest tick; LightGBM on rolling features "
        "(mean, least, greatest and change over 5, 10, 20 and 50 ticks); RNN, GRU and LSTM "
        "(64 units over 50 ticks, `lstmcore.train.quant_model`); the LSTM and the rolling LightGBM blended by a "
        "logistic regression. "
        f"{_training(results)} All settings are in config.json.",
        "",
        f"**Training.** {_epochs(results)}",
        "",
        "**Two figures.** The AUC over all test samples; and, since a purchase under way shows in any tick, the AUC "
        "over the episodes alone, each at the last sample before a taker could begin. Intervals are Student's, of the "
        "mean over the seeds, each of which has its own markets and models; leads are paired, seed by seed.",
        "",
        *_table(auc_table(found)),
        "",
        "The script's row is a yardstick: a score that knows, once all is told, which episode is a spoof. "
        "It is no upper bound on every sample, where the noise traders' book says something too.",
        "",
        "![AUC](auc.png)",
        "",
        *_table(lead_table(found)),
        "",
        *(f"- {said}" for said in verdicts.on_the_book(found)),
        "",
        "![ROC](roc.png) ![Calibration](calibration.png)",
        "",
        "![Episodes](episodes.png)",
        "",
        "![Gates](gates.png)",
        "",
        "**Deployed.** Each sequence model was saved, loaded without torch and run by the C backend, whose scores are "
        "those above.",
        "",
        *_table(deployed_table(part["runs"])),
        "",
    ]


def _training(results: Mapping[str, Any]) -> str:
    if results["run"]["quick"]:
        return "Training was cut short for a quick run."
    return (
        "The sequence models' learning rate, epochs and patience, one set for all three, were chosen by the AUC on the "
        "stopping markets of seeds 100 to 106, which are not shown here unless the run was told to. But they were "
        "chosen after seeds 0 to 4 had been run with a first choice, 12 epochs at a rate of 0.002, with which the "
        "RNN's interval was not clear of the last tick's; GRU's and LSTM's were. README.md has the whole story, and "
        "the figures of five seeds that were run once when all was set."
    )


def _epochs(results: Mapping[str, Any]) -> str:
    """How long each model trained: of each cell, seed by seed."""
    runs, most = results["simulated"]["runs"], results["run"]["training"]["simulated"]
    each = (f"{name} {', '.join(str(len(run['history'][name])) for run in runs)}" for name in SEQUENCE)
    return (
        f"At most {most['epochs']} epochs, ended by {most['patience']} without a higher AUC on the stopping market; "
        f"seed by seed: {'; '.join(each)}."
    )


def _recorded(results: Mapping[str, Any]) -> list[str]:
    part = results["recorded"]
    if "skipped" in part:
        return ["## Part two: a real recording", "", f"Skipped: {part['skipped']}", ""]
    found, costs, training = part["summary"], part["costs"], results["run"]["training"]["recorded"]
    return [
        "## Part two: a real recording",
        "",
        f"**Data.** {part['ticks']:,} ticks (updates of the best bid and ask) in {part['seconds']:.0f} seconds, "
        f"messages missing {part['gaps']} times. The same ten features, made by the live code.",
        "",
        f"**Label.** 1 where the mid stands higher {part['horizon_seconds']:g} s later: {part['rises']:.1%} of ticks; "
        f"{part['falls']:.1%} stand lower.",
        "",
        "**Split.** Walk-forward in time; labels that reach into the next window purged, an embargo of a horizon "
        "besides; validation halved into stopping and blending. Milliseconds since the first tick:",
        "",
        "```text",
        *part["folds_shown"].splitlines(),
        "```",
        "",
        f"**Models.** The same, {part['seeds']} seed{'s' * (part['seeds'] > 1)} of each, trained for at most "
        f"{training['epochs']} epochs at a rate of {training['learning_rate']:g}, which nothing chose but the time. "
        "The AUC is of all test samples of all folds at once; "
        f"the interval is a bootstrap over {found['bootstrap_blocks']} stretches of 5 s.",
        "",
        *_table(recorded_table(found, part["folds"])),
        "",
        "The last column is the mean of the folds' own AUCs. "
        "Where it is far above the first, a model ranks the ticks of one fold well "
        "but its scores of different folds cannot be compared.",
        "",
        "![AUC on the recording](recorded_auc.png)",
        "",
        f"**Acting on it.** Buy where the score is in the top {costs['quantile']:.0%} of the blending half's, sell in "
        f"the bottom {costs['quantile']:.0%}; one position at a time, held for {part['horizon_seconds']:g} s; orders "
        f"arrive {costs['latency_ms']:g} ms after the tick and take the other side. A taker's fee of "
        f"{costs['fee_bp']:g} basis points each way. Basis points a trade:",
        "",
        *_table(trading_table(found)),
        "",
        "![Trading](recorded_trading.png)",
        "",
    ]


def _conclusion(results: Mapping[str, Any]) -> list[str]:
    found = results["simulated"]["summary"]
    lines = [
        "## What does not work, and what to conclude",
        "",
        *(f"- {said}" for said in verdicts.on_the_book(found)),
        "- The simulated market is made up, and its story was put there to be found. "
        "That a model finds it says that the model can, not that markets tell it.",
        f"- Deployment loses nothing: the AUC of torch and of C differ by at most "
        f"{found['largest_auc_difference_torch_c']:.1e}.",
    ]
    part = results["recorded"]
    if "skipped" in part:
        return [*lines, "- Nothing is said here about a real market: there was no recording.", ""]
    return [*lines, *(f"- {said}" for said in verdicts.on_the_recording(part)), ""]


def _two(interval: Interval, sign: str = "") -> list[str]:
    """A figure and its interval."""
    shown = [f"{interval[key]:{sign}.3f}" if interval.get(key) is not None else "?" for key in ("mean", "low", "high")]
    if "inf" in "".join(shown) or "?" in shown:
        return [shown[0], "one seed"]
    return [shown[0], f"{shown[1]} to {shown[2]}"]


def _table(table: Table) -> list[str]:
    columns, rows = table
    marks = ["--:" if column.startswith(">") else ":--" for column in columns]
    names = [column.removeprefix(">") for column in columns]
    return [f"| {' | '.join(cells)} |" for cells in (names, marks, *rows)]


def _duration(run: Mapping[str, Any]) -> str:
    """How long it took, unless part of it had been done before."""
    return ", made in several pieces" if run["resumed"] else f" in {run['seconds'] / 60:.1f} minutes"


def _other(run: Mapping[str, Any]) -> bool:
    return run["scale"] != 1 and not run["quick"]


def _ticks(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {ticks:,}" for name, ticks in sizes.items() if name != "stride")
