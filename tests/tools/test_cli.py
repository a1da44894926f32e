"""The command line: what each command answers, and that every error is one line, a status, and no traceback."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import FEATURES, random_model
from strategies import make

import lstmcore
from lstmcore.commands import cli
from lstmcore.commands.cli import main
from lstmcore.demo import market
from lstmcore.feed import simulator
from lstmcore.layers import LSTM, Sigmoid
from lstmcore.measure.comparison import largest_difference, random_windows
from lstmcore.text import clean
from lstmcore.windows import windows

NO_OPTIONAL = """
import sys
for name in ("rich", "pandas", "pyarrow", "matplotlib", "torch", "numba", "onnx", "onnxruntime", "openvino"):
    sys.modules[name] = None
from lstmcore.commands import cli
from lstmcore.commands.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    path = tmp_path / "model.safetensors"
    random_model(0).save(path)
    return str(path)


@pytest.fixture
def series() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(60, FEATURES))


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    table = importlib.import_module("pyarrow").table(columns)
    importlib.import_module("pyarrow.parquet").write_table(table, path)


def answers(text: str) -> np.ndarray:
    """What `predict` wrote, without the header."""
    return np.array([[float(x) for x in row] for row in list(csv.reader(text.splitlines()))[1:]])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    """Run a command that must fail, in one line; that line."""
    capsys.readouterr()
    assert main(arguments) == status
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("lstmcore: warning")]
    assert len(lines) == 1, err
    assert lines[0].startswith("lstmcore: error: ")
    assert "Traceback" not in err
    assert out == ""
    return lines[0]


def run_python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env=environment(), **options
    )


