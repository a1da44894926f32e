"""The command line: `lstmcore` and `python -m lstmcore`.

Each command is a module of `lstmcore.commands`. What goes wrong is one line on stderr and a status: 1 for an
error (or, with `verify`, a difference above the tolerance), 2 for wrong usage, 130 for Ctrl-C, 141 where the reader of
stdout went away, as `| head` does: nothing is said then. A closed stdout (`>&-`) is as /dev/null.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn, TypeVar

from lstmcore import stopping, terminal
from lstmcore._version import __version__
from lstmcore.commands import bench, convert, demo, info, inspect, plot, predict, replay, train, verify

T = TypeVar("T")
COMMANDS = (demo, info, inspect, convert, verify, predict, plot, train, bench, replay)
INTERRUPTED = 130  # the status after Ctrl-C: 128 + SIGINT
AT_LATEST = 0.7  # seconds after Ctrl-C that another library's computation may go on
GONE = 141  # the status of a program that a closed pipe ends: 128 + SIGPIPE


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
    """Run one command; the exit status. Raises SystemExit for wrong usage, --help and --version."""
    terminal.open_closed()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            options = parser().parse_args(arguments)
            with stopping.or_else(_leave, AT_LATEST):
                status: int = options.run(options)
        except SystemExit as end:
            raise SystemExit(_finished(end.code)) from None
        except BrokenPipeError:  # stdout's: no command writes into another pipe
            status = GONE
        except KeyboardInterrupt:
            terminal.note("interrupted")
            status = INTERRUPTED
        except Exception as error:
            if isinstance(error, OSError) and error.filename is None:
                unwritten = terminal.finish()
                if unwritten is not None and unwritten.errno == error.errno:
                    return _unwritten(unwritten)  # the error was stdout's
            if os.environ.get("LSTMCORE_TRACEBACK", "0") not in ("", "0"):
                traceback.print_exc()
            terminal.note(f"error: {_message(error)}")
            status = 1
        return _finished(status)


def program() -> NoReturn:
    """What the shell starts: `main`, and then the end of the process.

    After Ctrl-C without Python's own end of it, in which torch aborts now and then where it was interrupted. Files are
    whole, and stdout is written.
    """
    status = main()
    if status == INTERRUPTED:
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _leave() -> NoReturn:
    """End the process in the middle of what it computes: files are whole, as they are written beside and renamed."""
    if sys.stderr.isatty():
        print("\r\x1b[2K\x1b[?25h", end="", file=sys.stderr)  # no half progress bar, and the cursor back
    terminal.note("interrupted")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def _finished(status: T) -> T | int:
    """`status`, once stdout has all that was written; else the status for that."""
    error = terminal.finish()
    return status if error is None else _unwritten(error)


def _unwritten(error: OSError) -> int:
    """The status where stdout could not be written; only a reader that went away needs not be told."""
    if isinstance(error, BrokenPipeError):
        return GONE
    terminal.note(f"error: stdout: {error.strerror}")
    return 1


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if isinstance(error, ValueError | TypeError | ImportError | OSError | RuntimeError) and text:
        return text
    return f"{type(error).__name__}: {text}"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    terminal.note(f"warning: {message}")
