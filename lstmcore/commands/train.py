"""Train a model walk-forward, as a TOML file says, and report how it does on what it has not seen.

The folder gets model.safetensors, report.md, report.json, pictures, a copy of the TOML file, and for each fold its
model and the checkpoint that --resume goes on from. Needs the extra `train`; for pictures, `plot`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lstmcore import commands, terminal
from lstmcore import data as data_files
from lstmcore.text import clean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    parser.add_argument("config", help="a TOML file with the sections data, split, model and training")
    parser.add_argument("-o", "--out", metavar="DIR", required=True, help="the folder that is written into")
    parser.add_argument("--resume", action="store_true", help="go on where a run into this folder was broken off")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    from lstmcore import train
    from lstmcore.train import report
    from lstmcore.train.config import read_config
    from lstmcore.train.fitting import CHECKPOINT
    from lstmcore.train.run import plan
    from lstmcore.train.run import run as run_config
    from lstmcore.train.table import read_table

    source, out = Path(options.config), Path(options.out)
    config = read_config(source)
    data_files.ask(config.data.path)
    if train.is_first():
        report.note_pictures()
    # Of several processes, those that the first one starts find its folder.
    if train.is_first() and not (options.force or options.resume) and out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out}: is not empty; --resume goes on with its run, --force writes over it")
    if options.resume and next(out.glob(f"fold_*/{CHECKPOINT}"), None) is None:
        found = "no checkpoint of a fold is in it" if out.is_dir() else "there is no such folder"
        raise FileNotFoundError(f"nothing to go on with in {out}: {found}; without --resume a run begins")
    table = read_table(config.data, source.parent)
    try:
        tasks = plan(config, table)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{source}: {error}") from None
    judged = run_config(config, tasks, out, resume=options.resume, told=terminal.note)
    if not train.is_first():
        return 0
    facts = report.write(config, table, judged, source, out)
    if options.json:
        terminal.write_json(facts)
        return 0
    columns, rows = report.rows(facts, report.SHORT)
    terminal.table([f">{name}" for name in columns], rows, facts["model"])
    for line in report.EXPLAINED:
        print(line)
    print(clean(f"{out / 'report.md'}: the report; {out / 'model.safetensors'}: the last fold's model"))
    return 0
