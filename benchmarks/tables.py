"""Write the tables and the plot of README.md and docs/benchmarks.md from benchmarks/results, between their markers.

    python benchmarks/tables.py

What has not been measured stays as it is in the documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plot
from models import SHAPES
from results import read

ROOT = Path(__file__).parents[1]
PLOT = Path("docs") / "_static" / "benchmarks.svg"
OURS = "lstmcore"
BOUNDS = ("turning_us", "fma_us", "lockstep_us")  # of ceiling.json

Facts = dict[str, Any]
Row = dict[str, Any]


def engine(row: Row) -> str:
    """What a row is called: the C backend by its kernel, a peer without the setting that was its best."""
    return f"{row['label']} {row['settings']}".strip() if row["label"].startswith(OURS) else str(row["label"])


def time(us: float | None) -> str:
    """Microseconds in three or so digits."""
    return "-" if us is None else f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 100 else f"{us:,.0f}"


def ratio(times: float | None) -> str:
    return "-" if times is None else f"{times:.2f}" if times < 100 else f"{times:,.0f}"


def spread(row: Row) -> str:
    """The ratio and the middle 90 % of the rounds."""
    return f"{ratio(row['ratio'])} ({ratio(row['ratio_low'])}-{ratio(row['ratio_high'])})"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown; a column whose name begins with ">" is set to the right."""
    names = [column.removeprefix(">") for column in columns]
    rules = ["---:" if column.startswith(">") else "---" for column in columns]
    return [f"| {' | '.join(cells)} |" for cells in (names, rules, *rows)]


def peers(rows: Sequence[Row], key: str) -> list[Row]:
    """The peers' rows that are marked by `key`, the fastest first."""
    return sorted((row for row in rows if row[key] and not row["label"].startswith(OURS)), key=lambda row: row["ratio"])


def machine(facts: Facts) -> str:
    """Where it was measured, and with which versions."""
    about = facts["machine"]
    versions = (f"{name} {about['packages'][name]}" for name in ("onnxruntime", "openvino", "torch"))
    return f"{about['processor']}, {facts['cpus']} CPUs; Python {about['python']}, {', '.join(versions)}"


