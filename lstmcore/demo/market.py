"""A small market to follow: the top of an order book, simulated, and ten features of every tick.

A tick is one update of the best bid and ask. Behind the book stands a pressure that nobody sees: while it is
positive, buyers are more eager than sellers. It decays over some 60 ticks and drives, each with noise of its
own, the sizes at the best bid and ask, the side of the trades, and the drift of the price. One tick says
little about it; the last fifty, weighed rightly, say more. That is what there is to learn, and it is all
there is: the market is made up, so what a model earns here says nothing of what it would earn elsewhere.

Everything comes from one seed, and the first n ticks are the same however many are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstmcore.layers import Array

#: What the columns of `Market.features` hold; `features` defines each.
FEATURES = (
    "imbalance",
    "micro_price",
    "spread",
    "return_1",
    "return_5",
    "return_20",
    "flow",
    "intensity",
    "volatility",
    "depth",
)
HORIZON = 20  # ticks ahead that the label looks
TICK_SIZE = 0.01  # price units; the price starts at 100, so one tick is one basis point
PRICE = 100.0


@dataclass(frozen=True)
class Quotes:
    """The book's top at N ticks and the trades since the tick before; every array is (N,)."""

    bid: Array  # price units
    ask: Array  # price units
    bid_size: Array  # lots
    ask_size: Array  # lots
    bought: Array  # lots traded at the ask
    sold: Array  # lots traded at the bid
    trades: Array  # how many trades
    pressure: Array  # hidden, unit variance: not a feature, but the yardstick of what can be known

    @property
    def mid(self) -> Array:
        """The middle between bid and ask, (N,), price units."""
        mid: Array = (self.bid + self.ask) / 2
        return mid

    def first(self, n: int) -> Quotes:
        """The first n ticks."""
        return Quotes(**{name: column[:n] for name, column in vars(self).items()})


def simulate(ticks: int, seed: int) -> Quotes:
    """The first `ticks` ticks of the market with this seed. Raises ValueError for fewer than one tick."""
    if ticks < 1:
        raise ValueError(f"ticks: expected at least 1, got {ticks}")
    streams = [np.random.default_rng([seed, n]) for n in range(9)]
    normal = [rng.standard_normal(ticks) for rng in streams[:6]]
    uniform = [rng.random(ticks) for rng in streams[6:]]

    pressure = _autoregressive(normal[0], decay=60)
    activity = np.exp(0.4 * _autoregressive(normal[1], decay=400))
    drift = np.concatenate([[0.0], pressure[:-1]])  # the pressure of one tick moves the price of the next
    price = PRICE * np.exp(1e-4 * np.cumsum(0.8 * activity * (0.16 * drift + normal[2])))

    spread = 1 + _poisson(0.6 * activity, uniform[0])
    bid = np.round(price / TICK_SIZE - spread / 2)
    lean = 0.45 * pressure
    bid_size = np.exp(3 + lean + 0.8 * _autoregressive(normal[3], decay=2))
    ask_size = np.exp(3 - lean + 0.8 * _autoregressive(normal[4], decay=2))

    trades = _poisson(0.7 * activity, uniform[1])
    volume = trades * np.exp(1 + 0.6 * normal[5])
    eager = 1 / (1 + np.exp(-0.9 * pressure))  # how likely this tick's trades are purchases
    buying = uniform[2] < eager
    return Quotes(
        bid=bid * TICK_SIZE,
        ask=(bid + spread) * TICK_SIZE,
        bid_size=np.ceil(bid_size),
        ask_size=np.ceil(ask_size),
        bought=volume * buying,
        sold=volume * ~buying,
        trades=trades,
        pressure=pressure,
    )


def features(quotes: Quotes) -> Array:
    """The ten features of every tick, (N, 10) float32. No row looks at a later one.

    imbalance    (bid size - ask size) / (bid size + ask size), -1 to 1
    micro_price  (size-weighted price - mid), in ticks; the larger side pulls the price away from itself
    spread       ask - bid, in ticks
    return_1     change of the mid since the tick before, in basis points
    return_5     ... since 5 ticks before
    return_20    ... since 20 ticks before (since the first tick, where there are fewer)
    flow         lots bought - lots sold, exponential mean over 5 ticks
    intensity    trades a tick, exponential mean over 20 ticks
    volatility   root of the exponential mean over 50 ticks of return_1², in basis points
    depth        ln(lots on both sides / their exponential mean over 100 ticks)
    """
    mid = quotes.mid
    total = quotes.bid_size + quotes.ask_size
    imbalance = (quotes.bid_size - quotes.ask_size) / total
    spread = (quotes.ask - quotes.bid) / TICK_SIZE
    return_1 = _return(mid, 1)
    columns = {
        "imbalance": imbalance,
        "micro_price": imbalance * spread / 2,
        "spread": spread,
        "return_1": return_1,
        "return_5": _return(mid, 5),
        "return_20": _return(mid, 20),
        "flow": _mean(quotes.bought - quotes.sold, 5),
        "intensity": _mean(quotes.trades, 20),
        "volatility": np.sqrt(_mean(return_1**2, 50)),
        "depth": np.log(total / _mean(total, 100)),
    }
    return np.stack([columns[name] for name in FEATURES], axis=1).astype(np.float32)


def labels(mid: Array) -> Array:
    """Whether the mid stands higher `HORIZON` ticks later: (N,) -> (N - HORIZON,) bool."""
    return np.asarray(mid[HORIZON:] > mid[:-HORIZON])


def _return(mid: Array, ticks: int) -> Array:
    """Change since `ticks` ticks before, basis points, (N,)."""
    before = np.concatenate([np.full(min(ticks, len(mid)), mid[0]), mid[:-ticks]])
    change: Array = 1e4 * (mid / before - 1)
    return change


def _mean(x: Array, ticks: int) -> Array:
    """Exponential mean with weight 1/ticks for the newest, started at the first value, (N,)."""
    out = np.empty(len(x))
    mean, weight = float(x[0]), 1 / ticks
    for n, value in enumerate(x.tolist()):
        mean += weight * (value - mean)
        out[n] = mean
    return out


def _autoregressive(noise: Array, decay: float) -> Array:
    """Unit-variance noise (N,) made to remember: its autocorrelation falls to 1/e in `decay` ticks."""
    keep = float(np.exp(-1 / decay))
    gain = float(np.sqrt(1 - keep**2))
    out = np.empty(len(noise))
    value = 0.0
    for n, new in enumerate(noise.tolist()):
        value = keep * value + gain * new
        out[n] = value
    return out


def _poisson(mean: Array, uniform: Array) -> Array:
    """Poisson numbers (N,) by inversion: from one uniform number each, so a longer run begins the same."""
    cumulative = term = np.exp(-mean)
    out = np.zeros(len(mean))
    for k in range(1, 12):
        out += uniform > cumulative
        term = term * mean / k
        cumulative = cumulative + term
    return out
