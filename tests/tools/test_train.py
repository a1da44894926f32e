"""lstmcore.train: what is trained is what the C core answers; the same from the seed, resumed, or by two processes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances

import lstmcore
from lstmcore import metrics
from lstmcore.layers import Array, Scaler

for _package in ("torch", "pytorch_lightning", "torchmetrics"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

import torch  # noqa: E402  # behind the check

from lstmcore import train  # noqa: E402

QUICK = train.Settings(epochs=3, batch_size=64, learning_rate=5e-3, accelerator="cpu")


def series(rows: int = 1600, features: int = 4) -> tuple[Array, Array]:
    """Features far from zero and of different sizes; a 1 where the first was high of late: an order of events."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features))
    late = np.convolve(x[:, 0], np.exp(-np.arange(12) / 4))[:rows]
    y = (late + 0.3 * rng.standard_normal(rows) > 0).astype(float)
    return x * np.arange(1, features + 1) * 3 + 20, y


def split() -> tuple[train.Windows, train.Windows, train.Windows]:
    data = train.Windows(*series(), window=12)
    return data.take(range(11, 1000)), data.take(range(1000, 1300)), data.take(range(1300, 1600))


def trades(count: int = 120) -> tuple[list[Array], list[Array]]:
    """Open trades of 1 to 25 bars; a 1 where the first feature has fallen since entry."""
    rng = np.random.default_rng(1)
    xs = [rng.standard_normal((n, 3)) + 5 for n in rng.integers(1, 26, count)]
    return xs, [(np.cumsum(x[:, 0] - 5) < 0).astype(int) for x in xs]


def weights(fitted: train.Fitted) -> list[torch.Tensor]:
    return list(fitted.module.state_dict().values())


def history(fitted: train.Fitted) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in fitted.history]


def same(one: train.Fitted, other: train.Fitted) -> bool:
    return history(one) == history(other) and all(map(torch.equal, weights(one), weights(other)))


@pytest.fixture(scope="module")
def fitted() -> train.Fitted:
    training, validation, _ = split()
    return train.fit(train.quant_model(4, hidden=16), training, validation, settings=QUICK)


