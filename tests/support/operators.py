"""ONNX Runtime's recurrent operators with a layer's weights: another implementation of every variation."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmcore import layers as L

#: In what order ONNX stacks the gates, of torch's.
ORDERS = {L.LSTM: [0, 3, 1, 2], L.GRU: [1, 0, 2], L.RNN: [0]}
PEEPHOLES = [0, 2, 1]  # i o f of our i f o


def stacked(layer: L.Recurrent, key: str, order: list[int]) -> Any:
    """A weight of every direction, (directions, ...), its gates in another order."""
    cells = [layer.cell(0, suffix)[key] for suffix in layer.suffixes]
    return np.stack([np.concatenate([np.split(w, len(order))[n] for n in order]) for w in cells])


def onnxruntime_answer(
    layer: L.Recurrent, x: Any, attributes: dict[str, Any], lengths: Any = None, state: Any = None
) -> tuple[Any, Any]:
    """Every step's output (directions, N, T, H), and the last (directions, N, H), of a batch (N, T, I)."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    order = ORDERS[type(layer)]
    feed: dict[str, Any] = {"X": x.transpose(1, 0, 2)}
    feed |= {"W": stacked(layer, "weight_ih", order), "R": stacked(layer, "weight_hh", order)}
    feed["B"] = np.concatenate([stacked(layer, f"bias_{which}", order) for which in ("ih", "hh")], axis=1)
    if lengths is not None:
        feed["sequence_lens"] = np.asarray(lengths, np.int32)
    if state is not None:
        feed |= {"initial_h": state[0], "initial_c": state[1]} if layer.cell_width else {"initial_h": state}
    if isinstance(layer, L.LSTM) and layer.peepholes:
        feed["P"] = stacked(layer, "weight_peephole", PEEPHOLES)
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    names = [name if name in feed else "" for name in names]
    while not names[-1]:
        names.pop()
    kind = type(layer).__name__
    if layer.bidirectional:
        attributes = {"direction": "bidirectional", **attributes}
    node = helper.make_node(kind, names, ["Y", "Y_h"], hidden_size=layer.hidden_size, **attributes)
    feed = {k: v if v.dtype == np.int32 else v.astype(np.float32) for k, v in feed.items()}
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feed.items()
    ]
    outputs = [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in ("Y", "Y_h")]
    model = helper.make_model(
        helper.make_graph([node], "one", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    steps, last = ort.InferenceSession(model.SerializeToString(), options).run(None, feed)
    return steps.transpose(1, 2, 0, 3), last
