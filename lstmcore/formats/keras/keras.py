"""Keras's own files, .keras and .h5, read without Keras: the architecture in JSON, the weights in HDF5.

Every argument of every layer is honoured, has no effect at inference, or is refused by name: `ARGUMENTS` in
`keras_arguments.py`. Every weight finds its layer or is an error. Nothing in a file is executed.
"""

from __future__ import annotations

from pathlib import Path

from lstmcore.errors import ModelFormatError
from lstmcore.formats.keras.keras_build import Builder
from lstmcore.formats.keras.keras_file import open_h5, open_zip
from lstmcore.formats.keras.keras_graph import add_model
from lstmcore.layers import Layer
from lstmcore.layers.wiring import wire

OPENERS = {".keras": open_zip, ".h5": open_h5, ".hdf5": open_h5}


def read(path: str) -> list[Layer]:
    """The layers of the model in a .keras, .h5 or .hdf5 file, Sequential or Functional.

    Layers have Keras's names; what is one layer in Keras and several here, such as a Dense with an activation, has
    the function's name behind it. A model with a mixed policy is computed in float32, which is more exact than Keras.

    Raises:
        FileNotFoundError: No such file.
        ModelFormatError: A file that is damaged, hostile or inconsistent.
        UnsupportedError: A layer or an argument that has no equation here, named; or h5py is not installed.
    """
    opener = OPENERS.get(Path(path).suffix.lower())
    if opener is None:
        raise ModelFormatError(f"{path}: expected a file of Keras, {', '.join(OPENERS)}, got {Path(path).suffix!r}")
    with opener(path) as opened:
        if opened.model.kind not in ("Sequential", "Functional"):
            raise ModelFormatError(f"{opened.model.what}: expected a Sequential or Functional model")
        build = Builder(opened.weights, path)
        add_model(build, opened.model)
        opened.weights.check_all_used()
    try:
        wire(build.layers)
    except ValueError as error:
        raise ModelFormatError(f"{path}: {error}") from None
    return build.layers
