"""Show the largest difference between a model's answers and another's, on random windows and on given ones.

OTHER is one of
  a model file              .safetensors, .keras or .h5, .pt or .pth with --against-layers, or .onnx (run by
                            ONNX Runtime; a batch of a fixed size is filled with the same window)
  a backend of this model   numpy, numba, c, or c:KERNEL such as c:avx2
  a torch module            package.module:attribute or file.py:attribute, the attribute being an nn.Module, or
                            a class or function without arguments that makes one. It is put in eval mode.
                            Importing a file runs it: name only code that you trust.

A difference is absolute for answers up to 1 in size and relative beyond. Status 1 if it is above
the tolerance.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmcore
from lstmcore import commands, data, terminal
from lstmcore.backends import NAMES
from lstmcore.comparison import answer_each, largest_difference, oracle, random_windows, steps_of
from lstmcore.formats import READERS
from lstmcore.inputs import as_numbers
from lstmcore.layers import Array, Scaler
from lstmcore.text import clean

SCALES = (0.1, 1.0, 10.0)
COUNT = 32  # random windows of each scale
FEW = 4  # of each other length
LONGEST = 2000  # ticks; larger numbers in a torch module's code are not taken for lengths
STATE_DICTS = (".pt", ".pth")  # have no architecture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `cli.parser`."""
    commands.add_model(parser)
    parser.add_argument("--against", required=True, metavar="OTHER", help="see above")
    parser.add_argument(
        "--against-layers",
        metavar="FILE",
        help="JSON: the layers of a state_dict that is OTHER, as --layers has MODEL's",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="a state_dict to load into the torch module")
    parser.add_argument("--time-first", action="store_true", help="the torch module or ONNX file takes (T, N, F)")
    parser.add_argument(
        "--inputs", metavar="X", help="a .npy, .csv or .parquet of windows (T, F) or (N, T, F) to compare on as well"
    )
    parser.add_argument("--window", type=commands.positive, metavar="T", help="ticks in a random window (50)")
    parser.add_argument("--seed", type=int, default=0, help="of the random windows")
    parser.add_argument("--tolerance", type=float, default=2e-6, help="the largest difference allowed (2e-6)")
    commands.add_backend(parser)
    commands.add_json(parser)


def run(options: argparse.Namespace) -> int:
    """See `cli.main`."""
    if not options.tolerance >= 0:
        raise ValueError(f"tolerance: expected a number of at least 0, got {options.tolerance}")
    data.ask(options.inputs)
    model = commands.load(options, backend=options.backend, kernel=options.kernel)
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        other, what, fixed, lengths = _other(model, options)
    if fixed and options.window not in (None, fixed):
        raise ValueError(f"window: {options.against} takes windows of {fixed} ticks, not {options.window}")
    rows: list[dict[str, Any]] = []
    inputs = _inputs(model, options, steps_of(model, options.window or fixed))
    if model.steps is None and options.window is None:
        inputs += _of_lengths(model, options, other, lengths)
    for name, windows in inputs:
        a, b, truth = (answer_each(f, windows) for f in (model, other, oracle(model)))
        worst = largest_difference(a, b)
        rows.append(
            {"inputs": name, "windows": len(windows), "difference": worst.value}
            | {"at_window": worst.window, "at_output": list(worst.output), "model": worst.a, "other": worst.b}
            | {
                "model_off": largest_difference(a, truth).value,
                "other_off": largest_difference(b, truth).value,
            }
        )
        if np.isfinite(windows).all() and np.isnan(truth).any():
            raise ValueError(f"{options.model}: finite windows ({name}) have NaN for answers; look at its weights")
    largest = max(row["difference"] for row in rows)
    within = bool(largest <= options.tolerance)
    if options.json:
        facts = {"model": options.model, "backend": model.backend, "kernel": model.kernel, "against": what}
        facts |= {"tolerance": options.tolerance, "largest": largest, "within": within, "inputs": rows}
        terminal.write_json(facts)
    else:
        _show(options.model, model, what, rows)
        if within:
            print(f"largest difference {largest:.3g}, within the tolerance of {options.tolerance:g}")
    if not within:
        terminal.note(f"error: largest difference {largest:.3g}, above the tolerance of {options.tolerance:g}")
    return 0 if within else 1


