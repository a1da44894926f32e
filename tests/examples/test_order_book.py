"""examples/order_book: the book, the market's stories, labels, trades and intervals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lightgbm", reason="lightgbm is not installed; examples/order_book needs the extra examples")
from order_book import book as b
from order_book import intervals, market, recorded, samples, script, simulated, trading
from order_book.ticks import Ticks

from lstmcore import metrics
from lstmcore.demo.market import features
from lstmcore.layers import Array

COMMON = settings(max_examples=40, deadline=None)
TICKS = 4000


def queue(book: b.Book, price: int) -> list[tuple[int, int]]:
    """The orders at a price, oldest first: their numbers and lots."""
    found, order = [], int(book.head[price])
    while order != b.NONE:
        found.append((order, int(book.lots[order])))
        order = int(book.after[order])
    return found


def check(book: b.Book) -> None:
    """What has to be true of a book at any time."""
    placed, traded, cancelled, resting, bid, ask = book.counts[:6].tolist()
    assert placed - traded - cancelled == resting == int(book.volume.sum())
    assert 0 <= bid < ask < b.LEVELS
    assert not book.volume[bid + 1 : ask].any()
    noisy = set(book.noisy[: book.counts[b.NOISY]].tolist())
    assert noisy == set(np.flatnonzero(book.owner == b.NOISE).tolist())
    for price in np.flatnonzero(book.head != b.NONE).tolist():
        orders = queue(book, price)
        assert sum(lots for _, lots in orders) == book.volume[price] > 0
        assert all(lots > 0 and book.price[n] == price for n, lots in orders)
        assert {int(book.side[n]) for n, _ in orders} == {b.BUY if price <= bid else b.SELL}
        assert orders[-1][0] == book.tail[price]
    assert np.flatnonzero(book.volume).tolist() == np.flatnonzero(book.head != b.NONE).tolist()


EVENT = st.tuples(st.sampled_from(["place", "take", "cancel"]), st.booleans(), st.integers(1, 6), st.integers(1, 30))


@COMMON
@given(st.lists(EVENT, max_size=60))
def test_the_book_keeps_every_lot_and_never_crosses(events: list[tuple[str, bool, int, int]]) -> None:
    book = b.opened()
    middle = b.LEVELS // 2
    for side in (b.BUY, b.SELL):
        b.place(book, side, middle - side, 5, b.NOISE)
    for kind, buys, away, lots in events:
        side = b.BUY if buys else b.SELL
        if kind == "place":
            meets = int(book.counts[b.BEST_ASK if buys else b.BEST_BID])
            if 0 < meets < b.LEVELS - 1:  # relative to the backstop there are no prices
                b.place(book, side, meets - side * away, lots, b.NOISE)
        elif kind == "take":
            b.take(book, side, lots)
        elif book.counts[b.NOISY]:
            b.cancel(book, int(book.noisy[lots % book.counts[b.NOISY]]))
        check(book)


def test_the_oldest_order_trades_first_and_the_best_price_before_the_next() -> None:
    book = b.opened()
    first, second, better = (b.place(book, b.SELL, price, 5, b.NOISE) for price in (102, 102, 101))
    b.take(book, b.BUY, 7)
    assert queue(book, 101) == []
    assert queue(book, 102) == [(first, 3), (second, 5)]
    b.cancel(book, first)
    assert queue(book, 102) == [(second, 5)]
    assert book.owner[better] == b.NOBODY


def test_an_order_that_would_cross_is_refused() -> None:
    book = b.opened()
    b.place(book, b.SELL, 101, 5, b.NOISE)
    with pytest.raises(ValueError, match="cross"):
        b.place(book, b.BUY, 101, 1, b.NOISE)
    with pytest.raises(ValueError, match="left the book"):
        b.place(book, b.SELL, b.LEVELS, 1, b.NOISE)


def test_a_market_is_its_seed() -> None:
    long, short, other = (market.simulate(n, seed).quotes for n, seed in ((TICKS, 3), (TICKS // 2, 3), (TICKS // 2, 4)))
    for name, column in vars(short).items():
        np.testing.assert_array_equal(column, vars(long)[name][: TICKS // 2], err_msg=name)
    assert not np.array_equal(short.bid, other.bid)


def test_no_tick_is_crossed_and_each_is_a_change() -> None:
    quotes = market.simulate(TICKS, 5).quotes
    assert (quotes.bid < quotes.ask).all()
    assert (quotes.bid_size > 0).all()
    assert (quotes.ask_size > 0).all()
    shown = np.stack([quotes.bid, quotes.ask, quotes.bid_size, quotes.ask_size])
    assert (np.diff(shown) != 0).any(axis=0).all()
    assert np.isfinite(features(quotes)).all()
    with pytest.raises(ValueError, match="ticks"):
        market.simulate(0, 5)


def test_stories_have_their_parts_in_order() -> None:
    """At its end a spoof's wall is gone, its crowd has sold into it, and only then the taker comes."""
    told = script.write(60_000, np.random.default_rng(0))
    kinds = {episode.kind for episode in told.episodes}
    assert kinds == set(script.KINDS)
    for episode, following in pairwise(told.episodes):
        span = slice(episode.start, following.start)
        wall, crowd, taker = ((part[span] != 0) for part in (told.wall, told.crowd, told.taker))
        assert not (told.wall[span] == -episode.side).any()
        assert not taker[: episode.told - episode.start].any()
        assert taker.any() == (episode.kind in ("spoof", "lone taker"))
        if taker.any():
            assert (told.taker[span][taker] == -episode.side).all()
            assert script.PATIENCE[0] <= int(np.argmax(taker)) + episode.start - episode.told <= script.PATIENCE[1]
        if episode.kind == "spoof":
            assert wall[crowd].all()
            assert not wall[episode.told - episode.start :].any()
        if episode.kind in ("sell-off first", "cancel first"):
            assert wall.any()
            assert crowd.any()
            assert not (wall & crowd).any()
            assert (np.argmax(crowd) < np.argmax(wall)) == (episode.kind == "sell-off first")


