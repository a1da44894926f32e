"""ONNX files whose states go in and come out are Models whose streams carry them, where they belong together."""

from __future__ import annotations

import numpy as np
import pytest

import lstmcore
from lstmcore import Model, UnsupportedError

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import helper  # noqa: E402
from onnx_files import assert_close, session  # noqa: E402
from onnx_states import PACKINGS, Stack  # noqa: E402

from lstmcore.formats.onnx.onnx_read import read_all  # noqa: E402

node = helper.make_node


def found(folder, proto):
    """What is read, and the Model in float64."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    read = read_all(path)
    return read, Model(read.layers, backend="numpy").astype(np.float64)


def as_states(read, model, ports):
    """The Model's states of what is given to the file's inputs."""
    flow = read.states.flow
    (count,) = {ports[port.name].shape[port.windows_axis] for port in flow.inputs}
    units = np.full((count, read.states.width), np.nan)
    for port in flow.inputs:
        units[:, list(port.units)] = np.moveaxis(ports[port.name], port.windows_axis, 0).reshape(count, -1)
    return read.states.as_state(model.recurrent_layers, units)


def assert_same(read, model, proto, x, given):
    """ONNX Runtime's answer and states are the Model's."""
    names = [value.name for value in proto.graph.output]
    got = dict(zip(names, session(proto).run(None, {"x": x, **given}), strict=True))
    windows = x.astype(np.float64)
    windows = windows[:, np.newaxis] if x.ndim == 2 else windows
    expected, ends = model(windows, as_states(read, model, given), return_state=True)
    assert_close(got["y"], expected.reshape(got["y"].shape))
    assert {port.name for port in read.states.flow.outputs} == {*names} - {"y"}
    rows = read.states.as_units(model.recurrent_layers, ends)
    for port in read.states.flow.outputs:
        assert_close(got[port.name], port.gather(rows))
    return got


@st.composite
def stacks(draw, **fixed):
    options = {
        "kind": st.sampled_from(["LSTM", "GRU", "RNN"]),
        "layers": st.integers(1, 3),
        "directions": st.integers(1, 2),
        "features": st.integers(1, 4),
        "hidden": st.integers(1, 5),
        "packing": st.sampled_from(PACKINGS),
        "windows": st.sampled_from(["N", 1, 3]),
        "steps": st.sampled_from(["T", 1, 6]),
        "seed": st.integers(0, 1 << 30),
    }
    return Stack(**{key: draw(options[key]) for key in options if key not in fixed}, **fixed)


@settings(max_examples=60, deadline=None)
@given(stack=stacks(), windows=st.integers(1, 4), steps=st.integers(1, 7))
def test_any_stack_and_packing(tmp_path_factory, stack, windows, steps):
    proto = stack.build()
    read, model = found(tmp_path_factory.mktemp("states"), proto)
    rng = np.random.default_rng(stack.seed)
    n, t = (size if isinstance(size, int) else free for size, free in ((stack.windows, windows), (stack.steps, steps)))
    x = rng.normal(size=(n, t, stack.features)).astype(np.float32)
    assert_same(read, model, proto, x, stack.random_states(rng, n))
    assert sum(layer.states for layer in model.recurrent_layers) == stack.layers * stack.directions


@settings(max_examples=30, deadline=None)
@given(stack=stacks(directions=1, windows=1, steps=1), saved=st.booleans())
def test_a_stream_carries_what_onnx_runtime_is_fed_back(tmp_path_factory, stack, saved):
    folder = tmp_path_factory.mktemp("states")
    proto = stack.build()
    found(folder, proto)
    model = lstmcore.load(folder / "model.onnx")
    if saved:
        model.save(folder / "model.safetensors")
        assert lstmcore.load(folder / "model.safetensors") == model
        model = lstmcore.load(folder / "model.safetensors")
    runtime, stream = session(proto), model.stateful()
    names = [value.name for value in proto.graph.output]
    fed_back = dict(
        zip((name.replace("_out", "_in") if name != "states_out" else "states" for name in names), names, strict=True)
    )
    rng = np.random.default_rng(stack.seed)
    states = {name: np.zeros_like(value) for name, value in stack.random_states(rng).items()}
    for _ in range(12):
        x = rng.normal(size=(1, 1, stack.features)).astype(np.float32)
        out = dict(zip(names, runtime.run(None, {"x": x, **states}), strict=True))
        answer = np.asarray(stream.push(x[0, 0]), np.float64).reshape(-1)
        np.testing.assert_allclose(answer, out["y"].reshape(-1), rtol=0, atol=5e-6 * max(1, np.abs(answer).max()))
        states = {name: out[fed_back[name]] for name in states}


def test_a_window_may_be_one_step_without_an_axis(tmp_path):
    stack = Stack(step_only=True)
    proto = stack.build()
    read, model = found(tmp_path, proto)
    rng = np.random.default_rng(1)
    for n in (1, 3):
        assert_same(read, model, proto, rng.normal(size=(n, 3)).astype("f4"), stack.random_states(rng, n))


def test_a_state_that_only_goes_in_or_only_comes_out(tmp_path):
    rng = np.random.default_rng(2)
    stack = Stack()
    proto = stack.build(lambda stack, ends: ends.clear())
    read, model = found(tmp_path, proto)
    assert not read.states.flow.outputs
    x = rng.normal(size=(2, 5, 3)).astype("f4")
    assert_same(read, model, proto, x, stack.random_states(rng, 2))

    proto = Stack().build()
    del proto.graph.input[:2]
    for name in ("h_in", "c_in"):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((2, 2, 4), "f4"), name))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    read, model = found(tmp_path, proto)
    assert not read.states.flow.inputs
    answer, ends = model(x.astype(np.float64), return_state=True)
    names = [value.name for value in proto.graph.output]
    got = dict(zip(names, session(proto).run(None, {"x": x}), strict=True))
    assert_close(got["y"], answer)
    for port in read.states.flow.outputs:
        assert_close(got[port.name], port.gather(read.states.as_units(model.recurrent_layers, ends)))


def test_the_final_h_may_be_the_answer_and_the_state(tmp_path):
    stack = Stack(layers=1, packing="own", windows=1, steps=1)
    proto = stack.build()
    del proto.graph.output[-1]  # y
    names = [value.name for value in proto.graph.output]
    assert sorted(names) == ["c0_out", "h0_out"]
    with pytest.warns(UserWarning, match=r"does not depend on: .*head"):
        read, model = found(tmp_path, proto)
    assert [type(layer).__name__ for layer in model.layers] == ["LSTM"]
    assert {port.name for port in read.states.flow.outputs} == {*names}
    rng = np.random.default_rng(4)
    x, states = rng.normal(size=(1, 1, 3)).astype("f4"), stack.random_states(rng)
    got = dict(zip(names, session(proto).run(None, {"x": x, **states}), strict=True))
    answer, (h, c) = model(x.astype(float), (states["h0_in"], states["c0_in"]), return_state=True)
    assert_close(got["h0_out"], h)
    assert_close(got["c0_out"], c)
    assert_close(got["h0_out"][0], answer)


# What is refused


def swap(a, b):
    """Two states in each other's place."""

    def change(stack, ends):
        ends[a], ends[b] = ends[b], ends[a]

    return change


