"""The same messages again, afterwards, through the backtest's door."""

from __future__ import annotations

import os

import numpy as np
from bot import Bot

import lstmcore
from lstmcore.feed.features import Features
from lstmcore.feed.messages import Parser
from lstmcore.feed.recording import Recording
from lstmcore.layers import Array


def answers(path: str | os.PathLike[str], model: lstmcore.Model, window: int, features: Features) -> Array:
    """What the bot must have answered to a recording, by `predict_windows`, (ticks,) float32; NaN in short pieces."""
    parse = Parser()
    pieces: list[list[Array]] = [[]]  # rows between two gaps
    gaps = 0
    for received_ns, payload in Recording(path):
        if features.take(parse(payload), received_ns):
            if features.counts.gaps != gaps:
                gaps = features.counts.gaps
                pieces.append([])
            pieces[-1].append(features.out.copy())
    return np.concatenate([_answers(np.array(rows), model, window) for rows in pieces])


def _answers(rows: Array, model: lstmcore.Model, window: int) -> Array:
    """Of ticks without a gap between them, (n, F) -> (n,)."""
    out = np.full(len(rows), np.nan, np.float32)
    if len(rows) >= window:
        out[window - 1 :] = model.predict_windows(rows, window).reshape(-1)
    return out


def agrees(bot: Bot, path: str | os.PathLike[str], tick_size: float) -> bool:
    """Whether the bot's answers have the bits that its recording gives afterwards."""
    stream = bot.stream
    again = answers(path, stream.model, stream.window, Features(tick_size, bot.features.names))
    return again.tobytes() == np.array(bot.answers, np.float32).tobytes()
