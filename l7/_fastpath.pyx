# cython: language_level=3
"""The fast path."""
