"""What `lstmcore train` leaves behind: the model, tables, figures."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import terminal
from lstmcore._version import __version__
from lstmcore.files import write_figure, write_json, write_text, write_whole
from lstmcore.text import markdown
from lstmcore.train.config import Config
from lstmcore.train.run import MODEL, Judged, figures
from lstmcore.train.table import Table

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "numpy")
#: The table: keys of what `Judged.to_dict` returns, and their headings.
COLUMNS = {
    "fold": "fold",
    "train": "train",
    "validation": "validation",
    "test": "test",
    "train_samples": "train samples",
    "purged_samples": "purged",
    "answers": "test samples",
    "best_epoch": "epoch kept",
    "share_of_ones": "share of ones",
    "auc": "AUC",
    "log_loss": "log loss",
    "log_loss_of_share": "of no model",
    "brier": "Brier",
    "accuracy": "right",
    "share_of_commoner_label": "of one label",
}
SHORT = ("fold", "test", "answers", "auc", "log_loss", "log_loss_of_share", "accuracy", "share_of_commoner_label")
#: What two of the columns are compared with.
EXPLAINED = (
    "of no model: the log loss of saying the training samples' share of ones every time; lower is better.",
    "right: the share of answers on the label's side of 0.5; "
    "of one label: what saying the test window's commoner label every time would get right.",
)


def write(config: Config, table: Table, judged: Sequence[Judged], source: Path, out: Path) -> dict[str, Any]:
    """Write model.safetensors, config.toml, report.json, report.md and, with matplotlib, the pictures.

    Args:
        config: What was done.
        table: With what.
        judged: What came of it, fold by fold.
        source: The TOML file.
        out: The folder, which is there.

    Returns:
        What report.json holds.
    """
    facts = collect(config, table, judged)
    write_whole(out / MODEL, (out / f"fold_{judged[-1].fold.number}" / MODEL).read_bytes())
    if source.resolve() != (out / "config.toml").resolve():
        write_whole(out / "config.toml", source.read_bytes())
    drawn = _draw(judged, out)
    write_json(out / "report.json", facts)
    write_text(out / "report.md", "\n".join(text(facts, drawn)) + "\n")
    return facts


def collect(config: Config, table: Table, judged: Sequence[Judged]) -> dict[str, Any]:
    """All facts of a run, as report.json has them."""
    shares = np.concatenate([np.full(len(each.labels), each.share) for each in judged])
    labels, scores = (np.concatenate([getattr(each, name) for each in judged]) for name in ("labels", "scores"))
    return {
        "config": asdict(config),
        "lstmcore": __version__,
        "rows": len(table.stamps),
        "rows_without_label": int(np.isnan(table.targets).sum()),
        "model": judged[-1].fitted.module.name,
        "trained_on": judged[-1].fitted.device,
        "folds": [each.to_dict() for each in judged],
        "all_test_windows": figures(labels, scores, shares),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def rows(facts: dict[str, Any], keys: Sequence[str] = tuple(COLUMNS)) -> tuple[list[str], list[list[str]]]:
    """The walk-forward table: headings, and a row for each fold and one for all."""
    every = [*facts["folds"], {"fold": "all", **facts["all_test_windows"]}]
    return [COLUMNS[key] for key in keys], [[_show(fold.get(key)) for key in keys] for fold in every]


def _show(value: Any) -> str:
    """A cell: what is not there is empty, bounds are two stamps, shares have four digits."""
    if value is None:
        return ""
    if isinstance(value, list):
        return f"{value[0]} to {value[1]}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def text(facts: dict[str, Any], drawn: Sequence[str]) -> list[str]:
    """report.md, line by line."""
    data, split, every = facts["config"]["data"], facts["config"]["split"], facts["all_test_windows"]
    what = (
        f"the column {markdown(data['target'])}"
        if data["price"] is None
        else f"whether {markdown(data['price'])} rises by more than {data['threshold']:g} of itself "
        f"in {data['horizon']} rows"
    )
    columns, cells = rows(facts)
    table = ["| " + " | ".join(line) + " |" for line in [columns, ["---"] * len(columns), *cells]]
    weight = facts["config"]["training"]["pos_weight"]
    weighted = [f"Ones count {weight} in the loss: that moves all scores, so calibration and log loss suffer by it."]
    weighted = [] if weight is None else weighted
    better = every["log_loss"] < every["log_loss_of_share"]
    differences = [fold["largest_difference_from_torch"] for fold in facts["folds"]]
    pictures = {
        "walk_forward.png": "Folds in time, and the AUC of each",
        "curves.png": "Loss and AUC by epoch",
        "judgement.png": "Calibration, ROC curve and confusion on all test windows together",
    }
    return [
        f"# {facts['model']} on {markdown(Path(data['path']).name)}",
        "",
        f"Asked: {what}, from the last {data['window']} rows of {len(data['features'])} features: "
        f"{', '.join(map(markdown, data['features']))}.",
        f"Data: {facts['rows']:,} rows, {facts['rows_without_label']:,} of them without a label.",
        f"Split: walk-forward, train {split['train']}, validation {split['validation']}, test {split['test']}"
        + (", training from the start on" if split["expanding"] else "")
        + f"; labels reach {data['horizon']} rows ahead, and samples whose label reaches the next window are purged; "
        f"embargo {split['embargo']}.",
        "The scaler is fitted on the training samples; the epoch is chosen by the validation samples; "
        "the test samples were used for the figures below and for nothing else.",
        "",
        *table,
        "",
        *[f"- {line}" for line in EXPLAINED],
        "",
        f"On all test windows together the log loss is {every['log_loss']:.4f}. No model at all, which says "
        f"the training samples' share of ones every time, has {every['log_loss_of_share']:.4f}. "
        + ("The scores are better than that." if better else "**The scores are no better than that.**"),
        *weighted,
        "AUC is the chance that a 1 scores above a 0; 0.5 is a coin. Neither is a profit: costs are not in it.",
        "",
        f"`{MODEL}` is the last fold's model, which knows the newest data; its line above is what is known of it.",
        "All figures are of the models as they are deployed, answered by lstmcore; "
        f"torch's answers differ by {max(differences):.1e} at most.",
        *[line for name in drawn for line in ("", f"![{pictures[name]}]({name})")],
        "",
        f"Trained on: {facts['trained_on']}; "
        + ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        + f"; lstmcore {facts['lstmcore']}.",
    ]


def note_pictures() -> None:
    """Say before the training that there will be no pictures, where there will be none."""
    try:
        terminal.ask("plot", "matplotlib")
    except ImportError as error:
        terminal.note(f"no pictures: {error}")


def _draw(judged: Sequence[Judged], out: Path) -> list[str]:
    """Draw the pictures, and say which there are: none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from lstmcore import metrics
    from lstmcore.train import plots

    labels, scores = (np.concatenate([getattr(each, name) for each in judged]) for name in ("labels", "scores"))
    drawn = {
        "walk_forward.png": plots.walk_forward(
            [each.fold for each in judged], [metrics.auc(each.labels, each.scores) for each in judged]
        ),
        "curves.png": plots.curves(
            [each.fitted.history for each in judged], [each.fitted.best_epoch for each in judged]
        ),
        "judgement.png": plots.judgement(labels, scores),
    }
    for name, figure in drawn.items():
        write_figure(out / name, figure)
    return list(drawn)