def environment() -> dict[str, str]:
    """So that a subprocess imports the lstmcore that is tested here, and buffers its output as usual."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(Path(lstmcore.__file__).parents[1])}


# --- info, inspect, convert -------------------------------------------------------------------------------------


def test_info_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["lstmcore"] == lstmcore.__version__
    assert facts["kernel"] in facts["kernels"]
    assert main(["info"]) == 0
    assert facts["processor"] in capsys.readouterr().out


def test_inspect_tells_layers_sizes_and_what_is_folded(model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", model_file, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    model = lstmcore.load(model_file, backend="numpy")
    assert facts["parameters"] == sum(w.size for w in model.parameters.values())
    assert facts["bytes"] == Path(model_file).stat().st_size
    assert [layer["name"] for layer in facts["layers"]] == [layer.name for layer in model.layers]
    changes = {row["name"]: row["change"] for row in facts["compiled"]}
    assert changes["norm"].startswith("gone")
    assert changes["drop"].startswith("gone")
    assert changes["fc"].startswith("new weights")
    assert changes["sigmoid"] == "as it is"
    weight = next(w for w in facts["weights"] if w["name"] == "lstm.weight_hh_l0")
    assert weight["min"] == model.parameters["lstm.weight_hh_l0"].min()
    assert (weight["nan"], weight["inf"]) == (0, 0)
    assert main(["inspect", model_file]) == 0
    text = capsys.readouterr().out
    assert all(layer.name in text for layer in model.layers)


@pytest.mark.filterwarnings("always:.*NaN or infinite weights:RuntimeWarning")
def test_inspect_flags_weights_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = random_model(1)
    layers = list(model.layers)
    broken = layers[4].weights["weight"].copy()
    broken[0, :2] = np.nan, np.inf
    layers[4] = layers[4].replace(weights={**layers[4].weights, "weight": broken})
    lstmcore.Model(layers, backend="numpy").save(tmp_path / "m.safetensors")
    assert main(["inspect", str(tmp_path / "m.safetensors"), "--json"]) == 0
    weights = {w["name"]: w for w in json.loads(capsys.readouterr().out)["weights"]}
    assert (weights["fc.weight"]["nan"], weights["fc.weight"]["inf"]) == (1, 1)
    assert weights["fc.weight"]["max"] == pytest.approx(float(broken[np.isfinite(broken)].max()))
    assert main(["inspect", str(tmp_path / "m.safetensors")]) == 0
    out, err = capsys.readouterr()
    assert "1 NaN, 1 inf" in out
    assert "fc.weight" in err


def test_convert_rewrites_rounds_and_never_overwrites(model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    wide = str(Path(model_file).with_name("wide.safetensors"))
    assert main(["convert", model_file, wide, "--dtype", "float64"]) == 0
    model = lstmcore.load(model_file, backend="numpy")
    assert lstmcore.load(wide, backend="numpy") == model.astype("float64")
    before = Path(wide).read_bytes()
    assert "exists already" in fails(capsys, "convert", model_file, wide)
    assert Path(wide).read_bytes() == before
    assert main(["convert", model_file, wide, "--force"]) == 0
    assert lstmcore.load(wide, backend="numpy") == model


def test_convert_to_onnx_and_verify_against_it(model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = str(Path(model_file).with_suffix(".onnx"))
    assert main(["convert", model_file, onnx]) == 0
    assert "from the reference" in capsys.readouterr().out
    assert main(["verify", model_file, "--against", onnx, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["within"] is True
    other = str(Path(model_file).with_name("other.safetensors"))
    random_model(1).save(other)
    assert "largest difference" in verify_fails(capsys, other, onnx)
    assert "float32" in fails(capsys, "convert", model_file, onnx + ".onnx", "--dtype", "float64")


# --- verify -----------------------------------------------------------------------------------------------------


def verify_fails(capsys: pytest.CaptureFixture[str], model: str, *against: str) -> str:
    capsys.readouterr()
    assert main(["verify", model, "--against", *against]) == 1
    err: str = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    return err


@pytest.mark.parametrize("against", ["numpy", "c", "c:scalar", "model"])
def test_verify_agrees_with_the_same_model(model_file: str, against: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = model_file if against == "model" else against
    assert main(["verify", model_file, "--against", other]) == 0
    assert "within the tolerance" in capsys.readouterr().out


def test_verify_of_models_of_other_widths_names_both(
    model_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(tmp_path / "other.safetensors")
    rng = np.random.default_rng(0)
    lstmcore.Model([make(LSTM, "lstm", rng, input_size=5, hidden_size=4)]).save(other)
    said = verify_fails(capsys, model_file, other)
    assert f"{model_file} against {other}: random, scale 0.1" in said
    assert "window: expected (T, 5) or (N, T, 5), got 4 features" in said


def test_verify_finds_a_planted_difference_and_says_where(
    model_file: str, series: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lstmcore.load(model_file, backend="numpy")
    layers = list(model.layers)
    layers[4] = layers[4].map_weights(lambda w: w * np.float32(1.0001))
    other = str(Path(model_file).with_name("other.safetensors"))
    lstmcore.Model(layers, backend="numpy").save(other)
    assert main(["verify", model_file, "--against", other, "--tolerance", "0.01"]) == 0
    assert "above the tolerance of 2e-06" in verify_fails(capsys, model_file, other)

    given = Path(model_file).with_name("x.npy")
    np.save(given, windows(series, 20))
    capsys.readouterr()
    assert main(["verify", model_file, "--against", other, "--inputs", str(given), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["within"] is False
    row = next(row for row in facts["inputs"] if row["inputs"] == str(given))
    batch = windows(series, 20)  # float64, as in the file: the models subtract before they round
    a, b = model.with_backend("auto")(batch), lstmcore.load(other)(batch)
    worst = largest_difference(a.astype(np.float64), b.astype(np.float64))
    assert row["windows"] == len(batch)
    assert row["difference"] == pytest.approx(worst.value, rel=1e-6)
    assert (row["at_window"], row["at_output"]) == (worst.window, list(worst.output))
    assert row["model_off"] < 1e-6 < row["other_off"]


TORCH_FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.lstm = nn.LSTM(4, 6, num_layers=2, dropout=0.5, batch_first=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])

def make():
    print("made")
    return Net()

def needs(this, that=1):
    return Net()

def adds():
    return Net() + "a"

made = Net()
number = 3
"""


