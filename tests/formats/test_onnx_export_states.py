"""A Model exported with its states: ONNX Runtime gives the same ones, and the file loads again as the same Model."""

from __future__ import annotations

import numpy as np
import pytest

import lstmcore
from lstmcore import Model
from lstmcore import layers as L

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx_files import assert_close, make, session  # noqa: E402

from lstmcore.formats.onnx.onnx_read import read_all  # noqa: E402

KINDS = (L.LSTM, L.GRU, L.RNN)


@st.composite
def models(draw):
    """One to three recurrent layers of any kind and stack, with layers without states between them."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    features = draw(st.integers(1, 4))
    found = []
    for k in range(count := draw(st.integers(1, 3))):
        kind, both = draw(st.sampled_from(KINDS)), draw(st.booleans())
        hidden, levels = draw(st.integers(1, 5)), draw(st.integers(1, 3))
        options = {"num_layers": levels, "bidirectional": both, "bias": draw(st.booleans())}
        sequences = k + 1 < count or draw(st.booleans())
        options |= {"input_size": features, "hidden_size": hidden, "return_sequences": sequences}
        if both and levels == 1:
            options["merge"] = draw(st.sampled_from(["concat", "sum", "mean", "mul"]))
        found.append(make(rng, kind, f"rnn{k}", **options))
        features = found[-1].width
        if draw(st.booleans()):
            outputs = draw(st.integers(1, 4))
            found.append(make(rng, L.Linear, f"fc{k}", in_features=features, out_features=outputs, bias=True))
            features = outputs
    return Model(found, backend="numpy")


def states_of(model, rng, count):
    """Random states as the Model takes them, and as the file does."""
    prefix = len(model.recurrent_layers) > 1
    given_states, inputs = {}, {}
    for layer in model.recurrent_layers:
        arrays = {
            letter: rng.normal(size=(layer.states, count, width)).astype("f4")
            for letter, width in layer.state_widths.items()
        }
        given_states[layer.name] = tuple(arrays.values()) if "c" in arrays else arrays["h"]
        inputs |= {f"{layer.name}." * prefix + f"{letter}0": array for letter, array in arrays.items()}
    return given_states, inputs


@settings(max_examples=60, deadline=None)
@given(model=models(), count=st.integers(1, 3), steps=st.integers(1, 6), seed=st.integers(0, 1 << 30))
def test_states_go_in_and_come_out(tmp_path_factory, model, count, steps, seed):
    path = tmp_path_factory.mktemp("export") / "m.onnx"
    model.export_onnx(path, states=True)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, steps, model.input_size)).astype("f4")
    given_states, inputs = states_of(model, rng, count)
    runtime = session(onnx.load(path))
    names = [value.name for value in runtime.get_outputs()]
    got = dict(zip(names, runtime.run(None, {"window": x, **inputs}), strict=True))
    wide = model.astype(np.float64)
    answer, ends = wide(x.astype(np.float64), given_states, return_state=True)
    ends = ends if isinstance(ends, dict) else {model.recurrent_layers[0].name: ends}
    found = read_all(path)
    own = Model(found.layers, backend="numpy").astype(np.float64)
    units = found.states.as_units(own.recurrent_layers, own(x.astype(np.float64), given_states, return_state=True)[1])
    for port in found.states.flow.outputs:
        assert_close(got[port.name], port.gather(units))
    assert_close(got.pop("answer"), answer)
    for name, state in ends.items():
        for letter, array in zip("hc", state if isinstance(state, tuple) else (state,), strict=False):
            assert_close(got.pop(f"{name}." * (len(ends) > 1) + f"{letter}n"), array)
    assert not got
    assert {port.name for port in found.states.flow.inputs} == set(inputs)
    assert {port.name for port in found.states.flow.outputs} == {*names} - {"answer"}
    again, model = (
        lstmcore.load(path, backend="c"),
        model.with_backend("c"),
    )  # which adds the two biases, as the file does
    np.testing.assert_array_equal(again(x, _named(again, model, given_states)), model(x, given_states))


def _named(again, model, given_states):
    """The states under the names that the layers have in the model that was read."""
    pairs = zip(again.recurrent_layers, model.recurrent_layers, strict=True)
    found = {new.name: given_states[old.name] for new, old in pairs}
    assert list(found) == list(given_states)
    return found


def test_a_model_without_linear_layers_loads_as_itself(tmp_path):
    rng = np.random.default_rng(1)
    options = {"input_size": 3, "hidden_size": 4, "num_layers": 2, "return_sequences": True}
    model = Model([make(rng, L.LSTM, "encoder", **options), make(rng, L.GRU, "decoder", **options | {"input_size": 4})])
    model.export_onnx(tmp_path / "m.onnx", states=True)
    again = lstmcore.load(tmp_path / "m.onnx")
    assert again.summary() == model.summary()
    again.export_onnx(tmp_path / "again.onnx", states=True)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    proto = onnx.load(tmp_path / "m.onnx")
    assert [value.name for value in proto.graph.input] == ["window", "encoder.h0", "encoder.c0", "decoder.h0"]
    assert [value.name for value in proto.graph.output] == ["answer", "encoder.hn", "encoder.cn", "decoder.hn"]


def test_states_and_lengths_together(tmp_path):
    rng = np.random.default_rng(2)
    model = Model([make(rng, L.GRU, "rnn", input_size=3, hidden_size=4, return_sequences=True)], backend="numpy")
    model.export_onnx(tmp_path / "m.onnx", states=True, lengths=True)
    x, h = rng.normal(size=(3, 6, 3)).astype("f4"), rng.normal(size=(1, 3, 4)).astype("f4")
    lengths = np.array([6, 2, 4], np.int32)
    answer, end = session(onnx.load(tmp_path / "m.onnx")).run(None, {"window": x, "h0": h, "lengths": lengths})
    expected, expected_end = model.astype(np.float64)(x.astype(float), h, lengths, return_state=True)
    assert_close(answer, expected)
    assert_close(end, expected_end)
    assert lstmcore.load(tmp_path / "m.onnx").summary() == model.summary()
