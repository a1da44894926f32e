"""Time the quant and the exit model beside the installed peers; one JSON file each under benchmarks/results.

    python benchmarks/run.py [--seconds S] [--results FOLDER]

Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from models import MODELS

from lstmcore.cli import main as lstmcore

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", default="40", help="how long to measure each model (40)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the JSON goes")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, build in MODELS.items():
            model = Path(folder) / f"{name}.safetensors"
            build().save(model)
            out = arguments.results / f"{name}.json"
            status = lstmcore(
                ["bench", str(model), "--window", "50", "--seconds", arguments.seconds, "--json", str(out), "--force"]
            )
            if status:
                return status
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
