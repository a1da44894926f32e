"""The benchmark: fair rounds, honest statistics, and peers that answer the same."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lstmcore
from lstmcore.commands import bench as command
from lstmcore.commands.cli import main
from lstmcore.demo.run import MODEL
from lstmcore.layers import GRU, Flatten, Linear
from lstmcore.measure import bench, peers
from lstmcore.measure.comparison import answer_each, largest_difference, oracle, random_windows, steps_of


@pytest.fixture(scope="module")
def model() -> lstmcore.Model:
    return lstmcore.load(MODEL)


def contender(label: str, seconds: float, settings: str = "") -> bench.Contender:
    def answer(window: np.ndarray) -> np.ndarray:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return window[0, :1]

    return bench.Contender(label, settings, answer)


def test_ratios_times_and_the_best_setting() -> None:
    pool = [np.zeros((3, 2), np.float32)]
    contenders = [
        contender("ours", 2e-4), contender("peer", 8e-4, "slow"), contender("peer", 4e-4, "fast"),
    ]  # fmt: skip
    shares = list(bench.measure(contenders, pool, 0.4, seed=0))
    assert shares[-1] == 1
    assert shares == sorted(shares)
    rows = bench.rows(contenders)
    assert [row.best for row in rows] == [True, False, True]
    assert rows[0].ratio == rows[0].ratio_low == rows[0].ratio_high == 1
    assert rows[1].ratio == pytest.approx(4, rel=0.5)
    assert rows[2].ratio == pytest.approx(2, rel=0.5)
    for row, seconds in zip(rows, (2e-4, 8e-4, 4e-4), strict=True):
        assert seconds * 1e6 <= row.min <= row.p50 <= row.max
        assert row.p50 < 5 * seconds * 1e6
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert (row.p99 is None) == (row.calls < 100)
        assert (row.p99_9 is None) == (row.calls < 1000)


def test_rows_are_computed_from_rounds() -> None:
    a, b = bench.Contender("a", "", len), bench.Contender("b", "", len)
    a.rounds = [np.array([1000, 2000, 3000]), np.array([10_000, 20_000, 30_000])]  # the machine slowed down
    b.rounds = [np.array([3000, 4000, 5000]), np.array([30_000, 40_000, 50_000])]
    row = bench.rows([a, b])[1]
    assert (row.ratio, row.ratio_low, row.ratio_high) == (2, 2, 2)
    assert (row.min, row.max, row.calls, row.p99, row.p99_9, row.ratio_p99) == (3, 50, 6, None, None, None)


def test_the_best_with_one_thread_and_the_ratio_of_p99s() -> None:
    def timed(settings: str, threads: int | None, ns: int) -> bench.Contender:
        calls = np.full(200, ns)
        calls[-4:] *= 10
        return bench.Contender("peer", settings, len, threads=threads, rounds=[calls, calls])

    ours = bench.Contender("ours", "", len, rounds=[np.full(200, 1000), np.full(200, 1000)])
    all_rows = bench.rows([ours, timed("two", None, 2000), timed("one", 1, 4000), timed("slow", 1, 8000)])
    assert [row.best for row in all_rows] == [True, True, False, False]
    assert [row.best_one_thread for row in all_rows] == [True, False, True, False]
    assert [row.ratio_p99 for row in all_rows] == [1, 20, 40, 80]


def test_who_is_slow_sits_out_rounds_and_the_first_never_does() -> None:
    contenders = [contender("slow", 0.03), contender("slower", 0.05), contender("fast", 1e-4)]
    rounds = sum(1 for _ in bench.measure(contenders, [np.zeros((3, 2), np.float32)], 0.6, seed=0))
    first, slower, fast = (len([times for times in c.rounds if len(times)]) for c in contenders)
    assert len(contenders[1].rounds) == first == fast == rounds > slower >= 1
    assert contenders[1].every > 1
    assert all(row.ratio > 0 for row in bench.rows(contenders))


def test_rounds_interleave_and_vary_the_window_and_gc_is_restored() -> None:
    asked: list[tuple[str, float]] = []
    watched: list[bool] = []

    def spy(label: str) -> bench.Contender:
        def answer(window: np.ndarray) -> np.ndarray:
            asked.append((label, float(window[0, 0])))
            watched.append(gc.isenabled())
            time.sleep(1e-3)
            return window[0, :1]

        return bench.Contender(label, "", answer)

    pool = [np.full((3, 2), n, np.float32) for n in range(5)]
    contenders = [spy("a"), spy("b")]
    for each in contenders:
        each.warm_up(pool)
    asked.clear()
    assert gc.isenabled()
    rounds = sum(1 for _ in bench.measure(contenders, pool, 0.2, seed=0))
    assert gc.isenabled()
    assert not any(watched[-10:])
    bursts = [label for label, _ in itertools.groupby(asked, key=lambda pair: pair[0])]
    assert rounds >= bench.LEAST_ROUNDS
    assert len(bursts) > rounds  # turns change hands in every round
    for label in "ab":
        windows = [value for who, value in asked if who == label]
        assert all(x != y for x, y in itertools.pairwise(windows[-20:]))
        assert set(windows) == set(range(5))


def test_a_burst_of_slow_calls_is_cut_short() -> None:
    slow = contender("slow", 0.03)
    slow.calls = 100
    slow.burst(itertools.cycle([np.zeros((3, 2), np.float32)]))
    assert len(slow.rounds[0]) < 5


def test_compare_finds_who_answers_something_else(model: lstmcore.Model) -> None:
    good = bench.Contender("good", "", model)
    bad = bench.Contender("bad", "", lambda window: model(window) + np.float32(1e-3))
    pool, compared = bench.compare([good, bad], model, 20, seed=0)
    assert len(pool) == bench.POOL
    assert pool[0].shape == (20, model.input_size)
    assert len({window.tobytes() for window in pool}) == bench.POOL
    assert 1 < compared <= bench.POOL
    assert good.difference < 2e-6
    assert bad.difference == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("name", peers.NAMES)
def test_every_peer_answers_as_the_reference(name: str, model: lstmcore.Model) -> None:
    for package in (name, "onnx"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    pool = random_windows(model, 5, 30, 1.0, np.random.default_rng(1))
    expected = answer_each(oracle(model), pool)
    assert np.ptp(expected) > 1e-3
    built = list(peers.build(name, model, 30, [1, None]))
    assert len({peer.settings for peer in built}) == len(built) >= 2
    for peer in built:
        with peer.ready():
            got = answer_each(peer, pool)
        assert largest_difference(got, expected).value < 2e-6, peer.settings


SIGNAL = """
import gc, signal, sys, time
import lstmcore
from lstmcore.measure import peers

