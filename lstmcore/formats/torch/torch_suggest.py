"""What the keys and shapes of a state_dict let one suppose of the architecture, for messages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lstmcore.errors import ModelFormatError
from lstmcore.formats.torch.torch_file import shown
from lstmcore.layers import Array

MAX_SHOWN = 20  # keys


class NoLayersError(ModelFormatError):
    """A state_dict without its architecture; the text proposes one as `layers=` takes it."""

    parts: tuple[str, str, str] = ("", "", "")  # of the text for the command line

    def on_command_line(self, option: str) -> str:
        """The text where `option` takes the layers as a file of JSON."""
        start, in_json, end = self.parts
        return f"{start}: give it in a file of JSON with {option}, perhaps {in_json}{end}"


def no_layers(file: str, state: Mapping[str, Array]) -> NoLayersError:
    """The error for a file without `layers=`."""
    python, in_json = _suggested(state)
    start = f"{file}: a state_dict says nothing of the architecture"
    end = f" with the functions between them; the file has {described(state)}"
    error = NoLayersError(f"{start}: give it as layers=, perhaps layers={python}{end}")
    error.parts = start, in_json, end
    return error


def _suggested(state: Mapping[str, Array]) -> tuple[str, str]:
    """The layers with weights, as `layers=` takes them, in Python and in JSON; their order is that of the keys."""
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, array in state.items():
        path, _, name = key.rpartition(".")
        groups.setdefault(path, {})[name] = array.shape
    recurrent = [path for path, shapes in groups.items() if "weight_ih_l0" in shapes]
    python, in_json, hint = [], [], ("", "")
    for path, shapes in groups.items():
        entry = ", ".join(json.dumps(text, ensure_ascii=False) for text in (shown(path), _kind(shapes)))
        taken = ("", "")
        if path in recurrent[-1:] and "weight_ih_l0_reverse" in shapes:
            taken = ', {"return_sequences": False}', ', {"return_sequences": false}'
            also = ' (or for out[:, -1] of both directions, {} and a "Last" behind it)'
            hint = also.format("True"), also.format("true")
        python.append(f"({entry}{taken[0]})")
        in_json.append(f"[{entry}{taken[1]}]")
    more = ", ..." * (len(groups) > MAX_SHOWN)
    shown_in = [f"[{', '.join(entries[:MAX_SHOWN])}{more}]" for entries in (python, in_json)]
    return shown_in[0] + hint[0], shown_in[1] + hint[1]


def described(state: Mapping[str, Array]) -> str:
    """Keys and shapes."""
    keys = [f"{shown(key)} {array.shape}" for key, array in state.items()][:MAX_SHOWN]
    more = len(state) - len(keys)
    return ", ".join(keys) + (f" and {more} more" if more else "")


def _kind(shapes: Mapping[str, tuple[int, ...]]) -> str:
    rows = next((shapes[key] for key in ("weight_hh_l0", "weight_hh") if len(shapes.get(key, ())) == 2), None)
    if rows:
        gates = rows[0] // max(1, rows[1])
        return "LSTM" if "weight_hr_l0" in shapes else {4: "LSTM", 3: "GRU", 1: "RNN"}.get(gates, "?")
    if "running_mean" in shapes:
        return "BatchNorm1d"
    return {1: "LayerNorm", 2: "Linear"}.get(len(shapes.get("weight", ())), "?")
