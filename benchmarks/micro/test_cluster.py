"""What a look at a cluster costs the extension service: 1,000 backends with 100,000 servers at two proxies.

`read` is the time in which the answers are fed, piece by piece; `aggregate` all that follows. `first` has something
to say of each server, `quiet` of none, `split` of a hundredth that one proxy finds down.

python -m pytest benchmarks/micro/test_cluster.py --benchmark-timer=time.process_time --benchmark-columns=min,median
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from haproxy.cluster import Cluster
from l7.fastpath import Health

BACKENDS, SERVERS, PROXIES = 1_000, 100, 2
PIECE = 256 * 1024
HEAD = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight\n"
STAT = "# pxname,svname,type,status,scur,qcur,stot,bin,bout,econ,eresp,wretr,wredis\n"


def answers(down: int = 0) -> list[bytes]:
    """Those of one proxy; the first server of so many backends is down."""
    rows = [HEAD]
    for backend in range(BACKENDS):
        rows.append(f"{backend} b{backend} 1 hold 127.0.0.1 2 0 1\n")
        for server in range(SERVERS):
            state = 0 if backend < down and server == 0 else 2
            rows.append(
                f"{backend} b{backend} {server + 2} t{backend:012}x{server:011}.abcdef 10.0.0.1 {state} 0 1\n"
            )
    rows.append(STAT)
    rows.extend(f"b{backend},BACKEND,1,UP,3,0,1000,5,5,0,0,0,0\n" for backend in range(BACKENDS))
    text = "".join(rows).encode()
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def feed(health: Health, views: list[list[bytes]]) -> None:
    health.begin()
    for process, pieces in enumerate(views):
        for piece in pieces:
            health.feed(process, piece)


def aggregate(cluster: Cluster, health: Health) -> None:
    cluster.looked(health.end(PROXIES), health, PROXIES, PROXIES)


def test_read(benchmark: BenchmarkFixture) -> None:
    health, views = Health(PROXIES), [answers()] * PROXIES
    feed(health, views)
    benchmark.pedantic(feed, (health, views), rounds=5)


@pytest.mark.parametrize("what", ["first", "quiet", "split"])
def test_aggregate(benchmark: BenchmarkFixture, what: str) -> None:
    def looked() -> tuple[tuple[Cluster, Health], dict[str, object]]:
        cluster, health = Cluster(lambda backend, task: True), Health(PROXIES)
        for _ in range(0 if what == "first" else 2):
            feed(health, [answers()] * PROXIES)
            aggregate(cluster, health)
        feed(health, [answers(BACKENDS if what == "split" else 0), answers()])
        return (cluster, health), {}

    benchmark.pedantic(aggregate, setup=looked, rounds=3)
