"""A service cluster stays at a revision, on a real Swarm: labels wait, servers follow, a new core honours it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from l7 import cli
from testbed.system import EXTENSION
from tests.e2e.installation import Installation, nothing_failed
from tests.e2e.published import Published

pytestmark = pytest.mark.swarm


def command(system: Installation, *words: str) -> Result:
    done = CliRunner().invoke(cli.main, [*words, "--docker-url", system.swarm.node(0).url])
    assert done.exit_code == 0, done.output
    return done


def pinned(system: Installation) -> list[dict[str, Any]]:
    """What `l7 status` says of pins."""
    return [each for each in system.status()["problems"] if "is pinned" in each["message"]]


@pytest.fixture
def unpinned(l7: Installation) -> Iterator[Installation]:
    """Whatever a test pins."""
    yield l7
    command(l7, "unpin")


def test_pinned_relabelled_scaled_and_unpinned(unpinned: Installation) -> None:
    l7, published = unpinned, Published(unpinned)
    l7.create("web", "web.test")
    l7.published("web", "web.test")
    l7.until("the route to be published", lambda: "web.test" in published.routes())
    before = published.versions()[0].revision
    extension = l7.task_ids(EXTENSION)

    command(l7, "pin", before[:8])
    said = l7.until("core to say so", lambda: pinned(l7))
    assert said[0]["value"] == before[:12]
    with l7.load("web.test") as reports:
        l7.label("web", hosts="other.test")
        l7.create("new", "new.test")
        l7.until(
            "what waits to be named",
            lambda: any("wait: new, web" in each["message"] for each in pinned(l7)),
        )
        l7.scale("web", 3)
        l7.settled("web", 3)
        l7.reach("web.test", l7.task_ids("web"))
        l7.refused("other.test")
        l7.restart_core()
        assert l7.hosts() >= {"web.test"}
        assert l7.hosts().isdisjoint({"other.test", "new.test"})
        l7.running("new", 1)
        l7.refused("new.test")
        l7.scale("web", 1)
        l7.settled("web", 1)
    nothing_failed(reports)
    assert l7.task_ids(EXTENSION) == extension, "a pin replaces no task"

    command(l7, "unpin")
    l7.answered("other.test")
    l7.answered("new.test")
    l7.refused("web.test")
    l7.until("the routes to be published", lambda: {"other.test", "new.test"} <= published.routes())
    rows = orjson.loads(command(l7, "history", "--output", "json").output)
    assert rows[0]["marks"][:1] == ["current"]
    assert "routes" in rows[0]["changed"]
    assert before[:12] in {row["revision"] for row in rows}
    lines = command(l7, "diff", before[:12], "current").output.splitlines()
    assert "-web: com.docker.lb.hosts=web.test" in lines
    assert "+web: com.docker.lb.hosts=other.test" in lines
    assert "+new.test/ new|" in lines
    assert "nothing to do" in command(l7, "unpin").output
    l7.remove("web", "new")
