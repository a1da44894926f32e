"""The models, from a table of one tick to an LSTM, all fitted and answered in one form."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import lightgbm
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lstmcore
from lstmcore import metrics, train
from lstmcore.layers import Array
from order_book.answers import SEQUENCE, Answers, model_file
from order_book.samples import WINDOW, Part, rolling

LAST_TICK = ("logistic (last tick)", "LightGBM (last tick)")
ROLLING = "LightGBM (rolling)"
BLEND = "LSTM + LightGBM"
NAMES = (*LAST_TICK, ROLLING, *SEQUENCE, BLEND)

TREES = {
    "objective": "binary",
    "metric": "auc",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}
ROUNDS, PATIENCE = 500, 40  # trees at most; trees without a better AUC before it stops


@dataclass(frozen=True)
class Parts:
    """Samples by what they are for. No later part's label may reach into an earlier part's time."""

    training: Part
    stopping: Part  # when to stop
    stacking: Part  # how to blend, and where to act: models that stopped by `stopping` have not seen it
    test: Part


class Job(NamedTuple):
    """One set of models to fit."""

    parts: Parts
    settings: train.Settings  # with the seed
    out: Path


def fit_many(jobs: Sequence[Job], processes: int, resume: bool) -> Iterator[Answers]:
    """`fit_all` of each job, in their order, in so many processes."""
    if processes == 1 or len(jobs) == 1:
        yield from (fit_all(*job, resume) for job in jobs)
        return
    spawn = multiprocessing.get_context("spawn")  # torch's threads do not live through a fork
    with ProcessPoolExecutor(min(processes, len(jobs)), spawn) as pool:
        done = [pool.submit(_fit_apart, job, resume) for job in jobs]
        try:
            for job, one in zip(jobs, done, strict=True):
                one.result()
                yield fit_all(*job, resume=True)  # what the process has written
        finally:
            pool.shutdown(cancel_futures=True)


def _fit_apart(job: Job, resume: bool) -> None:
    fit_all(*job, resume)


def fit_all(parts: Parts, settings: train.Settings, out: Path, resume: bool = False) -> Answers:
    """Fit every model of `NAMES`, with `settings.seed`; the sequence models' files go to `out`.

    With `resume`, what is in `out` already, of the same samples and settings, is not made again.
    """
    digest = _digest(parts, settings)
    if resume and (found := Answers.load(out, digest)):
        return found
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # steps this small gain nothing from threads, which on a busy machine wait for each other
    answers = Answers()

    def keep(name: str, predict: Callable[[Part], Array]) -> None:
        answers.stacking[name], answers.test[name] = predict(parts.stacking), predict(parts.test)

    keep(LAST_TICK[0], logistic(parts))
    keep(LAST_TICK[1], trees(parts, _last, settings.seed))
    keep(ROLLING, trees(parts, _rolling, settings.seed))
    for name in SEQUENCE:
        _sequence(name, parts, settings, answers, out, resume)
    blend = _Blend(parts.stacking.y, answers.stacking["LSTM"], answers.stacking[ROLLING])
    for scores in (answers.stacking, answers.test):
        scores[BLEND] = blend(scores["LSTM"], scores[ROLLING])
    answers.save(out, digest)
    return answers


def logistic(parts: Parts) -> Callable[[Part], Array]:
    """Logistic regression on the newest tick."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(_last(parts.training), parts.training.y)
    return lambda part: np.asarray(model.predict_proba(_last(part))[:, 1])


def trees(parts: Parts, table: Callable[[Part], Array], seed: int) -> Callable[[Part], Array]:
    """Gradient-boosted trees on a table of each sample."""
    data = lightgbm.Dataset(table(parts.training), parts.training.y)
    model = lightgbm.train(
        TREES | {"seed": seed},
        data,
        ROUNDS,
        valid_sets=[data.create_valid(table(parts.stopping), parts.stopping.y)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
    return lambda part: np.asarray(model.predict(table(part)))


def _last(part: Part) -> Array:
    return part.last


def _rolling(part: Part) -> Array:
    return rolling(part.series, part.rows)


def _sequence(
    name: str, parts: Parts, settings: train.Settings, answers: Answers, out: Path, resume: bool = False
) -> None:
    """Train in torch; answer by the file that is deployed, read again and run in C."""
    training, stopping, stacking, test = (
        _windows(part) for part in (parts.training, parts.stopping, parts.stacking, parts.test)
    )
    module = train.quant_model(parts.training.series.shape[1], cell=name.lower(), seed=settings.seed)
    checkpoints = out / "checkpoints" / name.lower()
    fitted = train.fit(module, training, stopping, settings=settings, out=checkpoints, resume=resume)
    path = model_file(out, name)
    fitted.save(path)
    model = lstmcore.load(path, backend="c")
    answers.models[name], answers.history[name] = model, fitted.history
    answers.stacking[name], answers.test[name] = train.score(model, stacking), train.score(model, test)
    by_torch = fitted.predict(test)
    auc_torch, auc_c = (metrics.auc(parts.test.y, scores) for scores in (by_torch, answers.test[name]))
    answers.deployed[name] = {
        "auc_torch": auc_torch,
        "auc_c": auc_c,
        "auc_difference": abs(auc_torch - auc_c),
        "largest_difference": float(np.max(np.abs(by_torch - answers.test[name]))),
    }


def _windows(part: Part) -> train.Windows:
    return train.Windows(part.series, part.labels, window=WINDOW).take(part.rows)


class _Blend:
    """Logistic regression on two models' log-odds."""

    def __init__(self, labels: Array, *scores: Array) -> None:
        self.model = LogisticRegression().fit(_log_odds(scores), labels)

    def __call__(self, *scores: Array) -> Array:
        return np.asarray(self.model.predict_proba(_log_odds(scores))[:, 1])


def _log_odds(scores: tuple[Array, ...]) -> Array:
    """(n, models)."""
    p = np.clip(np.stack(scores, axis=1).astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def _digest(parts: Parts, settings: train.Settings) -> str:
    """What the answers depend on, as a checksum."""
    found = hashlib.sha256(repr((settings, TREES, ROUNDS, PATIENCE, WINDOW)).encode())
    for part in vars(parts).values():
        for array in vars(part).values():
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
