"""The command line: `lstmcore` and `python -m lstmcore`.

Each command is a module of `lstmcore.commands`. What goes wrong is one line on stderr and a status: 1 for an
error (or, with `verify`, a difference above the tolerance), 2 for wrong usage, 130 for Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from lstmcore import terminal
from lstmcore._version import __version__
from lstmcore.commands import bench, convert, demo, info, inspect, plot, predict, replay, train, verify

COMMANDS = (demo, info, inspect, convert, verify, predict, plot, train, bench, replay)


class Parser(argparse.ArgumentParser):
    """Wrong usage is one line too."""

    def error(self, message: str) -> NoReturn:
        terminal.note(f"error: {message}; see {self.prog} --help")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    top = Parser(
        prog="lstmcore",
        description="An LSTM from scratch: models trained elsewhere, answered here.",
        epilog="With LSTMCORE_TRACEBACK=1 in the environment an error shows where it came from.",
    )
    top.add_argument("--version", action="version", version=f"lstmcore {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Raises SystemExit(2) for wrong usage."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            options = parser().parse_args(arguments)
            status: int = options.run(options)
            sys.stdout.flush()
            return status
        except SystemExit:  # --help, --version, wrong usage
            _give_up_stdout()
            raise
        except BrokenPipeError:  # the reader went away, as `| head` does
            _give_up_stdout()
            return 1
        except KeyboardInterrupt:
            terminal.note("interrupted")
            return 130
        except Exception as error:
            if os.environ.get("LSTMCORE_TRACEBACK", "0") not in ("", "0"):
                traceback.print_exc()
            terminal.note(f"error: {_message(error)}")
            _give_up_stdout()
            return 1


def _give_up_stdout() -> None:
    """Write what is still buffered; where that fails, let it not fail again, with a traceback, at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if isinstance(error, ValueError | TypeError | ImportError | OSError | RuntimeError) and text:
        return text
    return f"{type(error).__name__}: {text}"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    terminal.note(f"warning: {message}")
