"""Draw what a model does with one window: its answer tick by tick, what that owes to the input, its state, its gates.

The picture's kind is that of the file's name: .png, .svg or .pdf. The values are computed in float64 by the reference's
equations, the answers by the model's own backend. Needs matplotlib, the extra `plot`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lstmcore import commands, files, summary, terminal
from lstmcore import data as data_files

PICTURES = ("overview", "score", "attribution", "state", "gates")
SUFFIXES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser)
    parser.add_argument("data", metavar="WINDOW", help="a .csv (with a header row), .parquet or .npy file, (T, F)")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the picture: .png, .svg or .pdf")
    parser.add_argument("--picture", choices=PICTURES, default="overview", help="one picture instead of all four")
    parser.add_argument("--last", type=commands.positive, metavar="T", help="the file's last T rows are the window")
    parser.add_argument("--columns", help="the columns to use, in order, with commas between")
    parser.add_argument("--recurrent", metavar="NAME", help="whose state and gates: such as lstm, lstm_l0_reverse")
    parser.add_argument("--output", type=int, default=0, metavar="N", help="the output to attribute, from 0 on")
    parser.add_argument("--force", action="store_true", help="overwrite FILE where it exists")
    commands.add_backend(parser, "what answers")


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    if Path(options.out).suffix.lower() not in SUFFIXES:
        raise ValueError(f"{options.out}: expected a name that ends in {', '.join(SUFFIXES)}")
    commands.check_new(options.out, options.force, options.model)
    terminal.ask("plot", "matplotlib")
    data_files.ask(options.data)
    from lstmcore import plot

    model = commands.load(options, backend=options.backend, kernel=options.kernel)
    summary.check_single(model, options.model)
    columns = options.columns.split(",") if options.columns else None
    series, notes, names = data_files.read(options.data, columns)
    for text in notes:
        terminal.note(text)
    if series.ndim != 2 or series.shape[1] != model.input_size:
        raise ValueError(f"{options.data}: expected one window (T, {model.input_size}), got shape {series.shape}")
    if options.last is not None and options.last > len(series):
        raise ValueError(f"--last {options.last}: {options.data} has {len(series)} rows")
    window = series[-options.last :] if options.last else series
    trace = model.trace(window)
    layer = -1 if options.recurrent is None else options.recurrent
    if isinstance(layer, str) and layer not in [steps.name for steps in trace]:
        raise ValueError(f"--recurrent {layer}: the model has {', '.join(steps.name for steps in trace) or 'none'}")
    draw = {
        "overview": lambda: plot.overview(model, window, layer=layer, output=options.output, features=names),
        "score": lambda: plot.score(model, window),
        "attribution": lambda: plot.attribution(trace, options.output, features=names),
        "state": lambda: plot.state(trace, layer),
        "gates": lambda: plot.gates(trace, layer),
    }
    files.write_figure(options.out, draw[options.picture]())
    terminal.note(f"{options.out}: {options.picture} of {len(window)} ticks")
    return 0
