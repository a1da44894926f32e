"""The second process: no torch. Score every bar of every test trade with the C backend, compare with torch.

python examples/exit_management/score.py --out DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import bars as bar_data
import numpy as np
import store
from auc import auc
from samples import Sample, make_samples

import lstmcore
from lstmcore.layers import Array

LIMIT = 2e-6


def main(argv: Sequence[str] | None = None) -> int:
    """Score all folds in the folder; 0 if every difference is within its limit, else 1."""
    parser = argparse.ArgumentParser(description="Score without torch what run.py trained with it.")
    parser.add_argument("--out", type=Path, required=True, help="the folder that run.py trained into")
    out = parser.parse_args(argv).out
    if not store.train_report(out).is_file():
        parser.error(f"--out: {out} holds no {store.train_report(out).name}; run.py writes it")
    forbid_torch()
    bars = bar_data.load()
    by_date = {str(bars.date[sample.trade.entry]): sample for sample in make_samples(bars)}
    folds = len(json.loads(store.train_report(out).read_text()))
    report = [score_fold(out, number, by_date) for number in range(1, folds + 1)]
    store.score_report(out).write_text(json.dumps(report, indent=1))
    return 0 if all(fold["within_limit"] for fold in report) else 1


class NoTorch(MetaPathFinder):
    """Makes `import torch` fail, as on a machine that has none."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuse torch, and leave everything else to the finders behind this one."""
        if fullname.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"{fullname}: not to be imported in this process", name=fullname)


def forbid_torch() -> None:
    """From here on torch cannot be imported."""
    if "torch" in sys.modules:
        raise SystemExit("score.py: torch is imported already, so this would show nothing")
    sys.meta_path.insert(0, NoTorch())


def score_fold(out: Path, number: int, by_date: dict[str, Sample]) -> dict[str, Any]:
    """One fold's model over its test trades."""
    model = lstmcore.load(store.model_file(out, number), backend="c")
    expected = store.Answers.load(store.answers_file(out, number))
    trades = [by_date[str(date)] for date in expected.entry_date]
    scores, times = score(model, trades)
    difference = float(np.max(np.abs(scores - expected.float32)))
    limit = max(LIMIT, 2 * float(np.max(np.abs(expected.float32 - expected.float64))))
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "test_trades": len(trades),
        "test_bars": len(scores),
        "test_auc": auc(np.concatenate([sample.labels for sample in trades]), scores),
        "largest_difference": difference,
        "largest_difference_float64": float(np.max(np.abs(scores - expected.float64))),
        "limit": limit,
        "within_limit": difference <= limit,  # NaN is not
        "kernel": model.kernel,
        "microseconds": {"p50": float(p50), "p99": float(p99), "max": float(np.max(times))},
    }


def score(model: lstmcore.Model, trades: Sequence[Sample]) -> tuple[Array, Array]:
    """At each bar of each trade the answer to all bars so far, and the microseconds it took; both (bars,)."""
    scores, times = [], []
    for sample in trades:
        for n in range(len(sample.features)):
            so_far = sample.features[: n + 1]
            start = time.perf_counter_ns()
            scores.append(float(model(so_far)))
            times.append((time.perf_counter_ns() - start) / 1000)
    return np.array(scores), np.array(times)


if __name__ == "__main__":
    raise SystemExit(main())
