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

import numpy as np
import store
from exits import by_score
from samples import Sample, load_samples

import lstmcore
from lstmcore.files import write_text
from lstmcore.layers import Array
from lstmcore.metrics import auc

LIMIT = 2e-6


def main(argv: Sequence[str] | None = None) -> int:
    """Score all models in the folder; 0 if every difference is within its limit, else 1."""
    parser = argparse.ArgumentParser(description="Score without torch what run.py trained with it.")
    parser.add_argument("--out", type=Path, required=True, help="the folder that run.py trained into")
    out = parser.parse_args(argv).out
    if not store.train_report(out).is_file():
        parser.error(f"--out: {out} holds no {store.train_report(out).name}; run.py writes it")
    forbid_torch()
    by_name = {sample.name: sample for sample in load_samples()}
    models = json.loads(store.train_report(out).read_text())
    report = [score_model(out, model["name"], model["threshold"], by_name) for model in models]
    write_text(store.score_report(out), json.dumps(report, indent=1))
    return 0 if all(model["within_limit"] for model in report) else 1


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


def score_model(out: Path, name: str, threshold: float, by_name: dict[str, Sample]) -> dict[str, Any]:
    """One model over the test trades of its fold."""
    model = lstmcore.load(store.model_file(out, name), backend="c")
    expected = store.Answers.load(store.torch_answers(out, name))
    trades = [by_name[str(trade)] for trade in expected.trades]
    scores, times = score(model, trades)
    store.Answers(expected.trades, np.concatenate(scores)).save(store.core_answers(out, name))
    of_torch = np.split(expected.scores, np.cumsum([len(one) for one in scores])[:-1])
    difference = float(np.max(np.abs(np.concatenate(scores) - expected.scores)))
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "name": name,
        "test_trades": len(trades),
        "test_bars": len(expected.scores),
        "test_auc": auc(np.concatenate([sample.labels for sample in trades]), np.concatenate(scores)),
        "largest_difference": difference,
        "within_limit": difference <= LIMIT,  # NaN is not
        "other_decisions": sum(
            by_score(a, threshold) != by_score(b, threshold) for a, b in zip(scores, of_torch, strict=True)
        ),
        "kernel": model.kernel,
        "microseconds": {"p50": float(p50), "p99": float(p99), "max": float(np.max(times))},
    }


def score(model: lstmcore.Model, trades: Sequence[Sample]) -> tuple[list[Array], Array]:
    """For each trade the answer at each of its bars, one push a bar; and the microseconds of every push."""
    stream = model.stateful()
    scores, times = [], []
    for sample in trades:
        stream.reset()
        own = np.empty(len(sample.features), np.float32)
        for n, row in enumerate(sample.features):
            start = time.perf_counter_ns()
            own[n] = stream.push(row)
            times.append((time.perf_counter_ns() - start) / 1000)
        scores.append(own)
    return scores, np.array(times)


if __name__ == "__main__":
    raise SystemExit(main())
