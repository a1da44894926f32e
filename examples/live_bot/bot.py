"""The bot: read, parse, make features, ask the model, act, and only then catch up.

    python examples/live_bot/bot.py ws://HOST:PORT [--model FILE]

One thread and one loop. Everything up to the answer is the critical path; everything else comes behind it.
"""

from __future__ import annotations

import argparse
import random
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lstmcore import terminal

terminal.ask_or_exit("live", "msgspec", "websockets")

from connection import Connection  # noqa: E402  # behind the question
from position import PaperPosition  # noqa: E402
from rehearsal import Rehearsal  # noqa: E402

import lstmcore  # noqa: E402
from lstmcore.demo.market import FEATURES, TICK_SIZE  # noqa: E402
from lstmcore.demo.run import MODEL  # noqa: E402
from lstmcore.feed.features import Features  # noqa: E402
from lstmcore.feed.messages import Parser, Quote  # noqa: E402
from lstmcore.feed.recording import Writer  # noqa: E402
from lstmcore.layers import Array  # noqa: E402
from lstmcore.measure.bench import no_collection  # noqa: E402
from lstmcore.text import clean  # noqa: E402

#: The moments of a tick that are kept, ns on time.perf_counter.
STAMPS = ("read", "begun", "parsed", "featured", "answered", "acted", "caught_up")
FIRST_DELAY, LONGEST_DELAY = 0.05, 10.0  # seconds before connecting again
ATTEMPTS = 10  # in a row without a message, before giving up


class Bot:
    """Follows one stream of messages.

    Args:
        model: It takes the features `names` and answers with one number, 0 to 1.
        window: T, ticks.
        tick_size: The smallest step of a price.
        names: The model's features, in order.
        helper: A thread of the core catches up, on another processor, in place of this one.
        spin: Wait busily for messages.
        rehearse: Do so, and keep the caches warm meanwhile: see `Rehearsal`.
        recording: Where to write what comes.
        most: Ticks after which to stop; each takes 64 bytes of memory for the report.
    """

    def __init__(
        self,
        model: lstmcore.Model,
        window: int,
        tick_size: float,
        names: Sequence[str] = FEATURES,
        *,
        helper: bool = False,
        spin: bool = False,
        rehearse: bool = False,
        recording: Writer | None = None,
        most: int = 1_000_000,
    ) -> None:
        self.stream = model.sliding(window=window, catch_up="thread" if helper else "push")
        self.features = Features(tick_size, names, out=self.stream.input)
        self.parse = Parser()
        self.position = PaperPosition()
        self.messages = self.connections = 0
        self.stamps = array("q")  # (ticks, len(STAMPS))
        self.answers = array("f")  # (ticks,)
        self._helper, self._recording, self._most = helper, recording, most
        self._gaps = 0
        self._spin = spin or rehearse
        self._idle = Rehearsal(Bot(model, window, tick_size, names, helper=helper)) if rehearse else None

    def follow(self, uri: str) -> None:
        """Take messages until the server closes as it should; connect again where the connection breaks.

        Raises:
            OSError: `ATTEMPTS` in a row brought no message.
        """
        failed = 0
        while True:
            before = self.messages
            try:
                connection = Connection(uri, spin=self._spin, idle=self._idle)
                self.connections += 1
                try:
                    self._take_all(connection)
                    return
                finally:
                    connection.close()
            except OSError:
                failed = 0 if self.messages > before else failed + 1
                if failed == ATTEMPTS:
                    raise
                time.sleep(min(LONGEST_DELAY, FIRST_DELAY * 2**failed) * random.uniform(0.5, 1))

    def _take_all(self, connection: Connection) -> None:
        with no_collection():
            for payload in connection.messages():
                self.take(payload, connection.read_ns, connection.received_ns)
                if len(self.answers) >= self._most:
                    return

    def take(self, payload: bytes, read_ns: int, received_ns: int) -> None:
        """One message, read at that moment (on time.perf_counter, and since 1970)."""
        clock = time.perf_counter_ns
        begun = clock()
        message = self.parse(payload)
        parsed = clock()
        if self.features.take(message, received_ns) and type(message) is Quote:  # only a quote can be a tick
            if self.features.counts.gaps != self._gaps:
                self._start_over(message)
            featured = clock()
            signal: Any = self.stream.push_bound()  # a float: the model has one output
            answered = clock()
            self.position.act(signal, message.bid, message.ask)
            acted = clock()
            if not self._helper:
                self.stream.catch_up()
            self.stamps.extend((read_ns, begun, parsed, featured, answered, acted, clock()))
            self.answers.append(signal)
        self.messages += 1
        if self._recording:
            self._recording.write(received_ns, payload)

    def _start_over(self, quote: Quote) -> None:
        """Messages are missing: no window may reach across the gap, and no position was watched in it."""
        self._gaps = self.features.counts.gaps
        self.stream.reset()
        self.position.leave(quote.bid, quote.ask)

    def times(self) -> Array:
        """The kept moments, (ticks, len(STAMPS)) int64."""
        return np.array(self.stamps, np.int64).reshape(-1, len(STAMPS))

    def counts(self) -> dict[str, int]:
        """What came, and what became of it."""
        parser = {name: getattr(self.parse, name) for name in ("malformed", "other", "other_symbol")}
        return {"connections": self.connections, "messages": self.messages} | parser | asdict(self.features.counts)


def add_bot_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run.py` takes too."""
    parser.add_argument("--model", type=Path, default=MODEL, help="a .safetensors file (the one that lstmcore ships)")
    parser.add_argument("--window", type=int, default=50, help="ticks (50)")
    parser.add_argument("--tick-size", type=float, default=TICK_SIZE, help=f"smallest step of a price ({TICK_SIZE})")
    parser.add_argument("--helper", action="store_true", help="catch up in a thread, on another processor")
    parser.add_argument("--spin", action="store_true", help="wait busily for messages, which occupies a processor")
    parser.add_argument("--rehearse", action="store_true", help="wait busily, and keep the caches warm meanwhile")


def make(options: Any, recording: Writer | None = None) -> Bot:
    """The bot that the arguments ask for. Ends the program where there is no such model, or one of other features."""
    try:
        model = lstmcore.load(options.model)
        if model.input_size != len(FEATURES):
            made = f"the bot makes the demo's {len(FEATURES)}"
            raise ValueError(f"{options.model}: the model takes {model.input_size} features; {made}")
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {clean(error)}") from None
    how = {name: getattr(options, name) for name in ("helper", "spin", "rehearse")}
    return Bot(model, options.window, options.tick_size, **how, recording=recording)


def main(argv: Sequence[str] | None = None) -> int:
    """Follow a server and print what came of it."""
    import report

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri")
    add_bot_arguments(parser)
    options = parser.parse_args(argv)
    bot = make(options)
    try:
        bot.follow(options.uri)
    except KeyboardInterrupt:
        print("interrupted")
    report.show(report.facts(bot))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
