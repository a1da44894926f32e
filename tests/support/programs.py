"""The programs of tests/c: built as CMakeLists.txt says, run, and read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(folder: Path, *options: str) -> Path:
    """All of them, with the core's library, in `folder`, which is returned."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DLSTMCORE_TESTS=ON", "-DLSTMCORE_WERROR=ON", *options]
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)


def printed(*command: str | Path) -> list[str]:
    """The lines that a command prints, which has to end well."""
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
