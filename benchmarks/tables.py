"""Write the tables of README.md and docs/benchmarks.md from benchmarks/results, between their markers.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def shown(row: dict[str, Any]) -> bool:
    """Every kernel of the C backend, and each other engine at its best."""
    return bool(row["best"]) or row["label"] == "lstmcore c"


def engine(row: dict[str, Any]) -> str:
    """What a row is called: the C backend by its kernel, a peer without the setting that was its best."""
    return f"{row['label']} {row['settings']}".strip() if row["label"].startswith("lstmcore") else str(row["label"])


def microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def bench_table(results: dict[str, dict[str, Any]]) -> list[str]:
    """Both models side by side, the fastest on the first of them first; losing rows stay."""
    models = {name: {engine(row): row for row in facts["rows"] if shown(row)} for name, facts in results.items()}
    machine = results["quant"]["machine"]
    versions = ", ".join(f"{k} {machine['packages'][k]}" for k in ("onnxruntime", "openvino", "torch"))
    lines = [
        f"µs for one window of 50 ticks, from the Python call to its result, on one {machine['processor']};",
        f"{versions}, each at the best of its settings, in interleaved rounds; × is the ratio to the first row.",
        "*quant* is LSTM(10 → 64) with a head, *exit* two LSTM layers of 64 with a head (`make bench`).",
        "",
        "| |" + "|".join(f" {name} p50 | p99 | p99.9 | × " for name in models) + "|",
        "|---|" + "---:|" * 4 * len(models),
    ]
    first = next(iter(models.values()))
    for name in sorted(first, key=lambda name: float(first[name]["p50"])):
        cells = []
        for rows in models.values():
            row = rows[name]
            cells += [*(microseconds(row[key]) for key in ("p50", "p99", "p99_9")), f"{row['ratio']:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def ceiling_table(ceiling: dict[str, Any]) -> list[str]:
    """The AVX-512 kernel beside its two floors."""
    lines = ["| shape | load weights µs | multiply-adds µs | `lstmcore_run` p50 µs |", "|---|---:|---:|---:|"]
    result = next(k for k in ceiling["kernels"] if k["kernel"] == "avx512")
    for shape in result["shapes"]:
        times = " | ".join(f"{shape[key]:.1f}" for key in ("stream_us", "fma_us", "run_p50_us"))
        lines.append(f"| {shape['name']} | {times} |")
    lines.append(f"| 49 steps of hidden 64, 3/8 of the weights kept in L1 by their layout | {result['parted_us']:.1f} | | |")
    return lines


def replace(path: Path, marker: str, lines: list[str]) -> None:
    """Put `lines` between the two markers in the file at `path`."""
    begin, end = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1], encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def main() -> None:
    replace(ROOT / "README.md", "bench", bench_table({name: read(name) for name in ("quant", "exit")}))
    replace(ROOT / "docs" / "benchmarks.md", "ceiling", ceiling_table(read("ceiling")))


if __name__ == "__main__":
    main()
