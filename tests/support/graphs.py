"""Models that are no chain, each with the same said directly: what its layers' equations make of one window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from answers import answer
from strategies import make

from lstmcore import layers as L

FEATURES, HIDDEN, STEPS = 3, 4, 6


class Case(NamedTuple):
    layers: list[L.Layer]
    direct: Callable[[Any], Any]  # (T, F) float64 -> the answer
    stateful: bool = True


class Maker:
    """Layers with weights of their own in float64; called, each gives its answer to a sequence or a vector."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, kind: type[L.Layer], name: str, *read: str, **settings: Any) -> Any:
        if issubclass(kind, L.Recurrent):
            settings = {"input_size": FEATURES, "hidden_size": HIDDEN, "return_sequences": True} | settings
        return make(kind, name, self.rng, gain=1.0, dtype="f8", inputs=read, **settings)


def run(layer: L.Layer, x: Any) -> Any:
    """One layer alone."""
    return answer([layer.replace(inputs=())], x)


def linear(layer: L.Linear, x: Any) -> Any:
    return x @ layer.weights["weight"].T + layer.weights.get("bias", 0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def residual(new: Maker) -> Case:
    a = new(L.LSTM, "a", hidden_size=FEATURES)
    b = new(L.GRU, "b", hidden_size=FEATURES)
    fc = new(L.Linear, "fc", in_features=FEATURES, out_features=2)
    layers = [a, L.Add("sum", inputs=("a", "input")), b, L.Add("sum2", inputs=("b", "sum")), L.Last("last"), fc]

    def direct(x: Any) -> Any:
        first = run(a, x) + x
        return linear(fc, (run(b, first) + first)[-1])

    return Case(layers, direct)


def branches(new: Maker) -> Case:
    """Sequences joined, read by one more layer."""
    a, b = new(L.LSTM, "a", num_layers=2), new(L.GRU, "b", "input", hidden_size=2)
    c = new(L.RNN, "c", input_size=HIDDEN + 2, return_sequences=False)
    layers = [a, b, L.Concat("both", inputs=("b", "a")), c]
    return Case(layers, lambda x: run(c, np.concatenate([run(b, x), run(a, x)], axis=1)))


def vectors(new: Maker) -> Case:
    """Final states joined."""
    a, b = new(L.LSTM, "a", return_sequences=False), new(L.RNN, "b", "input", hidden_size=2, return_sequences=False)
    fc = new(L.Linear, "fc", in_features=HIDDEN + 2, out_features=3, bias=False)

    def direct(x: Any) -> Any:
        e = np.exp(linear(fc, np.concatenate([run(a, x), run(b, x)])))
        return e / e.sum()

    return Case([a, b, L.Concat("both", inputs=("a", "b")), fc, L.Softmax("softmax")], direct)


def ensemble(new: Maker) -> Case:
    """The mean of three heads that read one layer, as one number."""
    a = new(L.LSTM, "a", return_sequences=False)
    heads = [new(L.Linear, f"head{n}", "a", in_features=HIDDEN, out_features=1) for n in range(3)]
    layers = [a, *heads, L.Mean("mean", inputs=("head0", "head1", "head2")), L.Squeeze("squeeze")]
    return Case(layers, lambda x: sum(linear(h, run(a, x))[0] for h in heads) / 3)


def gated(new: Maker) -> Case:
    """A sequence times what a Linear lets through, normalised, with dropout here and there."""
    a, g = new(L.LSTM, "a"), new(L.Linear, "g", "input", in_features=FEATURES, out_features=HIDDEN)
    norm = new(L.BatchNorm1d, "norm", num_features=HIDDEN)
    ln = new(L.LayerNorm, "ln", "product", num_features=HIDDEN)
    layers = [
        a, L.Dropout("drop", inputs=("a",)), g, L.Sigmoid("s"), L.Mul("product", inputs=("s", "drop")), norm, ln,
        L.Add("end", inputs=("norm", "ln")), L.Dropout("drop2"),
    ]  # fmt: skip

    def direct(x: Any) -> Any:
        product, w = sigmoid(linear(g, x)) * run(a, x), norm.weights
        normed = (product - w["running_mean"]) / np.sqrt(w["running_var"] + 1e-5) * w["weight"] + w["bias"]
        apart = product - product.mean(1, keepdims=True)
        layered = apart / np.sqrt(product.var(1, keepdims=True) + 1e-5) * ln.weights["weight"] + ln.weights["bias"]
        return normed + layered

    return Case(layers, direct)


def nested(new: Maker) -> Case:
    """A branch within a branch; one layer read twice by the same one, and by two."""
    a, b = new(L.LSTM, "a"), new(L.GRU, "b", "a", input_size=HIDDEN)
    layers = [
        a, b, L.Tanh("tanh", inputs=("b",)), L.Activation("soft", "softsign", inputs=("b",)),
        L.Mul("inner", inputs=("tanh", "soft")), L.Add("outer", inputs=("inner", "a", "a")), L.Last("last"),
    ]  # fmt: skip

    def direct(x: Any) -> Any:
        first = run(a, x)
        second = run(b, first)
        return (np.tanh(second) * second / (1 + np.abs(second)) + first + first)[-1]

    return Case(layers, direct)


def last_steps(new: Maker) -> Case:
    """The newest step taken in two branches, and in the midst of one."""
    a = new(L.LSTM, "a")
    fc = new(L.Linear, "fc", in_features=HIDDEN, out_features=HIDDEN)
    layers = [a, L.Last("one"), L.Last("two", inputs=("a",)), fc, L.ReLU("relu"), L.Add("sum", inputs=("one", "relu"))]
    return Case(layers, lambda x: run(a, x)[-1] + np.maximum(linear(fc, run(a, x)[-1]), 0))


def scaled(new: Maker) -> Case:
    """A Scaler, and branches of what comes out of it."""
    scaler = new(L.Scaler, "scaler", num_features=FEATURES)
    a, b = new(L.LSTM, "a"), new(L.RNN, "b", "scaler", activations="relu")

    def direct(x: Any) -> Any:
        x = (x - scaler.weights["mean"]) / scaler.weights["scale"]
        return (run(a, x) + run(b, x)) / 2

    return Case([scaler, a, b, L.Mean("mean", inputs=("a", "b"))], direct)


def numbers(new: Maker) -> Case:
    """Values without features: a number for each tick, added and activated."""
    a, fc = new(L.LSTM, "a"), new(L.Linear, "fc", in_features=HIDDEN, out_features=1)
    layers = [a, fc, L.Squeeze("q"), L.Tanh("t"), L.ReLU("r", inputs=("q",)), L.Add("s", inputs=("t", "r"))]

    def direct(x: Any) -> Any:
        q = linear(fc, run(a, x))[:, 0]
        return np.tanh(q) + np.maximum(q, 0)

    return Case(layers, direct)


def number(new: Maker) -> Case:
    """The same for one number of a window."""
    case = numbers(new)
    vector = [case.layers[0].replace(return_sequences=False), *case.layers[1:]]
    return Case(vector, lambda x: case.direct(x)[-1])


def products(new: Maker) -> Case:
    """The input times itself, and beside itself, before any layer says how wide it is."""
    a = new(L.GRU, "a", input_size=2 * FEATURES)
    layers = [L.Mul("square", inputs=("input", "input")), L.Concat("both", inputs=("input", "square")), a]
    return Case(layers, lambda x: run(a, np.concatenate([x, x * x], axis=1)))


def backwards(new: Maker) -> Case:
    """ONNX's direction "reverse" is Reverse, LSTM, Reverse."""
    a = new(L.LSTM, "a", num_layers=2)
    return Case([L.Reverse("in"), a, L.Reverse("out")], lambda x: run(a, x[::-1])[::-1], stateful=False)


def twice_reversed(new: Maker) -> Case:
    a = new(L.LSTM, "a", return_sequences=False)
    return Case([L.Reverse("one"), L.Reverse("two"), a], lambda x: run(a, x), stateful=False)


def both_by_hand(new: Maker) -> Case:
    """What a bidirectional layer is, of its parts."""
    a, b = new(L.GRU, "a"), new(L.GRU, "b")
    layers = [a, L.Reverse("in", inputs=("input",)), b, L.Reverse("out"), L.Concat("both", inputs=("a", "out"))]
    return Case(layers, lambda x: np.concatenate([run(a, x), run(b, x[::-1])[::-1]], axis=1), stateful=False)


def flattened(new: Maker) -> Case:
    """Two branches of windows of one length."""
    a, b = new(L.LSTM, "a"), new(L.RNN, "b", "input")
    layers = [a, b, L.Flatten("f", STEPS), L.Flatten("g", STEPS, inputs=("a",)), L.Mul("end", inputs=("f", "g"))]
    return Case(layers, lambda x: (run(a, x) * run(b, x)).reshape(-1), stateful=False)


def wide(new: Maker) -> Case:
    """Nothing but a Linear behind a Flatten, and a join before it, says how wide a tick is."""
    fc = new(L.Linear, "fc", in_features=2 * FEATURES * STEPS, out_features=2)
    layers = [L.Tanh("t"), L.Concat("both", inputs=("t", "input")), L.Flatten("f", STEPS), fc]
    return Case(layers, lambda x: linear(fc, np.concatenate([np.tanh(x), x], axis=1).reshape(-1)), stateful=False)


def directions(kind: type[L.Recurrent], merge: str, sequences: bool) -> Callable[[Maker], Case]:
    def made(new: Maker) -> Case:
        a = new(kind, "a", bidirectional=True, merge=merge, return_sequences=sequences)
        there, back = (a.single(0, suffix, "a", sequences) for suffix in ("", "_reverse"))
        fc = new(L.Linear, "fc", in_features=a.width, out_features=2)

        def direct(x: Any) -> Any:
            one, two = run(there, x), run(back, x[::-1])
            two = two[::-1] if sequences else two
            return linear(fc, np.concatenate([one, two], -1) if merge == "concat" else
                          one * two if merge == "mul" else (one + two) / (2 if merge == "mean" else 1))  # fmt: skip

        return Case([a, fc], direct, stateful=False)

    return made


CASES: dict[str, Callable[[Maker], Case]] = {
    case.__name__: case
    for case in (
        residual, branches, vectors, ensemble, gated, nested, last_steps, scaled, numbers, number, products,
        backwards, twice_reversed, both_by_hand, flattened, wide,
    )
} | {
    f"{kind.__name__} {merge} {sequences}": directions(kind, merge, sequences)
    for kind, merge, sequences in [
        (L.LSTM, "concat", True), (L.LSTM, "concat", False), (L.GRU, "sum", True), (L.GRU, "mean", False),
        (L.RNN, "mul", True), (L.LSTM, "mul", False), (L.RNN, "mean", True), (L.GRU, "sum", False),
    ]
}  # fmt: skip


#: Those that take windows of one length.
FIXED = ("flattened", "wide")


def case(name: str, seed: int = 0) -> Case:
    return CASES[name](Maker(seed))
