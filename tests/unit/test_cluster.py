"""What several proxies see together, from dumps as HAProxy writes them."""

from __future__ import annotations

import pytest

from haproxy import figures
from haproxy.cluster import DOWN, GONE, UP, Cluster, Load, Split, batches, news, told
from l7.fastpath import Health
from l7.kit.metrics import Metrics
from l7.v1 import sync_pb2 as pb

HEAD = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"
ONE, TWO = "t1.aaaaaa", "t2.aaaaaa"
Rows = dict[str, str]
"""Server -> what the proxy sees: up, down, out (of rotation). `backend/server` where the backend is not `web`."""
SEEN = {"up": "2 0", "down": "0 0", "out": "0 1"}


class Proxies:
    """Some proxies, and a cluster that has looked at them."""

    def __init__(self, *running: str) -> None:
        self.health = Health(4)
        self.cluster = Cluster(lambda backend, task: task in running)

    def look(self, *proxies: Rows, stat: str = "") -> Cluster:
        self.health.begin()
        for number, rows in enumerate(proxies):
            lines = (self._line(name, seen) for name, seen in rows.items())
            self.health.feed(number, (HEAD + "".join(lines)).encode())
            self.health.feed(number, stat.encode())
        quorum = len(proxies) // 2 + 1
        self.cluster.looked(self.health.end(quorum), self.health, len(proxies), quorum)
        return self.cluster

    @staticmethod
    def _line(name: str, seen: str) -> str:
        backend, _, server = name.rpartition("/")
        return f"1 {backend or 'web'} 1 {server} 10.0.0.1 {SEEN[seen]}\n"


@pytest.mark.parametrize(
    ("views", "verdict", "split"),
    [
        (["up", "up", "up"], UP, None),
        (["up", "up", "down"], UP, Split(2, 3)),
        (["up", "down", "down"], DOWN, Split(1, 3)),
        (["up", "down"], DOWN, Split(1, 2)),
        (["down", "out"], DOWN, None),
        (["up"], UP, None),
    ],
)
def test_most_proxies_decide_and_it_shows_where_others_see_it_otherwise(
    views: list[str], verdict: int, split: Split | None
) -> None:
    proxies = Proxies("t1")
    for number in range(2):
        cluster = proxies.look(*({ONE: seen, TWO: "up"} for seen in views))
        assert cluster.verdicts["web", "t1"] == verdict
        expected = {("web", "t1"): split} if split and number else {}
        assert cluster.splits == expected, "not at once: they are not asked at the same moment"
    assert cluster.counts[UP] == 1 + (verdict == UP)


def test_a_server_that_only_some_proxies_have_is_split_as_well() -> None:
    proxies = Proxies()
    proxies.look({ONE: "up", TWO: "up"}, {ONE: "up"})
    cluster = proxies.look({ONE: "up", TWO: "up"}, {ONE: "up"})
    assert cluster.splits == {("web", "t2"): Split(1, 2)}
    assert not proxies.look({ONE: "up", TWO: "up"}, {ONE: "up", TWO: "up"}).splits


def test_placeholders_spares_and_what_is_not_ours_are_left_out() -> None:
    rows = {ONE: "up", "hold": "up", "spare-http-0001/hold": "out", "theirs/app1": "down", "l7.hop/l7.hop": "up"}
    proxies = Proxies()
    for second in ({**rows, "hold": "out"}, rows):
        cluster = proxies.look(rows, second)
    assert cluster.verdicts == {("web", "t1"): UP}
    assert list(cluster.states) == list(cluster.loads) == ["web"]
    assert not cluster.splits


def test_of_two_generations_and_two_policies_the_better_one_counts() -> None:
    rows = {"t1.aaaaaa": "out", "t1.bbbbbb": "up", "web.http-leastconn/t2.aaaaaa": "out", TWO: "up"}
    cluster = Proxies().look(rows)
    assert cluster.verdicts == {("web", "t1"): UP, ("web", "t2"): UP}
    assert cluster.states["web"] == {UP: 2}


def test_proxies_of_different_versions_call_a_server_differently() -> None:
    """What can't be changed on one is said differently, and makes another generation."""
    proxies, old, new = Proxies(), {"t1.aaaaaa": "up"}, {"t1.bbbbbb": "up"}
    for _ in range(2):
        cluster = proxies.look(old, new)
        assert (cluster.verdicts, cluster.splits) == ({("web", "t1"): UP}, {})
    proxies.look(old, {"t1.bbbbbb": "down"})
    cluster = proxies.look(old, {"t1.bbbbbb": "down"})
    assert (cluster.verdicts, cluster.splits) == ({("web", "t1"): DOWN}, {("web", "t1"): Split(1, 2)})
    assert proxies.look(old, new).verdicts == {("web", "t1"): UP}
    assert proxies.look(old, old).verdicts == {("web", "t1"): UP}
    assert not cluster._several


