"""The spoof-and-pump study, both parts: python examples/order_book/run.py [--recording FILE] [--out DIR] [--seeds N]"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lstmcore import files
from lstmcore.text import clean

NEEDED = ("lightgbm", "matplotlib", "msgspec", "numba", "pytorch_lightning", "sklearn", "torch", "torchmetrics")
RECORDING = "LSTMCORE_RECORDING"


def main(argv: Sequence[str] | None = None) -> int:
    """Run both parts, print their tables, write everything; 0, or 2 where something is not there."""
    options = _parser().parse_args(argv)
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        print(f'run.py: {", ".join(missing)} not installed: pip install "lstmcore[examples]"', file=sys.stderr)
        return 2
    if options.recording and not Path(options.recording).is_file():
        what = "not a file" if Path(options.recording).exists() else "no such file"
        print(f"run.py: --recording: {clean(options.recording)}: {what}", file=sys.stderr)
        return 2
    try:
        _run(options)
    except (ValueError, OSError) as error:
        print(f"run.py: {clean(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Does an LSTM see the spoof? A simulated book, then a recording.")
    parser.add_argument(
        "--recording",
        default=os.environ.get(RECORDING),
        metavar="FILE",
        help=f"an exchange's stream, as in docs/live-bot.md (default: ${RECORDING}; without one part two is skipped)",
    )
    parser.add_argument(
        "--tick-size", type=float, default=0.1, help="the recording's smallest price step (default 0.1)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/order_book"), metavar="DIR", help="where files go")
    parser.add_argument("--seeds", type=_positive, default=5, help="of part one; part two has at most 2 (default 5)")
    parser.add_argument("--first-seed", type=int, default=0, help="where they begin (default 0)")
    parser.add_argument(
        "--scale", type=_share, default=1.0, help="of the markets' lengths and part two's training samples (default 1)"
    )
    parser.add_argument("--jobs", type=_positive, help="processes (default: one a core, with a GPU one)")
    parser.add_argument("--resume", action="store_true", help="go on with what a run that was stopped left in DIR")
    parser.add_argument("--quick", action="store_true", help="one small seed: does everything work?")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 100, got {text}")
    return value


def _run(options: argparse.Namespace) -> None:
    from order_book import models, plots, recorded, report, script, simulated, ticks, verdicts

    import lstmcore
    from lstmcore import terminal, train

    start = time.perf_counter()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    # Part one's were chosen on other markets (README.md); part two's were not chosen by anything but their time.
    settings = {
        "simulated": train.Settings(epochs=30, batch_size=256, learning_rate=1e-3, patience=8),
        "recorded": train.Settings(epochs=12, batch_size=256, learning_rate=2e-3, patience=4),
    }
    sizes, plan = simulated.Sizes().scaled(options.scale), recorded.Plan().scaled(options.scale)
    if options.quick:
        settings = dict.fromkeys(settings, train.Settings(epochs=2, batch_size=256, learning_rate=4e-3, patience=4))
        sizes, plan = sizes.small(), plan.small()
    read = ticks.read(options.recording, options.tick_size) if options.recording else None
    if read is not None:
        recorded.check(read, plan)  # before part one takes its minutes
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
    config = {
        "seeds": list(seeds),
        "training": {part: asdict(chosen) for part, chosen in settings.items()},
        "trees": models.TREES | {"rounds": models.ROUNDS, "patience": models.PATIENCE},
        "sizes": asdict(sizes),
        "walk_forward": asdict(plan),
        "script": {name: value for name, value in vars(script).items() if name.isupper()},
    }
    _write(out / "config.json", config)

    runs, first = [], None
    apart = {"processes": options.jobs or _processes(), "resume": options.resume}
    for run in simulated.run(seeds, sizes, settings["simulated"], out / "models" / "simulated", **apart):
        first = first or run
        runs.append(run.figures)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in run.figures["auc"].items())
        print(f"seed {run.figures['seed']}: {shown}", file=sys.stderr)
    found = simulated.summary(runs)
    assert first is not None
    results: dict[str, Any] = {
        "simulated": {
            "sizes": asdict(sizes),
            "horizon": simulated.HORIZON,
            "rise": simulated.RISE,
            "runs": runs,
            "summary": found,
        }
    }
    plots.simulated(out, first, runs, found)
    terminal.table(*report.auc_table(found), "Simulated book: AUC, means over seeds")
    terminal.table(*report.lead_table(found), "The LSTM's lead, seed by seed")
    terminal.table(*report.deployed_table(runs), "Torch beside the C backend")
    results["recorded"] = _recorded(read, options, plan, settings["recorded"], seeds[:2], apart)
    results["run"] = {
        "command": " ".join(["python examples/order_book/run.py", *_size(options)]),
        "quick": options.quick,
        "training": config["training"],
        "scale": options.scale,
        "seconds": time.perf_counter() - start,
        "resumed": options.resume,
        "cores": _cores(),
        "device": _device(),
        **{name: importlib.metadata.version(name) for name in ("torch", "lightgbm")},
        "lstmcore": lstmcore.__version__,
    }
    _write(out / "results.json", results)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))  # what the file holds is what is reported
    files.write_text(out / "report.md", report.markdown(results))
    for said in verdicts.on_the_book(results["simulated"]["summary"]):
        print(said)
    print(f"{out / 'report.md'}: {results['run']['seconds']:.0f} seconds")


def _recorded(
    read: Any, options: argparse.Namespace, plan: Any, settings: Any, seeds: Sequence[int], apart: dict[str, Any]
) -> dict[str, Any]:
    """Part two, or why it is skipped."""
    if read is None:
        skipped = f"no recording was given, by --recording or by {RECORDING}."
        print(f"Part two is skipped: {skipped}")
        return {"skipped": skipped}
    import numpy as np
    from order_book import plots, recorded, report, samples, trading

    from lstmcore import terminal
    from lstmcore.windows import show_folds

    folds, pooled = [], None
    for each in recorded.run(read, seeds, plan, settings, options.out / "models" / "recorded", **apart):
        if isinstance(each, recorded.Pooled):
            pooled = each
            continue
        folds.append(each)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in each["auc"].items())
        print(f"fold {each['fold']}, seed {each['seed']}: {shown}", file=sys.stderr)
    assert pooled is not None
    found = recorded.summary(read, pooled)
    later = samples.stands_higher(read.time, read.mid, recorded.HORIZON)
    lower = samples.stands_higher(read.time, -read.mid, recorded.HORIZON)
    plots.recorded(options.out, found, recorded.by_seed(pooled))
    terminal.table(*report.recorded_table(found, folds), "Recording: AUC")
    terminal.table(*report.trading_table(found), "Recording: basis points a trade")
    return {
        "ticks": len(read.time),
        "seconds": read.seconds,
        "gaps": read.gaps,
        "horizon_seconds": recorded.HORIZON / recorded.SECOND,
        "rises": float(np.nanmean(later)),
        "falls": float(np.nanmean(lower)),
        "folds_shown": show_folds(recorded.split(read, plan)),
        "seeds": len(seeds),
        "folds": folds,
        "costs": {
            "fee_bp": trading.FEE_BP,
            "latency_ms": trading.LATENCY_NS / 1e6,
            "quantile": trading.QUANTILE,
        },
        "summary": found,
    }


def _size(options: argparse.Namespace) -> list[str]:
    """What was asked for that is not the default size."""
    if options.quick:
        return ["--quick"]
    asked = {"seeds": options.seeds, "first-seed": options.first_seed, "scale": options.scale}
    usual = {"seeds": 5, "first-seed": 0, "scale": 1.0}
    return [f"--{name} {value:g}" for name, value in asked.items() if value != usual[name]]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processes() -> int:
    import torch

    return 1 if torch.cuda.is_available() else _cores()


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _write(path: Path, document: Any) -> None:
    files.write_json(path, document)


if __name__ == "__main__":
    raise SystemExit(main())
