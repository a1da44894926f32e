"""The whole road: bars, trades, training in torch, then scoring in a process that has no torch.

python examples/exit_management/run.py [--out DIR] [--epochs N] [--seed N]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import store

COLUMNS = {
    "test_from": "test from",
    "test_to": "to",
    "train_trades": "train trades",
    "purged_trades": "purged",
    "train_bars": "train bars",
    "train_auc": "train AUC",
    "test_trades": "test trades",
    "test_bars": "test bars",
    "test_auc": "test AUC",
    "largest_difference": "difference",
    "limit": "allowed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train here, score in a second process, print the table; 0 if every difference is within its limit."""
    parser = argparse.ArgumentParser(description="Train the exit model in torch, score it without torch.")
    parser.add_argument("--out", type=Path, default=Path("out/exit_management"), help="where files go")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training part (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, dropout and order (default 0)")
    arguments = parser.parse_args(argv)
    if arguments.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {arguments.epochs}")
    for package in ("arch", "torch"):
        if importlib.util.find_spec(package) is None:
            print(f'run.py: {package} is not installed: pip install "lstmcore[examples]"', file=sys.stderr)
            return 2
    import train

    out: Path = arguments.out
    store.score_report(out).unlink(missing_ok=True)
    train.run(out, arguments.epochs, arguments.seed)
    scorer = [sys.executable, str(Path(__file__).with_name("score.py")), "--out", str(out)]
    status = subprocess.run(scorer, check=False).returncode
    if not store.score_report(out).exists():
        print(f"run.py: the scoring process ended with status {status}", file=sys.stderr)
        return 1
    trained = json.loads(store.train_report(out).read_text())
    scored = json.loads(store.score_report(out).read_text())
    print("\n".join(report([a | b for a, b in zip(trained, scored, strict=True)])))
    return status


def report(folds: Sequence[dict[str, Any]]) -> list[str]:
    """The lines to print: a table with a row a fold, and what it says."""
    cells = [[show(fold[key]) for fold in folds] for key in COLUMNS]
    columns = [[heading, *column] for heading, column in zip(COLUMNS.values(), cells, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    table = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]
    largest = max(fold["largest_difference"] for fold in folds)
    trades, bars = (sum(fold[name] for fold in folds) for name in ("test_trades", "test_bars"))
    times = {key: max(fold["microseconds"][key] for fold in folds) for key in ("p50", "p99", "max")}
    return [
        *table,
        "",
        f"Largest difference between torch and the C backend ({folds[0]['kernel']}): {largest:.1e}, "
        f"over {trades} trades and {bars} bars.",
        "Microseconds a bar, worst block: " + ", ".join(f"{key} {value:.0f}" for key, value in times.items()),
        "This shows that the road from torch to C is whole. It is no evidence of an edge.",
    ]


def show(value: Any) -> str:
    """A cell of the table: an AUC near a half in full, a difference in powers of ten."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value > 0.01 else f"{value:.1e}"


if __name__ == "__main__":
    raise SystemExit(main())
