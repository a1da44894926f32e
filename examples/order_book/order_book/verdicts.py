"""What the intervals say, in sentences: of part one's summary and of part two, made from results.json alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from order_book import models
from order_book.answers import SEQUENCE

MANY = 30  # trades a seed; an interval of fewer says little


def on_the_book(found: Mapping[str, Any]) -> list[str]:
    """What the intervals of part one say, in sentences."""
    kinds = {"auc": "On every sample", "auc_told": "Before the taker could begin"}
    if not all(_has_interval(found[kind][name]) for kind in kinds for name in models.NAMES):
        return [
            "A single seed, or markets without a story, have no interval: part one cannot say which model is ahead."
        ]
    told = []
    for kind, where in kinds.items():
        told.append(f"{where}{_above_the_last_tick(found[kind])}")
        for other, called in ((models.ROLLING, "LightGBM on rolling features"), (models.BLEND, "the blend of both")):
            lead = found[f"{kind}_lead_of_lstm"][other]
            size = f"the LSTM's lead: {lead['mean']:+.3f}, {lead['low']:+.3f} to {lead['high']:+.3f}"
            what = (
                "is ahead of" if lead["low"] > 0 else "is behind" if lead["high"] < 0 else "cannot be told apart from"
            )
            told.append(f"{where}, the LSTM {what} {called} ({size}).")
    return told


def _above_the_last_tick(found: Mapping[str, Any]) -> str:
    best = max(models.LAST_TICK, key=lambda name: found[name]["mean"])
    apart = [name for name in SEQUENCE if found[name]["low"] > found[best]["high"]]
    rest = [name for name in SEQUENCE if name not in apart]
    if not apart:
        return f", no sequence model's interval lies above that of {best}."
    said = f", the interval of {_join(apart)} lies above that of the better last-tick model ({best})"
    if rest:
        return f"{said}; that of {_join(rest)} does not."
    nearest = min(apart, key=lambda name: float(found[name]["low"]))
    low, high = found[nearest]["low"], found[best]["high"]
    return f"{said}. Nearest is {nearest}'s, from {low:.3f} on, where that one ends at {high:.3f}."


def _has_interval(found: Mapping[str, Any]) -> bool:
    """Not of one seed, nor of a figure that some seed does not have."""
    return found["low"] is not None and math.isfinite(found["low"])


def on_the_recording(part: Mapping[str, Any]) -> list[str]:
    """What part two says, in sentences."""
    found = part["summary"]
    best = max(found["auc"], key=lambda name: found["auc"][name]["mean"])
    said = [
        f"On the recording the highest AUC is that of {best}, {found['auc'][best]['mean']:.3f} "
        f"({found['auc'][best]['low']:.3f} to {found['auc'][best]['high']:.3f})."
    ]
    behind = [name for name, lead in found["auc_lead_of_lstm"].items() if lead["low"] > 0]
    ahead = [name for name, lead in found["auc_lead_of_lstm"].items() if lead["high"] < 0]
    same = [name for name in found["auc_lead_of_lstm"] if name not in behind + ahead]
    for names, what in ((behind, "is ahead of"), (ahead, "is behind"), (same, "cannot be told apart from")):
        if names:
            said.append(f"Over all its folds together the LSTM {what} {_join(names)}.")
    acted = {name: each for name, each in found["trading"].items() if each["trades_per_seed"] >= MANY}
    if len(acted) < len(found["trading"]):
        few = [name for name in found["trading"] if name not in acted]
        said.append(f"{_join(few)} found fewer than {MANY} trades to make, of which nothing can be said.")
    earning = [name for name, each in acted.items() if each["net_bp"]["low"] > 0]
    before_costs = [name for name, each in acted.items() if each["gross_bp"]["low"] > 0]
    if before_costs:
        said.append(f"From mid to mid, before any cost, the intervals of {_join(before_costs)} lie above zero.")
    if earning:
        said.append(f"After costs {_join(earning)} still earned, on these few minutes.")
    elif acted:
        most = max(acted, key=lambda name: acted[name]["net_bp"]["mean"])
        gross, net = acted[most]["gross_bp"]["mean"], acted[most]["net_bp"]
        losing = all(each["net_bp"]["high"] < 0 for each in acted.values())
        what = "all lose: every interval lies" if losing else "none is shown to earn: every interval reaches"
        said.append(
            f"After costs {what} below zero. The highest mean is that of {most}: {net['mean']:+.2f} basis points a "
            f"trade ({net['low']:+.2f} to {net['high']:+.2f}), {gross:+.2f} from mid to "
            f"mid, where fees alone are {acted[most]['fees_bp']:g}. Do not trade this as a taker."
        )
    minutes = part["seconds"] / 60
    said.append(f"{minutes:.0f} minutes of one market on one day: the intervals say nothing of other days.")
    return said


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
