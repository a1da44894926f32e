"""The exit model, as its user would write it. Nothing here knows of lstmcore."""

from __future__ import annotations

import torch
from torch import nn


class ExitModel(nn.Module):
    """(trades, bars so far, 8) -> (trades,): how sure the model is that closing now is better."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 64, num_layers=2, dropout=0.3, batch_first=True)
        self.classifier = nn.Sequential(
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(32, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.lstm(x)
        last = out[:, -1, :]
        answer: torch.Tensor = self.classifier(last).squeeze(-1)
        return answer