def test_verify_against_torch_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("net_of_cli_test.py").write_text(TORCH_FILE)
    namespace: dict[str, Any] = {}
    exec(TORCH_FILE, namespace)
    net = namespace["Net"]().eval()
    lstmcore.from_torch(net).save("m.safetensors")
    for spec in ("net_of_cli_test.py:Net", "net_of_cli_test.py:make", "net_of_cli_test:made"):
        capsys.readouterr()
        assert main(["verify", "m.safetensors", "--against", spec, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["largest"] < 2e-6
    with torch.no_grad():
        net.fc.bias += 0.01
    torch.save(net.state_dict(), "other.pt")
    against = ["net_of_cli_test.py:Net", "--checkpoint", "other.pt"]
    assert "largest difference 0.0" in verify_fails(capsys, "m.safetensors", *against)
    width = lstmcore.load("m.safetensors").input_size
    lstmcore.from_torch(net, scaler=(np.ones(width), np.full(width, 2.0))).save("scaled.safetensors")
    assert main(["verify", "scaled.safetensors", "--against", *against]) == 1
    assert "the model scales its input first (scaler (Scaler))" in capsys.readouterr().err
    for spec, text in (
        ("net_of_cli_test.py:number", "expected an nn.Module"),
        ("net_of_cli_test.py:missing", "no attribute 'missing'"),
        ("net_of_cli_test.py:needs", "without arguments: missing a required argument: 'this'"),
        (
            "net_of_cli_test.py:adds",
            "net_of_cli_test.py:adds: it raises TypeError when it is called: unsupported operand",
        ),
        ("absent.py:Net", "no such file"),
        ("absent_module_of_cli_test:Net", "No module named"),
    ):
        assert text in fails(capsys, "verify", "m.safetensors", "--against", spec)


CUTS_WINDOWS = """
from torch import nn
class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
    def forward(self, x):
        return self.lstm(x[:, -60:])[0][:, -1]
"""


def test_verify_tries_lengths_beyond_the_numbers_in_a_modules_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    source, weights, model = tmp_path / "cuts.py", tmp_path / "cuts.pt", str(tmp_path / "cuts.safetensors")
    source.write_text(CUTS_WINDOWS)
    namespace: dict[str, Any] = {}
    exec(CUTS_WINDOWS, namespace)
    module = namespace["Score"]()
    torch.save(module.state_dict(), weights)
    lstmcore.from_state_dict(module.state_dict(), [("lstm", "LSTM")]).save(model)
    against = ["--against", f"{source}:Score", "--checkpoint", str(weights)]
    assert main(["verify", model, *against, "--window", "60"]) == 0
    capsys.readouterr()
    assert main(["verify", model, *against, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["inputs"]
    apart = {row["inputs"].split(",")[1]: row["difference"] for row in rows}
    differ = {length for length, value in apart.items() if value is None or value > 2e-6}  # None: infinitely
    assert differ == {" 61 ticks", " 121 ticks"}


def test_verify_against_a_module_that_reads_time_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    source = tmp_path / "time_first.py"
    source.write_text(TIME_FIRST)
    namespace: dict[str, Any] = {}
    exec(TIME_FIRST, namespace)
    module = namespace["Score"]()
    torch.save(module.state_dict(), tmp_path / "time_first.pt")
    with pytest.warns(UserWarning, match="reads its windows as"):
        lstmcore.from_torch(module.eval()).save(tmp_path / "time_first.safetensors")
    command = ["verify", str(tmp_path / "time_first.safetensors"), "--against", f"{source}:Score"]
    command += ["--checkpoint", str(tmp_path / "time_first.pt")]
    assert main([*command, "--time-first"]) == 0
    assert "above the tolerance" in verify_fails(capsys, *command[1:2], *command[3:])


TIME_FIRST = f"""
from torch import nn
class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM({FEATURES}, 5)
    def forward(self, x):
        return self.lstm(x)[0][-1]
"""


@pytest.mark.filterwarnings("always:.*NaN or infinite weights:RuntimeWarning")
def test_verify_fails_where_finite_windows_have_nan_for_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(0)
    spoiled = [layer.map_weights(lambda w: w * np.nan) if layer.name == "fc" else layer for layer in model.layers]
    lstmcore.Model(spoiled).save(tmp_path / "nan.safetensors")
    error = fails(capsys, "verify", str(tmp_path / "nan.safetensors"), "--against", "numpy")
    assert "have NaN for answers; look at its weights" in error


def test_verify_says_what_its_random_windows_are_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The inputs that the scaler was fitted to; far from them every answer would be that of a saturated model."""
    plain = lstmcore.Model(random_model(5).layers[1:])
    path = str(tmp_path / "m.safetensors")
    for model, about in (
        (plain, "random, scale 0.1"),
        (plain.with_scaler([1e3, 5, -7, 0], [10, 0.1, 3, 1]), "random, scale 0.1 of the scaler's, about its mean"),
    ):
        model.save(path)
        assert main(["verify", path, "--against", "numpy", "--json", "--tolerance", "1e-3"]) == 0
        assert json.loads(capsys.readouterr().out)["inputs"][0]["inputs"] == about
    x = random_windows(model, 50, 50, 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(x.mean((0, 1)), [1e3, 5, -7, 0], atol=0.1)
    np.testing.assert_allclose(x.std((0, 1)), [1, 0.01, 0.3, 0.1], rtol=0.1)


def test_verify_takes_numbers_that_float32_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, given = str(tmp_path / "m.safetensors"), str(tmp_path / "x.npy")
    random_model(0).save(path)
    np.save(given, np.full((3, 4), 1e300))
    assert main(["verify", path, "--against", "c:scalar", "--inputs", given]) == 0
    assert capsys.readouterr().err == ""


def test_verify_treats_nan_as_a_difference_unless_both_have_it() -> None:
    nan = np.array([[np.nan], [1.0]])
    assert largest_difference(nan, nan).value == 0
    assert largest_difference(nan, np.array([[0.5], [1.0]])).value == np.inf
    infinite = np.array([[np.inf]])
    assert largest_difference(infinite, infinite).value == 0
    assert largest_difference(infinite, -infinite).value == np.inf
    assert largest_difference(np.array([[2000.0]]), np.array([[2001.0]])).value == pytest.approx(1 / 2001)


# --- predict ----------------------------------------------------------------------------------------------------


def test_predict_is_the_same_from_npy_csv_and_parquet(
    model_file: str, series: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lstmcore.load(model_file)
    expected = model(windows(series, 10))
    names = ["day", "c", "w", "a", "z"]
    columns = [[f"2024-01-{n:02}" for n in range(60)], *series.T[[1, 0, 3, 2]].tolist()]
    rows: list[list[object]] = [list(row) for row in zip(*columns, strict=True)]
    np.save(tmp_path / "x.npy", series)
    files = {"x.npy": [], "x.csv": ["--columns", "w,c,z,a"]}
    write_csv(tmp_path / "x.csv", names, rows)
    if importlib.util.find_spec("pyarrow"):  # .npy and .csv everywhere
        write_parquet(tmp_path / "x.parquet", dict(zip(names, columns, strict=True)))
        files["x.parquet"] = ["--columns", "w,c,z,a"]
    for name, extra in files.items():
        assert main(["predict", model_file, str(tmp_path / name), "--window", "10", *extra]) == 0
        got = answers(capsys.readouterr().out)
        assert got[:, 0].tolist() == list(range(9, 60)), name
        assert got[:, 1].astype(np.float32).tobytes() == expected[:, 0].tobytes(), name


@pytest.mark.parametrize("shape", [(60, 4), (12, 5, 4)])
def test_predict_says_where_numbers_are_not_finite(
    shape: tuple[int, ...], model_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    file, what = str(tmp_path / "x.npy"), "row" if len(shape) == 2 else "window"
    np.save(file, x)
    assert main(["predict", model_file, file]) == 0
    assert "infinity" not in capsys.readouterr().err
    x[3, ..., 1], x[9, ..., 0], x[9, ..., 2] = np.nan, np.inf, -np.inf
    np.save(file, x)
    assert main(["predict", model_file, file]) == 0
    told = f"x.npy: NaN or infinity in 2 of {shape[0]} {what}s, the first of them {what} 3;"
    assert told in capsys.readouterr().err


def test_predict_says_which_columns_are_far_from_what_the_scaler_knows(
    model_file: str, series: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unix times where a price was, for example: every answer is then the same."""
    names = ["a", "", "c", "d"]
    rows = series.tolist()
    plain = write_csv(tmp_path / "plain.csv", names, rows)
    assert main(["predict", model_file, plain]) == 0
    said = capsys.readouterr().err
    assert "the features are, in this order: a, (a column without a name), c, d" in said
    assert "scales from its mean" not in said
    times = write_csv(tmp_path / "times.csv", names, [[*row[:2], 1.7e18 + n, row[3]] for n, row in enumerate(rows)])
    assert main(["predict", model_file, times]) == 0
    said = capsys.readouterr().err
    assert said.count("scales from its mean; is this the column that the model was trained on?") == 1
    assert re.search(r"feature 2 \('c'\) is \de\+18 of the scaler's scales", said)
    assert "'a' stands there twice" in fails(capsys, "predict", model_file, plain, "--columns", "a, c,a,d")


@pytest.mark.filterwarnings("always:.*NaN or infinite weights:RuntimeWarning")
def test_weights_that_are_not_finite_are_told(
    model_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = lstmcore.load(model_file, backend="numpy")
    layers = list(sound.layers)
    layers[4] = layers[4].map_weights(lambda w: w * np.float32(np.nan))
    path = tmp_path / "wrong.safetensors"
    lstmcore.Model(layers, backend="numpy").save(path)
    told = r"NaN or infinite weights in fc.weight, fc.bias"
    with pytest.warns(RuntimeWarning, match=rf"wrong.safetensors: {told}"):
        lstmcore.load(path)
    with pytest.warns(RuntimeWarning, match=f"state_dict: {told}"):
        lstmcore.from_state_dict({f"fc.{key}": w for key, w in layers[4].weights.items()}, [("fc", "Linear")])
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().err.count("NaN or infinite weights in fc.weight, fc.bias") == 1
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        assert main(["convert", str(path), str(tmp_path / "wrong.onnx")]) == 0
        assert "all its answers are NaN or infinite, as the model's are" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "bench MODEL", "verify MODEL --against numpy"])
@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "9" * 30])
def test_seeds_that_are_none(command: str, seed: str, model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.replace("MODEL", model_file).split(), f"--seed={seed}"])
    assert "argument --seed: expected a whole number of at least 0" in capsys.readouterr().err