def test_a_wall_stands_at_the_best_price_when_it_comes() -> None:
    session = market.simulate(TICKS, 6)
    wall, sizes = session.script.wall, {1: session.quotes.bid_size, -1: session.quotes.ask_size}
    came = np.flatnonzero((wall[1:] != wall[:-1]) & (wall[1:] != 0)) + 1
    assert len(came) > 10
    assert all(sizes[int(wall[n])][n] >= market.WALL_LOTS[0] for n in came)


@COMMON
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(0, 99))
def test_a_label_looks_no_further_than_its_horizon(seed: int, horizon: int, now: int) -> None:
    """Other prices behind the horizon leave it; and the price at the horizon still counts."""
    mid = np.random.default_rng(seed).integers(0, 4, 200) / 100 + 100
    other = mid.copy()
    other[now + horizon + 1 :] += 1
    labels = samples.rises(mid, horizon, 0.03)
    assert (
        labels[now]
        == samples.rises(other, horizon, 0.03)[now]
        == (mid[now + 1 : now + horizon + 1].max() >= mid[now] + 0.0299)
    )
    other[now + horizon] += 1
    assert samples.rises(other, horizon, 0.03)[now] == 1
    assert np.isnan(labels[-horizon:]).all()
    assert not np.isnan(labels[:-horizon]).any()


def test_a_label_by_time_looks_at_the_quote_in_force() -> None:
    time = np.array([0, 10, 10, 25, 40])
    mid = np.array([5.0, 4.0, 6.0, 5.0, 7.0])
    np.testing.assert_array_equal(samples.stands_higher(time, mid, 10), [1, 1, 0, 0, np.nan])
    np.testing.assert_array_equal(samples.stands_higher(time, mid, 15), [1, 1, 0, 1, np.nan])


def test_rolling_features_of_a_small_series() -> None:
    series = np.arange(12, dtype=np.float32)[:, np.newaxis] ** 2
    row = samples.rolling(series, np.array([5]), spans=(2, 3))[0]
    np.testing.assert_allclose(row, [25, 20.5, 16, 25, 9, 50 / 3, 9, 25, 16])


