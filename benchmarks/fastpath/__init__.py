"""The fast path beside what it stands in for, at 100,000 servers: `make bench-fastpath`."""
