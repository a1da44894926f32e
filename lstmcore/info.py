"""What this installation is and what it can run here."""

from __future__ import annotations

import importlib.util
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lstmcore._version import __version__
from lstmcore.errors import BackendError

#: Packages whose versions matter to what lstmcore does or is compared with.
PACKAGES = (
    "numpy",
    "cffi",
    "safetensors",
    "numba",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "msgspec",
    "websockets",
)


def info() -> dict[str, Any]:
    """Version, processor, the C kernels that run here and the one chosen, backends, package versions.

    Values are texts, lists and dictionaries of texts, or None, so that they can be written as JSON. Where the C core is
    not there, or LSTMCORE_KERNEL asks for a kernel that cannot run, "kernel" is None and "problem" says why.

    >>> import lstmcore
    >>> lstmcore.info()["kernels"][-1]
    'scalar'
    """
    kernel, problem = None, None
    here, built = [], []
    try:
        from lstmcore.backends import c

        here, built = c.kernels_here(), c.kernels_built()
        kernel = c.default_kernel()
    except (ImportError, BackendError) as error:
        problem = str(error)
    return {
        "lstmcore": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": processor(),
        "kernels": here,
        "kernels_built": built,
        "kernel": kernel,
        "problem": problem,
        "backends": [*(["c"] if built else []), *(["numba"] if importlib.util.find_spec("numba") else []), "numpy"],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's name as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return f"{value.strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
