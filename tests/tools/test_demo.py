"""The demo: its market looks at no later tick, its scores are what they say, its run is whole."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmcore
from lstmcore.commands.cli import main
from lstmcore.demo import market, run
from lstmcore.layers import LSTM, BatchNorm1d, Dropout, Linear, ReLU, Scaler, Sigmoid
from lstmcore.windows import windows


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), ticks=st.integers(1, 300), more=st.integers(1, 200))
def test_no_tick_knows_a_later_one(seed: int, ticks: int, more: int) -> None:
    longer = market.simulate(ticks + more, seed)
    shorter = market.simulate(ticks, seed)
    for name, column in vars(longer.first(ticks)).items():
        np.testing.assert_array_equal(column, getattr(shorter, name), err_msg=name)
    np.testing.assert_array_equal(market.features(longer)[:ticks], market.features(shorter))
    # The future of the quotes can be anything: here it is another market's.
    other = market.simulate(ticks + more, seed + 1)
    joined = {
        name: np.concatenate([column[:ticks], getattr(other, name)[ticks:]]) for name, column in vars(longer).items()
    }
    np.testing.assert_array_equal(market.features(market.Quotes(**joined))[:ticks], market.features(shorter))


def test_the_book_is_a_book_and_features_are_what_they_are_called() -> None:
    quotes = market.simulate(3000, 11)
    assert np.all(quotes.ask - quotes.bid >= 0.999 * market.TICK_SIZE)
    assert np.all((quotes.bid_size >= 1) & (quotes.ask_size >= 1))
    assert np.all(((quotes.bought + quotes.sold) > 0) == (quotes.trades > 0))
    np.testing.assert_allclose(quotes.bid / market.TICK_SIZE, np.round(quotes.bid / market.TICK_SIZE))
    features = market.features(quotes)
    assert features.shape == (3000, len(market.FEATURES))
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    column = dict(zip(market.FEATURES, features.T, strict=True))
    n = 1234
    bid, ask = quotes.bid_size[n], quotes.ask_size[n]
    assert column["imbalance"][n] == pytest.approx((bid - ask) / (bid + ask), rel=1e-5)
    micro = (quotes.bid[n] * ask + quotes.ask[n] * bid) / (bid + ask)
    assert column["micro_price"][n] == pytest.approx((micro - quotes.mid[n]) / market.TICK_SIZE, abs=1e-4)
    assert column["return_20"][n] == pytest.approx(1e4 * (quotes.mid[n] / quotes.mid[n - 20] - 1), abs=1e-3)
    weights = 0.8 ** np.arange(n + 1)[::-1] * 0.2
    flow = weights[1:] @ (quotes.bought - quotes.sold)[1 : n + 1]  # what the first tick left is far below 1e-6
    assert column["flow"][n] == pytest.approx(flow, abs=1e-4)


def test_labels_look_exactly_the_horizon_ahead() -> None:
    mid = np.arange(50.0)
    mid[30] = -1
    expected = np.ones(30, bool)
    expected[10] = False
    np.testing.assert_array_equal(market.labels(mid), expected)
    assert not market.labels(np.ones(25)).any()  # no change is no rise


def test_follow_answers_the_windows_of_the_series() -> None:
    model = lstmcore.load(run.MODEL)
    features = market.features(market.simulate(130, 3))
    ticks = list(run.follow(model, features))
    assert [tick.n for tick in ticks] == list(range(run.WINDOW - 1, 130))
    assert all(tick.ns > 0 for tick in ticks)
    np.testing.assert_array_equal([t.signal for t in ticks], model(windows(features, run.WINDOW))[:, 0])


def test_the_shipped_model_is_the_quant_model_and_knows_more_than_the_last_tick() -> None:
    assert run.MODEL.stat().st_size < 120_000
    model = lstmcore.load(run.MODEL)
    kinds = [type(layer) for layer in model.layers]
    assert kinds == [Scaler, LSTM, BatchNorm1d, Dropout, Linear, ReLU, Dropout, Linear, Sigmoid]
    assert [w.shape for key, w in model.parameters.items() if key.endswith(("_l0", ".weight"))][:2] == [
        (256, 10),
        (256, 64),
    ]
    quotes = market.simulate(20_000, 77)  # a market that neither training nor the demo saw
    features = market.features(quotes)
    verdicts, rises = run.judge(quotes, features, model(windows(features, run.WINDOW))[:, 0])
    model_auc, last_tick, hidden = (verdict.auc for verdict in verdicts)
    assert 0.5 < last_tick < model_auc < hidden < 0.8
    assert 0.4 < rises < 0.6
    assert verdicts[0].hit_rate > max(rises, 1 - rises)


def test_difference_from_the_reference_would_be_noticed() -> None:
    model = lstmcore.load(run.MODEL)
    features = market.features(market.simulate(100, 3))
    signal = model(windows(features, run.WINDOW))[:, 0]
    difference, sample = run.difference_from_reference(model, features, signal)
    assert sample == 51
    assert difference < 2e-6
    signal[20] += 1e-3
    assert run.difference_from_reference(model, features, signal)[0] == pytest.approx(1e-3, rel=1e-2)


def test_demo_prints_the_signal_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert main(["demo", "--ticks", "300", "--out", str(tmp_path / "made"), "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    features = market.features(market.simulate(300, 5))
    last = lstmcore.load(run.MODEL)(features[-run.WINDOW :]).item()
    line = next(line for line in out.splitlines() if line.startswith("     300  "))
    assert f"{last:.3f}" in line
    for text in ("p99.9", "Largest difference from the float64 reference", "251 windows", "AUC"):
        assert text in out
    png = (tmp_path / "made" / "lstmcore-demo.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    assert width > 1000
    assert height > 700


def test_demo_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--ticks", "200", "--json", "--no-plot", "--backend", "numpy"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["answers"] == 151
    assert facts["backend"] == "numpy"
    assert facts["difference"] < 2e-6
    latency = facts["latency_us"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    assert len(facts["scores"]) == 3
    assert facts["picture"] is None
    assert main(["demo", "--ticks", "69"]) == 1
    assert "at least 70" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert main(["demo", "--ticks", "80", "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"lstmcore: error: {tmp_path / 'file'}: File exists\n"


def test_demo_on_a_terminal_draws_live(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    from lstmcore import terminal

    monkeypatch.setattr(terminal, "has_rich", lambda stream: True)
    assert main(["demo", "--ticks", "150", "--no-plot"]) == 0
    assert "tick 150 of 150" in capsys.readouterr().out
    assert main(["demo", "--ticks", "150", "--no-plot", "--plain"]) == 0
    assert "tick 150 of 150" not in capsys.readouterr().out
