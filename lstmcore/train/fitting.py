"""Train a classifier, and take it over into lstmcore."""

from __future__ import annotations

import copy
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only

import lstmcore
from lstmcore.layers import Array
from lstmcore.text import quoted
from lstmcore.train.batches import Data, Order
from lstmcore.train.display import Bar, quiet, shown
from lstmcore.train.loop import KEY, Training
from lstmcore.train.modules import Classifier
from lstmcore.train.samples import Samples, Scale, Sequences, Windows
from lstmcore.train.settings import MONITORS, Settings

CHECKPOINT = "last.ckpt"
LIGHTNINGS = ("epoch", "global_step", "loops", "state_dict", "optimizer_states", "lr_schedulers", "callbacks")  # in it
ANSWERED = 1 << 20  # numbers that a model is given at a time when it answers samples


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained classifier with its scaler, and how it came about."""

    module: Classifier  # in eval mode, on the CPU; takes scaled features
    scaler: Scale  # mean, (F,) in the samples' dtype, and scale, (F,) float32
    history: list[dict[str, Any]]  # an epoch each: loss and AUC of training and validation, seconds
    best_epoch: int  # from 1: whose weights these are
    settings: Settings
    device: str  # that it was trained on, such as "cpu" or "cuda"

    def predict(self, samples: Samples) -> Array:
        """torch's answers, (answers,) float32, in the order of `samples.labels`. Takes features as they came."""
        scaled = samples.scaled(self.scaler)
        with torch.inference_mode():
            parts = [self._answer(scaled, which) for which in _pieces(scaled)]
        answers = np.concatenate(parts) if parts else np.empty(0)
        return answers.astype(np.float32)

    def _answer(self, samples: Samples, which: list[int]) -> Array:
        batch = samples.batch(which)
        answers: Array = torch.sigmoid(self.module.logits(batch.x, batch.answered)).numpy()
        return answers

    def to_lstmcore(self, backend: str = "auto", kernel: str | None = None) -> lstmcore.Model:
        """The same as a Model that takes features as they came: its first layer is the scaler."""
        return lstmcore.from_torch(self.module, scaler=self.scaler, backend=backend, kernel=kernel)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the Model as a safetensors file, which `lstmcore.load` reads without torch."""
        self.to_lstmcore().save(path)


def fit(
    module: Classifier,
    training: Samples,
    validation: Samples | None = None,
    *,
    settings: Settings | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Fitted:
    """Train a copy of a module, on a GPU where there is one.

    The scaler is fitted on the rows that the training samples read. The weights of the epoch that was best on the
    validation samples are kept; without these, the last epoch's. The same seeds on the same machine give the same
    weights; on a GPU, nearly.

    Args:
        module: From `quant_model` or `exit_model`; left as it is.
        training: What is learned.
        validation: What the best epoch is chosen by, and when to stop.
        settings: How; `Settings()` if not given.
        out: An existing folder, or one to make: the checkpoint `last.ckpt` is written there after every epoch. None:
            nothing is written.
        resume: Go on from that checkpoint where there is one. The result is what an undisturbed run would have had.
        progress: A bar on stderr, where that is a terminal and rich is installed.

    Raises:
        ValueError: Samples of another feature count than the module's, without labels of both kinds, or with numbers
            that are not finite; a checkpoint of other samples, settings or another module.
        FloatingPointError: A loss that is not finite.

    With several devices or nodes this is run by as many processes, each of which returns; what one writes afterwards
    belongs behind `if train.is_first()`.
    """
    settings = settings or Settings()
    for what, samples in (("training", training), ("validation", validation)):
        if samples is not None:
            check_samples(what, samples, module, settings)
    if resume and out is None:
        raise ValueError("resume: needs out, the folder of the run that is gone on with")
    scaler = training.fit_scaler()
    pos_weight = _pos_weight(settings.pos_weight, training.labels)
    about = _about(module, training, validation, settings)
    loop = Training(copy.deepcopy(module).train(), settings, pos_weight, about, validation is not None)
    folder = None if out is None else Path(out)
    checkpoint = _checkpoint(folder) if resume else None
    state = _read(checkpoint, about, loop) if checkpoint else None
    if state is not None and _is_done(state, settings):
        loop.on_load_checkpoint(state)
    else:
        _train(loop, training.scaled(scaler), validation and validation.scaled(scaler), folder, checkpoint, progress)
    trained = loop.module.cpu()
    trained.load_state_dict(loop.best)
    return Fitted(trained.eval(), scaler, loop.history, loop.best_epoch, settings, loop.trained_on)


def is_first() -> bool:
    """Whether this is the one process, of those that train together, which writes the results."""
    rank: int = getattr(rank_zero_only, "rank", 0)  # Lightning keeps it as an attribute of the function
    return rank == 0


def score(model: lstmcore.Model, samples: Samples) -> Array:
    """What a Model answers to the samples, (answers,), in the order of `samples.labels`.

    Windows go to it in batches; sequences as they would when they are traded, tick by tick through `model.stateful()`,
    or, with a history, as windows of at most so many ticks.

    Args:
        model: One number as its answer to a window; with features as the samples have them.
        samples: Not scaled, where the model has a scaler.
    """
    if isinstance(samples, Sequences) and samples.history is None:
        stream = model.stateful()
        answers = []
        for one in samples:
            stream.reset()
            answers += [float(stream.push(tick)) for tick in one]
        return np.array(answers, np.float32)
    if isinstance(samples, Windows):
        parts = [model(samples.windows(which)).reshape(-1) for which in _pieces(samples)]
    else:
        windows = (samples.rows[last + 1 - n : last + 1] for last, n in zip(samples.ends, samples.lengths, strict=True))
        parts = [model(window).reshape(-1) for window in windows]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _pieces(samples: Samples) -> Iterator[list[int]]:
    """All samples in their order, as many at a time as make some megabytes."""
    size = max(1, ANSWERED // (int(samples.lengths.max(initial=1)) * samples.features))
    return iter(Order(samples.lengths, size)) if len(samples) else iter(())


def _train(
    loop: Training,
    training: Samples,
    validation: Samples | None,
    out: Path | None,
    checkpoint: Path | None,
    progress: bool,
) -> None:
    """Run Lightning."""
    settings = loop.settings
    callbacks: list[pl.Callback] = [Bar("training")] if shown(progress) else []
    if validation is not None:
        stop = EarlyStopping(
            settings.monitor,
            patience=settings.patience,
            mode=MONITORS[settings.monitor],
            check_on_train_epoch_end=True,
        )
        callbacks.append(stop)
    if out is not None:
        callbacks.append(
            ModelCheckpoint(
                out, Path(CHECKPOINT).stem, save_on_train_epoch_end=True, enable_version_counter=False, save_top_k=1
            )
        )
    with quiet(), torch.random.fork_rng():
        trainer = pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy="auto" if settings.devices * settings.nodes == 1 else "ddp",
            precision=_precision(settings),  # type: ignore[arg-type]  # one of a list of literals
            max_epochs=settings.epochs,
            gradient_clip_val=settings.gradient_clip or None,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=out is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0 if validation is None else None,
            use_distributed_sampler=False,  # `Order` shares the samples out
            default_root_dir=tempfile.gettempdir() if out is None else out,
        )
        try:
            trainer.fit(loop, datamodule=Data(training, validation, settings), ckpt_path=checkpoint, weights_only=True)
        except SystemExit:  # which Lightning makes of Ctrl-C
            if trainer.interrupted:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt from None
            raise


def _precision(settings: Settings) -> str:
    """Mixed precision where a GPU gains by it."""
    if settings.precision != "auto":
        return settings.precision
    if settings.accelerator not in ("auto", "gpu") or not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def check_samples(
    what: str, samples: Samples, module: Classifier, settings: Settings, names: Sequence[str] | None = None
) -> None:
    """Raise ValueError for samples that a module cannot be trained with; `names` are what to call the features."""
    if samples.features != module.features:
        raise ValueError(f"{what}: {samples.features} features; the module takes {module.features}")
    processes = settings.devices * settings.nodes
    if len(samples) < processes:
        raise ValueError(f"{what}: {len(samples)} samples for {processes} devices; each needs one")
    check_labels(what, samples.labels)
    check_rows(what, samples, names)


def check_labels(what: str, labels: Array) -> None:
    """Raise ValueError for labels that are all the same: nothing is learned or judged by them."""
    found = np.unique(labels)
    if len(found) < 2:
        only = f"all {found[0]:.0f}" if len(found) else "none"
        raise ValueError(f"{what}: labels are {only}; there have to be both 0 and 1")


def check_rows(what: str, samples: Samples, names: Sequence[str] | None = None) -> None:
    """Raise ValueError for features that are not finite in float32; `names` are what to call them."""
    with np.errstate(over="ignore"):
        rows = samples.rows[samples.used()].astype(np.float32, copy=False)  # what training computes in
    if not np.isfinite(rows).all():
        at = np.argwhere(~np.isfinite(rows))[0]
        row = np.flatnonzero(samples.used())[at[0]]
        name = at[1] if names is None else quoted(names[at[1]])
        raise ValueError(f"{what}: feature {name} of row {row} is {samples.rows[row, at[1]]}; fill it or leave it out")


def _pos_weight(given: float | str | None, labels: Array) -> float:
    if given == "balanced":
        return float((labels == 0).sum() / (labels == 1).sum())
    return 1.0 if given is None else float(given)


def _about(module: Classifier, training: Samples, validation: Samples | None, settings: Settings) -> dict[str, Any]:
    """What has to be the same where a run is gone on with."""
    kept = ("batch_size", "learning_rate", "weight_decay", "monitor", "pos_weight", "gradient_clip", "seed")
    return {
        "module": module.name,
        "features": module.features,
        "training samples": len(training),
        "validation samples": 0 if validation is None else len(validation),
        **{name: getattr(settings, name) for name in kept},
    }


def _checkpoint(out: Path | None) -> Path | None:
    """The checkpoint in a folder, where there is one."""
    path = None if out is None else out / CHECKPOINT
    return path if path and path.is_file() else None


def _read(path: Path, about: dict[str, Any], loop: Training) -> dict[str, Any]:
    """A checkpoint that the loop can go on from. Raises ValueError for a file that is none, or is of another run."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        was: dict[str, Any] = state[KEY]["about"]
        other = next((name for name, value in about.items() if was.get(name) != value), None)
        if other is None:
            _check_state(state, loop)
    except Exception as error:  # whatever a damaged file may raise
        raise ValueError(f"{path}: not a checkpoint of lstmcore.train ({type(error).__name__})") from None
    if other is not None:
        raise ValueError(
            f"{path}: of a run with {other} {quoted(was.get(other))}, not {quoted(about[other])}; "
            "train into another folder"
        )
    return state


def _check_state(state: dict[str, Any], loop: Training) -> None:
    """Raise some error where a part is missing, or is another than the loop writes."""
    for name in LIGHTNINGS:
        state[name]
    loop.on_load_checkpoint(state)  # Lightning will once more, if it goes on
    copy.deepcopy(loop.module).load_state_dict(loop.best)
    if loop.best_epoch not in [row["epoch"] for row in loop.history]:
        raise ValueError("best_epoch")
    _is_done(state, loop.settings)


def _is_done(state: dict[str, Any], settings: Settings) -> bool:
    """Whether a checkpoint's run has had all its epochs, or has stopped early."""
    if len(state[KEY]["history"]) >= settings.epochs:
        return True
    stops = [value for name, value in state["callbacks"].items() if name.startswith(EarlyStopping.__name__)]
    return any(stop["wait_count"] >= settings.patience for stop in stops)