def readme(results: dict[str, Facts]) -> list[str]:
    """Two models side by side, the fastest on the first of them first, losing rows too; a line for each other shape."""
    models = {name: {engine(row): row for row in shown(results[name])} for name in ("quant", "exit")}
    lines = [
        f"µs for one window, from the Python call to its result, on {machine(results['quant'])};",
        "each at the best of its settings, in interleaved rounds; × is the ratio to the first row.",
        "*quant* is LSTM(10 → 64), *exit* two LSTM layers of 64, each with a head and 50 ticks (`make bench`).",
        "",
        "| |" + "|".join(f" {name} p50 | p99 | p99.9 | × " for name in models) + "|",
        "|---|" + "---:|" * 4 * len(models),
    ]
    first = models["quant"]
    for name in sorted(first, key=lambda name: float(first[name]["ratio"])):
        times = (rows[name] for rows in models.values())
        cells = [
            cell for row in times for cell in (*map(time, (row["p50"], row["p99"], row["p99_9"])), ratio(row["ratio"]))
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    others = [(facts["rows"][0], facts) for name, facts in results.items() if name not in models]
    best = [
        [facts["model"], time(own["p50"]), time(peer["p50"]), f"{peer['label']}, {peer['settings']}", spread(peer)]
        for own, facts in others
        for peer in peers(facts["rows"], "best")[:1]
    ]
    columns = ["ticks x features, LSTM unless named", ">lstmcore p50", ">best of the others", "which", ">× (5-95 %)"]
    picture = f"![p50 of every engine for every shape, with p99]({PLOT.as_posix()})"
    return [*lines, "", *table(columns, best), "", picture]


def shown(facts: Facts) -> list[Row]:
    """Every kernel of the C backend, and each other engine at its best."""
    return [row for row in facts["rows"] if row["best"] or row["label"] == f"{OURS} c"]


def summary(results: dict[str, Facts]) -> list[str]:
    """Every shape: this project's first row beside ONNX Runtime at its best, and at its best with one thread."""
    rows = []
    for facts in results.values():
        own = facts["rows"][0]
        cells = [facts["model"], time(own["p50"]), time(own["p99"])]
        for key in ("best", "best_one_thread"):
            (peer,) = (row for row in peers(facts["rows"], key) if row["label"] == "ONNX Runtime")
            cells += [peer["settings"], time(peer["p50"]), spread(peer), ratio(peer["ratio_p99"])]
        rows.append(cells)
    half = [">p50", ">× (5-95 %)", ">× of p99s"]
    columns = ["shape", ">lstmcore p50", ">p99", "ONNX Runtime's best", *half, "its best with one thread", *half]
    picture = f"![p50 of every engine for every shape, with p99]({PLOT.relative_to('docs').as_posix()})"
    return [*table(columns, rows), "", picture]


def shapes(results: dict[str, Facts]) -> list[str]:
    """A table a shape: every engine with every setting."""
    lines = []
    columns = [
        "", "who", "settings", ">p50", ">p99", ">p99.9", ">max", ">min", ">× (5-95 %)", ">× of p99s", ">difference",
    ]  # fmt: skip
    for facts in results.values():
        rows = [
            [
                "*" if row["best"] else "", row["label"], row["settings"],
                *(time(row[key]) for key in ("p50", "p99", "p99_9", "max", "min")),
                spread(row), ratio(row["ratio_p99"]), f"{row['difference']:.1e}",
            ]
            for row in facts["rows"]
        ]  # fmt: skip
        lines += [f"### {facts['model']}", "", f"{facts['rounds']} rounds in {facts['seconds']:.0f} s.", ""]
        lines += [*table(["best", *columns[1:]], rows), ""]
    return lines[:-1]


def cold(results: dict[str, Facts]) -> list[str]:
    """Every shape: this project's first row and each peer's best of that way."""
    rows = []
    for facts in results.values():
        ways = [{row["label"]: row for row in facts["cold"][way] if row["best"]} for way in ("flushed", "idle")]
        warm = {row["label"]: row for row in facts["rows"] if row["best"]}
        for label in ways[0]:
            cells = [facts["model"], label, time(warm[label]["p50"])]
            for way in ways:
                cells += [time(way[label]["p50"]), time(way[label]["max"]), spread(way[label])]
            rows.append(cells)
    half = [">max", ">× (5-95 %)"]
    return table(["shape", "who", ">warm p50", ">flushed p50", *half, ">idle p50", *half], rows)


def edge(facts: Facts) -> list[str]:
    return table(
        ["shape", "from Python", ">C p50", ">Python p50", ">edge (5-95 %)", ">of it an empty call"],
        [
            [
                row["shape"], row["input"], time(row["c_p50"]), time(row["python_p50"]),
                f"{row['edge']:.2f} ({row['edge_low']:.2f}-{row['edge_high']:.2f})", f"{row['empty_call']:.2f}",
            ]
            for row in facts["rows"]
        ],
    )  # fmt: skip


def subnormals(facts: Facts) -> list[str]:
    return table(
        ["who", "subnormal", ">p50 normal", ">p50 subnormal", ">× (5-95 %)"],
        [
            [row["who"], row["kind"], time(row["normal_p50"]), time(row["subnormal_p50"]), spread(row)]
            for row in facts["rows"]
        ],
    )


def sliding(facts: Facts) -> list[str]:
    """Every shape: all ways of this project, and ONNX Runtime at its best and at its best with one thread."""
    rows = [
        [
            shape["model"], row["label"], row["settings"], time(row["p50"]), time(row["p99"]),
            spread(row), ratio(row["ratio_p99"]),
        ]
        for shape in facts["shapes"].values()
        for row in shape["rows"]
        if row["label"].startswith(OURS) or row["best"] or row["best_one_thread"]
    ]  # fmt: skip
    told = [
        [
            shape["model"], row["settings"], row["other"], spread(row), ratio(row["ratio_net"]), ratio(row["ratio_p99"])
        ]
        for shape in facts["shapes"].values()
        for row in shape["advantages"]
    ]  # fmt: skip
    return [
        *table(["shape", "lstmcore", "beside", ">× (5-95 %)", ">× without the clock", ">× of p99s"], told), "",
        *table(["shape", "who", "how", ">p50", ">p99", ">× of push (5-95 %)", ">× of p99s"], rows),
    ]  # fmt: skip


def graphs(facts: Facts) -> list[str]:
    """Every case: this project and ONNX Runtime at its best with one thread."""
    rows = []
    for case in facts["cases"].values():
        own, (best, *_) = case["rows"][0], peers(case["rows"], "best")
        ours, theirs = ([time(row[key]) for key in ("p50", "p99", "p99_9", "max")] for row in (own, best))
        told = [spread(best), ratio(best["ratio_p99"])]
        rows.append([case["model"], case["way"], *ours, best["settings"], *theirs, *told])
    times = [">p99", ">p99.9", ">max"]
    return table(
        [
            "model", "asked for", ">lstmcore p50", *times, "ONNX Runtime's best", ">p50", *times, ">× (5-95 %)",
            ">× of p99s",
        ],
        rows,
    )  # fmt: skip


def predict_windows(facts: Facts) -> list[str]:
    rows = [[row["label"], row["settings"], f"{row['windows_per_second']:,.0f}", spread(row)] for row in facts["rows"]]
    searched = facts["searched"]
    batches = list(next(iter(searched.values()), []))
    found = [[name, *(f"{rates[batch]:,.0f}" for batch in batches)] for name, rates in searched.items()]
    return [
        f"{facts['model']}; {facts['ticks']:,} ticks, windows of {facts['window']}; {facts['rounds']} rounds.", "",
        *table(["who", "settings", ">windows/s", ">× (5-95 %)"], rows), "",
        "The search, windows/s with batches of", "",
        *table(["", *(f">{batch}" for batch in batches)], found),
    ]  # fmt: skip


def ceiling(facts: Facts) -> list[str]:
    """The AVX-512 kernel beside what bounds it, and where ONNX Runtime's time would stand to each of those.

    The ratio to a bound is the ratio that was measured, times what the call takes beside what it would take if the
    bound and Python's edge were all: both are of one run each, so the machine's speed is in neither.
    """
    result = next(k for k in facts["kernels"] if k["kernel"] == "avx512")
    measured, edges = read(SHAPES), read(["edge"]).get("edge", {"rows": []})["rows"]
    python = next((row["edge"] for row in edges), 0.0)
    rows = []
    for shape in result["shapes"]:
        own = peers(measured[shape["key"]]["rows"], "best_one_thread")
        best = next((row for row in own if row["label"] == "ONNX Runtime"), None)
        run = shape["run_p50_us"] + python
        would = [best and best["ratio"] * run / (shape[key] + python) for key in BOUNDS]
        times = [f"{shape[key]:.1f}" for key in (*BOUNDS, "run_p50_us")]
        rows.append([shape["name"], *times, ratio(best and best["ratio"]), *map(ratio, would)])
    columns = [
        "shape", ">turning round µs", ">multiply-adds µs", ">share of 256 µs", ">`lstmcore_run` p50 µs",
        ">× of ONNX Runtime, 1 thread", ">if loads were all", ">if multiply-adds", ">if lockstep",
    ]  # fmt: skip
    return table(columns, rows)


def weights(facts: Facts) -> list[str]:
    """The ways to load the weights of 64 units, each kernel a column."""
    kernels = {
        result["kernel"]: {way["name"]: f"{way['us']:.1f}" for way in result["ways"]} for result in facts["kernels"]
    }
    return table(
        ["49 steps of hidden 64", *(f">{kernel} µs" for kernel in kernels)],
        [[name, *(ways.get(name, "") for ways in kernels.values())] for name in next(iter(kernels.values()))],
    )


def replace(path: Path, marker: str, lines: list[str]) -> None:
    """Put `lines` between the two markers in the file at `path`."""
    begin, end = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1], encoding="utf-8")


def main() -> None:
    page = ROOT / "docs" / "benchmarks.md"
    results = read(SHAPES)
    if {"quant", "exit"} <= set(results):
        plot.draw(results, ROOT / PLOT)
        replace(ROOT / "README.md", "bench", readme(results))
        for name, write in {"summary": summary, "shapes": shapes, "cold": cold}.items():
            replace(page, name, write(results))
    writers = {
        "sliding": sliding,
        "graphs": graphs,
        "predict_windows": predict_windows,
        "edge": edge,
        "subnormals": subnormals,
        "ceiling": ceiling,
    }
    for name, facts in read(writers).items():
        replace(page, name, writers[name](facts))
        if name == "ceiling":
            replace(ROOT / "docs" / "kernels.md", "weights", weights(facts))


if __name__ == "__main__":
    main()