def test_it_learns(fitted: train.Fitted) -> None:
    _, validation, test = split()
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3]
    assert metrics.auc(test.labels, fitted.predict(test)) > 0.85
    best = fitted.history[fitted.best_epoch - 1]
    assert best["validation_auc"] == max(row["validation_auc"] for row in fitted.history)
    scores = fitted.predict(validation)
    np.testing.assert_allclose(best["validation_auc"], metrics.auc(validation.labels, scores), atol=1e-6)
    np.testing.assert_allclose(best["validation_loss"], metrics.log_loss(validation.labels, scores), atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("build", [train.quant_model, train.exit_model])
def test_the_core_answers_what_torch_answers(build: Any, cell: str, tmp_path: Path) -> None:
    training, validation, test = split()
    short = dataclasses.replace(QUICK, epochs=1)
    fitted = train.fit(build(4, cell=cell, hidden=24), training, validation, settings=short)
    fitted.save(tmp_path / "model.safetensors")
    model = lstmcore.load(tmp_path / "model.safetensors", backend="c")
    assert isinstance(model.layers[0], Scaler)
    expected, found = fitted.predict(test), train.score(model, test)
    assert np.ptp(expected) > 0.01
    assert np.max(np.abs(expected - found)) <= tolerances.FLOAT32
    assert abs(metrics.auc(test.labels, expected) - metrics.auc(test.labels, found)) <= 1e-6
    with torch.inference_mode():  # the module itself, sigmoid and all
        scaled = test.scaled(fitted.scaler).batch([5]).x
        np.testing.assert_allclose(fitted.module(scaled), expected[[5]], atol=tolerances.FLOAT32)


@pytest.mark.parametrize("history", [None, 5])
def test_open_trades(history: int | None) -> None:
    data = train.Sequences(*trades(), history=history)
    training, validation, test = (data.take(range(*part)) for part in ((0, 80), (80, 100), (100, 120)))
    module = train.exit_model(3, hidden=16)
    fitted = train.fit(module, training, validation, settings=dataclasses.replace(QUICK, batch_size=16))
    expected = fitted.predict(test)
    model = fitted.to_lstmcore("c")
    found = train.score(model, test)
    assert np.max(np.abs(expected - found)) <= tolerances.FLOAT32
    by_hand = []
    for x in test:
        for n in range(len(x)):
            first = 0 if history is None else max(0, n + 1 - history)
            by_hand.append(float(model(x[first : n + 1])))
    np.testing.assert_allclose(found, by_hand, atol=tolerances.FLOAT32)
    assert metrics.auc(test.labels, expected) > 0.7


def test_padding_changes_no_answer() -> None:
    xs, ys = trades(30)
    module = train.exit_model(3, hidden=8).eval()
    data = train.Sequences(xs, ys)
    batch = data.batch(range(30))
    assert batch.answered is not None
    together = module.logits(batch.x, batch.answered).detach()
    alone = torch.cat([module.logits(*data.batch([n])[:2]).detach() for n in range(30)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(batch.y, np.concatenate(ys))


@pytest.mark.parametrize("kind", ["windows", "sequences"])
def test_rows_are_scaled_before_they_are_rounded(kind: str) -> None:
    """float32 holds 61,800 to 0.004 only: of a deviation of 0.05, one digit."""
    x, y = series()
    x = 61_800.03 + 0.05 * x.astype(np.float64)
    data = train.Windows(x, y, 12) if kind == "windows" else train.Sequences([x], [np.nan_to_num(y)])
    mean, scale = data.fit_scaler()
    exact = (x - mean) / scale
    assert mean.dtype == np.float64
    np.testing.assert_allclose(mean, x[data.used()].mean(axis=0), rtol=1e-12)
    batch = data.scaled((mean, scale)).batch([0])
    assert batch.x.dtype == data.batch([0]).x.dtype == torch.float32
    np.testing.assert_allclose(batch.x[0, :12], exact[:12], rtol=0, atol=1e-6)
    model = lstmcore.from_torch(train.quant_model(4, hidden=4).eval(), scaler=(mean, scale))
    if kind == "windows":
        expected = [model(x[end - 11 : end + 1]) for end in data.ends]
        np.testing.assert_array_equal(train.score(model, data), np.ravel(expected))


def test_the_scaler_knows_the_training_rows_only() -> None:
    x, y = series()
    data = train.Windows(x, y, window=12)
    rows = np.array([11, 12, 200, 203])  # these windows hold the rows 0 to 12 and 189 to 203
    mean, scale = data.take(rows).fit_scaler()
    read = np.concatenate([x[:13], x[189:204]]).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(mean, read.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, read.std(axis=0), rtol=1e-6)
    x[500:] = np.nan  # what is not read is not looked at
    train.fit(train.quant_model(4, hidden=4), train.Windows(x, y, 12).take(range(11, 300)), settings=QUICK)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -0.1, 61_800.3, 1.7e18])
def test_a_constant_column_is_not_scaled(value: float, dtype: type) -> None:
    """The standard deviation of 1,000 times 0.1 is 1.4e-15: rounding, which is nothing to divide by."""
    x = np.full((1000, 3), value, dtype)
    x[::7, 1] = np.nextafter(dtype(value), dtype(np.inf))
    x[::7, 2] = value + 1 + abs(value) / 100
    mean, scale = train.Windows(x, np.arange(1000) % 2, 5).fit_scaler()
    np.testing.assert_array_equal(mean[0], dtype(value))
    np.testing.assert_array_equal(scale[:2], 1)
    np.testing.assert_allclose(scale[2], x[:, 2].astype(float).std(), rtol=1e-6)


def test_no_window_is_copied() -> None:
    x, y = (array.astype(np.float32) for array in series())
    data = train.Windows(x, y, window=12)
    assert np.shares_memory(data.rows, x)
    assert np.shares_memory(data.take([40, 50]).rows, x)


def test_the_same_from_the_seed(fitted: train.Fitted) -> None:
    training, validation, _ = split()
    before = torch.get_rng_state()
    again = train.fit(train.quant_model(4, hidden=16), training, validation, settings=QUICK)
    assert same(fitted, again)
    assert torch.equal(before, torch.get_rng_state()), "torch's random numbers are the caller's"
    other = dataclasses.replace(QUICK, seed=1)
    assert not same(fitted, train.fit(train.quant_model(4, hidden=16), training, validation, settings=other))
    assert not torch.equal(*(next(train.quant_model(4, seed=seed).parameters()) for seed in (0, 1)))


def test_it_goes_on_where_it_was_broken_off(fitted: train.Fitted, tmp_path: Path) -> None:
    training, validation, _ = split()
    module = train.quant_model(4, hidden=16)
    first = train.fit(module, training, validation, settings=dataclasses.replace(QUICK, epochs=2), out=tmp_path)
    assert history(first) == history(fitted)[:2]
    resumed = train.fit(module, training, validation, settings=QUICK, out=tmp_path, resume=True)
    assert same(resumed, fitted), "bit for bit"
    done = train.fit(module, training, validation, settings=QUICK, out=tmp_path, resume=True)
    assert same(done, fitted)
    assert done.device == fitted.device == "cpu"
    assert [path.name for path in tmp_path.rglob("*")] == ["last.ckpt"], "nothing else is written"

    def resume(settings: train.Settings) -> None:
        train.fit(module, training, validation, settings=settings, out=tmp_path, resume=True)

    with pytest.raises(ValueError, match=r"last.ckpt: of a run with seed 0, not 7; train into another folder"):
        resume(dataclasses.replace(QUICK, seed=7))
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"last.ckpt: not a checkpoint"):
        resume(QUICK)
    with pytest.raises(ValueError, match="resume: needs out"):
        train.fit(module, training, validation, resume=True)


