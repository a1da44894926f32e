"""A progress bar on stderr, and Lightning kept quiet."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from lstmcore import terminal
from lstmcore.train.loop import Training

LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric", "torch.distributed")
#: What Lightning and torch warn of, and which does not concern the user: it follows from how `fit` uses them.
EXPECTED = (
    ".*does not have many workers.*",
    ".*No .*val_dataloader.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*use `self.log.*sync_dist=True.*",  # the value is of all devices already
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*GPU available but not used.*",
    ".*No positive samples in targets.*",  # of one device's last batches; checked for all samples before
    ".*No negative samples in targets.*",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's notes on devices, loaders and folders."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class Bar(pl.Callback):
    """All epochs' steps as one bar, with what the last epoch came to. Only where `shown` says that a person looks."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._bar: Any = None
        self._task: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put it up, the epochs before a resumed one behind it."""
        from rich import console, progress

        columns = (*progress.Progress.get_default_columns(), progress.TextColumn("{task.fields[last]}"))
        self._bar = progress.Progress(*columns, console=console.Console(stderr=True), transient=True)
        steps = int(trainer.num_training_batches)
        total = steps * (trainer.max_epochs or 0)
        self._task = self._bar.add_task(self.what, total=total, completed=steps * trainer.current_epoch, last="")
        self._bar.start()

    def on_train_batch_end(self, *_: Any) -> None:
        """A step further."""
        self._bar.advance(self._task)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch before."""
        if isinstance(pl_module, Training) and pl_module.history:
            found = pl_module.history[-1]
            name = pl_module.settings.monitor if pl_module.validates else "train_loss"
            self._bar.update(self._task, last=f"epoch {found['epoch']}: {name.replace('_', ' ')} {found[name]:.4f}")

    def on_train_end(self, *_: Any) -> None:
        """Take it down."""
        self._bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Leave no bar behind."""
        if self._bar is not None:
            self._bar.stop()


def shown(progress: bool | None) -> bool:
    """Whether a bar is shown: not where nobody looks, or without rich."""
    return progress is not False and terminal.has_rich(sys.stderr)
