"""The fast path in plain Python: the specification of `l7._fastpath`, and what L7_FASTPATH=pure runs."""