model = lstmcore.load(sys.argv[2], backend="numpy")
first, second = list(peers.build(sys.argv[1], model, 5, [1])), list(peers.build(sys.argv[1], model, 5, [1]))
del first
gc.collect()
del second
gc.collect()
heard = []
signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05)
until = time.monotonic() + 20
while not heard and time.monotonic() < until:
    pass
print(len(heard))
"""


@pytest.mark.parametrize("name", peers.NAMES)
def test_a_signal_is_heard_after_peers_have_gone(name: str, model: lstmcore.Model, tmp_path: Path) -> None:
    """OpenVINO left the thread a stack for its handlers that was gone: the process died without a word."""
    for package in (name, "onnx"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    model.save(tmp_path / "m.safetensors")
    command = [sys.executable, "-c", SIGNAL, name, str(tmp_path / "m.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_what_runs_here_is_what_info_says() -> None:
    runs, info = bench.runs_here(), lstmcore.info()
    assert [kernel for name, kernel in runs if name == "c"] == info["kernels"]
    assert list(dict.fromkeys(name for name, _ in runs)) == info["backends"]


def test_torch_peers_leave_the_number_of_threads_alone(model: lstmcore.Model) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = torch.get_num_threads()
    peer = next(p for p in peers.build("torch", model, 5, [before + 1]))
    with peer.ready():
        assert torch.get_num_threads() == before + 1
        assert torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == before
    assert not torch.is_inference_mode_enabled()


def test_random_windows_follow_the_scaler(model: lstmcore.Model) -> None:
    scaler = model.layers[0].weights
    x = random_windows(model, 50, 40, 2.0, np.random.default_rng(0))
    z = (x - scaler["mean"]) / scaler["scale"]
    assert x.dtype == np.float32
    np.testing.assert_allclose(z.std(axis=(0, 1)), 2, rtol=0.1)
    np.testing.assert_allclose(z.mean(axis=(0, 1)), 0, atol=0.2)


def test_steps_of_a_model_that_takes_one_length() -> None:
    rng = np.random.default_rng(0)
    weights = {"weight": rng.normal(size=(1, 12)), "bias": rng.normal(size=1)}
    pointwise = {"weight": rng.normal(size=(3, 2)), "bias": rng.normal(size=3)}
    layers = [
        Linear("in", 2, 3, weights=pointwise), Flatten("flat", 4), Linear("out", 12, 1, weights=weights),
    ]  # fmt: skip
    fixed = lstmcore.Model(layers, backend="numpy")
    assert steps_of(fixed, None) == steps_of(fixed, 4) == 4
    with pytest.raises(ValueError, match="windows of 4 ticks, not 5"):
        steps_of(fixed, 5)


def bench_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["bench", str(MODEL), "--window", "5", "--seconds", "0.05", "--json", *arguments]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_bench_command_measures_every_backend_and_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    facts = bench_json(capsys, "--peers", "none")
    info = lstmcore.info()
    rows = facts["rows"]
    assert {row["settings"] for row in rows if row["label"] == "lstmcore c"} == set(info["kernels"])
    assert rows[0]["settings"] == info["kernel"]
    assert {row["label"] for row in rows} == {f"lstmcore {name}" for name in info["backends"]}
    assert all(row["difference"] < 2e-6 for row in rows)
    assert facts["window"] == [5, 10]
    assert facts["rounds"] >= bench.LEAST_ROUNDS
    only = bench_json(capsys, "--peers", "none", "--backend", "c", "--kernel", "scalar")["rows"]
    assert [row["settings"] for row in only] == ["scalar"]


def test_bench_command_beside_peers_as_table_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = peers.installed()
    if not names:
        pytest.skip("no peer is installed")
    out = tmp_path / "bench.json"
    arguments = ["bench", str(MODEL), "--window", "5", "--seconds", "0.05", "--backend", "c", "--threads", "1"]
    assert main([*arguments, "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert main([*arguments, "--json", str(out)]) == 1
    assert "exists already; --force overwrites it" in capsys.readouterr().err
    facts = json.loads(out.read_text())
    labels = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "torch"}
    for name in names:
        assert labels[name] in text
        of_this = [row for row in facts["rows"] if row["label"] == labels[name]]
        assert sum(row["best"] for row in of_this) == 1
        assert all("1 thread" in row["settings"] for row in of_this)
    assert lstmcore.info()["processor"] in text
    assert facts["machine"]["packages"]["numpy"] in text


def test_bench_warns_of_a_row_that_answers_something_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lstmcore.commands import bench as command

    def wrong(model: lstmcore.Model, everything: bool) -> list[bench.Contender]:
        return [bench.Contender("lstmcore c", "", lambda window: model(window) + np.float32(0.5))]

    monkeypatch.setattr(command, "own", wrong)
    assert main(["bench", str(MODEL), "--window", "5", "--seconds", "0.02", "--peers", "none"]) == 0
    assert "from the reference" in capsys.readouterr().err


def test_a_backend_that_lacks_a_layer_is_left_out() -> None:
    rng = np.random.default_rng(0)
    shapes = GRU.weight_shapes(input_size=3, hidden_size=4)
    weights = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    gru = GRU("gru", 3, 4, clip=0.5, weights=weights)  # numba does not clip
    labels = [each.label for each in command.own(lstmcore.Model([gru]), everything=True)]
    assert "lstmcore numpy" in labels
    assert "lstmcore numba" not in labels
