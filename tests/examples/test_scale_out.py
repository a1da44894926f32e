"""The recipe of docs/scale-out.md on a cluster of processes on this machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from streams import same_bits, small

import lstmcore
from lstmcore.windows import windows

SCRIPT = Path(__file__).parents[2] / "examples" / "scale_out" / "predict_days.py"
WINDOW = 20

pytest.importorskip("dask.distributed", reason="dask is not installed")


def series(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and the ticks of three symbols on some days."""
    small(hidden=16, num_layers=2).save(tmp_path / "model.safetensors")
    for seed, symbol in enumerate(("BTC", "ETH", "SOL")):
        (tmp_path / "ticks" / symbol).mkdir(parents=True)
        for day in range(3):
            rows = series(300 + 50 * seed + day, 10 * seed + day)
            np.save(tmp_path / "ticks" / symbol / f"2026-03-0{day + 1}.npy", rows)
    return tmp_path


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "model.safetensors", "ticks", "scores", "--window", str(WINDOW), *options]
    environment = os.environ | {"PYTHONPATH": str(Path(lstmcore.__file__).parents[1])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_every_window_of_every_file(folder: Path) -> None:
    """Among them files that cannot be answered; a second run does what is left."""
    (folder / "ticks" / "BTC" / "2026-03-04.npy").write_bytes(b"what is this?")
    np.save(folder / "ticks" / "ETH" / "2026-03-04.npy", series(WINDOW - 1, 0))
    done = run(folder, "--workers", "2")
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[0] == "ticks: 11 files, 0 of them answered already"
    told = done.stderr.splitlines()
    assert len(told) == 2, done.stderr
    assert told[0].startswith("lstmcore: ticks/BTC/2026-03-04.npy: ValueError: ")
    assert told[1].endswith(
        "ticks/ETH/2026-03-04.npy: ValueError: series: expected at least the window's 20 rows, got 19"
    )

    model, count = lstmcore.load(folder / "model.safetensors"), 0
    for path in sorted((folder / "ticks").glob("*/*.npy")):
        answers = folder / "scores" / path.relative_to(folder / "ticks")
        assert answers.exists() == ("2026-03-04" not in path.name)
        if answers.exists():
            found = np.load(answers)
            same_bits(found, np.stack([model(x) for x in windows(np.load(path), WINDOW)]))
            count += len(found)
    assert done.stdout.splitlines()[1] == f"scores: {count:,} windows answered"
    assert not list(folder.glob("scores/**/*.part"))

    np.save(folder / "ticks" / "ETH" / "2026-03-04.npy", series(WINDOW, 0))
    (folder / "ticks" / "BTC" / "2026-03-04.npy").unlink()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("scores/*/*.npy")}
    again = run(folder, "--workers", "1")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == ["ticks: 10 files, 9 of them answered already", "scores: 1 windows answered"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_on_the_workers_of_a_scheduler(folder: Path) -> None:
    """As on many machines: the program knows an address, and the workers are processes of someone else's."""
    from dask.distributed import LocalCluster

    with LocalCluster(2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster:
        done = run(folder, "--scheduler", cluster.scheduler_address)
    assert done.returncode == 0, done.stderr
    model = lstmcore.load(folder / "model.safetensors")
    for path in (folder / "ticks").glob("*/*.npy"):
        answers = np.load(folder / "scores" / path.relative_to(folder / "ticks"))
        same_bits(answers, model.predict_windows(np.load(path), WINDOW))


def test_a_worker_with_other_weights_does_not_answer(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("predict_days", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    other = small(seed=1, hidden=16, num_layers=2)
    paths = (str(folder / "ticks" / "BTC" / "2026-03-01.npy"), str(folder / "scores.npy"))
    expected = module.digest(other).tobytes()
    with pytest.raises(ValueError, match=r"model.safetensors: this worker finds another model there"):
        module.answer_file(str(folder / "model.safetensors"), expected, *paths, WINDOW)
    assert not (folder / "scores.npy").exists()
