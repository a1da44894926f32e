"""`lstmcore inspect --plan`: what the core computes when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import make

import lstmcore
from lstmcore import layers as L
from lstmcore.commands import cli


@pytest.fixture
def both(tmp_path: Path) -> Any:
    """Files of a bidirectional model, one read at its last step, one at its final states."""
    rng = np.random.default_rng(0)
    layer = make(L.LSTM, "both", rng, input_size=3, hidden_size=4, bidirectional=True, return_sequences=True)
    files = {}
    for name, layers in {"last": [layer, L.Last("end")], "final": [layer.replace(return_sequences=False)]}.items():
        files[name] = tmp_path / f"{name}.safetensors"
        lstmcore.Model(layers).save(files[name])
    return files


def plan(file: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert cli.main(["inspect", str(file), "--plan", "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["plan"]
    return found


def test_one_step_of_the_backward_half(both: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ops = plan(both["last"], capsys)
    assert [op["kind"] for op in ops] == ["lstm", "reverse", "lstm", "reverse", "concat", "last"]
    assert [op["steps"] for op in ops if op["kind"] == "lstm"] == ["the last", "the first"]
    assert [op["scope"] for op in ops if op["kind"] == "lstm"] == ["once a window in flight", "once a tick"]
    assert [op["part"] for op in ops] == ["l0", "", "l0_reverse", "", "", ""]
    assert {op["layer"] for op in ops} == {"both (LSTM)", "end (Last)"}


def test_final_states_need_whole_windows(both: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ops = plan(both["final"], capsys)
    assert [op["scope"] for op in ops if op["kind"] == "lstm"] == ["once a window in flight", "whole windows"]
    assert cli.main(["inspect", str(both["final"]), "--plan"]) == 0
    assert "A stream of windows answers each window whole: both (LSTM) looks at other ticks." in capsys.readouterr().out


def test_a_plan_for_people(both: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(both["last"]), "--plan"]) == 0
    out = capsys.readouterr().out
    assert "the first" in out
    assert "A tick costs one step" in out
    assert cli.main(["inspect", str(both["last"])]) == 0
    assert "A tick costs one step" not in capsys.readouterr().out
