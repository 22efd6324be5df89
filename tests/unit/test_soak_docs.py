"""What docs/file-mode.md says of the hour with two clusters is what the kept report says."""

from __future__ import annotations

from scripts import docs, soak_docs

STEPS = [
    {"cluster": "edge", "kind": "scale", "fault": False},
    {"cluster": "edge", "kind": "clean up", "fault": False},
    {"cluster": "", "kind": "kill core", "fault": False},
    {"cluster": "live", "kind": "bad labels", "fault": True},
]
REQUESTS = {"sent": 1000, "failed": 1, "p99_ms": 10.4, "max_ms": 99.6}
GROWTH = {"seconds": 1200, "most": 81.2, "memory": -0.4, "descriptors": 0}
REPORT = {
    "machine": {"cpus": 2},
    "load": {"number": 9, "median": 13.6, "most": 67.7},
    "steps": STEPS,
    "requests": dict.fromkeys(("edge-still", "edge-witness", "live-still"), REQUESTS),
    "faults": [STEPS[3] | {"others_sent": 300, "others_failed": 0}],
    "new_hosts": {"edge": {"number": 3, "median": 12.34, "most": 20.0}},
    "growth": dict.fromkeys(("l7_core.0", "edge-extension.0", "live-extension.0"), GROWTH),
}


def test_each_cluster_has_its_cells() -> None:
    found = {title: cells for title, *cells in soak_docs.rows(REPORT)}
    assert found["changes"] == ["1", "0"]
    assert found["faults"] == ["", "1 bad labels"]
    assert found["requests"] == ["2 of 2,000 failed", "1 of 1,000 failed"]
    assert found["requests while the other cluster had a fault"] == ["0 of 300 failed", "0 of 0 failed"]
    assert found["p99 / slowest request (ms)"] == ["10 / 100", "10 / 100"]
    assert found["new service → answered by both proxies (s)"] == ["median 12.3, 20.0 at most", ""]
    assert found["load of the machine's 2 cores"] == ["median 14, 68 at most", "the same"]
    assert found["core: memory, growth (MB)"] == ["81, -0.4 in 20 min", "the same"]


def test_the_page_says_what_the_report_says() -> None:
    text = soak_docs.FILE.read_text()
    assert docs.render(text, docs.FILE_MODE_TABLES) == text, "run python -m scripts.docs and commit the result"
    assert "<!-- table: hour -->" in text
