"""Windows of a series, as (samples, timesteps, features), the targets that belong to them, and splits in time.

A series has one row a tick, oldest first.
Letters: N windows, T ticks in a window, F features of a tick.
"""

from lstmcore.windows.folds import Fold, LeakageError, show_folds
from lstmcore.windows.rows import target_rows, windows, windows_and_targets
from lstmcore.windows.spans import label_ends
from lstmcore.windows.splits import check_no_leakage, purged_kfold, walk_forward
from lstmcore.windows.zones import Stamps

__all__ = [
    "Fold",
    "LeakageError",
    "Stamps",
    "check_no_leakage",
    "label_ends",
    "purged_kfold",
    "show_folds",
    "target_rows",
    "walk_forward",
    "windows",
    "windows_and_targets",
]
