"""The programs of tests/c, built once for all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from programs import build, printed

os.environ.setdefault("KERAS_BACKEND", "torch")  # the one that is there; Keras would look for TensorFlow


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs for this machine."""
    return build(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="session")
def native_hashes(native: Path) -> dict[str, list[str]]:
    """What kernel_bits prints for each kernel that runs here."""
    program = native / "kernel_bits"
    return {kernel: printed(program, kernel) for kernel in printed(program, "--list")}


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An emulator of 64-bit Arm, and the folder of the programs for it."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("no cross compiler (gcc-aarch64-linux-gnu) or emulator (qemu-user) on this machine")
    cross = {
        "C_COMPILER": compiler,
        "SYSTEM_NAME": "Linux",
        "SYSTEM_PROCESSOR": "aarch64",
        "EXE_LINKER_FLAGS": "-static",
    }
    return emulator, build(tmp_path_factory.mktemp("aarch64"), *(f"-DCMAKE_{key}={cross[key]}" for key in cross))
