"""examples/exit_management: the ways to leave a trade, and the figures that judge them."""

from __future__ import annotations

import exits
import judge
import numpy as np
import pytest
import regimes
from exit_bars import make_bars
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import Sample
from trades import MAX_BARS, Trade

from lstmcore.layers import Array

COMMON = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("side", [1, -1])
def test_results_of_a_small_trade(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entered at 100 with R = 4, open over bars 1 to 3, stopped at 96 in bar 4, whose open was 99."""
    opens = [100 + side * move for move in (-2.0, 0.0, 2.0, 6.0, -1.0)]
    bars = make_bars(open=opens, high=opens, low=opens, close=opens)
    trade = Trade(1, 4, side, 100.0, 100.0 - side * 4, 4.0)
    monkeypatch.setattr(exits, "COST", 0.0)
    assert exits.results(bars, trade).tolist() == [0.5, 1.5, -0.25, -1.0]  # opens of bars 2, 3, 4; the stop
    monkeypatch.setattr(exits, "COST", 0.01)
    expected = [0.5, 1.5, -0.25, -1.0] - 0.01 * (100 + np.array([*opens[2:], 100 - side * 4])) / 4
    np.testing.assert_allclose(exits.results(bars, trade), expected, rtol=1e-12)


def test_where_each_rule_leaves() -> None:
    profit = np.array([0.5, -0.25, 1.5, 0.75, 0.5, 2.0])
    assert exits.hold(profit) == 6
    assert exits.time_stop(profit, 1) == 0
    assert exits.time_stop(profit, 6) == 5
    assert exits.time_stop(profit, 99) == 6  # the trade ends before
    assert exits.trailing_stop(profit, 1.0) == 4  # 1.0 under the 1.5 two bars before
    assert exits.trailing_stop(profit, 0.75) == 1
    assert exits.trailing_stop(profit, 1.01) == 6
    assert exits.trailing_stop(np.array([-0.5, -1.0]), 1.0) == 1  # from the entry, where no close was better
    assert exits.by_score(np.array([0.1, 0.5, 0.6, 0.9]), 0.5) == 2
    assert exits.by_score(np.array([0.1, 0.5]), 1.0) == 2
    assert exits.oracle(np.array([0.5, 1.5, -0.25, -1.0])) == 1


@COMMON
@given(st.integers(0, 2**32), st.integers(1, MAX_BARS - 1), st.sampled_from([1, -1]))
def test_no_rule_beats_the_oracle(seed: int, open_bars: int, side: int) -> None:
    random = np.random.default_rng(seed)
    open_, close = 100 + random.normal(0, 4, (2, open_bars + 2))
    bars = make_bars(open=open_, high=open_, low=open_, close=close)
    trade = Trade(1, open_bars + 1, side, 100.0, float(random.normal(100, 4)), 4.0)
    paid = exits.results(bars, trade)
    profit = side * (close[1:-1] - 100) / 4
    scores = random.uniform(size=open_bars)
    places = [
        exits.hold(profit),
        exits.time_stop(profit, int(random.integers(1, 30))),
        exits.trailing_stop(profit, float(random.uniform(0.1, 2))),
        exits.by_score(scores, 0.7),
    ]
    assert len(paid) == open_bars + 1
    assert all(0 <= place <= open_bars for place in places)
    assert max(paid[place] for place in places) <= paid[exits.oracle(paid)]


def test_the_drawdown_follows_closing_dates() -> None:
    closed = np.array(["2001-01-03", "2001-01-01", "2001-01-04", "2001-01-02"], "datetime64[D]")
    r = np.array([-1.0, 2.0, 0.5, -1.5])  # in order of closing: 2, -1.5, -1, 0.5
    assert judge.max_drawdown(r, closed) == 2.5
    assert judge.max_drawdown(np.abs(r), closed) == 0
    assert judge.max_drawdown(-np.abs(r), closed) == 5  # from the start, where nothing was earned


def test_the_bootstrap_is_near_the_textbook_interval() -> None:
    values = np.random.default_rng(0).normal(0.3, 2.0, 400)
    low, high = judge.bootstrap(values)
    error = values.std() / 20
    np.testing.assert_allclose([low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.15 * error)
    assert judge.bootstrap(values) == [low, high]
    assert judge.bootstrap(np.full(5, 0.25)) == [0.25, 0.25]
    with pytest.raises(ValueError, match="values: expected at least one"):
        judge.bootstrap(np.empty(0))


def test_trades_drawn_together_are_less_evidence() -> None:
    """Four copies of each trade, drawn as one, are as much as the trades themselves."""
    values = np.random.default_rng(1).normal(0, 1, 100)
    groups = np.repeat(np.arange(100), 4)
    alone, together, fourfold = (
        np.ptp(judge.bootstrap(*arguments))
        for arguments in ((values,), (np.repeat(values, 4), groups), (np.repeat(values, 4),))
    )
    assert together == pytest.approx(alone, rel=0.1)
    assert fourfold == pytest.approx(alone / 2, rel=0.1)


def test_the_interval_of_an_auc() -> None:
    random = np.random.default_rng(2)
    labels = [random.integers(0, 2, 20).astype(float) for _ in range(60)]
    blind = [random.uniform(size=20) for _ in labels]
    seeing = [y + 0.5 * x for y, x in zip(labels, blind, strict=True)]
    unsure = [y + 2 * x for y, x in zip(labels, blind, strict=True)]
    nothing = judge.auc_interval([(labels, [blind])])
    assert nothing["low"] < 0.5 < nothing["high"]
    assert judge.auc_interval([(labels, [seeing])]) == {"auc": 1.0, "low": 1.0, "high": 1.0}
    some = judge.auc_interval([(labels, [unsure])])
    assert 0.5 < some["low"] < some["auc"] < some["high"] < 1
    both = judge.auc_interval([(labels, [blind]), (labels, [seeing])])
    assert both["auc"] == pytest.approx((nothing["auc"] + 1) / 2)
    fourfold = [(labels * 4, [unsure * 4])]
    narrow, wide = (judge.auc_interval(fourfold, groups) for groups in (None, [np.tile(np.arange(60), 4)]))
    assert narrow["auc"] == pytest.approx(some["auc"])
    assert wide["high"] - wide["low"] == pytest.approx(some["high"] - some["low"], rel=0.15)
    assert narrow["high"] - narrow["low"] < 0.65 * (wide["high"] - wide["low"])
    # Two models of one fold have an AUC each: that one scores higher all over is no matter.
    two = judge.auc_interval([(labels, [unsure, [x + 100 for x in unsure]])])
    assert two == pytest.approx(some)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
def test_the_weighted_auc_counts_pairs(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([label for label, _ in pairs], float), np.array([score for _, score in pairs], float)
    wins = [(a > b) + (a == b) / 2 for a in scores[labels > 0] for b in scores[labels == 0]]
    if wins:
        assert judge.auc_interval([([labels], [[scores]])], draws=1)["auc"] == pytest.approx(sum(wins) / len(wins))


def test_the_summary_is_over_seeds() -> None:
    r = np.array([[1.0, -1.0, 0.5], [0.0, -1.0, -0.5]])
    closed = np.array([["2001-01-01", "2001-01-02", "2001-01-03"]] * 2, "datetime64[D]")
    found = judge.summary(r, np.array([[1.0, 2, 3], [3, 4, 5]]), closed, ["a", "a", "b"], np.array([0.5, 0.0, 0.0]))
    assert found["trades"] == 3
    assert found["expectancy"] == pytest.approx(-1 / 6)
    assert found["expectancy_by_seed"] == pytest.approx([1 / 6, -0.5])
    assert found["hit_rate"] == pytest.approx(2 / 6)
    assert found["max_drawdown"] == pytest.approx((1.0 + 1.5) / 2)
    assert found["bars_held"] == 3
    assert found["difference"] == pytest.approx(-1 / 3)


def test_regimes_come_from_training_trades() -> None:
    def sample(market: str, volatility: float) -> Sample:
        empty: Array = np.empty(0)
        return Sample(market, Trade(0, 1, 1, 1.0, 1.0, 1.0), empty, empty, empty, empty, volatility)

    train = [sample("a", v) for v in (1.0, 2.0, 3.0, 4.0)] + [sample("b", 10 * v) for v in (1.0, 2.0, 3.0, 4.0)]
    borders = regimes.thresholds(train)
    np.testing.assert_allclose(borders["a"], [2, 3])
    assert [regimes.regime(sample("a", v), borders) for v in (0.5, 2.5, 9.0)] == [0, 1, 2]
    assert [regimes.regime(sample("b", v), borders) for v in (9.0, 25.0, 31.0)] == [0, 1, 2]
