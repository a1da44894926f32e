"""How far the kernels are from what this core can do: builds and runs benchmarks/ceiling.c for AVX-512 and AVX2.

    python benchmarks/ceiling.py [--json FILE]

For each shape the larger of two floors, loading the recurrent weights step after step and doing the multiply-adds,
is what no order of work can go below as long as the weights do not stay in the first-level cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lstmcore
from lstmcore.info import processor
from lstmcore.terminal import table

ROOT = Path(__file__).parents[1]
FLAGS = {"avx512": ["-mavx512f"], "avx2": ["-mavx2", "-mfma"]}


def measure(kernel: str, build: Path) -> dict[str, Any]:
    """What the program printed for one kernel."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("ceiling: no gcc or clang on the PATH")
    plain = [compiler, "-std=c11", "-O3", "-ffp-contract=off", f"-I{ROOT / 'csrc'}"]
    objects = []
    for source in sorted((ROOT / "csrc").glob("*.c")):
        isa = FLAGS.get(source.stem.removeprefix("kernel_"), [])
        objects.append(str(build / f"{source.stem}.o"))
        subprocess.run([*plain, *isa, "-c", str(source), "-o", objects[-1]], check=True)
    program = build / f"ceiling_{kernel}"
    main = ROOT / "benchmarks" / "ceiling.c"
    subprocess.run([*plain, *FLAGS[kernel], str(main), *objects, "-lm", "-o", str(program)], check=True)
    result: dict[str, Any] = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    print(processor())
    results = []
    for kernel in [name for name in FLAGS if name in lstmcore.info()["kernels"]]:
        with tempfile.TemporaryDirectory() as build:
            result = measure(kernel, Path(build))
        results.append(result)
        loads = ", ".join(f"{kib} KiB {rate:.0f}" for kib, rate in result["load_gb_per_s"].items())
        print(
            f"\n{kernel}: {result['fma_per_us']:.0f} multiply-adds of {result['lanes']} lanes per µs; GB/s loaded from"
        )
        print(loads)
        rows = []
        for shape in result["shapes"]:
            floor = max(shape["stream_us"], shape["fma_us"])
            times = [f"{shape[key]:.1f}" for key in ("stream_us", "fma_us", "run_min_us", "run_p50_us")]
            rows.append([shape["name"], *times, f"{shape['run_p50_us'] / floor:.2f}"])
        table(["shape", ">load weights µs", ">multiply-adds µs", ">run min µs", ">run p50 µs", ">p50 / floor"], rows)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"processor": processor(), "kernels": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
