"""Checking one certificate, and planning the stores of many hosts.

python -m pytest benchmarks/micro/test_certificates.py --benchmark-group-by=func
"""

from __future__ import annotations

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from haproxy.certificates import Certificate, check_certificate
from haproxy.model import CrtListRow, StoredCertificate
from haproxy.ops import Op
from haproxy.settings import Settings
from haproxy.stores import SeenStores, digest, in_order, plan_store
from haproxy.tls import Entry, certificate_store
from testbed.certificates import TestAuthority

AUTHORITY = TestAuthority()
SETTINGS = Settings(tls_bind=(":443",))
LIMIT = 15_400


def test_check_one(benchmark: BenchmarkFixture) -> None:
    issued, now = AUTHORITY.issue("a.test", "*.a.test"), time.time()
    found = benchmark(
        check_certificate, issued.certificate + AUTHORITY.certificate, issued.key, "a.test", now, LIMIT
    )
    assert isinstance(found, Certificate)


@pytest.mark.parametrize("size", [500, 5000])
@pytest.mark.parametrize("changed", [0, 1])
def test_plan_all(benchmark: BenchmarkFixture, size: int, changed: int) -> None:
    """One certificate under many names: each store is compared with what HAProxy shows, and with what was sent."""
    one, other = (AUTHORITY.issue("a.test").combined for _ in range(2))
    now = time.time()
    shown = check_certificate(one, None, "a.test", now, LIMIT)
    assert isinstance(shown, Certificate)
    hosts = {certificate_store(SETTINGS, f"h{n}.test"): f"h{n}.test" for n in range(size)}
    seen = SeenStores(
        {store: StoredCertificate(shown.sha1.upper(), 0, used=True) for store in hosts},
        rows={store: (CrtListRow(store, n, "", (host,)),) for n, (store, host) in enumerate(hosts.items())},
        contents=dict.fromkeys(hosts, digest(one)),
    )
    pem = dict.fromkeys(hosts, one) | dict.fromkeys(list(hosts)[:changed], other)
    entries = {store: Entry(store, host) for store, host in hosts.items()}

    def plan() -> list[Op]:
        names = in_order(pem.keys() | seen.names, SETTINGS)
        return [op for name in names for op in plan_store(name, pem[name], entries[name], seen, SETTINGS).opening]

    assert len(benchmark(plan)) == 3 * changed
