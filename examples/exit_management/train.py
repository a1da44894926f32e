"""The first process: train the exit model in torch, fold by fold, and leave models and answers behind."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bars as bar_data
import numpy as np
import store
import torch
from auc import auc
from model import ExitModel
from samples import Sample, make_samples
from split import walk_forward

import lstmcore
from lstmcore.layers import Array

FOLDS = 3
BATCH = 128
LEARNING_RATE = 1e-3


def run(out: Path, epochs: int, seed: int) -> None:
    """Train a model for each fold and write it to `out` with torch's answers to its test trades."""
    # Steps this small gain nothing from threads, and on a busy machine the threads wait for each other.
    torch.set_num_threads(1)
    bars = bar_data.load()
    samples = make_samples(bars)
    out.mkdir(parents=True, exist_ok=True)
    report: list[dict[str, Any]] = []
    folds = walk_forward([sample.trade for sample in samples], len(bars), FOLDS)
    for number, fold in enumerate(folds, start=1):
        train, test = ([samples[n] for n in part] for part in (fold.train, fold.test))
        mean, scale = fit_scaler(train)
        model = fit(train, mean, scale, epochs, seed, f"fold {number} of {FOLDS}")
        lstmcore.from_torch(model, scaler=(mean, scale)).save(store.model_file(out, number))
        store.Answers(
            entry_date=bars.date[[sample.trade.entry for sample in test]],
            float32=answer(model, test, mean, scale),
            float64=answer(copy.deepcopy(model).double(), test, mean, scale),
        ).save(store.answers_file(out, number))
        known = answer(model, train, mean, scale)
        report.append(
            {
                "test_from": str(bars.date[fold.start]),
                "test_to": str(bars.date[fold.stop - 1]),
                "train_trades": len(train),
                "train_bars": len(known),
                "purged_trades": len(fold.purged),
                "train_auc": auc(np.concatenate([sample.labels for sample in train]), known),
            }
        )
    store.train_report(out).write_text(json.dumps(report, indent=1))


def fit_scaler(samples: Sequence[Sample]) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature over all bars of these trades, (8,) each, float32."""
    rows = np.concatenate([sample.features for sample in samples]).astype(np.float64)
    return rows.mean(axis=0).astype(np.float32), rows.std(axis=0).astype(np.float32)


def fit(samples: Sequence[Sample], mean: Array, scale: Array, epochs: int, seed: int, name: str) -> ExitModel:
    """A model trained on every bar of these trades, each with those before it; on the CPU, in eval mode."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = ExitModel().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss = torch.nn.BCELoss()
    batches = [
        (scaled(x, mean, scale, torch.float32).to(device), torch.from_numpy(y).to(device))
        for x, y, _ in by_length(samples)
    ]
    for _ in progress(range(epochs), name):
        for x, y in minibatches(batches, random):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
    return model.cpu().eval()


def by_length(samples: Sequence[Sample]) -> Iterator[tuple[Array, Array, list[int]]]:
    """For t = 1, 2, ...: every trade with t bars or more, so that sequences of one length need no padding.

    Yields these trades' first t bars, (m, t, 8), their labels at bar t, (m,), and which trades they are.
    """
    for t in range(1, max(len(sample.labels) for sample in samples) + 1):
        which = [n for n, sample in enumerate(samples) if len(sample.labels) >= t]
        x = np.stack([samples[n].features[:t] for n in which])
        yield x, np.array([samples[n].labels[t - 1] for n in which]), which


def minibatches(
    batches: Sequence[tuple[torch.Tensor, torch.Tensor]], random: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every sequence once, in random order, in batches of one length each."""
    parts = [
        (x[part], y[part])
        for x, y in batches
        for part in np.array_split(random.permutation(len(y)), math.ceil(len(y) / BATCH))
    ]
    for n in random.permutation(len(parts)):
        yield parts[n]


def scaled(x: Array, mean: Array, scale: Array, dtype: torch.dtype) -> torch.Tensor:
    """(x - mean) / scale, computed in `dtype`."""
    values, centre, width = (torch.from_numpy(array).to(dtype) for array in (x, mean, scale))
    return (values - centre) / width


def answer(model: ExitModel, samples: Sequence[Sample], mean: Array, scale: Array) -> Array:
    """The model's answer at every bar of every trade, in its own dtype, the trades one behind the other."""
    answers = [np.empty(len(sample.labels)) for sample in samples]
    dtype = next(model.parameters()).dtype
    with torch.inference_mode():
        for x, _, which in by_length(samples):
            for n, value in zip(which, model(scaled(x, mean, scale, dtype)).tolist(), strict=True):
                answers[n][x.shape[1] - 1] = value
    return np.concatenate(answers).astype(np.float32 if dtype == torch.float32 else np.float64)


def progress(steps: Iterable[int], name: str) -> Iterable[int]:
    """The steps, with a progress bar where rich is installed and a terminal is there."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return steps
    return track(steps, name, console=Console(stderr=True), disable=not sys.stderr.isatty())
