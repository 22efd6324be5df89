"""Builds the Cython fast path; the rest is in pyproject.toml. The extension is mandatory: no silent fallback."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    ext_modules=cythonize(
        [Extension("l7._fastpath", ["l7/_fastpath.pyx"], depends=["l7/_scan.h", "l7/_health.pxi"], extra_compile_args=["-O3"])],
        language_level=3,
    ),
)
