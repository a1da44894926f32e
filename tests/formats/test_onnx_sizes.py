"""Graphs whose numbers meet the sizes of a window or a batch: refused, or right for any size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lstmcore
from lstmcore import UnsupportedError

onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_files import model, session, weights, windows  # noqa: E402

node = helper.make_node

END, START = np.iinfo("i8").max, np.iinfo("i8").min
#: What is drawn for bounds: what says "all", and what lies within, at and beyond the sizes that are compared.
BOUNDS = st.one_of(
    st.sampled_from([END, START, 2**31 - 1, 0, 1, -1, 2, 11, 13, 50, -50, 64, 100]), st.integers(-70, 70)
)

#: An expression over sizes: "N", "T", "F", an integer, or an operator and what it takes.
LEAVES = st.one_of(st.sampled_from("TTTN"), st.just("F"), st.integers(-3, 70), st.sampled_from([50, 100, 500]))
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["Add", "Sub", "Mul", "Div", "Min", "Max", "Mod"]), inner, inner),
        st.tuples(st.sampled_from(["Less", "Greater", "Equal"]), inner, inner, inner, inner),
    ),
    max_leaves=5,
)


class Graph:
    """Nodes as they are added."""

    def __init__(self):
        self.nodes, self.count = [], itertools.count()
        self.constants = {"zero": np.array([0]), "one": np.array([1])}

    def add(self, op, *inputs, **attributes):
        name = f"v{next(self.count)}"
        self.nodes.append(node(op, list(inputs), [name], **attributes))
        return name

    def number(self, value):
        name = f"c{next(self.count)}"
        self.constants[name] = np.array([value], np.int64)
        return name

    def expression(self, tree):
        """The name of an expression's value, [1] int64."""
        if isinstance(tree, str):
            return self.add("Gather", self.add("Shape", "window"), self.number("NTF".index(tree)))
        if not isinstance(tree, tuple):
            return self.number(tree)
        op, *parts = tree
        made = [self.expression(part) for part in parts]
        if len(made) == 2:
            return self.add(op, *made)
        return self.add("Where", self.add(op, *made[:2]), *made[2:])

    def slice(self, x, start, end, step):
        """x[:, start:end:step] of (N, T, F)."""
        return self.add("Slice", x, self.expression(start), self.expression(end), "one", self.number(step))

    def recurrent(self, x, features=3):
        """A GRU over (N, T, F): (N, T, 4)."""
        made = weights(np.random.default_rng(next(self.count)), "GRU", features=features)
        names = {key: f"{key}{next(self.count)}" for key in "WRB"}
        self.constants |= {names[key]: made[key] for key in names}
        first = self.add("Transpose", x, perm=[1, 0, 2])
        every = self.add("GRU", first, *names.values(), hidden_size=4)
        return self.add("Transpose", self.add("Squeeze", every, "one"), perm=[1, 0, 2])

    def build(self, answer, **options):
        self.nodes.append(node("Identity", [answer], ["answer"]))
        return model(self.nodes, self.constants, **options)


def constants_of(tree):
    """The numbers in expressions."""
    if isinstance(tree, tuple):
        return [n for part in tree for n in constants_of(part)]
    return [abs(tree)] if isinstance(tree, int) and abs(tree) < 1000 else []


def check(folder, proto, sizes):
    """Refused, or ONNX Runtime's answer to windows of all these sizes (N, T); whether it was loaded."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    try:
        made = lstmcore.load(path, backend="numpy")
    except UnsupportedError:
        return False
    except lstmcore.ModelFormatError:
        return False
    runtime = session(proto)
    for n, t in sizes:
        x = windows(np.random.default_rng(n * 1000 + t), n, t)
        try:
            (expected,) = runtime.run(None, {"window": x})
        except Exception:  # the graph itself fails at this size; ONNX Runtime's have no class
            continue
        got = np.asarray(made(x))
        assert got.size == expected.size, (n, t, got.shape, expected.shape)
        atol = 5e-6 * max(1, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=0, atol=atol, err_msg=f"N={n}, T={t}")
    return True


def sizes_beside(numbers, more):
    """Sizes at which something may change, and others."""
    near = {n + k for n in numbers for k in (-1, 0, 1) if 1 <= n + k <= 1000}
    return [(1, 1), (1, 7), (3, 1), *((2, t) for t in near | {more}), *((n, 4) for n in near if n <= 128)]


QUIET = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@QUIET
@given(BOUNDS, BOUNDS, st.sampled_from([1, 1, 1, -1, 2, -2, 3]), st.booleans(), st.integers(1, 200))
@example(-50, END, 1, False, 100)
@example(0, 50, 1, True, 100)
@example(0, END, 1, False, 70)
@example(-1, START, -1, True, 70)
@example(49, START, -1, False, 70)
def test_a_slice_is_refused_or_right(tmp_path, start, end, step, behind, more):
    """x[:, start:end:step] of the window or of a layer's steps."""
    graph = Graph()
    x = graph.recurrent("window") if behind else "window"
    cut = graph.slice(x, start, end, step)
    answer = graph.recurrent(cut, 4 if behind else 3)
    check(tmp_path, graph.build(answer), sizes_beside(constants_of((start, end)), more))


