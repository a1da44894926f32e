"""lstmcore: an LSTM from scratch, whose forward pass answers in microseconds on one CPU core.

>>> import lstmcore
>>> model = lstmcore.load("model.safetensors")  # doctest: +SKIP
>>> model(window)  # (T, features) -> (outputs,)  # doctest: +SKIP
"""

from lstmcore._version import __version__
from lstmcore.ensemble import ensemble
from lstmcore.errors import BackendError, LstmcoreError, ModelFormatError, UnsupportedError
from lstmcore.formats import from_state_dict, from_torch, load
from lstmcore.info import info
from lstmcore.model import Model
from lstmcore.streaming.pool import SlidingPool
from lstmcore.warmup import warmup

__all__ = [
    "BackendError",
    "LstmcoreError",
    "Model",
    "ModelFormatError",
    "SlidingPool",
    "UnsupportedError",
    "__version__",
    "ensemble",
    "from_state_dict",
    "from_torch",
    "info",
    "load",
    "warmup",
]
