"""A position on paper: in where the signal is strong, out where it is not, at the prices that one would have got."""

from __future__ import annotations

ENTER, LEAVE = 0.6, 0.5  # of a long position; a short one's are 1 minus these


class PaperPosition:
    """One unit long, one short, or nothing. Whoever buys pays the ask, whoever sells gets the bid; no fees."""

    def __init__(self) -> None:
        self.side = 0  # 1 long, -1 short
        self.entry = 0.0  # price
        self.trades = 0  # that are closed
        self.profit = 0.0  # of those, in price units

    def act(self, signal: float, bid: float, ask: float) -> None:
        """Do what a signal in 0..1 asks for; NaN asks for nothing."""
        if self.side == 0:
            if signal > ENTER:
                self.side, self.entry = 1, ask
            elif signal < 1 - ENTER:
                self.side, self.entry = -1, bid
        elif (self.side > 0 and signal < LEAVE) or (self.side < 0 and signal > 1 - LEAVE):
            self.leave(bid, ask)

    def leave(self, bid: float, ask: float) -> None:
        """Close what is open."""
        if self.side:
            self.profit += self.side * ((bid if self.side > 0 else ask) - self.entry)
            self.trades += 1
            self.side = 0
