"""Write docs/support.md: every argument of the recurrent layers of torch, Keras and ONNX, and what becomes of it here.

    python docs/support.py

The tables are those that the readers go by; a test compares the page with them, and them with the libraries.
"""

from __future__ import annotations

from pathlib import Path

from lstmcore.formats.keras import keras_arguments
from lstmcore.formats.onnx import onnx_attributes
from lstmcore.formats.torch import torch_arguments

PAGE = Path(__file__).with_name("support.md")
KERAS = ("LSTM", "GRU", "SimpleRNN")
RECURRENT = ("LSTM", "GRU", "RNN")

#: The tests in tests/formats/test_onnx_recurrent.py that show what becomes of an input, attribute or output.
ONNX_TESTS = {
    "input X": "test_directions_and_outputs",
    "input W": "test_swapped_gates_are_seen",
    "input R": "test_swapped_gates_are_seen",
    "input B?": "test_swapped_gates_are_seen",
    "input sequence_lens?": "test_sequence_lens_as_an_input",
    "input initial_h?": "test_initial_states",
    "input initial_c?": "test_initial_states",
    "input P?": "test_peepholes",
    "activations": "test_each_activation",
    "activation_alpha": "test_numbers_are_taken_by_the_functions_that_have_some",
    "activation_beta": "test_numbers_are_taken_by_the_functions_that_have_some",
    "clip": "test_clip",
    "direction": "test_directions_and_outputs",
    "hidden_size": "test_hidden_size_may_be_absent",
    "layout": "test_layout_1_is_layout_0_with_other_axes",
    "input_forget": "test_input_forget",
    "linear_before_reset": "test_linear_before_reset",
    "output Y_h": "test_directions_and_outputs",
    "output Y_c": "test_the_cell_state_is_no_answer",
}

HEAD = """# Every argument

What becomes of each argument of the recurrent layers of the three sources, and the test that shows it.
This page is generated from the tables that the readers go by (`python docs/support.py`);
an argument that is in no table is an error that names it.
"""


def keras_test(verdict: object) -> str:
    """The parametrised test of a Keras argument of that verdict."""
    kinds = {keras_arguments.HONOURED: "honoured", keras_arguments.NO_EFFECT: "no_effect"}
    return f"test_keras_arguments.py::test_{kinds.get(str(verdict), 'refused')}"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for kind in RECURRENT:
        rows = torch_arguments.ARGUMENTS[kind].items()
        lines += _table(f"torch.nn.{kind}", [(name, a.verdict, a.test) for name, a in rows])
    for kind in KERAS:
        verdicts = keras_arguments.ARGUMENTS[kind].items()
        lines += _table(f"keras.layers.{kind}", [(name, str(v), keras_test(v)) for name, v in verdicts])
    for kind in RECURRENT:
        verdicts = onnx_attributes.ATTRIBUTES[kind].items()
        lines += _table(
            f"ONNX {kind}", [(name, v, f"test_onnx_recurrent.py::{ONNX_TESTS[name]}") for name, v in verdicts]
        )
    return "\n".join(lines)


def _table(title: str, rows: list[tuple[str, str, str]]) -> list[str]:
    cells = [f"| `{name}` | {verdict} | `{test}` |" for name, verdict, test in rows]
    return [f"## {title}\n", "| argument | what becomes of it | test |", "|---|---|---|", *cells, ""]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
