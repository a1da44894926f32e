"""The script that times models that branch: everyone answers the same, and the table says what was found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts import imported

from lstmcore.measure import bench, peers

MODULES = ("carried", "graph_models", "graphs", "models", "plot", "results", "sliding", "steps", "tables")
ROOT = Path(__file__).parents[2]
CLOSE = 2e-6


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    pytest.importorskip("torch", reason="torch is not installed")
    if "onnxruntime" not in peers.installed():
        pytest.skip("onnxruntime is not installed")
    with imported(*MODULES) as modules:
        yield modules


def compared(scripts: SimpleNamespace, name: str, module: Any = None, model: Any = None) -> list[bench.Contender]:
    """The contenders of a case, with `module` for ONNX Runtime and `model` for this project where they are given."""
    case = scripts.graphs.CASES[name]
    module = module or scripts.graph_models.made(case.module)
    model = model or scripts.graph_models.taken_over(module)
    contenders, _ = scripts.graphs.WAYS[case.way](module, model, case.steps)
    return list(contenders)


def test_everyone_answers_as_the_reference(scripts: SimpleNamespace) -> None:
    asked = {(case.title, case.way) for case in scripts.graphs.CASES.values()}
    assert len(asked) == len(scripts.graphs.CASES)
    for name, case in scripts.graphs.CASES.items():
        contenders = compared(scripts, name)
        assert {each.label for each in contenders} == {"lstmcore c", "ONNX Runtime"}, name
        assert len({each.settings for each in contenders}) == len(contenders) == (4 if "carried" in case.way else 7)
        for each in contenders:
            assert each.threads == 1
            assert each.difference < CLOSE, f"{name}: {each.label} {each.settings}"


def test_weights_are_the_same_in_every_run(scripts: SimpleNamespace) -> None:
    kind = scripts.graph_models.ResidualGRU
    one, two = (scripts.graph_models.taken_over(scripts.graph_models.made(kind)) for _ in range(2))
    assert one == two


def test_a_push_of_each_sliding_case_takes_one_step(scripts: SimpleNamespace) -> None:
    sliding = [case for case in scripts.graphs.CASES.values() if case.way == "sliding push"]
    assert len(sliding) == 2
    for case in sliding:
        model = scripts.graph_models.taken_over(scripts.graph_models.made(case.module))
        assert model.sliding(case.steps).incremental, case.title


def test_other_answers_are_told(scripts: SimpleNamespace) -> None:
    """A step that forgets one state, and a graph of other weights."""
    made, taken_over = scripts.graph_models.made, scripts.graph_models.taken_over

    class Forgets(scripts.graph_models.ResidualGRU):  # type: ignore[misc, name-defined]
        def step(self, x: Any, first: Any, second: Any) -> tuple[Any, ...]:
            answer, first, after = super().step(x, first, second)
            return answer, first, second + 0 * after

    own, *others = compared(scripts, "residual-gru-step", made(Forgets))
    assert own.difference < CLOSE
    assert all(each.difference > 1e-2 for each in others)
    module = made(scripts.graph_models.SideBySide)
    model = taken_over(module)
    module.fc.bias += 1e-3
    own, *others = compared(scripts, "side-by-side", module, model)
    assert own.difference < CLOSE
    for each in others:
        assert (each.difference > 1e-4) == each.settings.startswith("torch's"), each.settings


def test_the_table_of_graphs(
    scripts: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, names = tmp_path / "graphs.json", ["residual-gru-step", "both-last", "both-last-push"]
    assert scripts.graphs.main(["--only", *names, "--seconds", "0.05", "--json", str(out)]) == 0
    facts, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert list(facts["cases"]) == names
    table = scripts.tables.graphs(facts)[2:]
    for name, line in zip(names, table, strict=True):
        case = facts["cases"][name]
        assert case["rounds"] >= bench.LEAST_ROUNDS
        best = min(case["rows"][1:], key=lambda row: row["ratio"])
        cells = line.strip("| ").split(" | ")
        assert cells[:3] == [case["model"], case["way"], scripts.tables.time(case["rows"][0]["p50"])]
        assert cells[6:8] == [best["settings"], scripts.tables.time(best["p50"])]
        assert cells[-2:] == [scripts.tables.spread(best), scripts.tables.ratio(best["ratio_p99"])]
        assert f"{case['model']}, {case['way']}: {case['rounds']} rounds" in shown
    page = tmp_path / "docs" / "benchmarks.md"
    page.parent.mkdir()
    shutil.copy(ROOT / "docs" / "benchmarks.md", page)
    monkeypatch.setattr(scripts.tables, "ROOT", tmp_path)
    monkeypatch.setattr(scripts.results, "FOLDER", tmp_path)
    scripts.tables.main()
    assert "\n".join(scripts.tables.graphs(facts)) in page.read_text()
