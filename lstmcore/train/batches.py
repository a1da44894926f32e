"""Which samples each step of training is given, on every device, and Lightning's data module that hands them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lstmcore.layers import Array
from lstmcore.train.samples import Batch, Samples
from lstmcore.train.settings import Settings

POOL = 16  # batches among which samples are sorted by their length


class Order(Sampler[list[int]]):
    """Batches of samples, of as nearly the same number as can be; every device gets its share of each.

    No sample comes twice in an epoch or is left out, and every device makes as many steps, on which DDP depends.

    Args:
        lengths: (N,), ticks of each sample: those of like length go together, since the shorter are padded.
        size: Samples of a batch, at most.
        shuffle: Seeds of the order, asked for when an epoch begins; None: the samples' own order.
        rank: Which device this is.
        world: How many there are; at least as many samples.
    """

    def __init__(
        self, lengths: Array, size: int, shuffle: Callable[[], list[int]] | None = None, rank: int = 0, world: int = 1
    ) -> None:
        self.lengths, self.shuffle, self.rank, self.world = lengths, shuffle, rank, world
        self.batches = -(-len(lengths) // max(size, world))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(len(self.lengths))
        turns = np.arange(self.batches)
        if self.shuffle is not None:
            random = np.random.default_rng(self.shuffle())
            pools = np.array_split(random.permutation(order), -(-self.batches // POOL))
            order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
            turns = random.permutation(turns)
        batches = np.array_split(order, self.batches)
        for n in turns:
            yield batches[n][self.rank :: self.world].tolist()


class Picker(Dataset[Batch]):
    """Samples, asked for a batch at a time."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, which: list[int]) -> Batch:
        return self.samples.batch(which)


class Data(pl.LightningDataModule):
    """Training and validation samples as loaders: no worker processes, which would have to copy what they hand over."""

    def __init__(self, training: Samples, validation: Samples | None, settings: Settings) -> None:
        super().__init__()
        self.training, self.validation, self.settings = training, validation, settings

    def train_dataloader(self) -> DataLoader[Batch]:
        """A new order in every epoch; a run that is resumed goes on with the one it would have had."""
        # Not `trainer.current_epoch`, which a resumed run sets only when the first order has been asked for.
        progress: Any = self._trainer.fit_loop.epoch_progress.current
        return self._loader(self.training, lambda: [self.settings.seed, progress.processed])

    def val_dataloader(self) -> Any:
        """The samples' own order; nothing where there are none."""
        return [] if self.validation is None else self._loader(self.validation, None)

    @property
    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None  # Lightning sets it before it asks for a loader
        return self.trainer

    def _loader(self, samples: Samples, shuffle: Callable[[], list[int]] | None) -> DataLoader[Batch]:
        trainer = self._trainer
        order = Order(samples.lengths, self.settings.batch_size, shuffle, trainer.global_rank, trainer.world_size)
        on_gpu = trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            Picker(samples),
            sampler=order,
            batch_size=None,  # the sampler hands out whole batches
            collate_fn=_as_it_is,
            pin_memory=on_gpu,
            generator=torch.Generator(),  # every loader draws a number when it starts: not one of dropout's
        )


def _as_it_is(batch: Any) -> Any:
    return batch
