"""The bare scan for newlines that readers are held against."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("newlines.c")


def newlines() -> Callable[[bytes], int]:
    """The number of newlines, by one memchr for each; compiled as the fast path is. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "newlines.so"
        subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        function = ctypes.CDLL(str(library)).newlines
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lambda text: int(function(text, len(text)))
