"""l7, the core: watches Docker Swarm and compiles it into one desired state per service cluster.

The only part of the system that holds the Docker API. Start reading at `daemon.py`, which builds
every part, or at `docs/architecture.md`, which draws them.
"""

__version__ = "0.1.0"
