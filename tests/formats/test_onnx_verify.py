"""`lstmcore verify --against FILE.onnx`: files with a fixed batch, with time first, with weights beside them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import lstmcore
from lstmcore import layers as L
from lstmcore.commands import runtimes, verify
from lstmcore.commands.cli import main

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import external_data_helper, helper  # noqa: E402
from onnx_files import model, weights  # noqa: E402
from onnx_states import Stack  # noqa: E402

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


def differing(change):
    """The GRU of `gru`, of what `change` makes of the window: nodes from "window" to "w", and their constants."""
    proto = gru(("N", "T", 3))
    nodes, constants = change
    for each in proto.graph.node:
        each.input[:] = ["w" if name == "window" else name for name in each.input]
    made = [*nodes, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(made)
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(c), name) for name, c in constants.items())
    return proto


def only_where(axis, number):
    """The window twice where the size of an axis is `number`."""
    nodes = [
        node("Shape", ["window"], ["shape"]),
        node("Gather", ["shape", "axis"], ["size"]),
        node("Equal", ["size", "number"], ["same"]),
        node("Where", ["same", "double", "single"], ["factor"]),
        node("Mul", ["window", "factor"], ["w"]),
    ]
    factors = {"double": np.float32(2), "single": np.float32(1)}
    return nodes, {"axis": axis, "number": number, **factors}


def cut(start, end):
    bounds = {"start": np.array([start]), "end": np.array([end]), "steps": np.array([1])}
    return [node("Slice", ["window", "start", "end", "steps"], ["w"])], bounds


@pytest.mark.parametrize(
    "change",
    [only_where(0, 1), only_where(0, 4), only_where(1, 1), only_where(1, 71), cut(-60, 2**62), cut(0, 300)],
    ids=["one window", "several at once", "one tick", "another length", "the last", "the first"],
)
def test_a_difference_at_other_sizes_than_the_usual_one_is_found(folder, capsys, change):
    onnx.save(gru(("N", "T", 3)), "free.onnx")
    onnx.save(differing(change), "other.onnx")
    assert main(["verify", "free.onnx", "--against", "other.onnx"]) == 1
    assert re.search("above the tolerance|ticks.*: answers of shape", capsys.readouterr().err)
    assert main(["verify", "free.onnx", "--against", "free.onnx", "--json"]) == 0
    capsys.readouterr()


def test_lengths_that_the_other_side_does_not_take_are_told(folder, capsys):
    onnx.save(gru(("N", "T", 3)), "free.onnx")
    gather = ([node("Gather", ["window", "late"], ["fourth"], axis=1), node("Mul", ["fourth", "none"], ["nothing"]),
               node("Add", ["window", "nothing"], ["w"])],
              {"late": np.array([3]), "none": np.float32(0)})  # fmt: skip
    onnx.save(differing(gather), "other.onnx")
    assert main(["verify", "free.onnx", "--against", "other.onnx"]) == 0
    told = capsys.readouterr().err
    assert "note: other.onnx takes no windows of 1 tick: other.onnx: ONNX Runtime:" in told


def holding(*tensors):
    """The GRU of `gru` with initializers that nothing reads."""
    proto = gru(("N", "T", 3))
    proto.graph.initializer.extend(tensors)
    return proto


def lstm(hidden):
    settings = {"input_size": 3, "hidden_size": hidden, "num_layers": 1, "bias": True, "return_sequences": True}
    rng = np.random.default_rng(0)
    shapes = L.LSTM.weight_shapes(**settings)
    return lstmcore.Model([L.LSTM("lstm", **settings, weights={k: rng.normal(size=s) for k, s in shapes.items()})])


def test_no_length_is_one_that_takes_hours(folder):
    """A layer's size is a number too, and its square 262,144."""
    lstm(512).export_onnx("wide.onnx")
    lengths = runtimes.lengths_of("wide.onnx")
    assert {1, 511, 512, 513} <= set(lengths)
    assert max(lengths) <= runtimes.LONGEST
    many = np.arange(1900, 1960)
    onnx.save(holding(onnx.numpy_helper.from_array(many, "many")), "many.onnx")
    lengths = runtimes.lengths_of("many.onnx")
    assert {*range(1899, 1961)} <= set(lengths)
    assert max(lengths) <= runtimes.LONGEST


@pytest.mark.filterwarnings("ignore:.*initializers that the answer does not depend")
def test_lengths_that_take_too_much_work_are_left_out_and_told(folder, capsys, monkeypatch):
    onnx.save(holding(onnx.numpy_helper.from_array(np.arange(2, 60), "many")), "free.onnx")
    monkeypatch.setattr(verify, "MOST_WORK", 5e7)
    assert main(["verify", "free.onnx", "--against", "free.onnx", "--json"]) == 0
    out, told = capsys.readouterr()
    ticks = [int(row["inputs"].split()[1]) for row in json.loads(out)["inputs"][3:]]
    assert 0 < sum(ticks) < 5e7 / verify.STEP / verify.FEW
    assert re.search(r"note: \d+ lengths from \d+ to \d+ ticks are not compared", told)


