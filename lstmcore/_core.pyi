# The module that CMake builds from csrc/python; its names are those of csrc/lstmcore.h.
from typing import Any

ffi: Any
lib: Any
