"""examples/exit_management: what it knows and when, and the whole run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import split
import store
from auc import auc
from bars import Bars, load
from features import FEATURES, trade_features
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from indicators import Indicators, indicators
from labels import labels
from samples import make_samples
from trades import MAX_BARS, Trade, find_trades, follow

import lstmcore
from lstmcore.layers import Array, Scaler

EXAMPLE = Path(__file__).parents[1] / "examples" / "exit_management"


COMMON = settings(max_examples=40, deadline=None)
ROWS = 420


def make_bars(**columns: Any) -> Bars:
    """Bars from lists, with volume where the test has no use for it."""
    rows = len(columns["close"])
    dates = np.datetime64("2001-01-01") + np.arange(rows)
    columns = {"date": dates, "volume": np.ones(rows)} | columns
    return Bars(**{name: np.asarray(values) for name, values in columns.items()})


def random_bars(seed: int, rows: int = ROWS) -> Bars:
    random = np.random.default_rng(seed)
    close = 1000 * np.exp(np.cumsum(random.normal(0, 0.01, rows)))
    open_ = close * np.exp(random.normal(0, 0.005, rows))
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    return make_bars(
        open=open_,
        high=high * (1 + random.exponential(0.003, rows)),
        low=low * (1 - random.exponential(0.003, rows)),
        close=close,
        volume=random.uniform(1e9, 2e9, rows),
    )


def with_other_future(bars: Bars, known: int, seed: int) -> Bars:
    """The same bars in the first `known` rows, others behind."""
    other = random_bars(seed)
    pairs = zip(vars(bars).values(), vars(other).values(), strict=True)
    return Bars(*(np.concatenate([mine[:known], theirs[known:]]) for mine, theirs in pairs))


@COMMON
@given(st.integers(0, 2**32), st.integers(230, ROWS - 1))
def test_no_look_ahead(seed: int, now: int) -> None:
    """Other bars after `now` change neither which trades were entered nor a feature of theirs up to `now`."""

    def known(bars: Bars) -> dict[tuple[int, int], Array]:
        found = {(s.trade.entry, s.trade.side): s.features for s in make_samples(bars)}
        return {key: rows[: now - key[0] + 1] for key, rows in found.items() if key[0] <= now}

    bars = random_bars(seed)
    before, after = known(bars), known(with_other_future(bars, now + 1, seed + 1))

    assume(before)
    assert before.keys() == after.keys()
    for key, rows in before.items():
        np.testing.assert_array_equal(rows, after[key], strict=True)


@COMMON
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_no_training_label_reads_the_test_block(seed: int, folds: int) -> None:
    bars = random_bars(seed)
    samples = make_samples(bars)
    trades = [sample.trade for sample in samples]
    for fold in split.walk_forward(trades, len(bars), folds):
        other = with_other_future(bars, fold.start, seed + 1)
        for n in fold.train:
            np.testing.assert_array_equal(labels(other, trades[n]), samples[n].labels)
        assert all(trades[n].entry < fold.start <= trades[n].end for n in fold.purged)
        assert all(fold.start <= trades[n].entry < fold.stop for n in fold.test)
        assert sorted(fold.train + fold.purged + fold.test) == [
            n for n, trade in enumerate(trades) if trade.entry < fold.stop
        ]


def test_the_purge_takes_trades_that_reach_into_the_test_block() -> None:
    spans = [(2, 8), (3, 9), (4, 10), (9, 15), (10, 12), (19, 30), (20, 25)]
    trades = [Trade(entry, end, 1, 100.0, 101.0, 2.0) for entry, end in spans]
    fold = split.cut(trades, 10, 20)
    assert (fold.train, fold.purged, fold.test) == ([0, 1], [2, 3], [4, 5])


def test_blocks_follow_each_other_to_the_last_bar() -> None:
    folds = split.walk_forward([], 1000, 4)
    assert [(fold.start, fold.stop) for fold in folds] == [(500, 625), (625, 750), (750, 875), (875, 1000)]


@pytest.mark.parametrize("side", [1, -1])
def test_features_of_a_small_trade(side: int) -> None:
    """Signal at bar 0, entered at 100 with R = 4, open over bars 1 to 3; a short has the mirrored prices."""
    up = {
        "open": [98.0, 100.0, 102.0, 99.0, 105.0],
        "high": [100.0, 103.0, 102.0, 107.0, 106.0],
        "low": [97.0, 99.0, 98.0, 99.0, 103.0],
        "close": [99.0, 102.0, 99.0, 106.0, 104.0],
    }
    mirrored = {name: [100 + side * (price - 100) for price in prices] for name, prices in up.items()}
    if side < 0:
        mirrored["high"], mirrored["low"] = mirrored["low"], mirrored["high"]
    known = Indicators(
        atr=np.array([2.0, 3.0, 2.0, 1.0, 9.0]),
        trend=side * np.array([0.0, 5.0, -4.0, 3.0, 9.0]),
        momentum=side * np.array([0.0, 0.5, -1.5, 2.0, 9.0]),
        volume_ratio=np.array([0.0, 1.25, 0.75, 1.5, 9.0]),
    )
    trade = Trade(entry=1, end=4, side=side, entry_price=100.0, exit_price=100 + side * 4.0, risk=4.0)

    found = trade_features(make_bars(**mirrored), known, trade)

    expected = {
        "current_r": [0.5, -0.25, 1.5],
        "mfe_r": [0.75, 0.75, 1.75],
        "mae_r": [-0.25, -0.5, -0.5],
        "bars_held": [1, 2, 3],
        "atr_ratio": [1.5, 1, 0.5],
        "regime_score": [5, -4, 3],
        "momentum": [0.5, -1.5, 2],
        "volume_ratio": [1.25, 0.75, 1.5],
    }
    assert tuple(expected) == FEATURES
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.transpose(list(expected.values())))


def test_labels_of_a_small_trade() -> None:
    """Profits at the closes 0.5, -0.25, 1.5 R, closed at 0.25 R (not at that bar's close, 1.75 R)."""
    closes = [99.0, 102.0, 99.0, 106.0, 107.0, 0.0]
    bars = make_bars(open=closes, high=closes, low=closes, close=closes)
    trade = Trade(entry=1, end=4, side=1, entry_price=100.0, exit_price=101.0, risk=4.0)
    assert labels(bars, trade, horizon=1).tolist() == [1, 0, 1]
    assert labels(bars, trade, horizon=2).tolist() == [0, 0, 1]
    assert labels(bars, trade, horizon=9).tolist() == [1, 0, 1]
    short = dataclasses.replace(trade, side=-1)
    assert labels(bars, short, horizon=1).tolist() == [0, 1, 0]


@COMMON
@given(st.integers(0, 2**32))
def test_the_entry_rule_equals_the_loop(seed: int) -> None:
    bars = random_bars(seed)
    known = indicators(bars)
    expected, before = [], 0
    for t in range(20, ROWS):
        past = range(t - 20, t)
        side = int(bars.close[t] > max(bars.high[k] for k in past)) - int(
            bars.close[t] < min(bars.low[k] for k in past)
        )
        if side and side != before and 200 <= t < ROWS - MAX_BARS:
            trade = follow(bars, t + 1, side, 2 * float(known.atr[t]))
            expected += [trade] if trade and trade.open_bars else []
        before = side
    assert find_trades(bars, known) == expected


def test_how_trades_end() -> None:
    rows = MAX_BARS + 2
    flat = {name: np.full(rows, 100.0) for name in ("open", "high", "low", "close")}
    flat["close"][MAX_BARS] = 103
    last = Trade(entry=1, end=MAX_BARS, side=1, entry_price=100.0, exit_price=103.0, risk=5.0)
    assert follow(make_bars(**flat), 1, 1, 5.0) == last
    assert follow(make_bars(**flat), 3, 1, 5.0) is None  # the bars end first

    stopped = {**flat, "low": flat["low"].copy()}
    stopped["low"][4] = 95
    assert follow(make_bars(**stopped), 1, 1, 5.0) == dataclasses.replace(last, end=4, exit_price=95.0)

    gap = {**flat, "open": flat["open"].copy(), "high": flat["high"].copy()}
    gap["open"][6] = gap["high"][6] = 108
    short = dataclasses.replace(last, end=6, side=-1, exit_price=108.0)
    assert follow(make_bars(**gap), 1, -1, 5.0) == short


@COMMON
@given(st.integers(0, 2**32), st.integers(200, ROWS - 1))
def test_indicators_equal_their_definitions(seed: int, t: int) -> None:
    bars = random_bars(seed)
    ranges = [
        max(
            bars.high[k] - bars.low[k],
            abs(bars.high[k] - bars.close[k - 1]),
            abs(bars.low[k] - bars.close[k - 1]),
        )
        for k in range(t - 13, t + 1)
    ]
    atr = sum(ranges) / 14
    fast, slow = sum(bars.close[t - 49 : t + 1]) / 50, sum(bars.close[t - 199 : t + 1]) / 200
    expected = (
        atr,
        (fast - slow) / atr,
        (bars.close[t] - bars.close[t - 10]) / atr,
        bars.volume[t] / (sum(bars.volume[t - 19 : t + 1]) / 20),
    )
    found = indicators(bars)
    np.testing.assert_allclose([series[t] for series in vars(found).values()], expected, rtol=1e-9, atol=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
def test_auc_counts_pairs(pairs: list[tuple[bool, int]]) -> None:
    ones = [score for label, score in pairs if label]
    zeros = [score for label, score in pairs if not label]
    wins = [(a > b) + (a == b) / 2 for a in ones for b in zeros]
    expected = sum(wins) / len(wins) if wins else float("nan")
    np.testing.assert_allclose(auc(*zip(*pairs, strict=True)), expected, rtol=1e-12)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of one whole run."""
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("arch", reason="arch is not installed")
    out = tmp_path_factory.mktemp("exit_management")
    done = python(str(EXAMPLE / "run.py"), "--out", str(out), "--epochs", "1")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_whole_run(trained: tuple[Path, str]) -> None:
    out, text = trained
    folds = json.loads(store.score_report(out).read_text())
    assert len(folds) == 3
    for number, fold in enumerate(folds, start=1):
        stored = store.Answers.load(store.answers_file(out, number))
        assert fold["test_trades"] == len(stored.entry_date) > 50
        assert fold["test_bars"] == len(stored.float32) == len(stored.float64) > 500
        assert np.ptp(stored.float64) > 0.01  # a model that answers the same to everything compares well too
        assert 0 < np.max(np.abs(stored.float32 - stored.float64)) < 1e-6
        assert 0 < fold["largest_difference"] <= fold["limit"]
        assert f"{fold['largest_difference']:.1e}" in text
    bars = sum(fold["test_bars"] for fold in folds)
    assert f"{sum(fold['test_trades'] for fold in folds)} trades and {bars} bars" in text
    assert "no evidence of an edge" in text


def test_the_scaler_knows_the_training_part_only(trained: tuple[Path, str]) -> None:
    out, _ = trained
    bars = load()
    samples = make_samples(bars)
    folds = split.walk_forward([sample.trade for sample in samples], len(bars), 3)
    for number, fold in enumerate(folds, start=1):
        rows = np.concatenate([samples[n].features for n in fold.train]).astype(np.float64)
        scaler = lstmcore.load(store.model_file(out, number), backend="numpy").layers[0]
        assert isinstance(scaler, Scaler)
        np.testing.assert_allclose(scaler.weights["mean"], rows.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(scaler.weights["scale"], rows.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("wrong", [1e-5, float("nan")])
def test_a_difference_is_an_error(trained: tuple[Path, str], tmp_path: Path, wrong: float) -> None:
    out, _ = trained
    for file in out.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = store.answers_file(tmp_path, 2)
    answers = store.Answers.load(path)
    answers.float32[-1] += wrong
    answers.float64[-1] += wrong
    answers.save(path)
    assert python(str(EXAMPLE / "score.py"), "--out", str(tmp_path)).returncode == 1
    verdicts = [fold["within_limit"] for fold in json.loads(store.score_report(tmp_path).read_text())]
    assert verdicts == [True, False, True]


def test_the_scoring_process_cannot_import_torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    start = f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import score; score.forbid_torch(); "
    assert python("-c", start + "import lstmcore").returncode == 0
    for module in ("torch", "torch.nn"):
        refused = python("-c", start + f"import {module}")
        assert "torch: not to be imported in this process" in refused.stderr
        assert refused.returncode != 0