@QUIET
@given(EXPRESSIONS, EXPRESSIONS, st.sampled_from([1, 1, -1]), st.integers(1, 200))
@example(0, ("Min", "T", 50), 1, 120)
@example(0, ("Less", "T", 60, "T", 60), 1, 120)
@example(0, ("Equal", ("Mul", "T", 2), 100, 7, "T"), 1, 120)
@example(0, ("Equal", ("Sub", "T", 7), 40, 7, "T"), 1, 120)
@example(0, ("Less", "N", 40, "T", 1), 1, 12)
@example(0, ("Equal", "N", 1, 1, "T"), 1, 12)
@example(0, ("Equal", "T", 1, 0, "T"), 1, 12)
@example(("Sub", "T", "T"), ("Add", "T", 5), 1, 120)
@example(("Sub", "T", ("Min", "T", ("Mul", 10, 7))), END, 1, 120)
def test_a_slice_by_computed_bounds_is_refused_or_right(tmp_path, start, end, step, more):
    graph = Graph()
    answer = graph.recurrent(graph.slice("window", start, end, step))
    check(tmp_path, graph.build(answer), sizes_beside(constants_of((start, end)), more))


@QUIET
@given(st.lists(st.tuples(EXPRESSIONS, st.sampled_from([1, -1, 0.5])), min_size=1, max_size=2), st.integers(1, 200))
@example([(("Less", "N", 2, 0, 1), 1)], 12)
@example([(("Greater", "T", 60, 0, 1), 1)], 12)
@example([(("Less", 13, "T", "N", "F"), 1)], 1)
@example([(("Less", 13, "T", "N", 3), 1)], 1)
@example([(("Less", 13, "N", "T", 2), 1)], 1)
@example([(("Equal", "T", "N", "T", 0), 1)], 1)
def test_a_factor_that_sizes_choose_is_refused_or_right(tmp_path, factors, more):
    """`y if x.shape[0] > 1 else 2 * y`."""
    graph = Graph()
    value = graph.recurrent("window")
    for tree, more_or_less in factors:
        graph.constants["scale"] = np.array([more_or_less], np.float32)
        factor = graph.add("Cast", graph.expression(tree), to=TensorProto.FLOAT)
        value = graph.add("Mul", value, graph.add("Mul", factor, "scale"))
    check(tmp_path, graph.build(value), sizes_beside([n for tree, _ in factors for n in constants_of(tree)], more))


@pytest.mark.parametrize(("start", "end"), [(-50, END), (0, 50), (0, 64), (-14, END), (0, 2**31 - 5), (-1000, END)])
@pytest.mark.parametrize("behind", [False, True])
def test_a_slice_longer_than_what_is_tried_first_is_refused_by_name(tmp_path, start, end, behind):
    graph = Graph()
    x = graph.recurrent("window") if behind else "window"
    cut = graph.slice(x, start, end, 1)
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.build(graph.recurrent(cut, 4 if behind else 3)).SerializeToString())
    number = end if start == 0 else start
    with pytest.raises(UnsupportedError, match=rf"node '{cut}' \(Slice\).*{number}.*cut the windows before"):
        lstmcore.load(path)


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, END, 1), (0, 2**31 - 1, 1), (START, END, 1), (-END, END, 1), (-1, START, -1)]
)
def test_to_the_end_is_read_as_that(tmp_path, start, end, step):
    graph = Graph()
    answer = graph.recurrent(graph.slice("window", start, end, step))
    assert check(tmp_path, graph.build(answer), [(1, 1), (1, 9), (2, 500), (300, 2)])


@pytest.mark.parametrize("index", [0, -1, 1, 49, -2])
def test_a_gathered_step_is_refused_or_right(tmp_path, index):
    graph = Graph()
    answer = graph.add("Gather", graph.recurrent("window"), graph.number(index), axis=1)
    loaded = check(tmp_path, graph.build(answer), [(1, 1), (1, 9), (2, 50), (2, 51)])
    assert loaded == (index in (0, -1))


def test_steps_counted_by_a_range_are_refused_or_right(tmp_path):
    """x[:, torch.arange(T)[:50]], and the same with all of them."""
    for most in (50, END):
        graph = Graph()
        steps = graph.add("Squeeze", graph.expression("T"), "zero")
        graph.constants |= {"from": np.array(0), "by": np.array(1)}
        every = graph.add("Range", "from", steps, "by")
        chosen = graph.add("Slice", every, "zero", graph.number(most))
        answer = graph.recurrent(graph.add("Gather", "window", chosen, axis=1))
        assert check(tmp_path, graph.build(answer), [(1, 1), (2, 50), (2, 51)]) == (most == END)


def test_a_table_of_lengths_is_refused(tmp_path):
    """x[:, -table[T]:]"""
    graph = Graph()
    graph.constants["table"] = np.minimum(np.arange(200), 60)
    length = graph.add("Gather", "table", graph.expression("T"))
    answer = graph.recurrent(graph.slice("window", 0, "T", 1))
    cut = graph.add("Slice", answer, "zero", length, "one")
    assert not check(tmp_path, graph.build(graph.recurrent(cut, 4)), [(2, 60), (2, 61)])


def test_numbers_of_features_cost_no_trial(tmp_path, monkeypatch):
    """A usual graph is read four times: its gates' and layers' sizes meet no size of a window."""
    from lstmcore.formats.onnx import onnx_trials

    walks = []

    class Walk(onnx_trials.Walk):
        def __init__(self, *arguments):
            walks.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(onnx_trials, "Walk", Walk)
    graph = Graph()
    every = graph.recurrent("window")
    flat = graph.add("Reshape", every, graph.add("Concat", graph.number(-1), graph.number(4), axis=0))
    back = graph.add("Concat", graph.expression("N"), graph.expression("T"), graph.number(4), axis=0)
    assert check(tmp_path, graph.build(graph.add("Reshape", flat, back)), [(1, 1), (2, 9)])
    assert len(walks) == 4
