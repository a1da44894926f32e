"""One stream: a tick in, an answer out, and a state that can be kept."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from lstmcore.inputs import ON_NAN, as_choice, as_flag, as_integer
from lstmcore.layers import Array, show
from lstmcore.ports import Given
from lstmcore.streaming import states
from lstmcore.streaming.ticks import ONLY, TICKS_AT_ONCE, answers_of, as_tick, as_ticks, room_for
from lstmcore.text import NAME, clean

if TYPE_CHECKING:
    from typing import NoReturn, Self

    from lstmcore.backends.sliders import Slider
    from lstmcore.model import Model

#: What `push` answers: a float where the model answers with one number, else an array of its own; of a model with
#: several outputs a dict of such by their names.
Answer = Any

MAX_WINDOW = 1 << 16  # each of its ticks is a window in flight, which takes a step at every tick


class Stream:
    """What `Stateful` and `SlidingWindow` share: one tick in, one answer out, and a state that can be kept."""

    kind: ClassVar[str]

    def __init__(self, model: Model, window: int | None, on_nan: str) -> None:
        self._model = model
        self._slider = slider = model.runner.slider(window, 1)
        self._window = window
        self._on_nan = as_choice(on_nan, "on_nan", ON_NAN)
        self._raise = on_nan == "raise"
        # No reference to self in these: a stream is freed, and its thread ends, when the last name for it goes.
        check = functools.partial(as_tick, runner=model.runner, finite=self._raise)
        run, self._ask = slider.bound(check, self._raise)
        #: `push_bound()` takes the tick that stands in `input` and answers: nothing is checked.
        self.push_bound: Callable[[], Answer] = run
        if type(self).push is Stream.push:
            self.push = self._ask  # type: ignore[method-assign, assignment]

    @property
    def model(self) -> Model:
        """The model whose answers these are."""
        return self._model

    @property
    def input(self) -> Any:
        """A view of the next tick's buffer, (F,), in float32 (with the numpy backend, the model's dtype).

        Of a model with several inputs, a dict of such views. Each look makes new views of the same memory: take them
        once, and write every tick into them.
        """
        return self._slider.input()

    @input.setter
    def input(self, _: NoReturn) -> None:
        raise AttributeError("input: the buffer stays where it is; write into it, stream.input[...] = tick")

    def push(self, x: Given) -> Answer:
        """Take one tick (F,): the answer after it, a float where the model answers with one number, else an array.

        A model with several inputs takes a mapping of ticks, and one with several outputs answers with a dict. An input
        that is a vector counts for this tick's answer alone.

        Raises:
            ValueError: Another number of features; with `on_nan="raise"`, a NaN or infinity. The stream is then as
                it was before.
            TypeError: Something that does not hold numbers.
            RuntimeError: The stream is in use at this moment, by another thread or by a call that a handler of signals
                has interrupted; so do all other methods.
        """
        return self._ask(x)

    def push_many(self, x: Given) -> Any:
        """Take ticks (N, F), oldest first: the answers after each, (N,), or (N, outputs) for several numbers.

        Of several inputs a mapping, of several outputs a dict, as `push`.

        Raises:
            ValueError, TypeError: As `push`.
        """
        xs = as_ticks(x, self._model.runner, self._raise)
        ys = room_for(self._slider, len(xs[0]))
        for n in range(0, len(xs[0]), TICKS_AT_ONCE):
            some = slice(n, n + TICKS_AT_ONCE)
            self._slider.push(ONLY[: len(xs[0][some])], [x[some] for x in xs], [y[some] for y in ys])
        return answers_of(self._model.runner, ys)

    def catch_up(self) -> None:
        """Do now, off the critical path, what the next push would begin with: see the two kinds of stream."""
        self._slider.catch_up()

    def reset(self) -> None:
        """Forget all ticks."""
        self._slider.reset(0)

    @property
    def ticks(self) -> int:
        """How many ticks have come."""
        return self._slider.ticks(0)

    def state(self) -> dict[str, Array]:
        """All that the stream remembers, as arrays by name; `restore` takes it, `save` writes it.

        "model" is a digest of the model's layers and weights, so that no other model goes on from it.
        """
        return states.keep(self._slider, 0, self._window, self.model)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state()` to a safetensors file, whole or not at all.

        A path is looked at when it is written to, not before: save once at the start, so that a wrong one is not found
        when the process ends.

        Raises:
            ValueError: A name that does not end in .safetensors.
            FileNotFoundError: No such folder.
        """
        from lstmcore.streaming import files

        files.save(self.state(), self.kind, path)

    def restore(self, state: states.Source) -> None:
        """Go on from a state or from the file at a path, with the bits that the stream it came from would give.

        Where it raises, the stream is as it was before.

        Raises:
            FileNotFoundError: No such file.
            ModelFormatError: A file that holds no state, or a damaged one.
            ValueError: The state of another kind of stream, of another model or window, or of another backend that
                keeps another sort of state; a part that is missing, too many, or of another shape or dtype.
            TypeError: A part that holds no numbers.
        """
        states.go_on(self._slider, 0, states.fit(state, self.kind, self.state()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._facts())}>"

    def _facts(self) -> list[str]:
        return [*facts(self.model, self._window, self._slider), f"{self.ticks:,} ticks so far"]

    def __reduce__(self) -> NoReturn:
        states.refuse_to_pickle(self)

    def _go_on(self, other: Self) -> Self:
        parts, ticks = other._slider.get(0)
        self._slider.set(0, parts, ticks)
        return self