def test_told_rows_are_before_any_taker() -> None:
    made = simulated._market(TICKS, 7, 3)
    rows = made.part.rows[simulated.told_rows(made)]
    starts = np.array([episode.told for episode in made.session.script.episodes])
    assert len(rows) > 10
    for row in rows.tolist():
        told = int(starts[starts <= row].max())
        assert told <= row < told + script.PATIENCE[0]
        assert made.session.script.taker[row] == 0


def ticks(mid: list[float], spread: float = 0.2, gap_ms: int = 10) -> Ticks:
    values = np.array(mid)
    time = np.arange(len(mid), dtype=np.int64) * gap_ms * 10**6
    return Ticks(time, values - spread / 2, values + spread / 2, np.zeros((len(mid), 10), np.float32), 0)


def test_trades_by_hand() -> None:
    """Ticks 10 ms apart, orders 5 ms under way: the quotes of the tick that was acted on still hold."""
    found = trading.act(
        ticks([100, 100, 101, 103, 102, 100, 100, 100, 100, 100]),
        rows=np.arange(1, 9),
        scores=np.array([0.9, 0.9, 0.9, 0.1, 0.5, 0.5, 0.5, 0.9]),
        limits=(0.2, 0.8),
        hold_ns=20 * 10**6,
    )
    assert found.row.tolist() == [1, 4]  # 2 and 3 while the first is open; the last would not be over in time
    assert found.side.tolist() == [1, -1]
    np.testing.assert_allclose(found.gross, [1e4 * 3 / 100, 1e4 * 2 / 102])
    np.testing.assert_allclose(found.spread, [1e4 * 0.2 / 100, 1e4 * 0.2 / 102])
    np.testing.assert_allclose(found.net, found.gross - found.spread - 2 * trading.FEE_BP)


def test_a_weighted_auc_is_the_auc_of_what_was_drawn() -> None:
    random = np.random.default_rng(0)
    labels, score = random.integers(0, 2, 80), random.integers(0, 9, 80) / 9
    weights = random.integers(0, 4, (3, 80))
    expected = [metrics.auc(np.repeat(labels, w), np.repeat(score, w)) for w in weights]
    np.testing.assert_allclose(intervals.weighted_aucs(labels, score, weights), expected, rtol=1e-12)


def test_resamples_draw_whole_stretches() -> None:
    block = intervals.blocks(np.array([5, 6, 9, 15, 16, 40]), 10)
    drawn = intervals.resample(block, 200, seed=1)
    assert block.tolist() == [0, 0, 0, 1, 1, 3]
    assert (drawn[:, [0, 3, 5]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    np.testing.assert_array_equal(drawn[:, 3], drawn[:, 4])


def test_a_t_interval() -> None:
    found = intervals.t_interval(np.array([1.0, 2.0, 3.0]))
    assert (found["mean"], found["count"]) == (2, 3)
    assert found["high"] - 2 == pytest.approx(4.302653 / np.sqrt(3))  # the t table's 97.5 % at two degrees of freedom
    assert intervals.t_interval(np.array([1.0]))["low"] == -np.inf


def test_the_walk_forward_keeps_parts_apart() -> None:
    """In each fold every label is known before the next part begins."""
    random = np.random.default_rng(3)
    time = np.cumsum(random.exponential(0.05 * recorded.SECOND, 4000)).astype(np.int64)
    price = 100 + np.cumsum(random.choice([-0.1, 0.0, 0.1], 4000))
    stream = Ticks(time, price, price + 0.1, random.normal(size=(4000, 10)).astype(np.float32), 0)
    labels = samples.stands_higher(stream.time, stream.mid, recorded.HORIZON)
    folds = recorded.split(stream, recorded.Plan())
    assert len(folds) == 4
    for fold in folds:
        parts = recorded._parts(stream, labels, fold, 500)
        assert 250 < len(parts.training.rows) <= 500
        known: list[Array] = [stream.time[part.rows] for part in vars(parts).values()]
        for before, after in pairwise(known):
            assert before[-1] + recorded.HORIZON < after[0]
