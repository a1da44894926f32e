"""The layers that carry a state from step to step: LSTM, GRU, RNN, their settings and weights under torch's names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lstmcore.layers.activations import Activation, parse
from lstmcore.layers.base import RARE, Array, Layer, Shape
from lstmcore.text import quoted

MERGES = ("concat", "sum", "mean", "mul")


@dataclass(frozen=True, eq=False)
class Recurrent(Layer):
    """What LSTM, GRU and RNN share: ("T", I) -> ("T", width), or (width,) without `return_sequences`.

    With `bidirectional` each layer of the stack runs over the sequence in both directions and joins what comes out:
    "concat", "sum", "mean" or "mul" (`merge`; between the layers of a stack it is always "concat"). Without
    `return_sequences` the two directions' final states are joined, as torch's h_n and Keras have it; the newest step of
    the sequence is what a `Last` layer behind `return_sequences` takes.

    `activations` names the functions of the gates, of the candidate and, in an LSTM, of the cell: see `activations.py`.
    `clip`, unless it is 0, cuts what goes into the gates and the candidate to [-clip, clip]. With `learned_state` a
    sequence begins with the states h_0 and c_0 that stand among the weights.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    return_sequences: bool = False
    bidirectional: bool = field(default=False, metadata=RARE)
    merge: str = field(default="concat", metadata=RARE)
    activations: str = field(default="", metadata=RARE)
    clip: float = field(default=0.0, metadata=RARE | {"least": 0})
    learned_state: bool = field(default=False, metadata=RARE)

    pointwise: ClassVar[bool] = False
    #: Gates in the order in which their rows are stacked; torch's.
    gates: ClassVar[str]
    #: What `activations` is where nobody says.
    usual: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        # One text for one thing: models are compared by their settings.
        object.__setattr__(self, "activations", " ".join(map(str, self.functions)))

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().check_settings(settings)
        if checked["merge"] not in MERGES:
            raise ValueError(
                f"{cls.__name__}: setting 'merge': expected one of {MERGES}, got {quoted(checked['merge'])}"
            )
        if checked["merge"] != "concat" and not checked["bidirectional"]:
            raise ValueError(f"{cls.__name__}: setting 'merge': {checked['merge']!r} needs bidirectional")
        if checked["merge"] != "concat" and checked["num_layers"] > 1:
            raise ValueError(f"{cls.__name__}: setting 'merge': a stack of several layers is joined by 'concat'")
        cls._functions(checked["activations"])
        return checked

    @classmethod
    def _functions(cls, text: str) -> tuple[Activation, ...]:
        what = f"{cls.__name__}: setting 'activations'"
        return parse(text or cls.usual, len(cls.usual.split()), what)

    def usual_setting(self, key: str) -> Any:
        return self.usual if key == "activations" else super().usual_setting(key)

    @property
    def functions(self) -> tuple[Activation, ...]:
        """The activations, ready to be called."""
        return self._functions(self.activations)

    @property
    def plain(self) -> bool:
        """Its step is the usual one: no variation of it, and the usual activations."""
        return all(
            getattr(self, f.name) == f.default for f in dataclasses.fields(self) if f.metadata.get("variation", False)
        ) and (self.activations == self.usual and self.clip == 0)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What torch puts behind a weight's name for each direction."""
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def state_width(self) -> int:
        """Values in h of one layer and direction: what goes on to the next step and layer."""
        return self.hidden_size

    @property
    def cell_width(self) -> int:
        """Values in c of one layer and direction; 0 where there is no c."""
        return 0

    @property
    def state_widths(self) -> dict[str, int]:
        """The widths of h and, where there is one, c: by their letters."""
        return {"h": self.state_width} | ({"c": self.cell_width} if self.cell_width else {})

    @property
    def states(self) -> int:
        """Layers times directions: rows of the states, in torch's order."""
        return self.num_layers * len(self.suffixes)

    @property
    def width(self) -> int:
        """Features that go on."""
        return self.state_width * (2 if self.bidirectional and self.merge == "concat" else 1)

    @classmethod
    def weight_shapes(cls, **settings: Any) -> dict[str, tuple[int, ...]]:
        usual = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
        s = _Settings(usual | settings)
        rows = len(cls.gates) * s.hidden_size
        state = s.get("proj_size") or s.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for k in range(s.num_layers):
            for suffix in ("", "_reverse") if s.bidirectional else ("",):
                name = f"l{k}{suffix}"
                shapes[f"weight_ih_{name}"] = (rows, state * (1 + s.bidirectional) if k else s.input_size)
                shapes[f"weight_hh_{name}"] = (rows, state)
                if s.bias:
                    shapes[f"bias_ih_{name}"] = shapes[f"bias_hh_{name}"] = (rows,)
                shapes |= {f"{key}_{name}": shape for key, shape in cls._more_shapes(s, rows, state)}
        return shapes

    @classmethod
    def _more_shapes(cls, s: _Settings, rows: int, state: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The further weights of one layer and direction."""
        if s.learned_state:
            yield "h_0", (state,)

    def output_shape(self, shape: Shape) -> Shape:
        self._need(len(shape) == 2, shape, f"a sequence (T, {self.input_size})")
        self._need_features(shape, self.input_size)
        return (shape[0], self.width) if self.return_sequences else (self.width,)

    def cell(self, k: int, suffix: str = "") -> dict[str, Array]:
        """The weights of one layer and direction, without "_l{k}" in their names."""
        end = f"_l{k}{suffix}"
        return {key[: -len(end)]: w for key, w in self.weights.items() if key.endswith(end)}

    def single(self, k: int, suffix: str, name: str, return_sequences: bool) -> Recurrent:
        """One layer and direction as a layer of its own, over the sequence as that direction sees it."""
        cell = self.cell(k, suffix)
        changed: Recurrent = self.replace(
            name=name, input_size=cell["weight_ih"].shape[1], num_layers=1, return_sequences=return_sequences,
            bidirectional=False, merge="concat", weights={f"{key}_l0": w for key, w in cell.items()}, inputs=(),
        )  # fmt: skip
        return changed


class _Settings(dict[str, Any]):
    """Settings by attribute."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@dataclass(frozen=True, eq=False)
class LSTM(Recurrent):
    """Long short-term memory, as `torch.nn.LSTM`, with its variations.

    `proj_size`, unless it is 0, is the width to which weight_hr projects h (Sak et al. 2014). With `peepholes` the
    gates see the cell state (Gers & Schmidhuber 2000), `weight_peephole` holding the rows of i, f, o. With `coupled`
    the forget gate is 1 - i (ONNX's input_forget), and its rows of the weights are unused. With `layer_norm` the
    gates' products and the cell are normalised (Ba et al. 2016).
    """

    proj_size: int = field(default=0, metadata=RARE | {"least": 0, "variation": True})
    peepholes: bool = field(default=False, metadata=RARE | {"variation": True})
    coupled: bool = field(default=False, metadata=RARE | {"variation": True})
    layer_norm: bool = field(default=False, metadata=RARE | {"variation": True})
    norm_eps: float = field(default=1e-5, metadata=RARE | {"least": 0})

    gates: ClassVar[str] = "ifgo"
    usual: ClassVar[str] = "sigmoid tanh tanh"

    @property
    def state_width(self) -> int:
        return self.proj_size or self.hidden_size

    @property
    def cell_width(self) -> int:
        return self.hidden_size

    @classmethod
    def _more_shapes(cls, s: _Settings, rows: int, state: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        hidden = s.hidden_size
        if s.proj_size:
            yield "weight_hr", (s.proj_size, hidden)
        if s.peepholes:
            yield "weight_peephole", (3 * hidden,)
        if s.layer_norm:
            yield from {"norm_ih": (rows,), "norm_hh": (rows,), "norm_c": (hidden,), "norm_c_bias": (hidden,)}.items()
        yield from super()._more_shapes(s, rows, state)
        if s.learned_state:
            yield "c_0", (hidden,)


@dataclass(frozen=True, eq=False)
class GRU(Recurrent):
    """Gated recurrent unit, as `torch.nn.GRU`.

    The reset gate works on the recurrent product (`reset_after`: torch, ONNX's linear_before_reset) or, in the first
    form of Cho et al. 2014, on h before it.
    """

    reset_after: bool = field(default=True, metadata={"variation": True})

    gates: ClassVar[str] = "rzn"
    usual: ClassVar[str] = "sigmoid tanh"


@dataclass(frozen=True, eq=False)
class RNN(Recurrent):
    """The simple recurrent network, as `torch.nn.RNN`: its activation is "tanh", "relu" or any other."""

    gates: ClassVar[str] = "n"
    usual: ClassVar[str] = "tanh"

    @property
    def plain(self) -> bool:
        return self.activations in ("tanh", "relu") and self.clip == 0
