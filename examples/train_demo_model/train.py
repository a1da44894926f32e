"""Train the model that `lstmcore demo` follows the market with, and save it into the package.

    python examples/train_demo_model/train.py [--out FILE] [--epochs N]

Needs torch. About two minutes on one CPU core; the same seeds and the same torch give the same file.
Training, validation and the demo use three markets of different seeds. The epoch with the best AUC on the
validation market is kept; what is printed at the end is on a fourth market, which nothing was chosen by. The
features' mean and scale are saved with the model, so it takes raw features.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np

import lstmcore
from lstmcore import terminal
from lstmcore.demo import market
from lstmcore.demo.run import MODEL, WINDOW, judge
from lstmcore.metrics import auc
from lstmcore.windows import windows, windows_and_targets

terminal.ask_or_exit("torch", "torch")

import torch  # noqa: E402  # behind the question
from torch import nn  # noqa: E402

TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 1001, 1002, 1003
TRAIN_TICKS, OTHER_TICKS = 150_000, 40_000
BATCH = 256
LEARNING_RATE = 2e-3


class Quant(nn.Module):
    """(N, 50, 10) -> (N, 1): the probability of a higher mid."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, 64, batch_first=True)
        self.norm = nn.BatchNorm1d(64)
        self.drop1 = nn.Dropout(0.3)
        self.fc1 = nn.Linear(64, 32)
        self.drop2 = nn.Dropout(0.2)
        self.fc2 = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, _ = self.lstm(x)
        x = self.drop1(self.norm(steps[:, -1]))
        x = self.drop2(torch.relu(self.fc1(x)))
        return torch.sigmoid(self.fc2(x))


def load_market(seed: int, ticks: int) -> tuple[market.Quotes, np.ndarray, np.ndarray]:
    """Quotes, features (N, 10), and whether each tick comes before a rise (N - HORIZON,)."""
    quotes = market.simulate(ticks, seed)
    return quotes, market.features(quotes), market.labels(quotes.mid)


def samples(features: np.ndarray, rises: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Every window with the label of its last tick: (N, 50, 10) and (N, 1)."""
    x, y = windows_and_targets(features[: len(rises)], rises, WINDOW)
    return torch.tensor(x.copy()), torch.tensor(y.astype(np.float32))[:, None]


def train(epochs: int) -> tuple[Quant, tuple[np.ndarray, np.ndarray]]:
    """The best module in eval mode, and (mean, scale) of the features it was trained on."""
    _, features, rises = load_market(TRAIN_SEED, TRAIN_TICKS)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    x, y = samples((features - mean) / scale, rises)
    _, other_features, other_rises = load_market(VALIDATION_SEED, OTHER_TICKS)
    x_other, y_other = samples((other_features - mean) / scale, other_rises)

    torch.set_num_threads(1)  # sums are formed in the same order on every machine
    torch.manual_seed(0)
    module = Quant(features.shape[1])
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    best, best_auc = module.state_dict(), 0.0
    for epoch in range(epochs):
        module.train()
        total = 0.0
        for batch in torch.split(torch.randperm(len(x))[: len(x) // BATCH * BATCH], BATCH):
            loss = nn.functional.binary_cross_entropy(module(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            total += loss.item()
        module.eval()
        with torch.inference_mode():
            score = torch.cat([module(part) for part in torch.split(x_other, 2048)]).numpy()[:, 0]
        here = auc(y_other.numpy()[:, 0] > 0, score)
        print(f"epoch {epoch + 1}: loss {total / (len(x) // BATCH):.4f}, validation AUC {here:.4f}", flush=True)
        if here > best_auc:
            best, best_auc = copy.deepcopy(module.state_dict()), here
    module.load_state_dict(best)
    return module.eval(), (mean, scale)


def main() -> None:
    """Train, save, and judge on a market that nothing was chosen by."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODEL, help="the file to write (the package's own)")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()

    module, scaler = train(options.epochs)
    model = lstmcore.from_torch(module, scaler=scaler)
    model.save(options.out)
    print(model)

    quotes, features, _ = load_market(TEST_SEED, OTHER_TICKS)
    signal = model(windows(features, WINDOW))[:, 0]
    for verdict in judge(quotes, features, signal)[0]:
        print(f"AUC {verdict.auc:.4f}, hit rate {verdict.hit_rate:.1%}: {verdict.name}")


if __name__ == "__main__":
    main()