def test_out_of_rotation_is_down_while_the_task_runs_and_is_wanted() -> None:
    running = Proxies("t1").look({ONE: "out", TWO: "out"})
    assert running.others == {("web", "t1"): DOWN, ("web", "t2"): 3}


def test_what_is_gone_leaves_nothing_behind() -> None:
    proxies = Proxies()
    proxies.look({ONE: "out", TWO: "up"}, {ONE: "up", TWO: "up"})
    cluster = proxies.look({}, {})
    assert not any((cluster.verdicts, cluster.others, cluster.splits, cluster.states, cluster.loads))
    assert not any((cluster._rows, cluster._servers, cluster._idle, cluster._several, cluster._differed))


def test_load_is_that_of_the_backend_itself() -> None:
    """What waits in it is in no server's row."""
    head = "# pxname,svname,type,status,scur,qcur,stot,bin,bout,econ,eresp,wretr,wredis\n"
    stat = head + "web,BACKEND,1,UP,7,2,40,0,0,0,0,0,0\nl7.http,FRONTEND,0,OPEN,9,0,9,0,0,0,0,0,0\n"
    cluster = Proxies().look({ONE: "up"}, {ONE: "up"}, stat=stat)
    assert cluster.loads == {"web": Load(14, 4, 80)}
    assert cluster.load == Load(14, 4, 80)


def test_core_is_told_changes_of_what_is_not_up() -> None:
    proxies = Proxies()
    first = told(proxies.look({ONE: "up", TWO: "down"}))
    assert news({}, first, proxies.cluster) == [health("t2", "DOWN")]
    assert not news(first, told(proxies.look({ONE: "up", TWO: "down"})), proxies.cluster)
    second = told(proxies.look({TWO: "up"}))
    assert news(first, second, proxies.cluster) == [health("t2", "UP")]
    third = told(proxies.look({}))
    assert news(first, third, proxies.cluster) == [health("t2", "GONE")]
    assert pb.HealthStatus.Name(GONE) == "HEALTH_STATUS_GONE"


def test_core_is_told_where_proxies_differ_also_of_a_server_that_is_up() -> None:
    proxies = Proxies()
    for _ in range(2):
        now = told(proxies.look({ONE: "up"}, {ONE: "up"}, {ONE: "down"}))
    assert now == {("web", "t1"): health("t1", "UP", 2, 3)}


def test_messages_have_bounded_size() -> None:
    servers = [health(f"t{number}", "DOWN") for number in range(12)]
    assert [len(each) for each in batches(servers, 5)] == [5, 5, 2]
    assert batches([], 5) == [()]


def health(task: str, status: str, up: int = 0, proxies: int = 0) -> pb.ServerHealth:
    found = pb.HealthStatus.Value(f"HEALTH_STATUS_{status}")
    return pb.ServerHealth(backend="web", task=task, status=found, up=up, proxies=proxies)


# ---------------------------------------------------------------- metrics and status


def test_series_are_those_of_the_busiest_backends() -> None:
    loads = {"a": Load(total=1), "b": Load(total=9), "c": Load(sessions=5, total=1)}
    assert figures.busiest(loads, 2) == ["b", "a"]


def test_metrics_are_what_the_proxies_see() -> None:
    metrics, proxies = Metrics("extension", "1"), Proxies()
    figures.fill(metrics, "blue", proxies.look({ONE: "up", "api/t3.aaaaaa": "down"}))
    figures.fill(metrics, "blue", proxies.look({ONE: "up", TWO: "down"}))
    lines = metrics.exposition().decode().splitlines()
    assert 'l7_cluster_servers{cluster="blue",state="down"} 1.0' in lines
    assert 'l7_cluster_backends{cluster="blue"} 1.0' in lines
    assert 'l7_cluster_backend_servers{backend="web",cluster="blue",state="down"} 1.0' in lines
    assert not any('backend="api"' in line for line in lines), "it is no more"


def test_status_names_who_is_down_and_who_is_seen_differently() -> None:
    proxies = Proxies()
    for _ in range(2):
        cluster = proxies.look({ONE: "up", TWO: "down"}, {ONE: "down", TWO: "down"})
    document = figures.document(cluster)
    assert document["servers"] == {"up": 0, "down": 2, "maint": 0}
    assert document["down"] == [{"backend": "web", "task": "t1"}, {"backend": "web", "task": "t2"}]
    assert document["split"] == [{"backend": "web", "task": "t1", "up": 1, "proxies": 2}]
