"""The programs of tests/c: built as CMakeLists.txt says, run, and read."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_once(base: Path, name: str, *options: str) -> Path:
    """`build` in a folder of this name beside the folders of all processes that run tests together; the first one does
    it, and others wait."""
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(f"{folder}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = Path(f"{folder}.done")
        if not done.exists():
            build(folder, *options)
            done.touch()
    return folder


def build(folder: Path, *options: str) -> Path:
    """All of them, with the core's library, in `folder`, which is returned."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DLSTMCORE_TESTS=ON", "-DLSTMCORE_WERROR=ON", *options]
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(*command: str | Path, every: int = 1) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; of the programs that try random models, with every `every`-th one."""
    environment = os.environ | {"TRY_EVERY": str(every)}
    parts = [str(part) for part in command]
    return subprocess.run(parts, capture_output=True, text=True, timeout=300, env=environment)


def printed(*command: str | Path, every: int = 1) -> list[str]:
    """The lines that a command prints, which has to end well."""
    done = run(*command, every=every)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