def test_numbers_of_types_that_nothing_needs_are_passed_over(folder, capsys):
    others = [
        onnx.TensorProto(name="text", dims=[1], data_type=onnx.TensorProto.STRING, string_data=[b"a"]),
        onnx.numpy_helper.from_array(np.array([77], np.uint64), "wide"),
        onnx.numpy_helper.from_array(np.array([55], np.int64), "plain"),
        onnx.TensorProto(name="many", dims=[1 << 32, 1 << 32], data_type=onnx.TensorProto.INT64),
    ]
    onnx.save(holding(*others), "free.onnx")
    lengths = runtimes.lengths_of("free.onnx")
    assert 55 in lengths
    assert 77 not in lengths


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_keras_file_is_run_by_keras(folder, capsys, suffix):
    pytest.importorskip("keras")
    from keras_models import K, filled, keras, quiet, save

    def build(step):
        x = K.Input((None, 3))
        return keras.Model(x, K.GRU(4)(step(x)))

    plain = filled(build(lambda x: x), np.random.default_rng(3))
    sliced = build(lambda x: x[:, :60])
    with quiet():
        sliced.set_weights(plain.get_weights())
    save(plain, folder / f"plain{suffix}")
    save(sliced, folder / "sliced.keras")
    assert main(["verify", f"plain{suffix}", "--against", f"plain{suffix}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["against"] == f"plain{suffix} by Keras"
    assert main(["verify", f"plain{suffix}", "--against", "sliced.keras", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)["inputs"]
    assert max(row["difference"] for row in rows[:3]) < 1e-6


def test_a_number_in_a_keras_file_beyond_all_floats_is_no_length(folder):
    pytest.importorskip("keras")
    from keras_models import K, keras, save, with_argument

    save(keras.Sequential([K.Input((None, 3)), K.GRU(77)]), folder / "m.keras")
    with_argument(folder / "m.keras", "GRU", seed2=10**400)
    lengths = runtimes.lengths_of("m.keras")
    assert {76, 77, 78} <= set(lengths)
    assert max(lengths) <= runtimes.LONGEST


def test_a_keras_file_that_keras_does_not_load_is_told(folder, capsys, monkeypatch):
    pytest.importorskip("keras")
    from keras_models import K, filled, keras, save

    save(filled(keras.Sequential([K.Input((5, 3)), K.GRU(4)]), np.random.default_rng(3)), folder / "m.keras")

    def fails(*_, **__):
        raise TypeError("not\nthis one")

    monkeypatch.setattr(keras.saving, "load_model", fails)
    assert main(["verify", "m.keras", "--against", "m.keras", "--json"]) == 0
    out, told = capsys.readouterr()
    assert json.loads(out)["against"] == "m.keras as lstmcore reads it"
    assert "Keras does not load it: not" in told


@pytest.mark.parametrize(
    ("packing", "shape"),
    [("torch", {}), ("last", {"windows": 1, "steps": 1}), ("flat", {"windows": 3}), ("squeezed", {"step_only": True})],
)
def test_states_go_in_and_are_compared(folder, capsys, packing, shape):
    """A file is compared with itself, and with one of which a state at the end alone is another."""
    onnx.save(Stack(packing=packing, **shape).build(), "free.onnx")
    assert main(["verify", "free.onnx", "--against", "free.onnx", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert "from random states" in facts["against"]
    lstmcore.load("free.onnx").save("free.safetensors")
    assert main(["verify", "free.safetensors", "--against", "free.onnx"]) == 0
    capsys.readouterr()

    other = Stack(packing=packing, **shape).build()
    recurrent = onnx.numpy_helper.to_array(next(w for w in other.graph.initializer if w.name == "R1")).copy()
    recurrent[0, 0] += 0.01
    for tensor in other.graph.initializer:
        if tensor.name == "R1":
            tensor.CopyFrom(onnx.numpy_helper.from_array(recurrent, "R1"))
    onnx.save(other, "other.onnx")
    assert main(["verify", "free.onnx", "--against", "other.onnx"]) == 1


def test_states_of_other_layers_are_not_compared(folder, capsys):
    onnx.save(Stack().build(), "free.onnx")
    onnx.save(Stack(hidden=5).build(), "wider.onnx")
    assert "their states cannot be compared" in fails(capsys, "--against", "wider.onnx")
    assert "time-first: free.onnx takes (N, T, F)" in fails(capsys, "--against", "free.onnx", "--time-first")


def test_a_difference_of_one_state_alone_is_seen(folder, capsys, monkeypatch):
    onnx.save(Stack(packing="own").build(), "free.onnx")
    real = lstmcore.Model.__call__

    def off(self, *args, **kwargs):
        out = real(self, *args, **kwargs)
        if kwargs.get("return_state"):
            out[1][self.recurrent_layers[1].name][1][:] += 1e-3
        return out

    monkeypatch.setattr(lstmcore.Model, "__call__", off)
    assert main(["verify", "free.onnx", "--against", "free.onnx", "--window", "3"]) == 1
    assert "above the tolerance" in capsys.readouterr().err


def test_numba_compares_answers_alone(folder, capsys):
    pytest.importorskip("numba", reason="needs numba")
    onnx.save(Stack(kind="GRU").build(), "free.onnx")
    assert main(["verify", "free.onnx", "--against", "free.onnx", "--backend", "numba", "--window", "3"]) == 0
    assert "numba backend gives no states" in capsys.readouterr().err
