"""Whether subnormal numbers cost time: every kernel with subnormal inputs, states and weights beside normal ones.

    python benchmarks/subnormals.py [--seconds S] [--json FILE]

The core counts them as zero while it runs (csrc/kernels/fp_mode.h), so all its ratios should be 1. The last row, a
matrix times a vector by numpy, which leaves the processor's mode as it is, shows what this processor would take for
them.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import results
from models import lstm

import lstmcore
from lstmcore import terminal
from lstmcore.layers import Array
from lstmcore.measure import bench

Answer = Callable[[int], Any]  # to window number n
TINY = np.float32(1e-40)  # normal numbers end at 1.2e-38
STEPS, FEATURES, HIDDEN = 50, 10, 64
FORGET = 20.0  # a forget gate's bias that keeps the cell's state: sigmoid(20) is 1 in float32


def weighted(model: lstmcore.Model, change: Callable[[str, Array], Array]) -> lstmcore.Model:
    """The model with other weights, each from its name and value."""
    layers = [
        dataclasses.replace(layer, weights={key: change(key, value) for key, value in layer.weights.items()})
        for layer in model.layers
    ]
    return lstmcore.Model(layers, backend=model.backend, kernel=model.kernel)


def keeps_state(key: str, value: Array) -> Array:
    """Weights with which c goes on from step to step as it is: nothing is forgotten, and h brings nothing new."""
    value = np.zeros_like(value) if key.startswith("bias") else value.copy()
    if key.startswith("bias"):
        value[HIDDEN : 2 * HIDDEN] = FORGET
    elif key.startswith("weight_hh"):
        value[2 * HIDDEN : 3 * HIDDEN] = 0
    return value


def pairs(kernel: str, rng: np.random.Generator) -> dict[str, tuple[Answer, Answer]]:
    """For each kind the kernel's normal side and its subnormal one."""
    model = lstm(FEATURES, HIDDEN, dense=True).with_backend("c", kernel)
    keeping = weighted(model, keeps_state)
    tiny = weighted(model, lambda key, value: value * TINY)
    normal = rng.standard_normal((bench.POOL, STEPS, FEATURES)).astype(np.float32)
    subnormal, zeros = normal * TINY, np.zeros_like(normal)
    h, c = rng.standard_normal((2, 1, HIDDEN)).astype(np.float32)
    state, faint = (h, c), (h * TINY, c * TINY)
    return {
        "inputs": (lambda n: model(normal[n]), lambda n: model(subnormal[n])),
        "states": (lambda n: keeping(normal[n], state), lambda n: keeping(zeros[n], faint)),
        "weights": (lambda n: model(normal[n]), lambda n: tiny(normal[n])),
    }


def control(rng: np.random.Generator) -> tuple[Answer, Answer]:
    """What one step's recurrent product takes without the core."""
    weight = rng.standard_normal((4 * HIDDEN, HIDDEN)).astype(np.float32)
    tiny, vectors = weight * TINY, rng.standard_normal((bench.POOL, HIDDEN)).astype(np.float32)
    return lambda n: weight @ vectors[n], lambda n: tiny @ vectors[n]


def measure(who: str, kind: str, sides: tuple[Answer, Answer], seconds: float) -> dict[str, Any]:
    """One row: the medians in microseconds and the ratio of the subnormal side to the normal one."""
    contenders = [bench.Contender(name, kind, side) for name, side in zip(("normal", "subnormal"), sides, strict=True)]
    for _ in bench.measure(contenders, range(bench.POOL), seconds, seed=0):
        pass
    normal, subnormal = bench.rows(contenders)
    return {
        "who": who, "kind": kind, "rounds": len(contenders[0].rounds),
        "normal_p50": normal.p50, "subnormal_p50": subnormal.p50,
        "ratio": subnormal.ratio, "ratio_low": subnormal.ratio_low, "ratio_high": subnormal.ratio_high,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure each row (3)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    asked = [
        (f"lstmcore c {kernel}", kind, sides)
        for kernel in lstmcore.info()["kernels"]
        for kind, sides in pairs(kernel, rng).items()
    ]
    asked.append(("numpy product", "weights", control(rng)))
    rows = [
        measure(who, kind, sides, options.seconds)
        for who, kind, sides in terminal.progress(asked, len(asked), "subnormal numbers")
    ]
    print(f"µs for {STEPS} x {FEATURES}, hidden {HIDDEN}, Dense 1; ratio: subnormal to normal, in the same round")
    terminal.table(
        ["who", "subnormal", ">p50 normal", ">p50 subnormal", ">ratio", "5-95 %"],
        [
            (
                row["who"], row["kind"], f"{row['normal_p50']:.1f}", f"{row['subnormal_p50']:.1f}",
                f"{row['ratio']:.2f}", f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}",
            )
            for row in rows
        ],
    )  # fmt: skip
    if options.json:
        results.write(options.json, {"machine": lstmcore.info(), "rows": rows})


if __name__ == "__main__":
    main()
