"""The whole study: train in torch, score in a process without it, judge the exits, commit the failures, report.

python examples/exit_management/run.py [--out DIR] [--seed N] [--quick] [--resume]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import store
from pieces import OutOfTime, Pieces

from lstmcore.files import write_text
from lstmcore.text import clean

PACKAGES = ("arch", "torch", "pytorch_lightning", "torchmetrics", "matplotlib")


@dataclass(frozen=True)
class Plan:
    """How much to do."""

    folds: int  # the last so many
    epochs: int  # at most
    seeds: int
    lengths: tuple[int, ...]
    length_folds: int  # the last so many
    length_seeds: int
    failure_folds: int  # the last so many
    failure_seeds: int


FULL = Plan(6, 40, 3, (1, 2, 5, 10, 20, 50), 6, 1, 3, 2)
QUICK = Plan(2, 4, 1, (1, 5), 1, 1, 1, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """0 if the C backend gave torch's answers within the limit, 1 if not, 2 without a package, 3 out of time."""
    parser = argparse.ArgumentParser(description="Exits of a model, fixed rules and an oracle on the same trades.")
    parser.add_argument("--out", type=Path, default=Path("out/exit_management"), metavar="DIR", help="where files go")
    parser.add_argument("--seed", type=int, default=0, help="the first seed, of weights, dropout and order (default 0)")
    parser.add_argument("--quick", action="store_true", help="two folds, few epochs: to see that it runs, no more")
    parser.add_argument("--epochs", type=int, help=f"at most so many passes over the training part ({FULL.epochs})")
    parser.add_argument("--seeds", type=int, help=f"models of each kind and fold ({FULL.seeds})")
    parser.add_argument("--resume", action="store_true", help="use what an ended run with these settings left in DIR")
    parser.add_argument("--jobs", type=int, help="models trained at a time (default: a core each, 4 at most)")
    parser.add_argument("--minutes", type=float, help="stop after about so long, to go on later with --resume")
    arguments = parser.parse_args(argv)
    chosen = asdict(QUICK if arguments.quick else FULL)
    for name in ("epochs", "seeds"):
        value = getattr(arguments, name)
        if value is not None:
            if value < 1:
                parser.error(f"--{name}: expected at least 1, got {value}")
            chosen[name] = value
    jobs = (1 if arguments.quick else min(4, os.cpu_count() or 1)) if arguments.jobs is None else arguments.jobs
    if jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {jobs}")
    if arguments.minutes is not None and not arguments.minutes > 0:
        parser.error(f"--minutes: expected more than 0, got {arguments.minutes:g}")
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            print(f'run.py: {package} is not installed: pip install "lstmcore[examples]"', file=sys.stderr)
            return 2
    until = math.inf if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    pieces = Pieces(arguments.out / "pieces", arguments.resume, jobs, until)
    if not arguments.resume:
        shutil.rmtree(pieces.folder, ignore_errors=True)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"run.py: --out: {clean(error)}", file=sys.stderr)
        return 2
    try:
        return study(arguments.out, Plan(**chosen), arguments.seed, pieces)
    except OutOfTime as error:
        print(f"run.py: {error}; --resume goes on", file=sys.stderr)
        return 3


def study(out: Path, plan: Plan, seed: int, pieces: Pieces) -> int:
    """Everything, into `out`."""
    import deploy
    import exit_plots
    import exit_prose
    import exit_report
    import failure_runs
    import lengths
    import split
    import torch
    from fitting import Recipe
    from pieces import one_thread
    from samples import load_samples

    one_thread()
    samples = load_samples()
    folds = split.folds(samples)[-plan.folds :]
    recipe = Recipe(epochs=plan.epochs)
    seeds = range(seed, seed + plan.seeds)
    config = {"plan": asdict(plan), "seed": seed, "recipe": asdict(recipe)}
    write_text(out / "config.json", json.dumps(config, indent=1) + "\n")
    store.score_report(out).unlink(missing_ok=True)
    deploy.train_all(out, samples, folds, recipe, seeds, pieces)
    scorer = [sys.executable, str(Path(__file__).with_name("score.py")), "--out", str(out)]
    status = subprocess.run(scorer, check=False).returncode
    if not store.score_report(out).exists():
        print(f"run.py: the scoring process ended with status {status}", file=sys.stderr)
        return 1
    by_length = lengths.run(
        pieces, samples, folds[-plan.length_folds :], recipe, plan.lengths, seeds[: plan.length_seeds]
    )
    failed = failure_runs.run(pieces, samples, folds[-plan.failure_folds :], recipe, seeds[: plan.failure_seeds])
    results: dict[str, Any] = {
        "config": config,
        **exit_report.gather(out, samples, folds),
        "lengths": by_length,
        "failures": failed,
    }
    results["machine"] = {
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": results["models"][0]["device"],
    }
    results["training_minutes"] = pieces.seconds() / 60
    equity = results.pop("equity")  # long, and nobody reads it: in a file of its own
    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(out / "equity.json", json.dumps(equity) + "\n")
    exit_plots.draw(out, results | {"equity": equity})
    exit_prose.write(out / "report.md", results)
    exit_report.show(results)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
