"""The scripts that time streams and long series: what they time answers right, and their tables say what they found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scripts import imported
from streams import small

from lstmcore.measure import bench, peers

MODULES = ("carried", "million_ticks", "models", "plot", "predict_windows", "results", "sliding", "steps", "tables")


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    with imported(*MODULES) as modules:
        yield modules


def test_something_is_done_between_two_calls() -> None:
    events: list[str] = []
    contender = bench.Contender("a", "", lambda x: events.append("call"), between=lambda: events.append("between"))
    contender.warm_up([np.zeros(1)])
    contender.calls, contender.every = 5, 1
    events.clear()
    contender.burst(itertools.repeat(np.zeros(1)))
    assert events == ["call", "between"] * (bench.UNTIMED + 5)
    assert [len(times) for times in contender.rounds] == [5]


def test_the_ways_to_push_answer_as_the_reference(scripts: SimpleNamespace) -> None:
    model, window = small(hidden=12), 9
    own = scripts.sliding.streams(model, window)
    wrong = scripts.sliding.Ticks("a stream with another window", "", model.sliding(window - 1).push)
    others = [bench.Contender("whole", "", model), bench.Contender("other", "", lambda x: model(x[1:]))]
    series = np.random.default_rng(0).standard_normal((window + bench.POOL - 1, 3)).astype(np.float32)
    pool = scripts.sliding.compare([wrong, *own], others, model, series)
    assert len(pool) == bench.POOL
    assert all(each.difference < 2e-6 for each in (*own, others[0]))
    assert wrong.difference > 1e-3
    assert others[1].difference > 1e-3
    rounds = list(bench.measure([*own, *others], pool, 0.05, seed=0))
    assert len(rounds) >= bench.LEAST_ROUNDS
    assert all(len(np.concatenate(each.rounds)) for each in own)


def test_the_table_of_the_sliding_window(scripts: SimpleNamespace) -> None:
    if "onnxruntime" not in peers.installed():
        pytest.skip("onnxruntime is not installed")
    shape = scripts.models.Shape("small", "small one", lambda: small(hidden=8), 6)
    facts = scripts.sliding.measure(shape, 0.05)
    scripts.sliding.show(facts)
    settings = [row["settings"] for row in facts["rows"]]
    assert settings[:2] == ["push", "push_bound"]
    others = {"push, back to back", "catch_up alone", "an empty call", "model(window)", "bound, 1 thread"}
    assert others | {"push, a helper sleeps", "push, a helper spins"} <= set(settings)
    assert facts["rows"][0]["ratio"] == 1
    table = scripts.tables.sliding({"shapes": {"small": facts}})
    told = [row["settings"] for row in facts["advantages"]]
    assert told == ["push", "push_bound", "push, back to back"]
    assert all(row["ratio_net"] > row["ratio"] > 1 for row in facts["advantages"])
    assert [line.split(" | ")[1] for line in table[2:5]] == told
    table = table[6:]
    assert table[2].startswith("| small one | lstmcore c | push |")
    marked = [
        row for row in facts["rows"] if row["label"] == "ONNX Runtime" and (row["best"] or row["best_one_thread"])
    ]
    assert len(table) == 2 + 8 + len(marked)


def test_batches_answer_every_window(scripts: SimpleNamespace) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    model, window = small(hidden=12), 7
    series = np.random.default_rng(1).standard_normal((60, 3)).astype(np.float32)
    expected = model.predict_windows(series, window)[:, 0]
    ways = scripts.predict_windows.ways(model, window)
    assert list(ways) == ["ONNX Runtime", "torch eager", "torch jit"]
    for make in ways.values():
        for batch in (1, 8, 100):
            peer = make(batch)
            with peer.ready():
                np.testing.assert_allclose(peer(series), expected, rtol=0, atol=2e-6)
        best, rates = scripts.predict_windows.search(make, series, (1, 8))
        assert list(rates) == ["1", "8"]
        assert str(best.batch) == max(rates, key=rates.__getitem__)


def test_the_table_of_long_series(scripts: SimpleNamespace) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    facts = scripts.predict_windows.measure(200, 1e-6, batches=(8, 32))
    assert facts["rounds"] == bench.LEAST_ROUNDS
    for row in facts["rows"]:
        assert row["windows_per_second"] == pytest.approx(151 / (row["p50"] / 1e6))
        assert row["difference"] < 2e-6
    assert [row["threads"] for row in facts["rows"]][:3] == [1, 2, 1]
    table: list[str] = scripts.tables.predict_windows(facts)
    assert "200 ticks, windows of 50; 3 rounds" in table[0]
    assert any(line.startswith("| ONNX Runtime | batches of ") for line in table)
    assert "|  | 8 | 32 |" in table


def test_a_million_ticks_in_little(scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts.million_ticks, "PIECE", 100)
    model = small(hidden=12)
    series: Any = np.random.default_rng(2).standard_normal((1000, 3)).astype(np.float32)
    rows = list(scripts.million_ticks.check(model, 20, series, 100))
    assert [row[0] for row in rows] == ["sliding", "predict_windows", "stateful"]
    original = scripts.million_ticks.pushed
    for call, text in ((0, "other bits than the whole window's"), (1, "other bits than one run's")):
        calls = itertools.count()

        def pushed(*arguments: Any, call: int = call, calls: Iterator[int] = calls) -> Any:
            answers = original(*arguments)
            if next(calls) == call:
                answers[300:] = np.nextafter(answers[300:], 9)
            return answers

        monkeypatch.setattr(scripts.million_ticks, "pushed", pushed)
        with pytest.raises(AssertionError, match=text):
            list(scripts.million_ticks.check(model, 20, series, 100))
