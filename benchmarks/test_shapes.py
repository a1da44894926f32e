"""Every shape with every backend and kernel that runs here, under pytest-benchmark: `pytest benchmarks/`.

For following one machine over time (`--benchmark-autosave`, `--benchmark-compare`). Beside other libraries, and in
rounds that a machine's changes of speed do not enter, `benchmarks/run.py` measures.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from models import SHAPES, Shape
from pytest_benchmark.fixture import BenchmarkFixture

from lstmcore.measure import bench
from lstmcore.measure.comparison import oracle, random_windows

TOLERANCE = 1e-5  # what differs by more computes something else


@pytest.mark.parametrize("run", bench.runs_here(), ids=lambda run: "-".join(filter(None, run)))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_answer(benchmark: BenchmarkFixture, shape: Shape, run: tuple[str, str | None]) -> None:
    benchmark.group = shape.title
    model = shape.build().with_backend(*run)
    windows = random_windows(model, bench.POOL, shape.steps, 1.0, np.random.default_rng(0))
    answer, pool = (model.stateful().push, windows[:, 0]) if shape.carried else (model, windows)
    np.testing.assert_allclose(answer(pool[0]), oracle(model)(windows[0]), rtol=TOLERANCE, atol=TOLERANCE)
    asked = itertools.cycle(pool)
    benchmark(lambda: answer(next(asked)))
