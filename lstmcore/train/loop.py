"""Steps and epochs of training, as Lightning asks for them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import BinaryAUROC

from lstmcore.train.modules import Classifier
from lstmcore.train.samples import Batch
from lstmcore.train.settings import MONITORS, Settings

KEY = "lstmcore"  # of what is kept in a checkpoint beside Lightning's own
KEPT = ("history", "best", "best_epoch", "trained_on")


class Training(pl.LightningModule):
    """A classifier in training: loss, AUC, history, and the weights of the best epoch.

    Args:
        module: Trained in place.
        settings: How.
        pos_weight: How much a 1 counts.
        about: What a checkpoint must agree on with the run that goes on from it.
        validates: Whether there are samples to validate with.
    """

    def __init__(
        self, module: Classifier, settings: Settings, pos_weight: float, about: dict[str, Any], validates: bool
    ) -> None:
        super().__init__()
        self.module, self.settings, self.about, self.validates = module, settings, about, validates
        self.loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(pos_weight))
        parts = ("train", "validation") if validates else ("train",)
        found: dict[str, nn.Module] = {}
        for part in parts:
            found[f"{part}_loss"] = MeanMetric(nan_strategy="disable")  # it would leave NaN out, and nobody would know
            found[f"{part}_auc"] = BinaryAUROC()
        self.metrics: Mapping[str, Metric] = nn.ModuleDict(found)  # type: ignore[assignment]  # modules, all metrics
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_epoch = 0
        self.trained_on = ""
        self._found: dict[str, float] = {}
        self._started = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(
            self.module.parameters(), self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        """The loss of a batch."""
        return self._take("train", batch)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count a batch."""
        self._take("validation", batch)

    def _take(self, part: str, batch: Batch) -> torch.Tensor:
        logits = self.module.logits(batch.x, batch.answered).float()
        loss: torch.Tensor = self.loss(logits, batch.y)
        self.metrics[f"{part}_loss"].update(loss.detach(), weight=len(logits))
        self.metrics[f"{part}_auc"].update(logits.detach().sigmoid(), batch.y.int())
        return loss

    def on_train_epoch_start(self) -> None:
        """Dropout from the seed, the epoch and the device: a run that is resumed goes on as if it had not stopped."""
        self._started, self.trained_on = time.perf_counter(), self.device.type
        sequence = np.random.SeedSequence([self.settings.seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(sequence.generate_state(1)[0]))

    def on_validation_epoch_end(self) -> None:
        """Judge the epoch, and keep its weights where none was better."""
        self._found |= self._judge("validation")
        name = self.settings.monitor
        value = self._found[name]
        self.log(name, value)  # where early stopping looks
        sign = 1 if MONITORS[name] == "max" else -1
        if not self.best or sign * value > max(sign * epoch[name] for epoch in self.history):
            self._keep()

    def on_train_epoch_end(self) -> None:
        """Write the epoch down.

        Raises:
            FloatingPointError: A loss that is not finite: what comes after is no training.
        """
        found = self._judge("train") | self._found
        self._found = {}
        wrong = next((name for name, value in found.items() if not np.isfinite(value)), None)
        if wrong:
            raise FloatingPointError(
                f"epoch {self.current_epoch + 1}: {wrong} is {found[wrong]}; a lower learning_rate or a gradient_clip "
                "may help"
            )
        seconds = time.perf_counter() - self._started
        self.history.append({"epoch": self.current_epoch + 1, **found, "seconds": seconds})
        if not self.validates:
            self._keep()

    def _judge(self, part: str) -> dict[str, float]:
        """Loss and AUC of all samples of all devices."""
        found = {}
        for name in (f"{part}_loss", f"{part}_auc"):
            found[name] = float(self.metrics[name].compute())
            self.metrics[name].reset()
        return found

    def _keep(self) -> None:
        self.best = {name: w.detach().cpu().clone() for name, w in self.module.state_dict().items()}
        self.best_epoch = self.current_epoch + 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What Lightning does not know of."""
        checkpoint[KEY] = {name: getattr(self, name) for name in ("about", *KEPT)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where it was written."""
        for name in KEPT:
            setattr(self, name, checkpoint[KEY][name])