def damage(state: dict[str, Any], *keys: str, value: Any = None) -> None:
    """Replace what is there, or take it away."""
    *path, last = keys
    for key in path:
        state = state[key]
    if value is None:
        del state[last]
    else:
        state[last] = value


DAMAGED: dict[str, Any] = {
    "no facts": lambda state: damage(state, "lstmcore", "about"),
    "a list of facts": lambda state: damage(state, "lstmcore", "about", value=[]),
    "a tensor as a fact": lambda state: damage(state, "lstmcore", "about", "seed", value=torch.zeros(3)),
    "no history": lambda state: damage(state, "lstmcore", "history"),
    "another history": lambda state: damage(state, "lstmcore", "history", value=[1]),
    "an epoch that was not": lambda state: damage(state, "lstmcore", "best_epoch", value=7),
    "no best weights": lambda state: damage(state, "lstmcore", "best", value={}),
    "no device": lambda state: damage(state, "lstmcore", "trained_on"),
    "no callbacks": lambda state: damage(state, "callbacks"),
    "a list of callbacks": lambda state: damage(state, "callbacks", value=[]),
    "no optimizer": lambda state: damage(state, "optimizer_states"),
    "no loops": lambda state: damage(state, "loops"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_checkpoints_that_are_damaged(checkpoint: bytes, how: str, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(checkpoint)
    state = torch.load(path, weights_only=True)
    DAMAGED[how](state)
    torch.save(state, path)
    training, validation, _ = split()
    with pytest.raises(ValueError, match=r"^[^\n]*last.ckpt: not a checkpoint of lstmcore.train \(\w+\)$"):
        train.fit(train.quant_model(4, hidden=4), training, validation, settings=QUICK, out=tmp_path, resume=True)


def test_what_is_shown_of_a_checkpoint_is_bounded(checkpoint: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(checkpoint)
    state = torch.load(path, weights_only=True)
    damage(state, "lstmcore", "about", "monitor", value="x\n" * 10_000)
    torch.save(state, path)
    training, validation, _ = split()
    with pytest.raises(ValueError, match=r"last.ckpt: of a run with monitor ") as caught:
        train.fit(train.quant_model(4, hidden=4), training, validation, settings=QUICK, out=tmp_path, resume=True)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert str(caught.value).isprintable()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """After one epoch."""
    folder = tmp_path_factory.mktemp("checkpoint")
    training, validation, _ = split()
    short = dataclasses.replace(QUICK, epochs=1)
    train.fit(train.quant_model(4, hidden=4), training, validation, settings=short, out=folder)
    return (folder / "last.ckpt").read_bytes()


def test_it_stops_early(tmp_path: Path) -> None:
    training, _, _ = split()
    x, y = series()
    noise = train.Windows(x, np.random.default_rng(5).permutation(y), 12).take(range(1000, 1300))
    settings = dataclasses.replace(QUICK, epochs=40, patience=2, monitor="validation_loss")
    module = train.quant_model(4, hidden=16)
    fitted = train.fit(module, training, noise, settings=settings, out=tmp_path)
    assert len(fitted.history) == fitted.best_epoch + 2 < 40
    assert fitted.history[fitted.best_epoch - 1]["validation_loss"] == min(
        row["validation_loss"] for row in fitted.history
    )
    again = train.fit(module, training, noise, settings=settings, out=tmp_path, resume=True)
    assert same(again, fitted), "it has stopped, so there is nothing to go on with"


def test_without_validation_the_last_epoch_is_kept() -> None:
    training, _, _ = split()
    fitted = train.fit(train.quant_model(4, hidden=4), training, settings=QUICK)
    assert fitted.best_epoch == len(fitted.history) == 3
    assert "validation_auc" not in fitted.history[0]


def test_class_weights_move_the_scores() -> None:
    x, y = series()
    y[np.flatnonzero(y)[::2]] = np.nan  # half of the ones have no label
    data = train.Windows(x, y, 12)
    assert data.ends.min() == 11
    half = data.take(data.ends[data.ends < 1000])
    module = train.quant_model(4, hidden=4)
    means = [
        float(np.mean(train.fit(module, half, settings=dataclasses.replace(QUICK, pos_weight=weight)).predict(half)))
        for weight in (None, "balanced", 5.0)
    ]
    assert means[0] < means[1] < means[2]


def test_half_precision() -> None:
    try:
        with torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(2, 2)(torch.zeros(1, 3, 2))
    except RuntimeError as error:
        pytest.skip(f"torch has no LSTM in bfloat16 for this processor: {error}")
    training, validation, test = split()
    settings = dataclasses.replace(QUICK, precision="bf16-mixed")
    fitted = train.fit(train.quant_model(4, hidden=16), training, validation, settings=settings)
    assert all(w.dtype != torch.bfloat16 for w in weights(fitted))
    assert metrics.auc(test.labels, fitted.predict(test)) > 0.8


TWO_PROCESSES = """
import json, sys, warnings
warnings.simplefilter("error")
sys.path.insert(0, {tests!r})
import test_train
from lstmcore import train

training, validation, _ = test_train.split()
training, validation = training.take(training.ends[:960]), validation.take(validation.ends[:256])  # even batches
settings = test_train.QUICK.__class__(epochs=3, batch_size=64, accelerator="cpu", devices=int(sys.argv[1]))
module = train.exit_model(4, hidden=8, dropout=0, head_dropout=0)
fitted = train.fit(module, training, validation, settings=settings, out=sys.argv[2])
if train.is_first():
    print(json.dumps([test_train.history(fitted), fitted.predict(validation).tolist()]))
"""


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """DDP through gloo: a batch is shared out, its gradients are averaged, so only rounding differs."""
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parent)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    found = []
    for devices in ("1", "2"):
        command = [sys.executable, str(script), devices, str(tmp_path / devices)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found.append(eval(done.stdout))
        assert [path.name for path in (tmp_path / devices).iterdir()] == ["last.ckpt"]
    (one_history, one), (two_history, two) = found
    assert np.ptp(one) > 0.01
    np.testing.assert_allclose(one, two, atol=1e-5)
    for a, b in zip(one_history, two_history, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_lightning_says_nothing(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    training, validation, _ = split()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        train.fit(train.quant_model(4, hidden=4), training, validation, settings=dataclasses.replace(QUICK, epochs=1))
    assert [str(each.message) for each in warned] == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite() -> None:
    training, validation, _ = split()
    settings = dataclasses.replace(QUICK, learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(FloatingPointError, match="epoch 1: train_loss is nan; a lower learning_rate"):
        train.fit(train.quant_model(4, hidden=4), training, validation, settings=settings)


@pytest.mark.parametrize("package", ["torch", "pytorch_lightning", "torchmetrics"])
def test_without_the_extra(package: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code = f"import sys; sys.modules[{package!r}] = None; import lstmcore.train"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert f'{package} is not installed; pip install "lstmcore[train]" brings it' in done.stderr


def test_splits_and_metrics_need_no_torch() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    code = "import sys, lstmcore.windows, lstmcore.metrics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def bad_targets() -> Any:
    x, y = series()
    return x, np.where(y == 1, 2, 0)


def nan_in_use() -> train.Windows:
    x, y = series()
    x[500, 2] = np.nan
    return train.Windows(x, y, 12)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: train.Windows(*bad_targets(), 12), ValueError, "targets: expected 0 or 1, got 2"),
        (lambda: train.Windows(np.ones((2, 1)), [0, 1e-50], 1), ValueError, "expected 0 or 1, got 1e-50 in row 1"),
        (lambda: train.Windows(np.ones((2, 1)), [0, 1 + 1e-8], 1), ValueError, "expected 0 or 1, got 1.00000001 in"),
        (
            lambda: train.Windows(series()[0], [0, 1], 12),
            ValueError,
            r"targets: expected one for each of the 1600 rows",
        ),
        (lambda: train.Windows(series()[1], [0, 1], 12), ValueError, r"series: expected \(rows, features\)"),
        (lambda: split()[0].take([10]), ValueError, "row 10 has 10 rows before it, no window of 12"),
        (lambda: split()[0].take([1600]), ValueError, "rows: expected 0 to 1599, got 1600"),
        (lambda: split()[0].take([0.5]), ValueError, "rows: expected row numbers"),
        (lambda: train.Windows(np.ones((3, 1)), [0, 1, np.nan], 1).take([2]), ValueError, "row 2 has no label"),
        (lambda: train.Sequences([], []), ValueError, "expected as many, at least 1"),
        (lambda: train.Sequences([np.ones((2, 3)), np.ones((2, 4))], [[0, 1]] * 2), ValueError, "3 features, got 4"),
        (lambda: train.Sequences([np.ones((2, 3))], [[0, np.nan]]), ValueError, r"targets\[0\]: .* got NaN"),
        (lambda: train.quant_model(4, cell="lstn"), ValueError, "cell: expected one of lstm, gru, rnn, got 'lstn'"),
        (lambda: train.exit_model(4, dropout=1.0), ValueError, "dropout: expected a chance"),
        (lambda: train.quant_model(0), ValueError, "features: expected at least 1"),
        (lambda: train.fit(train.quant_model(5), split()[0]), ValueError, "training: 4 features; the module takes 5"),
        (lambda: train.fit(train.quant_model(4), nan_in_use()), ValueError, "training: feature 2 of row 500 is nan"),
        (lambda: train.fit(train.quant_model(4), split()[0].take([])), ValueError, "training: 0 samples for 1 devices"),
        (lambda: train.fit(train.quant_model(1), train.Windows(np.ones((9, 1)), [1] * 9, 2)), ValueError, "are all 1"),
        (lambda: train.Settings(epochs=0), ValueError, "epochs: expected at least 1, got 0"),
        (lambda: train.Settings(epochs=2.5), TypeError, "epochs: expected a whole number, got float 2.5"),  # type: ignore[arg-type]
        (lambda: train.Settings(learning_rate=float("nan")), ValueError, "learning_rate: expected a finite number"),
        (lambda: train.Settings(monitor="auc"), ValueError, "monitor: expected one of validation_auc"),
        (lambda: train.Settings(pos_weight="heavy"), ValueError, 'pos_weight: expected a number above 0 or "balanced"'),
        (lambda: train.Settings(devices=True), TypeError, "devices: expected a whole number, got bool True"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
