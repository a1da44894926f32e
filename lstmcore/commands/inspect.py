"""Show what is in a model file: layers, shapes, weights, and what the compiled backends fold away."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import numpy as np

import lstmcore
from lstmcore import commands, summary, terminal
from lstmcore.folding import fold
from lstmcore.layers import Array, show
from lstmcore.text import clean

if TYPE_CHECKING:
    from lstmcore.backends.c import PlannedOp


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser)
    parser.add_argument(
        "--plan", action="store_true", help="show how the c backend runs it: what is computed when, and kept where"
    )
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    model = commands.load(options, backend="numpy")
    facts = describe(model) | {"file": options.model, "bytes": os.path.getsize(options.model)}
    if options.plan:
        facts["plan"] = [op._asdict() for op in plan_of(model)]
    if options.json:
        terminal.write_json(facts)
        return 0
    print(
        f"{clean(options.model)}: {facts['bytes']:,} bytes, {facts['parameters']:,} parameters, ",
        end="",
    )
    print(f"{facts['dtype']}, {summary.takes_and_gives(model)}\n")
    terminal.table(["layer", "kind", "gives", ">parameters", "settings"], model.summary(), "Layers")
    terminal.table(
        ["layer", "kind", "compiled"],
        [(x["name"], x["kind"], x["change"]) for x in facts["compiled"]],
        "What is compiled",
    )
    terminal.table(
        ["weight", "shape", ">min", ">max", ">mean |w|", "not finite"],
        [
            (
                w["name"],
                show(tuple(w["shape"])),
                *(_number(w[k]) for k in ("min", "max", "mean_abs")),
                _flaws(w),
            )
            for w in facts["weights"]
        ],
        "Weights",
    )
    if options.plan:
        _show_plan(model)
    return 0


def plan_of(model: lstmcore.Model) -> list[PlannedOp]:
    """What the c backend has planned for a model. Raises BackendError where that cannot run here."""
    from lstmcore.backends.c import plan

    return plan(model.with_backend("c").runner)


def _show_plan(model: lstmcore.Model) -> None:
    plan = plan_of(model)
    terminal.table(
        ["layer", "part", "op", ">width", "steps read", "in a stream", ">pass", "kept"],
        [(op.layer, op.part, op.kind, str(op.width), op.steps, op.scope, str(op.in_pass), op.kept) for op in plan],
        "Plan",
    )
    stopper = next((op for op in plan if op.scope == "whole windows"), None)
    if stopper is None:
        print("A tick costs one step: every op depends on the newest tick and on states that are carried.")
    else:
        print(f"A stream of windows answers each window whole: {clean(stopper.layer)} looks at other ticks.")


def describe(model: lstmcore.Model) -> dict[str, Any]:
    """What there is to say about a model, ready for JSON."""
    return {
        "inputs": {
            one.name: show(tuple(model.steps or n if n == "T" else n for n in one.shape)) for one in model.inputs
        },
        "outputs": {name: show(shape) for name, shape in model.outputs.items()},
        "dtype": str(model.dtype),
        "parameters": sum(w.size for w in model.parameters.values()),
        "layers": [
            {"name": row[0], "kind": row[1], "gives": row[2], "settings": layer.settings()}
            for row, layer in zip(model.summary(), model.layers, strict=True)
        ],
        "compiled": _compiled(model),
        "weights": [_weight(name, w) for name, w in model.parameters.items()],
    }


def _compiled(model: lstmcore.Model) -> list[dict[str, str]]:
    """Each layer as it comes out of folding: kept, changed or gone."""
    left = {layer.name: layer for layer in fold(model.wiring).layers}
    rows = []
    for layer in model.layers:
        folded = left.get(layer.name)
        if folded is None:
            change = "gone: folded into its neighbour" if layer.weights else "gone: the identity at inference"
        elif folded.replace(inputs=()) == layer.replace(inputs=()):
            change = "as it is"
        else:
            change = "new weights: biases summed, or a neighbour folded in"
        rows.append({"name": layer.name, "kind": type(layer).__name__, "change": change})
    return rows


def _weight(name: str, w: Array) -> dict[str, Any]:
    finite = w[np.isfinite(w)].astype(np.float64)
    some = finite if finite.size else np.array([np.nan])
    return {
        "name": name,
        "shape": list(w.shape),
        "min": some.min(),
        "max": some.max(),
        "mean_abs": np.abs(some).mean(),
        "nan": int(np.isnan(w).sum()),
        "inf": int(np.isinf(w).sum()),
    }


def _number(x: float) -> str:
    return f"{x:.4g}"


def _flaws(w: dict[str, Any]) -> str:
    return ", ".join(f"{count} {what}" for what, count in (("NaN", w["nan"]), ("inf", w["inf"])) if count)
