"""The scripts in benchmarks/: what they time answers right, what they write is what they measured."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scripts import imported

import lstmcore
from lstmcore.measure import bench, peers

ROOT = Path(__file__).parents[2]
MODULES = (
    "against",
    "against_core",
    "carried",
    "cold",
    "edge",
    "models",
    "plot",
    "results",
    "run",
    "steps",
    "subnormals",
    "tables",
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    with imported(*MODULES) as modules:
        yield modules


@pytest.fixture(scope="module")
def facts(scripts: SimpleNamespace) -> dict[str, Any]:
    """One shape, measured in a moment."""
    if "onnxruntime" not in peers.installed():
        pytest.skip("onnxruntime is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts.run, "THREADS", (1,))
        measured: dict[str, Any] = scripts.run.measure(scripts.models.SHAPES["hidden32"], 0.05, 0.02, False)
    return measured


def test_shapes_answer(scripts: SimpleNamespace) -> None:
    shapes = scripts.models.SHAPES
    assert len({shape.title for shape in shapes.values()}) == len(shapes)
    for name, shape in (shapes | scripts.models.SMALL).items():
        model = shape.build()
        answer = model(np.random.default_rng(0).normal(size=(shape.steps, model.input_size)))
        assert np.all(np.isfinite(answer)), name
        assert model == shape.build(), "random weights that differ from run to run"


@pytest.mark.parametrize("name", peers.NAMES)
def test_peers_carry_their_states(name: str, scripts: SimpleNamespace) -> None:
    for package in peers.PACKAGES[name]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    model = scripts.models.SHAPES["step"].build()
    contenders = scripts.steps.others([name], model, [1, None], False)
    assert len({c.settings for c in contenders}) == len(contenders) >= 4
    forgets = bench.Contender("forgets", "", lambda tick: model(tick[np.newaxis]))
    ticks, compared = scripts.steps.compare([*contenders, forgets], model, seed=1)
    assert len(ticks) == compared == scripts.steps.SEQUENCE
    for each in contenders:
        assert each.difference < 2e-6, each.settings
    assert forgets.difference > 1e-2


def test_own_streams_carry_their_states(scripts: SimpleNamespace) -> None:
    model = scripts.models.SHAPES["step"].build()
    contenders = scripts.steps.own(model)
    assert len(contenders) == len(bench.runs_here()) + 2 * len(lstmcore.info()["kernels"])
    scripts.steps.compare(contenders, model, seed=1)
    for each in contenders:
        assert each.difference < 2e-6, f"{each.label} {each.settings}"


def test_a_cold_call_comes_behind_what_disturbs(scripts: SimpleNamespace) -> None:
    events: list[str] = []

    def answer(window: np.ndarray) -> np.ndarray:
        events.append("answer")
        return window

    contender = bench.Contender("a", "", answer)
    turn = scripts.cold.call_after(lambda: events.append("disturbed"))
    turn(contender, iter([np.zeros((2, 2), np.float32)] * 2))
    assert events == ["answer", "disturbed", "answer"]
    assert [len(times) for times in contender.rounds] == [1]


def test_facts_of_a_shape(facts: dict[str, Any], scripts: SimpleNamespace) -> None:
    labels = {row["label"] for row in facts["rows"]}
    assert {"lstmcore c", "ONNX Runtime"} <= labels
    assert all(row["difference"] < 2e-6 for row in facts["rows"])
    assert facts["cold"]["walked_bytes"] >= scripts.cold.largest_cache()
    for way in ("flushed", "idle"):
        rows = facts["cold"][way]
        assert rows[0]["label"] == "lstmcore c"
        assert {row["label"] for row in rows} == {label for label in labels if not label.startswith("lstmcore")} | {
            "lstmcore c"
        }
        assert len({row["calls"] for row in rows}) == 1


def test_the_edge_answers_as_the_model(scripts: SimpleNamespace, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler named cc")
    loop = scripts.edge.build(tmp_path)
    model = scripts.models.lstm(3, 5)
    cases = [*scripts.edge.windows("small", model, 4), *scripts.edge.ticks("small", model)]
    assert len({case.input for case in cases}) == len(cases) == 6
    for case in cases:
        case.y[:] = np.nan
        row = scripts.edge.measure(loop, case, 0.02)  # compares C's last answer with Python's
        assert row["edge_low"] <= row["edge"] <= row["edge_high"]
        assert row["c_p50"] > 0
        assert row["rounds"] >= bench.LEAST_ROUNDS
    case.expected = lambda n: case.y + 1
    with pytest.raises(AssertionError, match="C and Python answer differently"):
        scripts.edge.measure(loop, case, 0.02)


@pytest.mark.parametrize("how", [[], ["--python"]])
def test_a_version_against_itself(
    scripts: SimpleNamespace, how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tool in ("git", "cmake", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a git repository")
    if how and not all(map(importlib.util.find_spec, ("pip", "scikit_build_core"))):
        pytest.skip("pip or scikit-build-core is not installed, by which the package is built")
    out = tmp_path / "against.json"
    only = ["--only", "step", *([] if how else ["units8", "units40", "call"])]
    assert scripts.against.main(["HEAD", *how, *only, "--seconds", "0.05", "--json", str(out)]) == 0
    assert "same" in capsys.readouterr().out
    rows = json.loads(out.read_text())["rows"]
    in_c = ["push", "carried", "carried", "carried", "window", "clock"]
    assert [row["door"] for row in rows] == (["push", "push, float64"] if how else in_c)
    if not how:
        *calls, clock = (row["this_p50"] for row in rows)
        assert min(calls) > clock > 0, "the clock alone takes no less than a call"
    for row in rows:
        assert row["same_bits"]
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["rounds"] >= bench.LEAST_ROUNDS
    with pytest.raises(ValueError, match="no-such-revision: git"):
        scripts.against.main(["no-such-revision", *how])


def test_what_is_asked_in_c_alone(scripts: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        scripts.against.main(["HEAD", "--python", "--only", "units8", "call"])
    assert "--only units8 call: asked in C alone, so not with --python" in capsys.readouterr().err
    assert {door for _, door in scripts.against.cases(False, None)} == set(scripts.against.DOORS)


def test_functions_that_changed_are_not_called(scripts: SimpleNamespace, tmp_path: Path) -> None:
    """The same name with other arguments would read what is not there."""
    header = (ROOT / "csrc/lstmcore.h").read_text(encoding="utf-8")
    (tmp_path / "csrc").mkdir()
    changed = header.replace("int lstmcore_run(lstmcore_session *session,", "int lstmcore_run(void *session,")
    (tmp_path / "csrc/lstmcore.h").write_text(changed, encoding="utf-8")
    here, there = scripts.against_core.declarations(ROOT), scripts.against_core.declarations(tmp_path)
    assert {name for name in here if here[name] != there[name]} == {"lstmcore_run"}
    source = scripts.against_core.SOURCE.read_text(encoding="utf-8")
    assert set(here) == set(re.findall(r"lstmcore_\w+", source)) >= {"lstmcore_streams_push", "lstmcore_model_add_gru"}


def test_other_bits_are_told(scripts: SimpleNamespace) -> None:
    class Made(scripts.against.Side):  # type: ignore[misc, name-defined]
        def time(self, untimed: int, calls: int) -> Any:
            return np.full(calls, 1000 if self.label == "other" else 1500)

        def bits(self) -> bytes:
            return self.label.encode()

    row = scripts.against.measure(Made("other"), Made("this"), 0.01)
    assert (row["same_bits"], row["ratio"], row["other_p50"], row["this_p50"]) == (False, 1.5, 1.0, 1.5)


def test_the_numbers_called_subnormal_are(scripts: SimpleNamespace) -> None:
    smallest = np.finfo(np.float32).smallest_normal
    tiny = np.float32(1) * scripts.subnormals.TINY
    assert 0 < tiny < smallest
    kernel = lstmcore.info()["kernels"][-1]
    pairs = scripts.subnormals.pairs(kernel, np.random.default_rng(0))
    assert set(pairs) == {"inputs", "states", "weights"}
    keeping = scripts.subnormals.weighted(scripts.models.lstm(10, 64), scripts.subnormals.keeps_state)
    h, c = np.full((2, 1, 64), tiny)
    wide = keeping.with_backend("numpy")  # which does not count them as zero
    answer = wide(np.zeros((50, 10), np.float32), (h, c))
    assert np.all((np.abs(answer) < smallest) & (answer != 0)), "the state is to stay subnormal"
    row = scripts.subnormals.measure("c", "inputs", pairs["inputs"], 0.02)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


def test_tables_stand_in_the_documents(
    scripts: SimpleNamespace, facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    for page in ("README.md", "docs/benchmarks.md"):
        shutil.copy(ROOT / page, tmp_path / page)
    monkeypatch.setattr(scripts.tables, "ROOT", tmp_path)
    monkeypatch.setattr(scripts.results, "FOLDER", tmp_path / "results")
    before = (tmp_path / "README.md").read_text()
    scripts.tables.main()
    assert (tmp_path / "README.md").read_text() == before, "nothing is measured, nothing changes"
    for name in ("quant", "exit", "hidden32"):
        scripts.results.write(tmp_path / "results" / f"{name}.json", facts)
    edge = {"shape": "s", "input": "float32", "c_p50": 1.0, "python_p50": 1.75, "edge": 0.75}
    edge |= {"edge_low": 0.5, "edge_high": 0.875, "empty_call": 0.0625}
    scripts.results.write(tmp_path / "results" / "edge.json", {"rows": [edge]})
    scripts.tables.main()
    readme, page = ((tmp_path / name).read_text() for name in ("README.md", "docs/benchmarks.md"))
    assert f"| {facts['model']} | {scripts.tables.time(facts['rows'][0]['p50'])} |" in readme
    assert "0.75 (0.50-0.88) | 0.06 |" in page
    for row in facts["rows"]:
        assert f"{row['label']} | {row['settings']} | {scripts.tables.time(row['p50'])} |" in page
    for text, folder in ((readme, tmp_path), (page, tmp_path / "docs")):
        (picture,) = re.findall(r"!\[.*\]\((.+)\)", text)
        assert (folder / picture).is_file()
    drawn = (tmp_path / scripts.tables.PLOT).read_bytes()
    assert facts["model"].encode() in drawn
    scripts.tables.main()
    assert ((tmp_path / "README.md").read_text(), (tmp_path / scripts.tables.PLOT).read_bytes()) == (readme, drawn)
