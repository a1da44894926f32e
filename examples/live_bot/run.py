"""All of it: a recording, a server that replays it, the bot that follows, the report, and the same once more offline.

    python examples/live_bot/run.py [--recording FILE] [--ticks N] [--speed X] [--out DIR]

Without `--recording` a market is simulated. The server is a process of its own, so that it shares no lock with the bot.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from lstmcore import files, terminal
from lstmcore.text import clean

SERVER = Path(__file__).with_name("server.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything; 0 if the bot's answers are those of the offline run, bit for bit."""
    terminal.ask_or_exit("live", "msgspec", "websockets")
    import bot
    import offline
    import plots
    import report
    import server
    from faults import Faults

    from lstmcore.feed import simulator
    from lstmcore.feed.recording import Writer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", type=Path, help="replay this one; see docs/live-bot.md for its form")
    parser.add_argument("--ticks", type=int, default=4000, help="of the simulated market (4000)")
    parser.add_argument("--seed", type=int, default=7, help="of the simulated market (7)")
    parser.add_argument("--out", type=Path, default=Path("out/live_bot"), help="where files go")
    bot.add_bot_arguments(parser)
    server.add_replay_arguments(parser)
    options = parser.parse_args(argv)
    if options.ticks < 1 or options.speed < 0:
        parser.error(f"expected --ticks of at least 1 and --speed of at least 0, got {options.ticks}, {options.speed}")

    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    recording = options.recording
    if recording is None:
        recording = out / "simulated.gz"
        simulator.write(recording, options.ticks, options.seed)
    handed_on = [f"--speed={options.speed}"]
    handed_on += [f"--{f.name.replace('_', '-')}={getattr(options, f.name)}" for f in fields(Faults)]
    command = [sys.executable, str(SERVER), str(recording), *handed_on]
    received = out / "received.txt"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, Writer(received) as writer:
        try:
            port = json.loads(_line(process))["port"]
            follower = bot.make(options, writer)
            print(f"{clean(recording)} at speed {options.speed:g} on port {port}\n", flush=True)
            follower.follow(f"ws://127.0.0.1:{port}")
            injected = json.loads(_line(process))
        finally:
            process.kill()

    if not follower.answers:
        print(f"run.py: {clean(recording)} holds no ticks", file=sys.stderr)
        return 1
    with files.replacing(out / "answers.npy") as file:
        np.save(file, np.array(follower.answers, np.float32))
    agrees = offline.agrees(follower, received, options.tick_size)
    found = report.facts(follower) | {"injected": injected, "offline_agrees": agrees}
    report.show(found)
    print(f"The offline run of {clean(received)}: " + ("the same bits." if agrees else "OTHER ANSWERS."))
    if injected:
        print("Injected: " + ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in injected.items()))
    files.write_json(out / "report.json", found)
    try:
        pictures = plots.draw(out, report.moments(follower), Path(recording).name)
        print("Pictures: " + clean(", ".join(map(str, pictures))))
    except ImportError as error:
        print(f"No pictures: {clean(error)}")
    return 0 if agrees else 1


def _line(process: subprocess.Popen[str]) -> str:
    """What the server says next. Raises RuntimeError where it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"server.py ended with status {process.wait()}")
    return line


if __name__ == "__main__":
    raise SystemExit(main())
