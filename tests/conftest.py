"""The programs of tests/c, built once for all tests, and what a run says last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from programs import build_once, printed

os.environ.setdefault("KERAS_BACKEND", "torch")  # the one that is there; Keras would look for TensorFlow

#: The cross compiler and the emulator for 64-bit Arm.
ARM_TOOLS = ("aarch64-linux-gnu-gcc", "qemu-aarch64")
NO_ARM = "no cross compiler or emulator for 64-bit Arm on this machine"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last what a machine without these tools leaves untested: it is easily missed among other skips."""
    skipped = terminalreporter.stats.get("skipped", [])
    if any(NO_ARM in str(report.longrepr) for report in skipped):
        missing = " and ".join(name for name in ARM_TOOLS if not shutil.which(name))
        terminalreporter.write_line(
            f"NEON kernel: not tested here, for want of {missing}: "
            "apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user",
            yellow=True,
        )


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs for this machine."""
    return build_once(tmp_path_factory.getbasetemp(), "native")


@pytest.fixture(scope="session")
def native_hashes(native: Path) -> dict[str, list[str]]:
    """What kernel_bits prints for each kernel that runs here."""
    program = native / "kernel_bits"
    return {kernel: printed(program, kernel) for kernel in printed(program, "--list")}


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An emulator of 64-bit Arm, and the folder of the programs for it."""
    compiler, emulator = map(shutil.which, ARM_TOOLS)
    if not compiler or not emulator:
        pytest.skip(NO_ARM)
    cross = {
        "C_COMPILER": compiler,
        "SYSTEM_NAME": "Linux",
        "SYSTEM_PROCESSOR": "aarch64",
        "EXE_LINKER_FLAGS": "-static",
    }
    options = (f"-DCMAKE_{key}={cross[key]}" for key in cross)
    return emulator, build_once(tmp_path_factory.getbasetemp(), "aarch64", *options)