def _show(path: str, model: lstmcore.Model, what: str, rows: list[dict[str, Any]]) -> None:
    backend = f"{model.backend}:{model.kernel}" if model.kernel else model.backend
    print(f"{clean(path)} ({backend}) against {clean(what)}\n")
    columns = [
        "inputs",
        ">windows",
        ">difference",
        "at",
        ">model",
        ">other",
        ">model - float64",
        ">other - float64",
    ]
    terminal.table(
        columns,
        [
            (
                row["inputs"], row["windows"], f"{row['difference']:.2e}",
                f"window {row['at_window']}, output {', '.join(map(str, row['at_output'])) or 0}",
                f"{row['model']:.8g}", f"{row['other']:.8g}",
                f"{row['model_off']:.2e}", f"{row['other_off']:.2e}",
            )
            for row in rows
        ],
    )  # fmt: skip


def _inputs(model: lstmcore.Model, options: argparse.Namespace, steps: int) -> list[tuple[str, Array]]:
    rng = np.random.default_rng(options.seed)
    scaled = isinstance(model.layers[0], Scaler)
    about = " of the scaler's, about its mean" if scaled else ""
    inputs = [(f"random, scale {scale:g}{about}", random_windows(model, COUNT, steps, scale, rng)) for scale in SCALES]
    if options.inputs:
        given = as_numbers(data.read(options.inputs).values, np.dtype(np.float32), options.inputs)
        inputs.append((options.inputs, given if given.ndim == 3 else given[np.newaxis]))
    return inputs


def _of_lengths(
    model: lstmcore.Model, options: argparse.Namespace, other: Callable[[Array], Any], lengths: Sequence[int]
) -> list[tuple[str, Array]]:
    """Random windows of other lengths, the last with NaN for its first tick: a model may soon forget if it read it.

    A length that `other` cannot answer is told and left out.
    """
    rng = np.random.default_rng(options.seed)
    inputs = []
    for steps in lengths:
        windows = random_windows(model, FEW, steps, 1.0, rng)
        try:
            other(windows[0])
        except Exception as error:  # whatever a torch module's forward raises
            terminal.note(f"note: {options.against} takes no windows of {steps} ticks: {clean(error, 300)}")
            continue
        windows[-1, 0] = np.nan
        inputs.append((f"random, {steps} tick{'s' * (steps > 1)}, one NaN", windows))
    return inputs


def _other(
    model: lstmcore.Model, options: argparse.Namespace
) -> tuple[Callable[[Array], Any], str, int | None, Sequence[int]]:
    """Who else answers, what to call it, the one window length it takes (None: any), and lengths at which it may answer
    otherwise than at the usual one."""
    spec: str = options.against
    backend, _, kernel = spec.partition(":")
    suffix = Path(spec).suffix.lower()
    if options.checkpoint and (":" not in spec or backend in NAMES):
        raise ValueError(f"checkpoint: only for a torch module such as file.py:Class, and --against is {spec!r}")
    if options.against_layers and suffix not in STATE_DICTS:
        raise ValueError(f"against-layers: only for a state_dict (.pt, .pth), and --against is {spec!r}")
    if options.time_first and (backend in NAMES or (suffix in READERS and suffix != ".onnx")):
        raise ValueError(f"time-first: only for a torch module or an ONNX file, and --against is {spec!r}")
    if backend in NAMES:
        return model.with_backend(backend, kernel or None), f"the backend {spec}", None, ()
    if suffix == ".onnx":
        answer, steps = _onnx_file(spec, options.time_first)
        return answer, f"{spec} by ONNX Runtime", steps, ()
    if suffix in READERS and (suffix not in STATE_DICTS or ":" not in spec):
        named = argparse.Namespace(model=spec, layers=options.against_layers)
        loaded = commands.load(named, backend=options.backend, kernel=options.kernel, option="--against-layers")
        return loaded, spec, loaded.steps, ()
    if ":" in spec:
        answer, lengths = _torch_module(spec, options.checkpoint, options.time_first)
        return answer, f"the torch module {spec}", None, lengths
    raise ValueError(
        f"against: expected a model file, a backend ({', '.join(NAMES)}) or a torch module such as file.py:Class "
        f"(its state_dict as --checkpoint), got {spec!r}"
    )


