"""Health checks of core's and the proxies' services, as the Engine API has them (ContainerSpec.HealthCheck). Pure.

A task is RUNNING for Swarm, and an update goes on to the next one, at the first check that succeeds. A task whose
check fails `RETRIES` times in a row is replaced: not before HAProxy has had the time that it may take to start
(`haproxy.process`). Times in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Json = Mapping[str, Any]

PROGRAM = "/usr/local/bin/l7-health"
"""In the image: `l7.healthcheck`."""

_SECOND = 1_000_000_000
INTERVAL = 2 * _SECOND
TIMEOUT = 10 * _SECOND
RETRIES = 15
START_PERIOD = 60 * _SECOND
"""From the start, in which failures do not count."""


def _check(*words: str) -> Json:
    return MappingProxyType(
        {
            "Test": ["CMD", PROGRAM, *words],
            "Interval": INTERVAL,
            "Timeout": TIMEOUT,
            "Retries": RETRIES,
            "StartPeriod": START_PERIOD,
        }
    )


CORE = _check("core")
PROXY = _check("proxy")
EXTENSION: Json = MappingProxyType({"Test": ["NONE"]})
"""None: it is RUNNING at once, and proxies try until it answers. A new certificate waits for that."""

ANY = _check()
"""For an image that does not know what it will be."""
