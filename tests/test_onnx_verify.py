"""`lstmcore verify --against FILE.onnx`: files with a fixed batch, with time first, with weights beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lstmcore
from lstmcore.cli import main

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import external_data_helper, helper  # noqa: E402
from onnx_files import model, weights  # noqa: E402

node = helper.make_node


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gru(shape, time_first=False):
    """A GRU's every step as a file that takes windows of this shape."""
    constants = weights(np.random.default_rng(1), "GRU") | {"one": np.array([1])}
    nodes = [
        node(
            "Transpose" if not time_first else "Identity",
            ["window"],
            ["t"],
            **({} if time_first else {"perm": [1, 0, 2]}),
        ),
        node("GRU", ["t", "W", "R", "B"], ["Y"], hidden_size=4),
        node("Squeeze", ["Y", "one"], ["y"]),
        node(
            "Transpose" if not time_first else "Identity",
            ["y"],
            ["answer"],
            **({} if time_first else {"perm": [1, 0, 2]}),
        ),
    ]
    return model(nodes, constants, shape=shape)


def verified(capsys, *arguments):
    """The facts that it prints."""
    assert main(["verify", "free.onnx", *arguments, "--json", "--window", "9"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["within"]
    return facts


def fails(capsys, *arguments):
    assert main(["verify", "free.onnx", *arguments]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    return error


def test_a_fixed_batch_is_filled(folder, capsys):
    onnx.save(gru(("N", "T", 3)), "free.onnx")
    for name, shape, time_first in (
        ("four", (4, "T", 3), False),
        ("late", (9, 4, 3), True),
        ("any", ("T", "N", 3), True),
    ):
        onnx.save(gru(shape, time_first), f"{name}.onnx")
        verified(capsys, "--against", f"{name}.onnx", *["--time-first"] * time_first)
    assert "takes windows of 9 ticks, not 8" in fails(capsys, "--against", "late.onnx", "--time-first", "--window", "8")


def test_weights_in_a_file_beside(folder, capsys):
    onnx.save(gru(("N", "T", 3)), "free.onnx")
    beside = gru((2, 9, 3))
    external_data_helper.convert_model_to_external_data(beside, location="data", size_threshold=64)
    onnx.save(beside, "beside.onnx")
    verified(capsys, "--against", "beside.onnx")


def test_what_is_wrong_is_said_in_a_line(folder, capsys):
    onnx.save(gru(("N", "T", 3)), "free.onnx")
    onnx.save(gru((2, "T", 2)), "two.onnx")
    (folder / "bad.onnx").write_bytes(b"no model")
    assert "two.onnx: ONNX Runtime: " in fails(capsys, "--against", "two.onnx")
    assert "bad.onnx: ONNX Runtime: " in fails(capsys, "--against", "bad.onnx")
    assert "none.onnx: no such file" in fails(capsys, "--against", "none.onnx")
    flat = model([node("Relu", ["window"], ["answer"])], {}, shape=("N", 3))
    onnx.save(flat, "flat.onnx")
    assert "expected one input of windows, three axes" in fails(capsys, "--against", "flat.onnx")
    assert "time-first: only for a torch module or an ONNX file" in fails(capsys, "--against", "numpy", "--time-first")
    assert "against-layers: only for a state_dict" in fails(capsys, "--against", "free.onnx", "--against-layers", "x")


def test_two_state_dicts_each_with_its_layers(folder, capsys):
    torch = pytest.importorskip("torch", reason="needs torch")
    torch.manual_seed(1)
    first = torch.nn.ModuleDict({"rnn": torch.nn.GRU(3, 4), "fc": torch.nn.Linear(4, 1)})
    torch.save(first.state_dict(), "a.pt")
    torch.save({f"net.{key}": value for key, value in first.state_dict().items()}, "b.pt")
    (folder / "a.json").write_text(json.dumps([["rnn", "GRU"], ["fc", "Linear"]]))
    (folder / "b.json").write_text(json.dumps([["net.rnn", "GRU"], ["net.fc", "Linear"]]))
    command = ["verify", "a.pt", "--layers", "a.json", "--against", "b.pt"]
    assert main([*command, "--against-layers", "b.json"]) == 0
    capsys.readouterr()
    assert main(command) == 1
    assert "b.pt" in capsys.readouterr().err
    assert lstmcore.load("b.pt", layers=[("net.rnn", "GRU"), ("net.fc", "Linear")]).input_size == 3