def _onnx_file(path: str, time_first: bool) -> tuple[Callable[[Array], Any], int | None]:
    """ONNX Runtime's answer to a window, and the one window length it takes (None: any)."""
    from lstmcore.peers import onnxruntime_session

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")

    def run(function: Callable[[], Any]) -> Any:
        try:
            return function()
        except Exception as error:  # ONNX Runtime's own have no class in common
            raise ValueError(f"{path}: ONNX Runtime: {clean(error, 500)}") from error

    session = run(lambda: onnxruntime_session(path, 1))
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 3:
        shapes = {x.name: x.shape for x in inputs}
        raise ValueError(f"{path}: expected one input of windows, three axes, got {clean(shapes, 500)}")
    batch, steps = (
        n if isinstance(n, int) and n > 0 else None for n in inputs[0].shape[:2][:: -1 if time_first else 1]
    )
    dtype = np.float64 if inputs[0].type == "tensor(double)" else np.float32

    def answer(window: Array) -> Any:
        x = np.repeat(np.expand_dims(window.astype(dtype), int(time_first)), batch or 1, int(time_first))
        out = run(lambda: session.run(None, {inputs[0].name: x})[0])
        return (out.swapaxes(0, 1) if time_first and out.ndim == 3 else out)[0]

    return answer, steps


def _torch_module(spec: str, checkpoint: str | None, time_first: bool) -> tuple[Callable[[Array], Any], Sequence[int]]:
    """A module's answer to a window; and a length of 1 and those beside the largest number in its code, and beyond."""
    torch = terminal.need("torch", "torch")
    source, _, attribute = spec.rpartition(":")
    found = _import(source)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{spec}: {source} has no attribute {attribute!r}")
        found = getattr(found, name)
    try:
        module = found if isinstance(found, torch.nn.Module) else found() if callable(found) else None
    except TypeError as error:
        raise ValueError(f"{spec}: expected something that can be called without arguments: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{spec}: expected an nn.Module, or a class or function that makes one, got {type(found)}")
    module.eval()
    if checkpoint:
        from lstmcore.formats.torch_checkpoint import load_checkpoint

        load_checkpoint(module, checkpoint)
    elif module is not found:
        terminal.note(f"warning: {spec} was made with weights of its own; --checkpoint FILE loads trained ones")
    like = next(module.parameters(), torch.zeros(()))

    def answer(window: Array) -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(1)  # for one window more threads are slower, and on a busy machine by far
        try:
            with torch.inference_mode():
                x = torch.as_tensor(window, dtype=like.dtype, device=like.device)
                out = module(x.unsqueeze(int(time_first)))
        finally:
            torch.set_num_threads(before)
        if not isinstance(out, torch.Tensor):
            raise ValueError(f"{spec}: expected the module to return one tensor, got {type(out).__name__}")
        return (out.swapaxes(0, 1) if time_first and out.ndim == 3 else out)[0].cpu().numpy()

    from lstmcore.formats.torch_numbers import numbers_of

    written, held = numbers_of(module)
    largest = int(max((n for n in {**written, **held} if n <= LONGEST), default=1))
    lengths = {1, largest - 1, largest, largest + 1, 2 * largest + 1}
    return answer, sorted(lengths - {0})


def _import(source: str) -> Any:
    """A module by its dotted name, or a .py file; the current directory is searched first."""
    sys.path.insert(0, "")
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        if not Path(source).is_file():
            raise FileNotFoundError(f"{source}: no such file")
        spec = importlib.util.spec_from_file_location(Path(source).stem, source)
        if spec is None or spec.loader is None:
            raise ImportError(f"{source}: cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickles look their module up there
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove("")
