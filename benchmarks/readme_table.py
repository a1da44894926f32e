"""Write the README's table from benchmarks/results, between its two markers.

python benchmarks/readme_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
TITLES = {
    "quant": "quant: 50 × 10, LSTM 64, head 32, 1",
    "exit": "exit: 50 × 8, two LSTM layers of 64, head 32, 1",
}


def table(name: str, facts: dict[str, Any]) -> list[str]:
    """One model's rows, its best setting of each engine, the fastest first; losing rows stay."""
    lines = [
        f"| {TITLES[name]} | p50 µs | p99 µs | p99.9 µs | max µs | times lstmcore's |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted((r for r in facts["rows"] if shown(r)), key=lambda r: float(r["p50"])):
        times = (microseconds(row[key]) for key in ("p50", "p99", "p99_9", "max"))
        label = f"{row['label']} ({row['settings']})" if row["settings"] else row["label"]
        lines.append(f"| {label} | {' | '.join(times)} | {row['ratio']:.2f} |")
    return lines


def shown(row: dict[str, Any]) -> bool:
    """Every kernel of the C backend, and each other engine at its best."""
    return bool(row["best"]) or row["label"] == "lstmcore c"


def microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    results = {name: ROOT / "benchmarks" / "results" / f"{name}.json" for name in TITLES}
    facts = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in results.items()}
    machine = facts["quant"]["machine"]
    versions = ", ".join(f"{k} {machine['packages'][k]}" for k in ("onnxruntime", "openvino", "torch"))
    lines = [
        f"One window a call, Python call to Python result, float32, {machine['processor']}, {versions};",
        "each peer at the best of its settings, outputs compared first, rounds interleaved (`make bench`):",
        "",
    ]
    for name, fact in facts.items():
        lines += [*table(name, fact), ""]
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    readme.write_text(before + BEGIN + "\n" + "\n".join(lines) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
