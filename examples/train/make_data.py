"""Write the file that config.toml reads: two years of hours of a made-up market, ticks.csv beside it.

python examples/train/make_data.py [--out FILE]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from lstmcore import files
from lstmcore.demo import market

HOURS = 2 * 365 * 24


def main() -> None:
    """Simulate, and write a row an hour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("ticks.csv"), help="the file to write")
    out = parser.parse_args().out
    quotes = market.simulate(HOURS, seed=0)
    features = market.features(quotes)
    with files.replacing(out) as binary, io.TextIOWrapper(binary, "utf-8") as file:
        print("time", "mid", *market.FEATURES, sep=",", file=file)
        for hour, (mid, row) in enumerate(zip(quotes.mid, features, strict=True)):
            stamp = np.datetime64("2020-01-01T00") + np.timedelta64(hour, "h")
            print(stamp, f"{mid:.4f}", *(f"{value:.6g}" for value in row), sep=",", file=file)
    print(f"{out}: {HOURS:,} rows")


if __name__ == "__main__":
    main()
