"""Show the largest difference between a model's answers and another's, on random windows and on given ones.

OTHER is one of
  a model file              .safetensors, .pt or .pth with --against-layers, .onnx (run by ONNX Runtime; a batch of a
                            fixed size is filled with the same window; a file that takes states is given random ones
                            for each window, and its states at the end are compared as outputs behind the answer's),
                            .keras or .h5 (run by Keras where that is installed and loads it)
  a backend of this model   numpy, numba, c, or c:KERNEL such as c:avx2
  a torch module            package.module:attribute or file.py:attribute, the attribute being an nn.Module, or
                            a class or function without arguments that makes one. It is put in eval mode.
                            Importing a file runs it: name only code that you trust.

Where neither fixes the length, windows of other lengths are compared as well, one by one and several at once: of one
tick, and below, at and beyond the numbers in ONNX's and Keras's files, up to 2,000 ticks. Where all of these would take
more than some minutes, a note says which are left out; --window T compares windows of one length alone.

A difference is absolute for answers up to 1 in size and relative beyond. Status 1 if it is above
the tolerance.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstmcore
from lstmcore import commands, data, summary, terminal
from lstmcore.backends import NAMES
from lstmcore.commands import modules, runtimes, stateful_files
from lstmcore.formats import READERS
from lstmcore.formats.states import Carried
from lstmcore.inputs import as_numbers
from lstmcore.layers import Array, Scaler
from lstmcore.measure.comparison import answer_each, largest_difference, oracle, random_windows, steps_of
from lstmcore.text import clean

SCALES = (0.1, 1.0, 10.0)
COUNT = 32  # random windows of each scale
FEW = 4  # of each other length
#: The work at all other lengths, in products of a weight and a number; a step of a layer costs some whatever its size.
MOST_WORK = 4e10
STEP = 20_000
STATE_DICTS = (".pt", ".pth")  # have no architecture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser)
    parser.add_argument("--against", required=True, metavar="OTHER", help="see above")
    parser.add_argument(
        "--against-layers",
        metavar="FILE",
        help="JSON: the layers of a state_dict that is OTHER, as --layers has MODEL's",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="a state_dict to load into the torch module")
    parser.add_argument("--time-first", action="store_true", help="the torch module or ONNX file takes (T, N, F)")
    parser.add_argument(
        "--inputs", metavar="X", help="a .npy, .csv or .parquet of windows (T, F) or (N, T, F) to compare on as well"
    )
    parser.add_argument("--window", type=commands.positive, metavar="T", help="ticks in a random window (50)")
    parser.add_argument("--seed", type=commands.counted, default=0, help="of the random windows")
    parser.add_argument("--tolerance", type=float, default=2e-6, help="the largest difference allowed (2e-6)")
    commands.add_backend(parser)
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    if not options.tolerance >= 0:
        raise ValueError(f"tolerance: expected a number of at least 0, got {options.tolerance}")
    data.ask(options.inputs)
    model = commands.load(options, backend=options.backend, kernel=options.kernel)
    summary.check_single(model, options.model)
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        other, what, fixed, lengths, states = _other(model, options)
    if fixed and options.window not in (None, fixed):
        raise ValueError(f"window: {options.against} takes windows of {fixed} ticks, not {options.window}")
    rows: list[dict[str, Any]] = []
    inputs = _inputs(model, options, steps_of(model, options.window or fixed))
    usual = len(inputs)
    only = fixed or model.steps
    others = [only] if only and lengths else _affordable(model, lengths) if options.window is None else []
    for name, windows in itertools.chain(inputs, _of_lengths(model, options, other, others)):
        if not isinstance(other, lstmcore.Model):  # it takes float32: the same numbers for both
            windows = as_numbers(windows, np.dtype(np.float32), name)
        together = len(rows) >= usual
        if together and max(row["difference"] for row in rows[:usual]) > options.tolerance:
            break  # other lengths say nothing more
        try:
            mine: list[Callable[[Array], Any]] = [model, oracle(model)]
            if states is not None:
                with_ends = model.backend != "numba"
                mine = [stateful_files.of_model(m, states, with_ends) for m in (model, oracle(model))]
            a, b, truth = (_answers(f, windows, together) for f in (mine[0], other, mine[1]))
            worst = largest_difference(a, b)
        except ValueError as error:
            raise ValueError(f"{options.model} against {clean(what)}: {name}: {error}") from None
        rows.append(
            {"inputs": name, "windows": len(a), "difference": worst.value}
            | {"at_window": worst.window, "at_output": list(worst.output), "model": worst.a, "other": worst.b}
            | {
                "model_off": largest_difference(a, truth).value,
                "other_off": largest_difference(b, truth).value,
            }
        )
        if np.isfinite(windows).all() and np.isnan(truth).any():
            raise ValueError(f"{options.model}: finite windows ({name}) have NaN for answers; look at its weights")
    largest = max(row["difference"] for row in rows)
    within = bool(largest <= options.tolerance)
    if options.json:
        facts = {"model": options.model, "backend": model.backend, "kernel": model.kernel, "against": what}
        facts |= {"tolerance": options.tolerance, "largest": largest, "within": within, "inputs": rows}
        terminal.write_json(facts)
    else:
        beside = rows[usual:]
        worst_of = [max(beside, key=lambda row: row["difference"])] if beside else []
        _show(options.model, model, what, [*rows[:usual], *worst_of])
        if len(beside) > 1:
            print(f"{len(beside)} lengths are compared, of which the worst is shown; --json has all")
        if within:
            print(f"largest difference {largest:.3g}, within the tolerance of {options.tolerance:g}")
    if not within:
        if isinstance(model.layers[0], Scaler) and what.startswith("the torch module"):
            terminal.note(
                f"note: the model scales its input first ({model.layers[0].label}); {options.against} was given the "
                "same numbers: is the scaler a part of it?"
            )
        terminal.note(f"error: largest difference {largest:.3g}, above the tolerance of {options.tolerance:g}")
    return 0 if within else 1


def _show(path: str, model: lstmcore.Model, what: str, rows: list[dict[str, Any]]) -> None:
    backend = f"{model.backend}:{model.kernel}" if model.kernel else model.backend
    print(f"{clean(path)} ({backend}) against {clean(what)}\n")
    columns = [
        "inputs",
        ">windows",
        ">difference",
        "at",
        ">model",
        ">other",
        ">model - float64",
        ">other - float64",
    ]
    terminal.table(
        columns,
        [
            (
                row["inputs"], row["windows"], f"{row['difference']:.2e}",
                f"window {row['at_window']}, output {', '.join(map(str, row['at_output'])) or 0}",
                f"{row['model']:.8g}", f"{row['other']:.8g}",
                f"{row['model_off']:.2e}", f"{row['other_off']:.2e}",
            )
            for row in rows
        ],
    )  # fmt: skip


def _inputs(model: lstmcore.Model, options: argparse.Namespace, steps: int) -> list[tuple[str, Array]]:
    rng = np.random.default_rng(options.seed)
    scaled = isinstance(model.layers[0], Scaler)
    about = " of the scaler's, about its mean" if scaled else ""
    inputs = [(f"random, scale {scale:g}{about}", random_windows(model, COUNT, steps, scale, rng)) for scale in SCALES]
    if options.inputs:
        given = data.read(options.inputs).values
        inputs.append((options.inputs, given if given.ndim == 3 else given[np.newaxis]))
    return inputs


def _answers(answer: Callable[[Array], Any], windows: Array, together: bool) -> Array:
    """The answers to windows one by one; `together`: behind them those to all at once."""
    each = answer_each(answer, windows)
    if not together:
        return each
    at_once = np.asarray(answer(windows), np.float64)
    if at_once.shape != each.shape:
        raise ValueError(f"{len(windows)} windows at once: answers of shape {at_once.shape}, one by one {each.shape}")
    return np.concatenate([each, at_once])


def _affordable(model: lstmcore.Model, lengths: Sequence[int]) -> list[int]:
    """Those of `lengths`, the first ones before the others, that `MOST_WORK` is enough for. A note names the others."""
    each = sum(array.size for array in model.parameters.values()) + STEP * len(model.layers)
    left = MOST_WORK / (FEW * each)
    taken: list[int] = []
    others: list[int] = []
    for steps in dict.fromkeys(lengths):
        enough = steps <= left
        left -= steps * enough
        (taken if enough else others).append(steps)
    if others:
        terminal.note(
            f"note: {len(others)} lengths from {min(others)} to {max(others)} ticks are not compared, which would take "
            "long; --window T compares one"
        )
    return sorted(taken)


def _of_lengths(
    model: lstmcore.Model, options: argparse.Namespace, other: Callable[[Array], Any], lengths: Sequence[int]
) -> Iterator[tuple[str, Array]]:
    """Random windows of other lengths. One that `other` cannot answer is told and left out.

    The last has NaN for its first tick, since a model may soon forget if it read it; but not for ONNX Runtime, which
    makes a number of it.
    """
    rng = np.random.default_rng(options.seed)
    with_nan = Path(options.against).suffix.lower() != ".onnx"
    for steps in lengths:
        windows = random_windows(model, FEW, steps, 1.0, rng)
        ticks = f"{steps} tick{'s' * (steps > 1)}"
        try:
            other(windows[0]), other(windows)
        except Exception as error:  # whatever the other side raises
            terminal.note(f"note: {options.against} takes no windows of {ticks}: {clean(error, 300)}")
            continue
        if with_nan:
            windows[-1, 0] = np.nan
        yield f"random, {ticks}{', one NaN' * with_nan}, one by one and {FEW} at once", windows


class Other(NamedTuple):
    """Who else answers."""

    answer: Callable[[Array], Any]
    what: str  # what to call it
    steps: int | None = None  # the one window length it takes; None: any
    lengths: Sequence[int] = ()  # at which it may answer otherwise than at the usual one
    states: Carried | None = None  # that it takes and gives: then both answer rows, see `stateful_files`


def _other(model: lstmcore.Model, options: argparse.Namespace) -> Other:
    spec: str = options.against
    backend, _, kernel = spec.partition(":")
    suffix = Path(spec).suffix.lower()
    if options.checkpoint and (":" not in spec or backend in NAMES):
        raise ValueError(f"checkpoint: only for a torch module such as file.py:Class, and --against is {spec!r}")
    if options.against_layers and suffix not in STATE_DICTS:
        raise ValueError(f"against-layers: only for a state_dict (.pt, .pth), and --against is {spec!r}")
    if options.time_first and (backend in NAMES or (suffix in READERS and suffix != ".onnx")):
        raise ValueError(f"time-first: only for a torch module or an ONNX file, and --against is {spec!r}")
    if backend in NAMES:
        return Other(model.with_backend(backend, kernel or None), f"the backend {spec}")
    if suffix == ".onnx":
        answer, steps, states = runtimes.onnx_file(spec, options.time_first, model)
        carried = ", from random states; those at the end are compared as further outputs" if states else ""
        lengths = runtimes.lengths_of(options.model, spec)
        return Other(answer, f"{spec} by ONNX Runtime{carried}", steps, lengths, states)
    by_lstmcore = ""
    if suffix in runtimes.KERAS:
        found = runtimes.keras_file(spec)
        if not isinstance(found, str):
            return Other(found[0], f"{spec} by Keras", found[1], runtimes.lengths_of(options.model, spec))
        terminal.note(f"note: {found}: compared with {spec} as lstmcore reads it")
        by_lstmcore = " as lstmcore reads it"
    if suffix in READERS and (suffix not in STATE_DICTS or ":" not in spec):
        named = argparse.Namespace(model=spec, layers=options.against_layers)
        loaded = commands.load(named, backend=options.backend, kernel=options.kernel, option="--against-layers")
        return Other(loaded, f"{spec}{by_lstmcore}", loaded.steps)
    if ":" in spec:
        answer, lengths = modules.torch_module(spec, options.checkpoint, options.time_first)
        return Other(answer, f"the torch module {spec}", None, [*lengths, *runtimes.lengths_of(options.model)])
    raise ValueError(
        f"against: expected a model file, a backend ({', '.join(NAMES)}) or a torch module such as file.py:Class "
        f"(its state_dict as --checkpoint), got {spec!r}"
    )
