"""What the keys and shapes of a state_dict let one suppose of the architecture, for messages."""

from __future__ import annotations

from collections.abc import Mapping

from lstmcore.formats.torch_file import shown
from lstmcore.layers import Array

MAX_SHOWN = 20  # keys


def suggested(state: Mapping[str, Array]) -> str:
    """The layers with weights, as `layers=` takes them; their order is that of the keys."""
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, array in state.items():
        path, _, name = key.rpartition(".")
        groups.setdefault(path, {})[name] = array.shape
    recurrent = [path for path, shapes in groups.items() if "weight_ih_l0" in shapes]
    entries = []
    for path, shapes in groups.items():
        ambiguous = path in recurrent[-1:] and "weight_ih_l0_reverse" in shapes
        more = ', {"return_sequences": False}' * ambiguous
        entries.append(f'("{shown(path)}", "{_kind(shapes)}"{more})')
    hint = ' (or for out[:, -1] of both directions, True and a "Last" behind it)' * ("return" in "".join(entries))
    return f"layers=[{', '.join(entries[:MAX_SHOWN])}{', ...' * (len(entries) > MAX_SHOWN)}]{hint}"


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
