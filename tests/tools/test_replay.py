"""`lstmcore replay`: the queue, the engines, and the command."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstmcore
from lstmcore.commands.cli import main
from lstmcore.demo.run import MODEL
from lstmcore.feed import delays

TICKS, WINDOW = 300, 50
COMMON = settings(max_examples=100, deadline=None)
times = st.integers(0, 3_000_000)
needs_msgspec = pytest.mark.skipif(
    importlib.util.find_spec("msgspec") is None,
    reason="msgspec is not installed; `lstmcore replay` reads messages with it",
)
needs_onnxruntime = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))), reason="onnx or onnxruntime is not installed"
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> str:
    from lstmcore.feed import simulator

    path = tmp_path_factory.mktemp("replay") / "simulated.gz"
    simulator.write(path, TICKS, 3)
    return str(path)


def replay(capsys: pytest.CaptureFixture[str], recording: str, *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["replay", recording, "--model", str(MODEL), "--json", *options]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def fails(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Replay what must fail in one line; that line."""
    capsys.readouterr()
    assert main(["replay", *options]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    return err


# --- the queue --------------------------------------------------------------------------------------------------


@COMMON
@given(st.lists(st.tuples(times, times, times), min_size=1))
def test_one_server_after_the_other_job(jobs: list[tuple[int, int, int]]) -> None:
    """Beside a server that is walked through its day; arrivals may fall, as where a clock is set back."""
    arrival, urgent, afterwards = np.array(jobs, np.int64).T
    arrival = np.cumsum(arrival - 1_000_000)
    start, delay = delays.queue(arrival, urgent, afterwards)
    free = now = arrival[0]
    for n in range(len(jobs)):
        now = max(now, arrival[n])
        begun = max(now, free)
        assert start[n] == begun
        assert delay[n] == begun + urgent[n] - now
        free = begun + urgent[n] + afterwards[n]


def test_catching_up_delays_only_who_comes_too_soon() -> None:
    arrival = np.array([0, 1000, 1001, 9000])
    seven, twenty = np.full(4, 7), np.full(4, 20)
    assert delays.queue(arrival, seven, twenty)[1].tolist() == [7, 7, 33, 7]
    assert delays.queue(arrival, seven + twenty, 0 * twenty)[1].tolist() == [27, 27, 53, 27]


@COMMON
@given(st.lists(times, min_size=1, max_size=60))
def test_ticks_within_the_last_millisecond(gaps: list[int]) -> None:
    arrival = np.cumsum(gaps) // 3
    count = delays.ticks_within(arrival)
    for n, at in enumerate(arrival):
        assert count[n] == sum(at - delays.MILLISECOND < before <= at for before in arrival[: n + 1])
    groups = delays.by_burst(arrival, count)  # each tick's delay is its group
    assert sum(group.ticks for group in groups) == len(arrival)
    for group in groups:
        low, _, high = group.label.replace(" or more", "-100").partition("-")
        assert int(low) <= group.delay_us["p50"] * 1e3 <= group.delay_us["max"] * 1e3 <= int(high or low)


def test_percentiles_are_in_microseconds() -> None:
    found = delays.percentiles(np.arange(1001) * 1000)
    assert found == pytest.approx({"p50": 500.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0})
    assert np.isnan([*delays.percentiles(np.array([])).values()]).all()


# --- the engines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lstmcore", pytest.param("onnxruntime", marks=needs_onnxruntime)])
def test_engines_answer_every_window(name: str) -> None:
    from lstmcore.feed import engines

    model = lstmcore.load(MODEL)
    rows = np.random.default_rng(0).standard_normal((130, model.input_size)).astype(np.float32)
    engine = engines.build(name, model, WINDOW)
    pieces = [engine.take(rows[a:b]) for a, b in ((0, 20), (20, 49), (49, 90), (90, 130))]
    answers, urgent, afterwards = (np.concatenate(column) for column in zip(*pieces, strict=True))
    assert answers.shape == (130, 1)
    assert np.isnan(answers[: WINDOW - 1]).all()
    expected = model.predict_windows(rows, WINDOW)
    if name == "lstmcore":
        np.testing.assert_array_equal(answers[WINDOW - 1 :], expected)
    else:
        np.testing.assert_allclose(answers[WINDOW - 1 :], expected, atol=2e-6)
        assert not afterwards.any()
    assert urgent.dtype == afterwards.dtype == np.int64
    assert (urgent > 0).all()


# --- the command ------------------------------------------------------------------------------------------------


@needs_msgspec
def test_replay_of_a_simulated_recording(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = replay(capsys, recording)
    assert facts["counts"]["ticks"] == TICKS
    assert facts["answers"] == TICKS - WINDOW + 1
    assert facts["window"] == [WINDOW, 10]
    assert facts["difference"] is None
    (row,) = facts["engines"]
    assert row["engine"] == "lstmcore"
    shares = [*row["within"].values()]
    assert [*row["within"]] == ["5", "10", "20", "50", "100", "1000"]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    for name in ("p50", "p99", "p99.9", "max"):
        assert row["delay_us"][name] >= row["answer_us"][name] > 0
    assert sum(burst["ticks"] for burst in row["by_burst"]) == facts["answers"]


@needs_msgspec
def test_the_delays_are_those_of_the_queue(
    recording: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an engine that takes 7 µs to answer and 20 to catch up, whatever this machine takes."""
    from lstmcore.commands import replay as command
    from lstmcore.feed import engines

    class Steady(engines.Engine):
        label, settings = "steady", ""

        def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            seen.append(rows)
            return np.zeros((len(rows), 1)), np.full(len(rows), 7000), np.full(len(rows), 20_000)

    seen: list[np.ndarray] = []
    monkeypatch.setattr(engines, "build", lambda *_: Steady())
    monkeypatch.setattr(command, "CHUNK", 70)
    (row,) = replay(capsys, recording)["engines"]
    assert [len(rows) for rows in seen] == [70, 70, 70, 70, 20]

    from lstmcore.demo import market
    from lstmcore.feed.recording import Recording

    rows = market.features(market.simulate(TICKS, 3))
    np.testing.assert_allclose(np.concatenate(seen), rows, atol=2e-3)
    arrival = np.array([line.received_ns for line in Recording(recording) if b"bookTicker" in line.payload])
    delay = np.empty(TICKS)
    free = 0
    for n, at in enumerate(arrival):
        begun = max(free, at)
        delay[n] = begun + 7000 - at
        free = begun + 27_000
    delay = delay[WINDOW - 1 :]
    assert row["within"] == {str(us): np.mean(delay <= us * 1000) for us in (5, 10, 20, 50, 100, 1000)}
    assert row["delay_us"]["max"] == delay.max() / 1000
    assert row["waited"] == np.mean(delay > 7000)
    assert 0.2 < row["waited"] < 0.8


@needs_msgspec
@needs_onnxruntime
def test_both_engines_side_by_side(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "replay.json"
    command = ["replay", recording, "--model", str(MODEL), "--engine", "both", "--ticks", "120", "--json", str(out)]
    assert main(command) == 0
    text = capsys.readouterr().out
    facts = json.loads(out.read_text())
    assert [row["engine"] for row in facts["engines"]] == ["lstmcore", "ONNX Runtime"]
    assert facts["difference"] < 2e-6
    assert facts["answers"] == 120 - WINDOW + 1
    for part in ("Answered within", "Delay in bursts", "waited for an earlier one", "Not in the delays", "1000 µs"):
        assert part in text
    assert "exists already" in fails(capsys, *command[1:])
    assert main([*command, "--force"]) == 0
    assert [row["engine"] for row in replay(capsys, recording, "--engine", "onnxruntime")["engines"]] == [
        "ONNX Runtime"
    ]


@needs_msgspec
def test_what_is_dropped_and_damaged_is_told(
    recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(Path(recording).read_bytes()[:-500])
    assert main(["replay", str(damaged), "--model", str(MODEL)]) == 0
    assert "damaged" in capsys.readouterr().err

    from lstmcore.feed.recording import Recording, Writer

    lines = list(Recording(recording))
    back = [n for n, line in enumerate(lines) if b"bookTicker" in line.payload][60]
    spoiled = tmp_path / "spoiled.txt"
    with Writer(spoiled) as file:
        for n, (received_ns, payload) in enumerate(lines):
            file.write(received_ns - (10**9 if n == back else 0), payload[: 30 if n == 200 else None])
            file.write(received_ns, b'{"result":null}' if n == 201 else payload)
    spoiled.write_bytes(b"no line\n" + spoiled.read_bytes())
    assert main(["replay", str(spoiled), "--model", str(MODEL)]) == 0
    text = capsys.readouterr().out
    assert f"{len(lines) - 2} duplicates" in text
    assert "2 malformed" in text
    assert "1 backward times" in text


@needs_msgspec
def test_features_of_ones_own(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from small_models import random_model  # takes four features

    model = str(tmp_path / "m.safetensors")
    random_model(0).save(model)
    names = ["--features", "order_flow,elapsed,spread,imbalance"]
    assert main(["replay", recording, "--model", model, "--window", "7", *names]) == 0
    assert "window (7, 4)" in capsys.readouterr().out
    told = "m.safetensors: takes 4 features, and --features names 10, by default those of the demo"
    assert told in fails(capsys, recording, "--model", model)
    for path in (model, recording):  # not over what is read
        before = Path(path).read_bytes()
        assert "would replace a file that is read" in fails(
            capsys, recording, "--model", model, *names, "--json", path, "--force"
        )
        assert Path(path).read_bytes() == before
    assert "got 'colour'" in fails(capsys, recording, "--model", model, "--features", "colour,a,b,c")
    assert "tick_size: expected 1e-15 to 1e+15, got 0" in fails(
        capsys, recording, "--model", model, "--tick-size", "0", *names
    )


@needs_msgspec
def test_recordings_that_cannot_be_replayed(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(MODEL)]
    assert "No such file" in fails(capsys, str(tmp_path / "absent.gz"), *model)
    assert "49 ticks; a window of 50 needs as many" in fails(capsys, recording, *model, "--ticks", "49")
    file = tmp_path / "file"
    file.write_bytes(b'1723161256000000000 {"data":{"e":"trade","t":5,"p":"99.6","q":"0.002","m":true}}\n')
    assert "0 ticks; a window of 50 needs as many" in fails(capsys, str(file), *model)


@needs_msgspec
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("data", "begins"),
    [
        (b"", "it is empty"),
        (b"time,bid,ask\r\n1,2,3\n4,5,6\n", "it begins with 'time,bid,ask' and '1,2,3'"),
        (b'{"data":{"e":"trade"}}\n', """it begins with '{"data":{"e":"trade"}}'"""),
        (
            b'1723161256000000000 {"ticker":"other"}\n',
            """{"ticker":"other"}'; the first message that could not be used: Object missing required field `data`""",
        ),
        (b"\x00\xff" + b"x" * 10**6, r"it begins with '\x00" + "\N{REPLACEMENT CHARACTER}" + "x" * 58 + "'"),
    ],
)
def test_files_that_are_no_recordings(
    data: bytes, begins: str, packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was expected, and what stands there instead."""
    file = tmp_path / "file"
    file.write_bytes(gzip.compress(data) if packed else data)
    error = fails(capsys, str(file), "--model", str(MODEL))
    assert "no usable message in it: expected lines of a receive time since 1970, a space and" in error
    assert error.rstrip().endswith(begins)


def rewritten(recording: str, path: Path, change: Any) -> str:
    """The recording with `change(ns, data)`, its receive time and the object in "data", for every line."""
    from lstmcore.feed.recording import Recording

    lines = []
    for ns, payload in Recording(recording):
        data = json.loads(payload)["data"]
        time = change(ns, data)
        lines.append(f"{time} {json.dumps({'data': data})}\n")
    path.write_text("".join(lines))
    return str(path)


@needs_msgspec
@pytest.mark.parametrize(
    ("per_ns", "unit", "said"),
    [
        (1, "ns", ""),
        (10**3, "us", "receive times are in µs"),
        (10**6, "ms", "receive times are in ms: all ticks of a millisecond count as one burst"),
    ],
)
def test_receive_times_in_other_units(
    recording: str, per_ns: int, unit: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewritten(recording, tmp_path / "a.txt", lambda ns, _: ns // per_ns)
    assert main(["replay", path, "--model", str(MODEL), "--json", str(tmp_path / "a.json")]) == 0
    err = capsys.readouterr().err
    assert said in err if said else err == ""
    facts, expected = json.loads((tmp_path / "a.json").read_text()), replay(capsys, recording)
    assert facts["receive_unit"] == unit
    assert facts["seconds"] == pytest.approx(expected["seconds"], abs=2e-3)
    assert facts["counts"] | {"backward_times": 0} == expected["counts"] | {"backward_times": 0}


@needs_msgspec
def test_receive_times_in_seconds_tell_no_delay(
    recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewritten(recording, tmp_path / "a.txt", lambda ns, _: ns // 10**9)
    assert "receive times in whole seconds" in fails(capsys, path, "--model", str(MODEL))


@needs_msgspec
@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "s"), (1e3, "us"), (1e6, "ns")])
def test_exchange_times_in_other_units(
    recording: str, factor: float, unit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(ns: int, data: dict[str, Any]) -> int:
        data["T"] = int(data["T"] * factor)
        return ns

    path = rewritten(recording, tmp_path / "a.txt", change)
    facts, expected = replay(capsys, path), replay(capsys, recording)
    assert facts["exchange_unit"] == unit
    assert facts["counts"] == expected["counts"]
    assert facts["counts"]["gaps"] == 0
    main(["replay", path, "--model", str(MODEL)])
    assert f"exchange times are in {unit}" in capsys.readouterr().err


@needs_msgspec
def test_two_markets_in_one_recording(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(ns: int, data: dict[str, Any]) -> int:
        data["s"] = "OTHERUSDT"
        data["b" if "b" in data else "p"] = "5"
        return ns

    path, model = Path(rewritten(recording, tmp_path / "a.txt", change)), ["--model", str(MODEL)]
    alone = replay(capsys, recording)
    lines = [*path.read_text().splitlines(), *gzip.decompress(Path(recording).read_bytes()).decode().splitlines()]
    path.write_text("\n".join(sorted(lines)))  # one line of each market after the other
    error = fails(capsys, str(path), *model)
    assert "messages of several markets, " in error
    assert "SIMUSDT" in error
    assert "OTHERUSDT" in error
    facts = replay(capsys, str(path), "--symbol", "SIMUSDT")
    assert facts["symbol"] == "SIMUSDT"
    assert facts["counts"] == alone["counts"] | {"other_symbol": len(lines) // 2}
    assert "and none of BTCUSDT" in fails(capsys, str(path), *model, "--symbol", "BTCUSDT")


@needs_msgspec
def test_spot_quotes(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(ns: int, data: dict[str, Any]) -> int:
        if data["e"] == "bookTicker":
            for key in ("e", "E", "T"):
                del data[key]
        return ns

    path = rewritten(recording, tmp_path / "a.txt", change)
    assert main(["replay", path, "--model", str(MODEL), "--json", str(tmp_path / "a.json")]) == 0
    assert "no exchange times in its quotes" in capsys.readouterr().err
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["counts"] == replay(capsys, recording)["counts"]
    assert facts["exchange_unit"] is None


@needs_msgspec
def test_ids_that_begin_anew_are_told(recording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(rewritten(recording, tmp_path / "a.txt", lambda ns, _: ns))
    before = rewritten(recording, tmp_path / "b.txt", lambda ns, data: ns - 10**9 if shift(data) else ns)
    path.write_text(Path(before).read_text() + path.read_text())
    assert main(["replay", str(path), "--model", str(MODEL), "--json", str(tmp_path / "a.json")]) == 0
    assert "ids began anew with lower ones 1 times" in capsys.readouterr().err
    counts = json.loads((tmp_path / "a.json").read_text())["counts"]
    assert (counts["ticks"], counts["gaps"]) == (2 * TICKS, 1)


def shift(data: dict[str, Any]) -> bool:
    """Higher ids, an hour before."""
    data["u" if "u" in data else "t"] += 10**9
    data["T"] -= 3_600_000
    return True


def test_without_the_extra_the_error_names_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['msgspec'] = None; from lstmcore.commands import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "replay", str(tmp_path / "a.gz"), "--model", str(MODEL)]
    environment = os.environ | {"PYTHONPATH": str(Path(lstmcore.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert 'msgspec is not installed; pip install "lstmcore[live]" brings it' in done.stderr


@needs_msgspec
def test_a_real_recording(capsys: pytest.CaptureFixture[str]) -> None:
    path = os.environ.get("LSTMCORE_RECORDING")
    if not path:
        pytest.skip("LSTMCORE_RECORDING does not name a recording of a real exchange")
    facts = replay(capsys, path, "--tick-size", "0.1", "--ticks", "5000")
    assert facts["answers"] == 5000 - WINDOW + 1
    assert facts["counts"]["malformed"] == facts["counts"]["backward_times"] == 0
