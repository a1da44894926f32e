"""The scripts in benchmarks/ as modules."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest


@contextlib.contextmanager
def imported(*names: str) -> Iterator[SimpleNamespace]:
    """The modules of these names, imported as they import each other; their names are free again afterwards."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delitem(sys.modules, name, raising=False)
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
        for name in names:
            del sys.modules[name]
