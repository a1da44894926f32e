"""examples/memory: its task, its networks, its interval, and the whole run, small."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lstmcore
from lstmcore.plot.lengths import NETWORKS, Network

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

EXAMPLE = Path(__file__).parents[2] / "examples" / "memory"


@pytest.fixture(scope="module")
def run() -> Iterator[ModuleType]:
    """run.py as a module; the names are free again afterwards, since other examples have a run.py too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        kept = {name: sys.modules.pop(name) for name in ("run", "recall") if name in sys.modules}
        yield importlib.import_module("run")
        for name in ("run", "recall"):
            sys.modules.pop(name, None)
        sys.modules.update(kept)


@pytest.fixture(scope="module")
def recall(run: ModuleType) -> ModuleType:
    return sys.modules["recall"]


def test_nothing_but_the_first_tick_tells_the_label(recall: ModuleType) -> None:
    x, y = (array.numpy() for array in recall.windows(4000, 6, torch.Generator().manual_seed(0)))
    assert x.shape == (4000, 6, 2)
    np.testing.assert_array_equal(x[:, 0, 0] > 0, y[:, 0] > 0)
    assert set(np.unique(x[:, 0, 0])) == {-1, 1}
    np.testing.assert_array_equal(x[..., 1], np.tile([1, 0, 0, 0, 0, 0], (4000, 1)))
    others = np.corrcoef(np.column_stack([y, x[:, 1:, 0]]).T)[0, 1:]
    assert np.abs(others).max() < 0.06  # four standard errors
    assert 0.45 < y.mean() < 0.55


def test_the_forget_bias_is_the_forget_gates(recall: ModuleType) -> None:
    module = recall.Recall(Network("LSTM", 3.0))
    bias = (module.memory.bias_ih_l0 + module.memory.bias_hh_l0).detach().numpy().reshape(4, recall.UNITS)
    np.testing.assert_array_equal(bias[1], np.full(recall.UNITS, 3.0))
    assert np.abs(bias[[0, 2, 3]]).max() < 1


def test_an_lstm_learns_a_short_window_and_the_same_seed_gives_the_same(recall: ModuleType) -> None:
    first, second = (recall.train(Network("LSTM", 1.0), 5, 0, 150) for _ in range(2))
    assert recall.accuracy(first, 5, 0) > 0.95
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_interval_is_that_of_the_mean(run: ModuleType) -> None:
    assert run.interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)
    mean, low, high = run.interval(np.random.default_rng(0).normal(size=400))
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_the_whole_run(run: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--out", str(tmp_path), "--lengths", "3,6", "--seeds", "2", "--batches", "5"]) == 0
    told = json.loads((tmp_path / "accuracy.json").read_text())
    assert list(told) == [str(network) for network in NETWORKS]
    for cells in told.values():
        assert [cell["ticks"] for cell in cells] == [3, 6]
        for cell in cells:
            assert len(cell["accuracy"]) == 2
            assert cell["mean"][0] == pytest.approx(np.mean(cell["accuracy"]))
    out = capsys.readouterr().out
    cell = "{:.2f} [{:.2f}, {:.2f}]".format(*told["GRU"][1]["mean"])
    assert cell in next(line for line in out.splitlines() if line.startswith("GRU"))
    model = lstmcore.load(tmp_path / "recall.safetensors")
    window = np.load(tmp_path / "window.npy")
    assert window.shape == (6, 2)
    assert f"Its answer to window.npy is {model(window)[0]:.3f}" in out
    for picture in ("accuracy", "vanishing_gradient", "memory"):
        assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("lengths", ["8,4", "1,8", "8,8", "8,x", ""])
def test_lengths_that_are_none(run: ModuleType, lengths: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--lengths", lengths])
    assert "expected growing numbers" in capsys.readouterr().err
