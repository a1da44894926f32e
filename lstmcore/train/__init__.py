"""Train the quant and the exit model, or their GRU and RNN twins, and take them over into lstmcore.

Needs the extra `train`: torch, Lightning and torchmetrics. Nothing that is needed to answer is in here.
"""

from lstmcore.terminal import need

for _package in ("torch", "torchmetrics", "pytorch_lightning"):
    need(_package, "train")

from lstmcore.train.fitting import Fitted, fit, is_first, score  # noqa: E402  # behind the check
from lstmcore.train.modules import Classifier, exit_model, quant_model  # noqa: E402
from lstmcore.train.samples import Batch, Samples, Sequences, Windows  # noqa: E402
from lstmcore.train.settings import Settings  # noqa: E402

__all__ = [
    "Batch",
    "Classifier",
    "Fitted",
    "Samples",
    "Sequences",
    "Settings",
    "Windows",
    "exit_model",
    "fit",
    "is_first",
    "quant_model",
    "score",
]