def facts(model: Model, window: int | None, slider: Slider) -> list[str]:
    """What streams of a model have in common, for their repr."""
    many = "" if window is None else f"windows of {window} "
    shapes = [show(y.shape) for y in slider.ys]
    if slider.runner.single:
        takes = f"{many}ticks of {model.input_size} features -> {shapes[0]}"
    else:
        inputs = ", ".join(f"{clean(one.name, NAME)} ({one.size},)" for one in model.inputs)
        outputs = ", ".join(f"{clean(name, NAME)} {shape}" for name, shape in zip(model.outputs, shapes, strict=True))
        takes = f"{many}ticks of {inputs} -> {outputs}"
    return [takes, f"backend {model.backend}" + (f" ({model.kernel})" if model.kernel else "")]


class Stateful(Stream):
    """One sequence without an end: h and c are carried from tick to tick. Made by `model.stateful()`.

    The answer after n ticks is that of a window of those n ticks.
    """

    kind = "stateful"

    def __init__(self, model: Model, on_nan: str = "propagate") -> None:
        if model.steps is not None:
            raise ValueError(f"the model answers windows of {model.steps} ticks (Flatten), not single ticks")
        super().__init__(model, None, on_nan)

    def copy(self) -> Stateful:
        """Another stream that goes on from the same state."""
        return Stateful(self.model, self._on_nan)._go_on(self)


class SlidingWindow(Stream):
    """At every tick, the model's answer to the last T ticks, from a zero state. Made by `model.sliding(window=T)`.

    Where no layer needs the whole window at once, a push costs one step of each layer; the other windows in flight take
    that step afterwards: in the next push, in `catch_up`, or in a helper thread. Else, or with another backend than c,
    each push answers the whole window: see `incremental`.
    """

    kind = "sliding"

    def __init__(
        self,
        model: Model,
        window: int,
        *,
        catch_up: str = "push",
        spin: bool = False,
        cpu: int | None = None,
        on_nan: str = "propagate",
    ) -> None:
        as_choice(catch_up, "catch_up", ("push", "thread"))
        spin = as_flag(spin, "spin")
        if catch_up == "push" and (spin or cpu is not None):
            raise ValueError("spin and cpu are the helper thread's: they need catch_up='thread'")
        cpu = None if cpu is None else as_integer(cpu, "cpu", 0)
        self._helper = catch_up, spin, cpu
        super().__init__(model, check_window(model, window), on_nan)
        if catch_up == "thread":
            self._slider.start_helper(spin, -1 if cpu is None else cpu)

    @property
    def window(self) -> int:
        """T."""
        assert self._window is not None
        return self._window

    @property
    def incremental(self) -> bool:
        """Whether a push costs one step of each layer, not a whole window."""
        return self._slider.incremental

    @property
    def ready(self) -> bool:
        """Whether T ticks have come: until then the answers are NaN."""
        return self.ticks >= self.window

    def copy(self) -> SlidingWindow:
        """Another stream that goes on from the same state, with a helper thread of its own where this one has one."""
        catch_up, spin, cpu = self._helper
        other = SlidingWindow(self.model, self.window, catch_up=catch_up, spin=spin, cpu=cpu, on_nan=self._on_nan)
        return other._go_on(self)

    def _facts(self) -> list[str]:
        catch_up, spin, cpu = self._helper
        how = f"catch_up={catch_up!r}" + (", spin=True" if spin else "") + ("" if cpu is None else f", cpu={cpu}")
        return [*super()._facts(), "ready" if self.ready else "not ready", how]


def check_window(model: Model, window: int) -> int:
    """The window as an int. Raises ValueError for one that the model does not take, TypeError for no integer."""
    length = as_integer(window, "window", 1)
    if length > MAX_WINDOW:
        memory = length * sum(3 * x.hidden_size * x.num_layers for x in model.recurrent_layers) * 4
        raise ValueError(
            f"window: at most {MAX_WINDOW:,} ticks, got {length:,}, which would keep as many windows in flight "
            f"({memory / 1e9:.1f} GB of states)"
        )
    if model.steps not in (None, length):
        raise ValueError(f"window: the model takes {model.steps} ticks, got {length}")
    return length
