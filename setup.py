"""Builds the Cython fast path; the rest is in pyproject.toml. The extension is mandatory: no silent fallback."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

PARTS = sorted(str(path) for pattern in ("_*.pxi", "_*.h") for path in Path("l7").glob(pattern))

setup(
    ext_modules=cythonize(
        [Extension("l7._fastpath", ["l7/_fastpath.pyx"], depends=PARTS, extra_compile_args=["-O3"])],
        language_level=3,
    ),
)
