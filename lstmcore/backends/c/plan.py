"""What the core has planned for a model, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lstmcore.backends.c.binding import ffi, lib, plan_of

if TYPE_CHECKING:
    from lstmcore.backends.runner import Runner

STEPS = {
    lib.LSTMCORE_NO_STEP: "none",
    lib.LSTMCORE_FIRST_STEP: "the first",
    lib.LSTMCORE_LAST_STEP: "the last",
    lib.LSTMCORE_ALL_STEPS: "all",
}
SCOPES = {
    lib.LSTMCORE_SHARED: "once a tick",
    lib.LSTMCORE_PER_WINDOW: "once a window in flight",
    lib.LSTMCORE_WHOLE_WINDOW: "whole windows",
}


class PlannedOp(NamedTuple):
    """One op of a program: csrc/lstmcore.h's lstmcore_layer."""

    layer: str  # the model's, of which it is a part
    part: str  # of a stack, as weights are called: "l0", "l1_reverse"; "" of what has no state
    kind: str
    width: int
    steps: str  # that are computed
    scope: str  # how often, in a stream
    in_pass: int  # over a window
    kept: str


def plan(runner: Runner) -> list[PlannedOp]:
    """The ops of a runner of the c backend, in order."""
    from lstmcore.backends.c.runner import CRunner

    assert isinstance(runner, CRunner)
    ops = []
    for n, op in enumerate(runner.folded.ops):
        found = plan_of(runner.model, n)
        kept = "its state" if found.carried else "all steps of a window" if found.whole else ""
        kind = ffi.string(found.kind).decode()
        steps, scope = STEPS[found.steps], SCOPES[found.scope]
        ops.append(PlannedOp(op.label, op.part, kind, found.width, steps, scope, found.in_pass, kept))
    return ops
