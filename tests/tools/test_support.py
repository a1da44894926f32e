"""The documentation's page of arguments is what the readers go by, and names tests that exist."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from lstmcore.formats.keras import keras_arguments
from lstmcore.formats.onnx import onnx_attributes
from lstmcore.formats.torch import torch_arguments

ROOT = Path(__file__).parents[2]


def support() -> Any:
    spec = importlib.util.spec_from_file_location("support", ROOT / "docs" / "support.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_generated_from_the_tables() -> None:
    module = support()
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/support.py"


def test_no_cell_is_empty_and_every_test_exists() -> None:
    rows = [line for line in support().page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    for row in rows:
        name, verdict, test = (cell.strip() for cell in row.strip("|").split(" | "))
        assert name, row
        assert verdict, row
        file, _, function = test.strip("`").partition("::")
        text = (ROOT / "tests" / "formats" / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), test


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_no_argument_of_torch_is_missing(kind: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    base = set(inspect.signature(torch.nn.RNNBase.__init__).parameters) - {"self", "mode"}
    known = set(torch_arguments.ARGUMENTS[kind])
    assert base <= known
    assert known - base <= {"nonlinearity"}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_no_argument_of_keras_is_missing(kind: str) -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed")
    arguments = set(inspect.signature(getattr(keras.layers, kind).__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(keras_arguments.ARGUMENTS[kind])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_no_attribute_of_onnx_is_missing(kind: str) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    schema = onnx.defs.get_schema(kind)
    row = set(onnx_attributes.ATTRIBUTES[kind])
    assert set(schema.attributes) <= row
    assert {x.name for x in schema.inputs} <= {name.removeprefix("input ").rstrip("?") for name in row}
    assert {x.name for x in list(schema.outputs)[1:]} <= {name.removeprefix("output ") for name in row}
