"""How long `import lstmcore` takes beside `import numpy`, each in fresh processes, taken in turn.

    python benchmarks/import_time.py [RUNS]

Exits with status 1 where lstmcore takes more than LIMIT seconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

LIMIT = 0.35  # seconds for `import lstmcore`, numpy's own import among them
CODE = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """One import in a process of its own."""
    done = subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times: dict[str, list[float]] = {"numpy": [], "lstmcore": []}
    for _ in range(runs):
        for module, taken in times.items():
            taken.append(seconds(module))
    for module, taken in times.items():
        print(
            f"import {module:9} p50 {statistics.median(taken):.3f} s   min {min(taken):.3f} s   max {max(taken):.3f} s"
        )
    return int(statistics.median(times["lstmcore"]) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
