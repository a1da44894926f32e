"""examples/order_book/run.py, end to end in its quick size, with a recording that is made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="lightgbm is not installed; examples/order_book needs the extra examples")
from order_book import models, report, simulated

import lstmcore
from lstmcore import metrics, train
from lstmcore.feed import simulator

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "examples" / "order_book"
PICTURES = ("auc", "roc", "calibration", "episodes", "gates", "recorded_auc", "recorded_trading")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "LSTMCORE_RECORDING"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(STUDY / "run.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("order_book")
    simulator.write(folder / "made_up.gz", ticks=20_000, seed=0)
    done = run("--quick", "--out", folder, "--recording", folder / "made_up.gz", "--tick-size", 0.01)
    assert done.returncode == 0, done.stderr
    assert "Torch beside the C backend" in done.stdout
    return folder


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def test_everything_is_written(out: Path) -> None:
    found = results(out)
    assert found["run"]["quick"]
    assert (out / "report.md").read_text() == report.markdown(found)
    for name in PICTURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in (out / "report.md").read_text()
    assert set(found["simulated"]["runs"][0]["auc"]) == {*models.NAMES, simulated.YARDSTICK}
    assert found["recorded"]["folds_shown"]
    assert set(found["recorded"]["summary"]["auc"]) == set(models.NAMES)
    assert json.loads((out / "config.json").read_text())["training"]["simulated"]["batch_size"] == 256


def test_the_deployed_model_has_torchs_auc(out: Path) -> None:
    found = results(out)
    for each in [*found["simulated"]["runs"], *found["recorded"]["folds"]]:
        assert set(each["deployed"]) == {"RNN", "GRU", "LSTM"}
        for one in each["deployed"].values():
            assert one["auc_difference"] == abs(one["auc_torch"] - one["auc_c"]) <= 1e-6
            assert one["largest_difference"] <= 2e-6
            assert 0 < one["auc_c"] < 1


def test_the_figures_are_the_seeds(out: Path) -> None:
    """The written model gives the reported AUC, and the same markets and models come again from the seed."""
    sizes = simulated.Sizes().small()
    market = simulated._market(sizes.test, 3, sizes.stride)  # the fourth market of seed 0
    model = lstmcore.load(out / "models" / "simulated" / "seed_0" / "lstm.safetensors", backend="c")
    answers = model.predict_windows(market.part.series, window=50).reshape(-1)[market.part.rows - 49]
    known = results(out)["simulated"]["runs"][0]["auc"]
    assert metrics.auc(market.part.y, answers) == pytest.approx(known["LSTM"], abs=1e-9)

    config = json.loads((out / "config.json").read_text())
    again = next(iter(simulated.run([0], sizes, train.Settings(**config["training"]["simulated"]), out / "again")))
    assert again.figures["auc"] == pytest.approx(known, abs=1e-3)  # threads may sum in another order


def test_a_resumed_run_makes_the_same(out: Path) -> None:
    before = results(out)
    folder = out / "models" / "simulated" / "seed_0"
    time = (folder / "lstm.safetensors").stat().st_mtime_ns
    done = run("--quick", "--resume", "--out", out, "--recording", out / "made_up.gz", "--tick-size", 0.01)
    assert done.returncode == 0, done.stderr
    after = results(out)
    assert (folder / "lstm.safetensors").stat().st_mtime_ns == time
    assert (after["simulated"], after["recorded"]) == (before["simulated"], before["recorded"])


def test_without_a_recording_part_two_says_so(out: Path) -> None:
    text = report.markdown(results(out) | {"recorded": {"skipped": "no recording was given."}})
    assert "Skipped: no recording was given." in text
    assert "recorded_auc.png" not in text
    assert "there was no recording" in text


def test_a_recording_that_is_not_there_is_named() -> None:
    done = run("--recording", "no/such/file")
    assert done.returncode == 2
    assert "no/such/file: no such file" in done.stderr


def test_a_folder_is_no_recording_and_a_file_no_folder(tmp_path: Path) -> None:
    done = run("--recording", tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"run.py: --recording: {tmp_path}: not a file\n"
    (tmp_path / "file").touch()
    done = run("--quick", "--out", tmp_path / "file")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "file") in done.stderr


def test_a_recording_that_is_too_short_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    simulator.write(tmp_path / "short.gz", ticks=3000, seed=0)
    done = run("--quick", "--out", tmp_path / "out", "--recording", tmp_path / "short.gz", "--tick-size", 0.01)
    assert done.returncode == 2
    assert "too short" in done.stderr
    assert not (tmp_path / "out" / "models").exists()


def test_the_report_that_is_shipped_is_made_from_its_results() -> None:
    found = results(STUDY / "results")
    assert (STUDY / "results" / "report.md").read_text() == report.markdown(found)
    assert not found["run"]["quick"]
    assert found["simulated"]["summary"]["largest_auc_difference_torch_c"] <= 1e-6
    for name, interval in found["simulated"]["summary"]["auc"].items():
        values = [each["auc"][name] for each in found["simulated"]["runs"]]
        assert interval["mean"] == pytest.approx(np.mean(values))
