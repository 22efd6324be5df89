"""Inputs by chance, for the compiled fast path beside the plain one; a seed says all of an input."""