def test_predict_takes_the_number_columns_in_order_and_says_what_it_left_out(
    model_file: str, series: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body: list[list[object]] = [["Mon", *row, "x"] for row in series.tolist()]
    body[7][2] = ""
    file = write_csv(tmp_path / "x.csv", ["day", "a", "b", "c", "d", "venue"], body)
    assert main(["predict", model_file, file, "--window", "5"]) == 0
    out, err = capsys.readouterr()
    assert "left out, not numbers: day, venue" in err
    assert "x.csv: the features are, in this order: a, b, c, d" in err
    assert "1 empty cells are read as NaN" in err
    assert "x.csv: NaN or infinity in 1 of 60 rows, the first of them row 7;" in err
    with_nan = series.copy()
    with_nan[7, 1] = np.nan
    expected = lstmcore.load(model_file)(windows(with_nan, 5))[:, 0]
    np.testing.assert_array_equal(answers(out)[:, 1].astype(np.float32), expected)
    assert np.isnan(expected).sum() == 5
    assert main(["predict", model_file, file, "--window", "5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row[0] for row in facts["rows"] if row[1] is None] == [7, 8, 9, 10, 11]
    assert facts["features"] == ["a", "b", "c", "d"]
    assert main(["predict", model_file, file, "--window", "5", "--columns", "c,a,d,b"]) == 0
    assert "in this order: c, a, d, b" in capsys.readouterr().err


def test_predict_whole_file_batch_and_every_step(
    series: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "steps.safetensors")
    model = random_model(4, outputs=2, steps=True)
    model.save(file)
    np.save(tmp_path / "one.npy", series)
    assert main(["predict", file, str(tmp_path / "one.npy"), "--backend", "numpy"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("row,step,answer_0,answer_1\n")
    got = answers(text)
    assert set(got[:, 0]) == {59}
    assert got[:, 1].tolist() == list(range(60))
    np.testing.assert_array_equal(got[:, 2:].astype(np.float32), model(series))
    np.save(tmp_path / "batch.npy", series.reshape(6, 10, FEATURES))
    out = tmp_path / "out.npy"
    assert main(["predict", file, str(tmp_path / "batch.npy"), "--backend", "numpy", "-o", str(out)]) == 0
    table = np.load(out)
    assert table[:, 0].tolist() == np.repeat(range(6), 10).tolist()
    np.testing.assert_array_equal(table[:, 2:], model(series.reshape(6, 10, FEATURES)).reshape(60, 2))
    assert "exists already" in fails(capsys, "predict", file, str(tmp_path / "one.npy"), "-o", str(out))


def test_predict_answers_a_long_series_in_several_calls(
    model_file: str, series: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstmcore.commands import predict

    monkeypatch.setattr(predict, "BATCH", 7 * 10 * FEATURES)  # seven windows a call, and a rest of two
    model = lstmcore.load(model_file)
    _, table = predict.answer(model, series, 10)
    np.testing.assert_array_equal(table[:, 1:], model(windows(series, 10)))


BAD_CSV = {
    "line 3, column 'b': not a number: 'abc'": "a,b,c,d\n1,2,3,4\n1,abc,3,4\n",
    "line 3: 3 cells; the header has 4": "a,b,c,d\n1,2,3,4\n1,2,3\n",
    "line 3: 0 cells; the header has 4": "a,b,c,d\n1,2,3,4\n\n1,2,3,4\n",
    "expected a header row": "1,2,3,4\n1,2,3,4\n",
    "two columns have the name 'a'": "a,a,c,d\n1,2,3,4\n",
    "3 columns of numbers; the model takes 4 features": "a,b,c\n1,2,3\n",
    "no rows of numbers": "a,b,c,d\n",
    "empty": "",
    "not a .csv file": "a,b,c,d\n\xff\xfe,2,3,4\n",
}


@pytest.mark.parametrize("expected", BAD_CSV)
def test_predict_names_what_is_wrong_in_a_csv(
    model_file: str, tmp_path: Path, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(BAD_CSV[expected].encode("latin-1"))
    line = fails(capsys, "predict", model_file, str(file))
    assert expected in line
    assert str(file) in line


def test_predict_refuses_other_bad_data(
    model_file: str, series: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(name: str, *extra: str) -> str:
        return fails(capsys, "predict", model_file, str(tmp_path / name), *extra)

    np.save(tmp_path / "objects.npy", np.array([[{}, {}]], dtype=object), allow_pickle=True)
    assert "not a .npy file of numbers" in failing("objects.npy")
    (tmp_path / "text.npy").write_text("not an array")
    assert "not a .npy file of numbers" in failing("text.npy")
    np.save(tmp_path / "whole.npy", series)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-8])
    assert "not a .npy file of numbers" in failing("cut.npy")
    np.save(tmp_path / "flat.npy", series.ravel())
    assert "shape (240,)" in failing("flat.npy")
    np.save(tmp_path / "wide.npy", np.zeros((3, 9)))
    assert "9 columns" in failing("wide.npy")
    np.save(tmp_path / "batch.npy", series.reshape(6, 10, FEATURES))
    assert "batch of windows already" in failing("batch.npy", "--window", "5")
    assert "at least 100 rows, got 60" in failing("whole.npy", "--window", "100")
    assert "no column names" in failing("whole.npy", "--columns", "a")
    assert "expected a name that ends in" in failing("whole.npy", "-o", "out.txt")
    assert "would replace a file that is read; give another name" in failing(
        "whole.npy", "-o", str(tmp_path / "whole.npy"), "--force"
    )
    assert "expected a file that ends in" in failing("whole.xls")
    assert "No such file" in failing("absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "expected a file, got a directory" in failing("folder.csv")
    write_csv(tmp_path / "x.csv", ["a", "b", "c", "d"], series.tolist())
    assert "no column 'e'; there are a, b, c, d" in failing("x.csv", "--columns", "a,b,c,e")
    write_csv(tmp_path / "y.csv", ["n", "a", "b", "c", "d"], [[n, *row] for n, row in enumerate(series.tolist())])
    assert "4 features (n, a, b, c, d); --columns names the right ones" in failing("y.csv")


def test_predict_refuses_a_bad_parquet_file(
    model_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "bad.parquet").write_text("PAR1 and no more")
    assert "not a .parquet file" in fails(capsys, "predict", model_file, str(tmp_path / "bad.parquet"))
    columns: dict[str, Any] = {"a": [1, None], "b": [0.5, 1.5], "c": [True, False], "day": ["x", "y"], "d": [3, 4]}
    write_parquet(tmp_path / "x.parquet", columns)
    assert main(["predict", model_file, str(tmp_path / "x.parquet"), "--window", "1"]) == 0
    out, err = capsys.readouterr()
    assert "left out, not numbers: day" in err
    assert "1 empty cells" in err
    expected = lstmcore.load(model_file)([[[1, 0.5, 1, 3]], [[np.nan, 1.5, 0, 4]]])
    np.testing.assert_array_equal(answers(out)[:, 1].astype(np.float32), expected[:, 0])
    line = fails(capsys, "predict", model_file, str(tmp_path / "x.parquet"), "--columns", "a,b,c,day")
    assert "column 'day': expected numbers, got string" in line


# --- errors of every command ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["inspect", "convert", "verify", "predict", "bench"])
def test_bad_model_files_are_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, FEATURES)))
    rest = {
        "convert": [str(tmp_path / "out.safetensors")],
        "verify": ["--against", "numpy"],
        "predict": [str(tmp_path / "x.npy")],
    }.get(command, [])
    truncated = tmp_path / "truncated.safetensors"
    random_model(0).save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:-9])
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    for path, text in (
        (truncated, "not a valid safetensors file"),
        (folder, "expected a file, got a directory"),
        (tmp_path / "absent.safetensors", "No such file"),
        (tmp_path / "model.bin", "expected a name that ends in .safetensors"),
    ):
        line = fails(capsys, command, str(path), *rest)
        assert text in line
        assert str(path) in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["inspect"],
        ["demo", "--ticks", "0"],
        ["demo", "--ticks", "many"],
        ["predict", "m", "x", "--window", "-3"],
        ["verify", "m"],
        ["bench", "m", "--seconds", "0"],
        ["bench", "m", "--threads", "x"],
        ["info", "--backend", "gpu"],
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("lstmcore: error: ")


def test_other_errors_are_one_line(model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    def failing(*arguments: str) -> str:
        return fails(capsys, *arguments)

    folder = str(Path(model_file).parent)
    assert "sse9" in failing("predict", model_file, "x.npy", "--kernel", "sse9")
    assert "only the c backend has kernels" in failing(
        "predict", model_file, "x.npy", "--backend", "numpy", "--kernel", "avx2"
    )
    assert "expected a name that ends in" in failing("convert", model_file, folder + "/out.h5")
    assert "no folder" in failing("convert", model_file, folder + "/absent/out.safetensors")
    assert "expected a model file, a backend" in failing("verify", model_file, "--against", "nonsense")
    assert "tolerance" in failing("verify", model_file, "--against", "numpy", "--tolerance", "nan")
    assert "only for a torch module" in failing("verify", model_file, "--against", "c:scalar", "--checkpoint", "x.pt")
    wide = folder + "/two.safetensors"
    random_model(0, outputs=2).save(wide)
    assert "answers of shape" in failing("verify", model_file, "--against", wide)
    assert "expected one of onnxruntime" in failing("bench", model_file, "--peers", "tensorflow")


def test_an_unforeseen_error_has_its_kind_and_no_traceback_unless_asked(
    model_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("first line\nsecond \x1b[31mline")

    monkeypatch.setattr(lstmcore, "load", broken)
    line = fails(capsys, "inspect", model_file)
    assert "KeyError" in line
    assert "\x1b" not in line
    monkeypatch.setenv("LSTMCORE_TRACEBACK", "1")
    assert main(["inspect", model_file]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_control_characters_of_a_file_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean("a\x1b[2Jb\nc") == "a\N{REPLACEMENT CHARACTER}[2Jb c"
    layers = list(random_model(0).layers)
    layers[-1] = Sigmoid("evil\x1b[2Jname")
    lstmcore.Model(layers, backend="numpy").save(tmp_path / "m.safetensors")
    assert main(["inspect", str(tmp_path / "m.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil" in out


# --- as a process -----------------------------------------------------------------------------------------------


def test_python_m_lstmcore_and_version() -> None:
    done = run_python("-m", "lstmcore", "--version")
    assert (done.returncode, done.stdout) == (0, f"lstmcore {lstmcore.__version__}\n")
    done = run_python("-m", "lstmcore", "inspect", "absent.safetensors")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "lstmcore: error: absent.safetensors: No such file or directory\n"


def test_every_command_runs_or_says_what_is_missing_without_optional_packages(
    model_file: str, series: np.ndarray, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "x.csv", ["a", "b", "c", "d"], series.tolist())
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    for arguments in (
        ["info"],
        ["inspect", model_file],
        ["convert", model_file, str(tmp_path / "copy.safetensors")],
        ["verify", model_file, "--against", "numpy"],
        ["predict", model_file, data, "--window", "10"],
        ["bench", model_file, "--seconds", "0.01", "--backend", "c", "--window", "5"],
        ["demo", "--ticks", "120", "--out", str(tmp_path)],
    ):
        done = run_python("-c", NO_OPTIONAL, *arguments)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout
    assert 'pip install "lstmcore[plot]"' in done.stderr
    for arguments, extra in (
        (["convert", model_file, str(tmp_path / "m.onnx")], "onnx"),
        (["predict", model_file, str(tmp_path / "x.parquet")], "data"),
        (["verify", model_file, "--against", "file.py:Net"], "torch"),
        (["bench", model_file, "--peers", "openvino"], "peers"),
    ):
        done = run_python("-c", NO_OPTIONAL, *arguments)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert f'pip install "lstmcore[{extra}]"' in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="signals and closed pipes as POSIX has them")
def test_ctrl_c_and_a_reader_that_goes_away(model_file: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lstmcore", "bench", model_file, "--seconds", "60", "--peers", "none", "--backend", "c"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it comes ignored
    )  # fmt: skip
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "lstmcore: interrupted"
    assert "Traceback" not in err

    data = tmp_path / "long.npy"
    np.save(data, np.random.default_rng(0).normal(size=(40_000, FEATURES)))
    process = subprocess.Popen(
        [sys.executable, "-m", "lstmcore", "predict", model_file, str(data), "--window", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "row,answer\n"
    process.stdout.close()
    assert process.wait(timeout=30) == cli.GONE
    assert process.stderr.read() == ""
    process.stderr.close()


def every_command(model: str, folder: Path) -> dict[str, list[str]]:
    """Each command at its shortest, writing on stdout, by its name."""
    rng = np.random.default_rng(3)
    data = write_csv(folder / "closed.csv", list("abcd"), rng.normal(size=(12, FEATURES)).tolist())
    recording = folder / "recording.txt"
    simulator.write(recording, 200, 4)
    features = ",".join(market.FEATURES[:FEATURES])
    made = {
        "info": ["info"],
        "inspect": ["inspect", model],
        "convert": ["convert", model, str(folder / "copy.safetensors"), "--force"],
        "verify": ["verify", model, "--against", "numpy"],
        "predict": ["predict", model, data, "--window", "10"],
        "plot": ["plot", model, data, "--out", str(folder / "x.png"), "--force"],
        "bench": ["bench", model, "--seconds", "0.01", "--backend", "c", "--window", "5", "--peers", "none"],
        "demo": ["demo", "--ticks", "120", "--no-plot"],
        "replay": ["replay", str(recording), "--model", model, "--window", "5", "--features", features],
        "train": ["train", str(folder / "absent.toml"), "--out", str(folder / "trained")],
    }
    assert {module.__name__.rpartition(".")[2] for module in cli.COMMANDS} == made.keys()
    return made | {"help": ["--help"], "version": ["--version"], "wrong usage": ["predict"]}


#: Those that write nothing on stdout, and how they end.
SILENT = {"plot": 0, "train": 1, "wrong usage": 2}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="closed pipes as POSIX has them")
@pytest.mark.parametrize("way", ["reader gone", "stdout closed", "stdout and stderr closed", "stderr's reader gone"])
def test_nothing_is_said_when_nobody_reads(model_file: str, tmp_path: Path, way: str) -> None:
    """In every command, at the exit of the interpreter too."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; plot draws with it")
    pytest.importorskip("msgspec", reason="msgspec is not installed; replay reads messages with it")
    numbers = {"stdout closed": "1>&-", "stdout and stderr closed": "1>&- 2>&-"}.get(way, "")
    script = (
        f'import os, subprocess, sys; sys.exit(subprocess.call(["sh", "-c", \'"$@" {numbers}\', "sh", *sys.argv[1:]]))'
    )
    every = every_command(model_file, tmp_path)
    for name in every if way == "reader gone" else ("info", "predict", "plot", "wrong usage"):
        arguments = every[name]
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "lstmcore", *arguments]
        if numbers:
            command = [sys.executable, "-c", script, *command]
        stdout, stderr = {
            "reader gone": (write, subprocess.PIPE),
            "stderr's reader gone": (subprocess.PIPE, write),
        }.get(way, (subprocess.PIPE, subprocess.PIPE))
        done = subprocess.run(
            command, stdout=stdout, stderr=stderr, text=True, timeout=60, env=environment(), check=False
        )
        os.close(write)
        usual = SILENT.get(name, 0)
        gone = way == "reader gone" and name not in SILENT
        assert done.returncode == (cli.GONE if gone else usual), (name, done)
        if way == "stderr's reader gone":
            assert (done.stdout != "") == (name not in SILENT), name
            continue
        lines = [line for line in done.stderr.splitlines() if not line.startswith("lstmcore: ")]
        assert lines == [], (name, done)
        assert not gone or "rror" not in done.stderr, (name, done)
        assert not done.stdout, (name, done)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line(model_file: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lstmcore", "inspect", model_file],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environment(), check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr == "lstmcore: error: stdout: No space left on device\n"


def test_layers_of_a_state_dict_are_proposed_and_refused(
    model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON that the error proposes can be used, and what is wrong with such a file names the file."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.ModuleDict({"lstm": torch.nn.LSTM(3, 4), "fc": torch.nn.Linear(4, 1)}).state_dict(), "m.pt")
    text = fails(capsys, "inspect", "m.pt")
    assert 'give it in a file of JSON with --layers, perhaps [["lstm", "LSTM"], ["fc", "Linear"]] with' in text
    assert "with --against-layers, perhaps [[" in fails(capsys, "verify", model_file, "--against", "m.pt")
    Path("layers.json").write_text(text.partition("perhaps ")[2].partition(" with the functions")[0])
    assert main(["inspect", "m.pt", "--layers", "layers.json", "--json"]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]] == ["lstm", "fc"]
    for content, expected in (
        ([["lstm", "LSTN"]], "layers.json: layers[0]: unknown kind 'LSTN'; perhaps 'LSTM'"),
        ({"lstm": "LSTM"}, "layers.json: layers: expected a list of layers, got dict"),
        ([["lstm", "LSTM"]], "m.pt: fc."),
    ):
        Path("layers.json").write_text(json.dumps(content))
        assert expected in fails(capsys, "inspect", "m.pt", "--layers", "layers.json")
    for content, expected in (
        ('[["lstm", {"kind": "LSTM", "kind": "GRU"}]]', " is not JSON: 'a key stands in an object twice'"),
        ("[" * 200 + "]" * 200, ": values in values, more than 128 deep"),
        ("[" * 40_000, " is not JSON"),
        ("[", " is not JSON"),
    ):
        Path("layers.json").write_text(content)
        found = fails(capsys, "inspect", "m.pt", "--layers", "layers.json")
        assert f"layers.json: the list of layers{expected}" in found
