"""`lstmcore train`: a TOML file to a folder with a model and a report, and what is wrong with a file named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_files import CONFIG, HOURS, write_data

import lstmcore
from lstmcore import metrics
from lstmcore.commands.cli import main
from lstmcore.demo.market import FEATURES

for _package in ("torch", "pytorch_lightning", "torchmetrics"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

from lstmcore.train.config import read_config  # noqa: E402  # behind the check
from lstmcore.train.table import read_table, rises  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the config, the data, and `out`, what the command made of them."""
    folder = tmp_path_factory.mktemp("train")
    write_data(folder)
    (folder / "config.toml").write_text(CONFIG)
    assert main(["train", str(folder / "config.toml"), "--out", str(folder / "out")]) == 0
    return folder


def test_the_folder(trained: Path) -> None:
    out = trained / "out"
    pictures = ["curves.png", "judgement.png", "walk_forward.png"]
    names = ["config.toml", "fold_1", "fold_2", "model.safetensors", "report.json", "report.md"]
    assert sorted(path.name for path in out.iterdir()) == sorted(names + pictures)
    assert (out / "config.toml").read_text() == CONFIG
    assert (out / "model.safetensors").read_bytes() == (out / "fold_2" / "model.safetensors").read_bytes()
    for picture in pictures:
        assert (out / picture).read_bytes().startswith(b"\x89PNG")


def test_the_report_is_of_the_deployed_model(trained: Path) -> None:
    """The last fold's figures, from the files alone: raw rows, their labels, the model on disk."""
    facts = json.loads((trained / "out" / "report.json").read_text())
    first, last = facts["folds"]
    assert last["test"] == ["2024-02-16+00:00", "2024-02-24+00:00"]  # the file has Z at its times
    assert (last["train_samples"], last["purged_samples"]) == (30 * 24 - 6, 12)
    assert first["train_samples"] == 30 * 24 - 9 - 6  # the first window ends at row 9
    rows = np.genfromtxt(trained / "ticks.csv", delimiter=",", skip_header=1)[:, 1:5]
    model = lstmcore.load(trained / "out" / "model.safetensors", backend="numpy")
    test = np.arange(46 * 24, 54 * 24)
    scores = model.predict_windows(rows[test[0] - 9 : test[-1] + 1, :3], 10)
    assert last["auc"] == pytest.approx(metrics.auc(rows[test, 3], scores), abs=1e-6)
    assert last["log_loss"] == pytest.approx(metrics.log_loss(rows[test, 3], scores), abs=1e-5)
    assert 0 < last["largest_difference_from_torch"] < 2e-6
    assert last["auc"] > 0.7
    assert facts["rows_without_label"] == 4
    assert facts["all_test_windows"]["answers"] == first["answers"] + last["answers"]
    text = (trained / "out" / "report.md").read_text()
    assert f"| {last['auc']:.4f} |" in text
    assert "gru" in text
    share = rows[test, 3].mean()
    assert last["share_of_commoner_label"] == pytest.approx(max(share, 1 - share))
    assert f"| {last['accuracy']:.4f} | {last['share_of_commoner_label']:.4f} |" in text
    assert "\n- of no model: the log loss of " in text
    assert "\n- right: the share of answers " in text