def replace(name, make):
    """A state of which `make` makes another."""

    def change(stack, ends):
        ends[name] = make(stack, ends[name])

    return change


def rolled(stack, state):
    """Its units, shifted by one."""
    parts = [stack.node("Slice", [state, *(stack.integers(n) for n in bounds)]) for bounds in ((1, 9, 2), (0, 1, 2))]
    return stack.node("Concat", parts, axis=2)


def scaled(stack, state):
    stack.constants["two"] = np.array(2, np.float32)
    return stack.node("Mul", [state, "two"])


def first_step(stack, state):
    taken = stack.node("Slice", ["Y0", stack.integers(0), stack.integers(1), stack.integers(0)])
    return stack.node("Squeeze", [taken, stack.integers(0)])


def cut(stack, state):
    return stack.node("Slice", [state, *(stack.integers(n) for n in (0, 2, 2))])


def forget(name):
    def change(stack, ends):
        del ends[name]

    return change


def other_windows(stack, state):
    return stack.node("Slice", [state, *(stack.integers(n) for n in (-1, -9, 1, -1))])


CHANGES = {
    "rows of h": ({}, swap("h0", "h1"), r"input 'h_in' and the output 'h_out' hold .* not in the same order"),
    "rows of c": ({}, swap("c0", "c1"), r"input 'c_in' and the output 'c_out' hold .* not in the same order"),
    "h and c": ({}, swap("h0", "c0"), "input '._in' and the output '._out' and the output"),
    "h and c, packed": (
        {"packing": "last", "layers": 1},
        swap("h0", "c0"),
        "input 'states' and the output 'states_out'",
    ),
    "a GRU's rows": ({"kind": "GRU", "packing": "flat"}, swap("h0", "h1"), "not in the same order"),
    "directions": (
        {"kind": "GRU", "layers": 1, "directions": 2},
        replace("h0", lambda s, h: s.node("Slice", [h, *(s.integers(n) for n in (-1, -9, 0, -1))])),
        "not in the same order",
    ),
    "units": ({}, replace("h1", rolled), "not in the same order"),
    "a scaled state": ({}, replace("h1", scaled), r"outputs .*'h_out' by node 'node_mul_\d+' \(Mul\)"),
    "a first step": ({}, replace("h0", first_step), "leads only to the output 'h_out'"),
    "some units": ({"layers": 1, "packing": "own"}, replace("h0", cut), "has 2 of the 4 units of the h of node"),
    "no h of a layer": ({"packing": "own"}, forget("h1"), "but not the h of node 'node_Y1'.*no output has it"),
    "no c": ({}, lambda s, ends: [ends.pop("c0"), ends.pop("c1")], "but not the c of node 'node_Y0'"),
    "a state as it came": (
        {"packing": "own"},
        replace("h1", lambda s, h: "h1_in"),
        "the output 'h1_out' hands on the input 'h1_in'",
    ),
    "a state twice": ({}, replace("h1", lambda s, h: "h0_end"), "the output 'h_out' has a state twice"),
    "other windows": ({"kind": "GRU", "windows": 2}, replace("h0", other_windows), "windows or units are swapped"),
    "windows of a free number": ({"kind": "GRU"}, replace("h0", other_windows), "windows or units are swapped"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_belong_together_is_refused(tmp_path, change):
    options, make, message = CHANGES[change]
    proto = Stack(**options).build(make)
    with pytest.raises(UnsupportedError, match=message):
        found(tmp_path, proto)


@pytest.mark.filterwarnings("ignore:.*initializers that the answer does not depend on:UserWarning")
def test_a_state_in_another_layout_than_it_goes_in(tmp_path):
    """(N, D, H) comes out where (D, N, H) goes in; the answer reads the same tensor, so that its axes are known."""

    def change(stack, ends):
        stack.nodes[:] = [each for each in stack.nodes if each.output[0] != "y"]
        ends["h0"] = stack.node("Transpose", ["h0_end"], perm=[1, 0, 2])
        stack.node("MatMul", [stack.node("Reshape", [ends["h0"], stack.integers(0, -1)]), "head"], ["y"])

    options = {"kind": "GRU", "layers": 1, "directions": 2, "packing": "own"}
    with pytest.raises(UnsupportedError, match=r"input 'h0_in' and the output 'h0_out' hold .* not in the same order"):
        found(tmp_path, Stack(**options, windows=3).build(change))
    stack = Stack(**options, windows=1)  # of one window both are the same
    proto = stack.build(change)
    read, model = found(tmp_path, proto)
    rng = np.random.default_rng(6)
    assert_same(read, model, proto, rng.normal(size=(1, 4, 3)).astype("f4"), stack.random_states(rng, 1))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_one_state_for_two_layers(tmp_path, kind):
    proto = Stack(kind, packing="own", seed=3).build()
    [each for each in proto.graph.node if each.op_type == kind][-1].input[5] = "h0_in"
    del_input(proto, "h1_in")
    with pytest.raises(UnsupportedError, match=r"'node_Y1'.*also begin another row"):
        found(tmp_path, proto)


def del_input(proto, name):
    kept = [value for value in proto.graph.input if value.name != name]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)


def test_h_that_begins_as_c_and_the_other_way_round(tmp_path):
    """h goes in where c comes out, so what is fed back would be another state."""
    proto = Stack(packing="torch", layers=1).build()
    (lstm,) = (each for each in proto.graph.node if each.op_type == "LSTM")
    lstm.input[5], lstm.input[6] = lstm.input[6], lstm.input[5]
    with pytest.raises(UnsupportedError, match=r"come out in another order than they go in: a loop .* would mix them"):
        found(tmp_path, proto)


def test_a_state_that_something_else_reads(tmp_path):
    def change(stack, ends):
        taken = stack.node("Transpose", ["h0_in"], perm=[1, 0, 2])
        stack.nodes[:] = [each for each in stack.nodes if each.output[0] != "y"]
        stack.node("MatMul", [stack.node("Add", [x_of(stack), taken]), "head"], ["y"])

    def x_of(stack):
        return next(each.input[0] for each in removed if each.output[0] == "y")

    stack = Stack("GRU", packing="own", layers=1)
    removed = Stack("GRU", packing="own", layers=1).build().graph.node
    with pytest.raises(UnsupportedError, match=r"'h0_in' is read by node 'node_add_\d+' \(Add\)"):
        found(tmp_path, stack.build(change))


def test_a_final_state_that_begins_another_layer(tmp_path):
    proto = Stack("LSTM", packing="own").build()
    nodes = [each for each in proto.graph.node if each.op_type == "LSTM"]
    nodes[1].input[6] = "c0_end"
    del_input(proto, "c1_in")
    with pytest.raises(UnsupportedError, match=r"'node_Y1'.*c begins with the final state of another node"):
        found(tmp_path, proto)
    nodes[1].input[5] = "h0_end"
    del_input(proto, "h1_in")
    with pytest.raises(UnsupportedError, match=r"'node_Y1'.*initial_h: is computed from the model's inputs"):
        found(tmp_path, proto)


def test_several_answers_and_several_windows(tmp_path):
    proto = Stack("GRU").build()
    proto.graph.node.append(node("Relu", ["y"], ["z"], name="z"))
    proto.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    with pytest.raises(
        UnsupportedError, match=r"expected one answer.*'y' by node 'node_y' \(MatMul\).*'z' by node 'z'"
    ):
        found(tmp_path, proto)


def test_a_layer_that_only_a_state_needs(tmp_path):
    def change(stack, ends):
        stack.nodes[:] = [each for each in stack.nodes if each.output[0] != "y"]
        stack.node("Squeeze", ["Y0", stack.integers(1)], ["flat"])
        stack.node("MatMul", [stack.node("Transpose", ["flat"], perm=[1, 0, 2]), "head"], ["y"])

    with pytest.raises(UnsupportedError, match=r"leads only to the output 'h_out'.* expected final states"):
        found(tmp_path, Stack("GRU").build(change))


def test_an_output_that_nothing_makes(tmp_path):
    proto = Stack("GRU").build()
    proto.graph.output[0].name = "nothing"
    with pytest.raises(UnsupportedError, match="the output 'nothing': nothing makes it"):
        found(tmp_path, proto)


def test_shapes_of_states(tmp_path):
    proto = Stack("GRU", layers=1).build()
    state = next(value for value in proto.graph.input if value.name == "h_in").type.tensor_type.shape
    state.dim[2].dim_param = "H"
    with pytest.raises(
        UnsupportedError, match=r"input 'h_in', an initial state: .* only the number of windows is free"
    ):
        found(tmp_path, proto)
    state.dim[2].dim_value = 5
    with pytest.raises(lstmcore.ModelFormatError, match=r"initial_h: expected shape \(1, 5, 4\), got \(1, 5, 5\)"):
        found(tmp_path, proto)
    state.dim[2].dim_value = 1 << 19
    with pytest.raises(lstmcore.ModelFormatError, match="in a smaller file"):
        found(tmp_path, proto)
    state.dim[0].dim_value = 1 << 40
    with pytest.raises(lstmcore.ModelFormatError, match="input 'h_in': shape"):
        found(tmp_path, proto)


def test_a_state_of_one_window_where_the_windows_are_free(tmp_path):
    stack = Stack("GRU", layers=2)
    proto = stack.build()
    for value in proto.graph.input:
        if value.name == "h_in":
            value.type.tensor_type.shape.dim[1].dim_value = 1
    read, model = found(tmp_path, proto)
    rng = np.random.default_rng(3)
    assert_same(read, model, proto, rng.normal(size=(1, 5, 3)).astype("f4"), stack.random_states(rng, 1))
