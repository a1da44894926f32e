"""ONNX files that are damaged, or made to do harm, are refused; nothing hangs, grows or reads other files."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pytest

from lstmcore import ModelFormatError, UnsupportedError
from lstmcore import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, external_data_helper, helper, numpy_helper  # noqa: E402
from onnx_corpus import own  # noqa: E402
from onnx_files import make, model, weights  # noqa: E402

from lstmcore import Model  # noqa: E402
from lstmcore.formats.onnx import onnx_trials  # noqa: E402
from lstmcore.formats.onnx.onnx import build, read  # noqa: E402

REFUSED = (ModelFormatError, UnsupportedError)


def write(folder, proto):
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def assert_harmless(path):
    """Read, or refused in one line, within a second."""
    start = time.perf_counter()
    said = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except REFUSED as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 2000
    assert time.perf_counter() - start < 1


def test_memory_stays_near_the_size_of_the_file(tmp_path):
    rng = np.random.default_rng(2)
    layer = make(rng, L.LSTM, "lstm", input_size=256, hidden_size=256, num_layers=2)
    path = write(tmp_path, build(Model([layer], backend="numpy")))
    size = path.stat().st_size
    read(path)
    tracemalloc.start()
    try:
        read(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * size
    finally:
        tracemalloc.stop()


def peak(path):
    tracemalloc.start()
    try:
        with pytest.raises(REFUSED):
            read(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (
            [helper.make_node("ConstantOfShape", ["n"], ["big"]), helper.make_node("Mul", ["big", "big"], ["bias"])],
            {"n": np.array([2**30, 2**30])},
        ),
        (
            [helper.make_node("Expand", ["one", "n"], ["bias"])],
            {"n": np.array([2**20, 2**20]), "one": np.ones(1, "f4")},
        ),
        ([helper.make_node("Tile", ["one", "n"], ["bias"])], {"n": np.array([2**40]), "one": np.ones(1, "f4")}),
        (
            [helper.make_node("Range", ["zero", "n", "step"], ["bias"])],
            {"n": np.array(2**50), "zero": np.array(0), "step": np.array(1)},
        ),
        (
            [helper.make_node("Concat", [f"c{k}"] * 16, [f"c{k + 1}"], axis=0) for k in range(12)]
            + [helper.make_node("Identity", ["c12"], ["bias"])],
            {"c0": np.ones(64, "f4")},
        ),
    ],
)
def test_constants_that_grow(tmp_path, nodes, constants):
    proto = model([*nodes, helper.make_node("Add", ["window", "bias"], ["answer"])], constants)
    assert peak(write(tmp_path, proto)) < 16 << 20


def field(number, payload):
    """A field of bytes, as it lies in a file."""
    header = b""
    for value in (number << 3 | 2, len(payload)):
        while value > 127:
            header, value = header + bytes([value & 127 | 128]), value >> 7
        header += bytes([value])
    return header + payload


COUNT = 1_000_000
GRAPH, NODE, INPUT, ATTRIBUTE, INTS, INITIALIZER, METADATA = 7, 1, 1, 5, 8, 5, 14


@pytest.mark.parametrize(
    "more",
    [
        field(GRAPH, b"\x0a\0" * COUNT),
        b"\x72\0" * COUNT,
        field(GRAPH, field(NODE, b"\x0a\0" * COUNT)),
        field(GRAPH, field(NODE, field(ATTRIBUTE, field(INTS, bytes(2 * COUNT))))),
        field(GRAPH, field(INITIALIZER, field(5, b"\1" * 2 * COUNT))),
        field(GRAPH, field(INITIALIZER, field(7, b"\1" * 2 * COUNT))),
    ],
    ids=["nodes", "metadata", "names", "integers", "int32_data", "int64_data"],
)
def test_bytes_that_grow_when_they_are_parsed(tmp_path, more):
    """In a process of its own, for what the parser takes is not Python's: two bytes can become two hundred."""
    path = write(tmp_path, own().SerializeToString() + more)
    script = f"""
import resource, sys
from lstmcore import ModelFormatError
from lstmcore.formats.onnx.onnx import read
read({str(write(tmp_path / "sound", own()))!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read({str(path)!r})
except ModelFormatError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    grown, _, said = done.stdout.partition(" ")
    assert "that would take more than" in said or "fields in the protobuf" in said
    assert int(grown) * 1024 < 10 * len(more) + (4 << 20)


@pytest.mark.parametrize("wire", [b"\x0b", b"\x0a\x05ab", b"\x0a", b"\x08" + b"\xff" * 10, b"\x3a\x02\x0a\x7f"])
def test_a_wire_that_does_not_fit(tmp_path, wire):
    with pytest.raises(ModelFormatError, match="damaged"):
        read(write(tmp_path, own().SerializeToString() + wire))


def test_names_that_are_no_text(tmp_path):
    data = own().SerializeToString()
    with pytest.raises(ModelFormatError, match=r"NodeProto\.name.* is no text"):
        read(write(tmp_path, data.replace(b"/lstm/LSTM", b"/lstm/\xff\xfeTM")))


@pytest.mark.parametrize("field", ["raw_data", "float_data"])
@pytest.mark.parametrize("dims", [(2**31, 2**31, 4), (2**62, 2**62), (-1,), (3, 5), (2**40, 0)])
def test_shapes_that_the_data_does_not_have(tmp_path, field, dims):
    proto = model([helper.make_node("Add", ["window", "bias"], ["answer"])], {"bias": np.arange(3, dtype="f4")})
    tensor = proto.graph.initializer[0]
    if field == "float_data":
        tensor.CopyFrom(helper.make_tensor("bias", TensorProto.FLOAT, (3,), [0.0, 1.0, 2.0]))
    tensor.dims[:] = dims
    assert peak(write(tmp_path, proto)) < 1 << 20


class TestExternalData:
    """Tensors in files beside the model."""

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "secret.bin").write_bytes(bytes(1000))
        (tmp_path / "models").mkdir()
        return tmp_path / "models"

    def model(self, folder, location="data.bin", offset="0", length=None, **more):
        rng = np.random.default_rng(3)
        w = rng.normal(size=(3, 2)).astype(np.float32)
        (folder / "data.bin").write_bytes(bytes(8) + w.tobytes())
        proto = model([helper.make_node("MatMul", ["window", "W"], ["answer"])], {"W": w})
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": location, "offset": offset, "length": length, **more}
        for key, value in entries.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)
        return write(folder, proto), w

    def test_it_is_read(self, folder):
        path, w = self.model(folder, offset="8", length="24")
        np.testing.assert_array_equal(read(path)[0].weights["weight"], w.T)
        (folder / "link.bin").symlink_to("data.bin")
        np.testing.assert_array_equal(read(self.model(folder, "link.bin", "8")[0])[0].weights["weight"], w.T)

    @pytest.mark.parametrize(
        "location",
        [
            "../secret.bin",
            "/etc/passwd",
            "a/../../secret.bin",
            "link.bin",
            "links/secret.bin",
            "",
            ".",
            "no.bin",
            "\0",
            "pipe",
        ],
    )
    def test_nothing_else_is(self, folder, location):
        import os

        (folder / "link.bin").symlink_to("../secret.bin")
        (folder / "links").symlink_to("..")
        os.mkfifo(folder / "pipe")
        with pytest.raises(ModelFormatError, match="in the model's folder"):
            read(self.model(folder, location)[0])

    @pytest.mark.parametrize(
        "entries",
        [
            {"offset": "9"},
            {"offset": "-8"},
            {"offset": str(2**64)},
            {"length": "23"},
            {"length": str(2**62)},
            {"offset": "1e1"},
            {"checksum": "0" * 40, "offset": "8"},
            {"other": "1", "offset": "8"},
        ],
    )
    def test_sizes(self, folder, entries):
        with pytest.raises(ModelFormatError, match="external data"):
            read(self.model(folder, **entries)[0])

    def test_the_same_bytes_again_and_again(self, folder):
        w = np.random.default_rng(6).normal(size=(64, 64)).astype("f4")
        (folder / "data.bin").write_bytes(w.tobytes())
        constants = {f"W{k}": w for k in range(6)}
        first = helper.make_node("MatMul", ["window", "W0"], ["x0"])
        rest = [helper.make_node("MatMul", [f"x{k}", f"W{k + 1}"], [f"x{k + 1}"]) for k in range(5)]
        for count, fits in ((2, True), (5, False)):
            nodes = [first, *rest[:count]]
            proto = model(nodes, constants, shape=("N", "T", 64), output=f"x{count}")
            for tensor in proto.graph.initializer:
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value="data.bin")
            if fits:
                assert len(read(write(folder, proto))) == count + 1
            else:
                with pytest.raises(ModelFormatError, match="share more than 4 times"):
                    read(write(folder, proto))

    def test_as_onnx_writes_it(self, folder):
        proto = own()
        path = folder / "model.onnx"
        external_data_helper.convert_model_to_external_data(proto, location="weights", size_threshold=0)
        onnx.save(proto, path)
        assert read(path) == read(write(folder, own()))


def chain(op, count, **attributes):
    names = ["window", *(f"x{k}" for k in range(count - 1)), "answer"]
    return [helper.make_node(op, [a], [b], **attributes) for a, b in itertools.pairwise(names)]


@pytest.mark.parametrize("op", ["Relu", "Exp", "Dropout"])
def test_long_chains_are_read_in_time(tmp_path, op):
    w = np.random.default_rng(4).normal(size=(3, 3)).astype("f4")
    nodes = chain(op, 1001)
    nodes[0].input[0] = "first"
    proto = model([helper.make_node("MatMul", ["window", "W"], ["first"]), *nodes], {"W": w})
    path = write(tmp_path, proto)
    start = time.perf_counter()
    assert len(read(path)) == 1002
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Div", "Concat"])
def test_doubling_a_value_again_and_again(tmp_path, op):
    names = ["window", *(f"x{k}" for k in range(40)), "answer"]
    options = {"axis": -1} if op == "Concat" else {}
    nodes = [helper.make_node(op, [a, a], [b], **options) for a, b in itertools.pairwise(names)]
    proto = model(nodes, {})
    assert_harmless(write(tmp_path, proto))


def function(name, calls):
    nodes = [
        helper.make_node(call, ["x"] if k == 0 else [f"y{k - 1}"], [f"y{k}"], domain="local")
        for k, call in enumerate(calls)
    ]
    nodes[-1].output[0] = "y"
    return helper.make_function("local", name, ["x"], ["y"], nodes, [helper.make_opsetid("local", 1)])


def test_functions_that_grow_or_never_end(tmp_path):
    def calling(functions):
        proto = model([helper.make_node("f0", ["window"], ["answer"], domain="local")], {}, functions=functions)
        proto.opset_import.append(helper.make_opsetid("local", 1))
        return write(tmp_path, proto)

    with pytest.raises(ModelFormatError, match=r"more than .* nodes"):
        read(calling([function(f"f{k}", [f"f{k + 1}"] * 50) for k in range(10)]))
    with pytest.raises(ModelFormatError, match="calls 16 deep"):
        read(calling([function("f0", ["f0"])]))


def test_functions_whose_weights_are_put_in_again_and_again(tmp_path):
    big = numpy_helper.from_array(np.random.default_rng(7).normal(size=100_000).astype("f4"))
    body = [helper.make_node("Constant", [], ["c"], value=big), helper.make_node("Relu", ["x"], ["y"])]
    repeated = helper.make_function("local", "f", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    proto = model(chain("f", 100, domain="local"), {}, functions=[repeated])
    proto.opset_import.append(helper.make_opsetid("local", 1))
    assert peak(write(tmp_path, proto)) < 10 << 20
    with pytest.raises(ModelFormatError, match="grows to more than"):
        read(write(tmp_path, proto))


def test_attributes_that_a_function_does_not_have(tmp_path):
    proto = model([helper.make_node("f", ["window"], ["answer"], domain="local", slope=2.0)], {})
    body = [helper.make_node("LeakyRelu", ["x"], ["y"])]
    proto.functions.append(helper.make_function("local", "f", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    with pytest.raises(ModelFormatError, match=r"attributes \['slope'\], which it does not have"):
        read(write(tmp_path, proto))


def test_what_is_no_model(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError):
        read(path)
    for data in (
        b"",
        b"\0" * 100,
        b"not a model",
        io.BytesIO(numpy_helper.from_array(np.ones(3)).SerializeToString()).read(),
    ):
        path.write_bytes(data)
        with pytest.raises(ModelFormatError, match=r"model\.onnx"):
            read(path)


def test_unsupported_parts_are_named(tmp_path):
    def refused(change, text, error=UnsupportedError):
        w = weights(np.random.default_rng(5), "RNN")
        proto = model(
            [helper.make_node("RNN", ["window", "W", "R", "B"], ["Y", "Y_h"], hidden_size=4, name="rnn"),
             helper.make_node("Squeeze", ["Y_h", "zero"], ["answer"])], w | {"zero": np.array([0])},
        )  # fmt: skip
        read(write(tmp_path, proto))
        change(proto)
        with pytest.raises(error, match=text):
            read(write(tmp_path, proto))

    refused(lambda p: p.graph.output.append(p.graph.output[0]), "outputs .* one that is there twice", ModelFormatError)

    def two_answers(proto):
        for name in ("first", "second"):
            proto.graph.node.append(helper.make_node("Relu", ["answer"], [name]))
            proto.graph.output.append(helper.make_tensor_value_info(name, 1, None))

    refused(two_answers, r"outputs .*expected one answer.*'first' by node 'first' \(Relu\); 'second'")
    refused(lambda p: p.graph.input.append(helper.make_tensor_value_info("other", 1, None)), "not depend on .*'other'")
    refused(lambda p: p.training_info.add(), "training_info")
    refused(lambda p: setattr(p.graph.node[0], "domain", "com.microsoft"), "'rnn' .*domain 'com.microsoft'")
    refused(lambda p: setattr(p.graph.node[0], "op_type", "Loop"), "Loop.*control flow")
    refused(lambda p: setattr(p.graph.node[0], "op_type", "Einsum"), "Einsum.*without an equation")
    refused(lambda p: setattr(p.opset_import[0], "version", 10), "opset 10")
    refused(
        lambda p: p.graph.sparse_initializer.add().values.CopyFrom(p.graph.initializer[0]), "sparse initializer 'W'"
    )
    refused(lambda p: p.graph.quantization_annotation.add(), "quantization")
    refused(lambda p: p.graph.input[0].type.tensor_type.ClearField("elem_type"), "inputs")
    refused(lambda p: p.graph.initializer.append(p.graph.initializer[0]), "initializer 'W'", ModelFormatError)
    refused(lambda p: setattr(p.graph.output[0].type.tensor_type, "elem_type", 7), "output 'answer' is INT64")
    refused(lambda p: p.graph.node[0].output.append("window"), "writes the input .* 'window'", ModelFormatError)
    refused(lambda p: p.graph.node[0].output.append("W"), "writes the input or initializer 'W'", ModelFormatError)
    refused(lambda p: p.graph.node[0].input.append("no"), "nothing before this node makes it", ModelFormatError)
    refused(lambda p: p.graph.node.insert(0, p.graph.node.pop()), "nothing before this node", ModelFormatError)


def test_unused_initializers_are_listed(tmp_path):
    proto = own()
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, "f4"), "left.over"))
    with pytest.warns(UserWarning, match=r"does not depend on: left\.over"):
        read(write(tmp_path, proto))
    proto.graph.initializer[-1].name = "\x1b[2Ja\nb" + "n" * 1000
    with pytest.warns(UserWarning, match="does not depend on: ") as caught:
        read(write(tmp_path, proto))
    text = str(caught[0].message)
    assert text.isprintable()
    assert len(text) < 500


def test_numbers_without_an_end_are_shown():
    assert [*map(onnx_trials._number, (3.0, 0.5, float("inf"), float("nan")))] == ["3", "0.5", "inf", "nan"]
