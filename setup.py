"""Builds the Cython fast path; the rest is in pyproject.toml. The extension is mandatory: no silent fallback."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g"]
FLAGS = {"extra_compile_args": ["-O3"]}
if os.environ.get("L7_SANITIZE"):
    FLAGS = {"extra_compile_args": SANITIZERS, "extra_link_args": SANITIZERS}
PARTS = sorted(str(path) for pattern in ("_*.pxi", "_*.h") for path in Path("l7").glob(pattern))

setup(
    ext_modules=cythonize(
        [Extension("l7._fastpath", ["l7/_fastpath.pyx"], depends=PARTS, **FLAGS)],
        language_level=3,
    ),
)
