"""How far the kernels are from what this core can do: builds and runs ceiling.c and weights.c for AVX-512 and AVX2.

    python benchmarks/ceiling.py [--json FILE]

For each shape: loading the recurrent weights step after step, always upwards and turning round after each step, as the
kernels do where no layout keeps weights in the first-level cache; the multiply-adds; and one window's share where 256
windows take every step together: there the weights are loaded once for many rows, no sum waits for another, and the
first layer's input is multiplied once for all. What keeping part of the weights in the first-level cache wins is
measured for hidden size 64, in several ways.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import results

import lstmcore
from lstmcore.info import processor
from lstmcore.terminal import table

ROOT = Path(__file__).parents[1]
KERNELS = ("avx512", "avx2")
#: What is measured of a shape, and what it is called.
TIMES = {
    "stream_us": "load weights",
    "turning_us": "turning round",
    "fma_us": "multiply-adds",
    "lockstep_us": "share of 256",
    "run_min_us": "run min",
    "run_p50_us": "run p50",
}


def build(folder: Path) -> None:
    """The programs, as CMakeLists.txt says."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DLSTMCORE_BENCHMARKS=ON"]
    for command in (configure, ["cmake", "--build", str(folder)]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(program: Path) -> dict[str, Any]:
    """What the program printed."""
    result: dict[str, Any] = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    print(processor())
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        kernels = [name for name in KERNELS if name in lstmcore.info()["kernels"]]
        measured = [
            {**measure(Path(folder) / f"ceiling_{kernel}"), **measure(Path(folder) / f"weights_{kernel}")}
            for kernel in kernels
        ]
    for result in measured:
        loads = ", ".join(f"{kib} KiB {rate:.0f}" for kib, rate in result["load_gb_per_s"].items())
        rate = f"{result['fma_per_us']:.0f} multiply-adds of {result['lanes']} lanes per µs"
        print(f"\n{result['kernel']}: {rate}; GB/s loaded from\n{loads}")
        rows = []
        for shape in result["shapes"]:
            floor = max(shape["stream_us"], shape["fma_us"])
            times = [f"{shape[key]:.1f}" for key in TIMES]
            rows.append([shape["name"], *times, f"{shape['run_p50_us'] / floor:.2f}"])
        table(["shape", *(f">{name} µs" for name in TIMES.values()), ">p50 / floor"], rows)
        ways = [[way["name"], f"{way['us']:.1f}"] for way in result["ways"]]
        table(["49 steps of hidden 64: the weights and the multiply-adds alone", ">µs"], ways)
    if arguments.json:
        results.write(arguments.json, {"processor": processor(), "kernels": measured})


if __name__ == "__main__":
    main()