def test_it_goes_on_and_does_not_overwrite(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((trained / "out" / "report.json").read_text())
    command = ["train", str(trained / "config.toml"), "--out", str(trained / "out")]
    assert main(command) == 1
    assert "is not empty; --resume goes on with its run, --force writes over it" in capsys.readouterr().err
    assert main([*command, "--resume", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["folds"] == before["folds"]


def test_two_processes_write_once(trained: Path, tmp_path: Path) -> None:
    config = (trained / "config.toml").read_text().replace("epochs = 2", "epochs = 1\ndevices = 2")
    (trained / "two.toml").write_text(config)
    command = [sys.executable, "-m", "lstmcore", "train", str(trained / "two.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lstmcore: fold") == 2
    assert done.stdout.count("report.md") == 1
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["folds"]) == 2


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("window = 10", "windw = 10", "data.windw: unknown key; perhaps 'window'; known are path, features"),
        ('embargo = "2 hours"', "horizon = 4", "split.horizon: unknown key; it is data.horizon; known are train, test"),
        (
            '"a", "b", "c"',
            '"a", "b", "up"',
            "data.features: 'up' is the target, which a model must not see; leave it out",
        ),
        ('"a", "b", "c"', '"a", "time"', "data.features: 'time' is the timestamp, which a model must not see"),
        ("hidden = 8", "patience = 8", "model.patience: unknown key; it is training.patience; known are kind"),
        ("[training]", "[trainning]", r"unknown section \[trainning\]; perhaps 'training'; known are data, split"),
        ("window = 10", 'window = "10"', "data.window: expected a whole number, got str '10'"),
        ("window = 10", "window = 0", "data.window: expected at least 1, got 0"),
        ("window = 10", "", r"data.window: missing; \[data\] needs it"),
        ('["a", "b", "c"]', '["a", 2]', "data.features: expected a list of text, got list"),
        ('["a", "b", "c"]', '["a", "a"]', "data.features: expected at least one column, and none of them twice"),
        ('target = "up"', "", "data: expected one of target, .*, and price"),
        ('cell = "gru"', 'cell = "grew"', "model.cell: expected one of lstm, gru, rnn, got 'grew'"),
        ('cell = "gru"', 'kind = "quants"', "model.kind: expected one of quant, exit, got 'quants'"),
        ("hidden = 8", "hidden = 8.5", "model.hidden: expected a whole number, got float 8.5"),
        ("hidden = 8", "dropout = 2", "model.dropout: expected a chance"),
        ("epochs = 2", "epochs = 0", "training.epochs: expected at least 1, got 0"),
        ("epochs = 2", "epochs = true", "training.epochs: expected a whole number, got bool True"),
        ("[model]", "model = 3\n[x]", "unknown section|model: expected a section"),
        ("[data]", "[data", "not a TOML file"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, old: str, new: str, text: str) -> None:
    path = tmp_path / "config.toml"
    assert old in CONFIG
    path.write_text(CONFIG.replace(old, new, 1))
    with pytest.raises((ValueError, TypeError), match=f"config.toml: {text}"):
        read_config(path)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('timestamp = "time"', 'timestamp = "tim"', "no column 'tim'; there are time, a, b, c, up, price, gap"),
        ('timestamp = "time"', 'timestamp = "up"', "ticks.csv: column 'up': row"),
        ('target = "up"', 'target = "price"', "ticks.csv: column 'price': expected 0 or 1, got "),
        ('["a", "b", "c"]', '["a", "up2"]', "ticks.csv: no column 'up2'; there are time, a"),
        ('"30 days"', '"300 days"', "wrong.toml: split: times: too short for one fold"),
        ('"30 days"', "300", 'wrong.toml: split.train: expected a timedelta64, or text such as "12 months", got 300'),
        ('"2 hours"', '"4 moons"', 'wrong.toml: split.embargo: expected text such as "12 months"; units'),
        ('"2 hours"', '"40 days"', "wrong.toml: split: fold 1: no sample is left for train"),
        ('"a", "b"', '"a", "gap"', "wrong.toml: fold 1: training: feature 'gap' of row 700 is nan"),
        ('"a", "b"', '"a", "late"', f"wrong.toml: fold 2: test: feature 'late' of row {HOURS - 99} is nan; fill it"),
        ('target = "up"', 'target = "one"', "wrong.toml: fold 1: training: labels are all 1"),
        ('target = "up"', 'target = "early"', "wrong.toml: fold 2: no test sample has a label"),
        ("ticks.csv", "ticks.npy", "expected a file that ends in .csv or .parquet"),
        ("ticks.csv", "tocks.csv", "No such file"),
    ],
)
def test_what_does_not_fit_the_data(trained: Path, tmp_path: Path, capsys: Any, old: str, new: str, text: str) -> None:
    (trained / "wrong.toml").write_text(CONFIG.replace(old, new, 1))
    assert main(["train", str(trained / "wrong.toml"), "--out", str(tmp_path / "out")]) == 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_labels_that_nothing_can_be_judged_by(trained: Path, tmp_path: Path, capsys: Any) -> None:
    text = CONFIG.replace('target = "up"', 'target = "stale"').replace('"30 days"', '"38 days"')
    (trained / "wrong.toml").write_text(text)
    assert main(["train", str(trained / "wrong.toml"), "--out", str(tmp_path / "out")]) == 1
    assert "wrong.toml: test windows: labels are all 1; there have to be both 0 and 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [False, True])
def test_nothing_to_go_on_with(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], make: bool) -> None:
    out = tmp_path / "tpyo"
    if make:
        (out / "fold_1").mkdir(parents=True)
    assert main(["train", str(trained / "config.toml"), "--out", str(out), "--resume"]) == 1
    text = "no checkpoint of a fold is in it" if make else "there is no such folder"
    assert f"error: nothing to go on with in {out}: {text}" in capsys.readouterr().err
    assert out.exists() == make


def test_a_price_that_is_a_feature_too(tmp_path: Path) -> None:
    x, _ = write_data(tmp_path)
    text = CONFIG.replace('["a", "b", "c"]', '["price", "c"]').replace('target = "up"', 'price = "price"')
    (tmp_path / "config.toml").write_text(text)
    table = read_table(read_config(tmp_path / "config.toml").data, tmp_path)
    price = 100 + np.cumsum(x[:, 1])
    np.testing.assert_allclose(table.features, np.stack([price, x[:, 2]], 1), atol=1e-6)
    np.testing.assert_array_equal(table.targets[:-4], price[4:] > price[:-4])


def test_labels_from_a_price() -> None:
    price = np.array([100.0, 101.0, 100.5, np.nan, 103.0, 104.0])
    np.testing.assert_array_equal(rises(price, 2, 0.0), [1, np.nan, 1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(rises(price, 1, 0.005), [1, 0, np.nan, np.nan, 1, np.nan])
    np.testing.assert_array_equal(rises(price, 9, 0.0), [np.nan] * 6)
    np.testing.assert_array_equal(rises(np.array([-100, -100.5, -99, 0, 0]), 1, 0.01), [0, 1, 1, 0, np.nan])  # a spread


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    x, _ = write_data(tmp_path)
    if suffix == "parquet":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        table = pandas.read_csv(tmp_path / "ticks.csv", parse_dates=["time"])
        table["time"] = table["time"].dt.tz_localize(None)
        table.to_parquet(tmp_path / "ticks.parquet")
    text = CONFIG.replace("ticks.csv", f"ticks.{suffix}").replace('target = "up"', 'price = "price"')
    (tmp_path / "config.toml").write_text(text)
    table = read_table(read_config(tmp_path / "config.toml").data, tmp_path)
    np.testing.assert_allclose(table.features, x, atol=1e-6)
    assert table.stamps.values.dtype.kind == "M"
    assert table.stamps.values[25] == np.datetime64("2024-01-02T01")
    price = 100 + np.cumsum(x[:, 1])
    np.testing.assert_array_equal(table.targets[:-4], price[4:] > price[:-4])
    assert np.isnan(table.targets[-4:]).all()


def test_the_shipped_config_is_right() -> None:
    assert read_config(ROOT / "examples" / "train" / "config.toml").data.features == list(FEATURES)
