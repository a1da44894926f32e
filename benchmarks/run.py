"""Time every shape of models.py beside the installed peers, warm and cold; one JSON file each.

    python benchmarks/run.py [--only NAME] [--seconds S] [--cold-seconds S] [--compile] [--results FOLDER]

Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cold
import results
import steps
from models import SHAPES, Shape

from lstmcore.commands import bench as command
from lstmcore.measure import bench, peers

SEED = 0
THREADS = (1, None)  # one, and as many as the library takes by itself


def measure(shape: Shape, seconds: float, cold_seconds: float, compiled: bool) -> dict[str, Any]:
    """Everything about one shape, ready for JSON: what `lstmcore bench` measures, and "cold"."""
    model, names = shape.build(), peers.installed()
    if shape.carried:
        own, others = steps.own(model), steps.others(names, model, THREADS, compiled)
        pool, compared = steps.compare([*own, *others], model, SEED)
    else:
        own, others = command.own(model, everything=True), command.others(names, model, shape.steps, THREADS, compiled)
        pool, compared = bench.compare([*own, *others], model, shape.steps, SEED)
    return {
        "model": shape.title,
        "window": [shape.steps, model.input_size],
        "parameters": sum(w.size for w in model.parameters.values()),
        "compared": compared,
        "not_installed": [name for name in peers.NAMES if name not in names],
        **command.timed([*own, *others], pool, seconds, SEED),
        "cold": cold.measure([own[0], *others], pool, cold_seconds, SEED),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SHAPES, action="append", help="this shape; may be given several times")
    parser.add_argument("--seconds", type=float, default=45.0, help="how long to measure each shape (45)")
    parser.add_argument("--cold-seconds", type=float, default=10.0, help="and how long for each kind of cold call (10)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes half a minute a shape")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="where the JSON goes")
    options = parser.parse_args()
    for name in options.only or SHAPES:
        facts = measure(SHAPES[name], options.seconds, options.cold_seconds, options.compile)
        results.write(options.results / f"{name}.json", facts)
        command.show(facts)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
