"""examples/exit_management: what it knows and when, and the whole run."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import split
import store
from bars import Bars
from exit_bars import make_bars
from exit_bars import random_bars as bars_of
from features import FEATURES, trade_features
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from indicators import Indicators, indicators
from labels import labels
from samples import Sample, load_samples, make_samples
from trades import MAX_BARS, Trade, find_trades, follow

import lstmcore
from lstmcore.layers import Array, Scaler

EXAMPLE = Path(__file__).parents[2] / "examples" / "exit_management"


COMMON = settings(max_examples=40, deadline=None)
ROWS = 420
DAY = np.timedelta64(1, "D")


def random_bars(seed: int) -> Bars:
    return bars_of(seed, ROWS)


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


@pytest.fixture(scope="module")
def real() -> list[Sample]:
    pytest.importorskip("arch", reason="arch is not installed")
    return load_samples()


def test_no_label_reads_the_next_part(real: list[Sample]) -> None:
    """Training ends before validation begins, and validation before the test, with what its labels read."""
    folds = split.folds(real)
    assert [str(fold.test_bounds[0])[:4] for fold in folds] == ["2007", "2009", "2011", "2013", "2015", "2017"]
    for fold in folds:
        entered, ended = (
            {
                name: np.array([real[row].dates[n] for row in rows])
                for name, rows in (("train", fold.train), ("validation", fold.validation), ("test", fold.test))
            }
            for n in (0, -1)
        )
        assert min(map(len, entered.values())) > 70
        assert (
            ended["train"].max() + 7 * DAY
            < np.datetime64(fold.validation_bounds[0], "D")
            <= entered["validation"].min()
        )
        assert ended["validation"].max() + 7 * DAY < np.datetime64(fold.test_bounds[0], "D") <= entered["test"].min()
    tested = [row for fold in folds for row in fold.test]
    assert len(tested) == len(set(tested)) > 600


def test_the_purge_takes_trades_that_reach_into_the_next_part(real: list[Sample]) -> None:
    fold = split.folds(real)[0]
    border = np.datetime64(fold.validation_bounds[0], "D")
    late = [row for row in fold.purged if real[row].dates[0] < border]
    assert late
    assert all(real[row].dates[-1] + 7 * DAY >= border for row in late)


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


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of one whole run."""
    for package in ("pytorch_lightning", "arch", "matplotlib"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    out = tmp_path_factory.mktemp("exit_management")
    done = python(str(EXAMPLE / "run.py"), "--out", str(out), "--quick")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_whole_run(studied: tuple[Path, str]) -> None:
    out, text = studied
    results, equity = (json.loads((out / f"{name}.json").read_text()) for name in ("results", "equity"))
    assert [fold["test"][0][:4] for fold in results["folds"]] == ["2015", "2017"]
    tested = sum(fold["test_samples"] for fold in results["folds"])
    assert [model["name"] for model in results["models"]] == [
        f"{cell}-fold{fold}-seed0" for fold in (5, 6) for cell in ("lstm", "gru")
    ]
    for model in results["models"]:
        answers = store.Answers.load(store.torch_answers(out, model["name"]))
        assert model["test_trades"] == len(answers.trades) > 50
        assert model["test_bars"] == len(answers.scores) > 500
        assert np.ptp(answers.scores) > 0.01  # a model that answers the same to everything compares well too
        assert 0 < model["largest_difference"] <= 2e-6
        assert model["within_limit"]
    assert {row["trades"] for row in results["rules"].values()} == {tested}
    for group in ("by_fold", "by_market", "by_side", "by_regime"):
        assert sum(rows["hold"]["trades"] for rows in results[group].values()) == tested
    for rule, row in results["rules"].items():
        assert row["expectancy"] <= results["rules"]["oracle"]["expectancy"]
        assert row["expectancy_interval"][0] < row["expectancy"] < row["expectancy_interval"][1]
        assert equity[rule][0]["r"][-1] == pytest.approx(tested * row["expectancy"], abs=1e-3)
        assert f"{row['expectancy']:+.3f}" in text
    assert f"{max(m['largest_difference'] for m in results['models']):.1e}" in text
    report = (out / "report.md").read_text()
    assert "A small run: too little to conclude from." in report
    for picture in re.findall(r"!\[\]\((.+?)\)", report):
        assert (out / picture).stat().st_size > 10_000
    assert report.count("![](") == len(list(out.glob("*.png"))) == 6


def test_what_a_trade_scaled_over_its_life_promises_does_not_come(studied: tuple[Path, str]) -> None:
    out, _ = studied
    failed = {row["name"]: row for row in json.loads((out / "results.json").read_text())["failures"]}
    honest, wrong = failed["honest run"], failed["scaled over its life"]
    assert honest["reported"] == honest["live"]
    assert wrong["reported"]["auc"] > max(wrong["live"]["auc"], honest["live"]["auc"]) + 0.1
    assert wrong["reported"]["expectancy"] > wrong["live"]["expectancy"] + 0.3


def test_wrong_options_are_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments, told in (
        (("--minutes", "0"), "--minutes: expected more than 0, got 0"),
        (("--minutes", "nan"), "--minutes: expected more than 0, got nan"),
        (("--jobs", "0"), "--jobs: expected at least 1, got 0"),
        (("--quick", "--out", str(tmp_path / "file")), "run.py: --out:"),
    ):
        done = python(str(EXAMPLE / "run.py"), *arguments)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_a_run_goes_on_where_it_ended(studied: tuple[Path, str], tmp_path: Path) -> None:
    out, text = studied
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    lost = tmp_path / "pieces" / "lstm-fold6-seed0.json"
    kept = json.loads(lost.read_text())
    lost.unlink()
    done = python(str(EXAMPLE / "run.py"), "--out", str(tmp_path), "--quick", "--resume")
    assert done.returncode == 0, done.stderr
    made = json.loads(lost.read_text())
    assert (made["settings"], made["result"]) == (kept["settings"], kept["result"])  # trained again from the same seed
    assert done.stdout.splitlines()[:15] == text.splitlines()[:15]  # below are latencies


def test_the_scaler_knows_the_training_part_only(studied: tuple[Path, str], real: list[Sample]) -> None:
    out, _ = studied
    for fold in split.folds(real)[-2:]:
        rows = np.concatenate([real[n].features for n in fold.train]).astype(np.float64)
        scaler = lstmcore.load(store.model_file(out, f"lstm-fold{fold.number}-seed0"), backend="numpy").layers[0]
        assert isinstance(scaler, Scaler)
        np.testing.assert_allclose(scaler.weights["mean"], rows.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(scaler.weights["scale"], rows.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("wrong", [1e-5, float("nan")])
def test_a_difference_is_an_error(studied: tuple[Path, str], tmp_path: Path, wrong: float) -> None:
    out, _ = studied
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    path = store.torch_answers(tmp_path, "gru-fold5-seed0")
    answers = store.Answers.load(path)
    answers.scores[-1] += wrong
    answers.save(path)
    assert python(str(EXAMPLE / "score.py"), "--out", str(tmp_path)).returncode == 1
    verdicts = [model["within_limit"] for model in json.loads(store.score_report(tmp_path).read_text())]
    assert verdicts == [True, False, True, True]


def test_the_scoring_process_cannot_import_torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    start = f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import score; score.forbid_torch(); "
    assert python("-c", start + "import lstmcore").returncode == 0
    for module in ("torch", "torch.nn"):
        refused = python("-c", start + f"import {module}")
        assert "torch: not to be imported in this process" in refused.stderr
        assert refused.returncode != 0
