"""Show the processor, the kernels that run on it, the backends and the versions."""

from __future__ import annotations

import argparse

import lstmcore
from lstmcore import commands, terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    facts = lstmcore.info()
    if options.json:
        terminal.write_json(facts)
        return 0
    rows = [
        ("lstmcore", facts["lstmcore"]),
        ("python", facts["python"]),
        ("platform", facts["platform"]),
        ("processor", facts["processor"]),
        ("kernels built", ", ".join(facts["kernels_built"])),
        ("kernels that run here", ", ".join(facts["kernels"])),
        ("kernel chosen", facts["kernel"] or facts["problem"]),
        ("backends", ", ".join(facts["backends"])),
        *((name, version or "not installed") for name, version in facts["packages"].items()),
    ]
    terminal.table(["what", "here"], rows)
    return 0
