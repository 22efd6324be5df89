"""The service that answers what no other does: acceptance item 83, on a real Swarm."""

from __future__ import annotations

import orjson
import pytest

from tests.e2e.conftest import WITNESS, Create
from tests.e2e.installation import Installation

pytestmark = [pytest.mark.swarm, pytest.mark.timeout(300)]

DEFAULT = {"default_backend": "true", "port": "8080"}
UNKNOWN = "nobody83.local"


@pytest.mark.acceptance(83)
def test_unknown_hosts_have_a_service(l7: Installation, create: Create) -> None:
    with l7.load(WITNESS) as reports:
        create("default83", labels=DEFAULT)
        first = l7.published("default83", UNKNOWN)
        for each in l7.ask(UNKNOWN, "/some/echo?q=1"):
            seen = orjson.loads(each.body)
            assert each.status == 200
            assert seen["request"] == "GET /some/echo?q=1 HTTP/1.1"
            assert {value for name, value in seen["headers"] if name.lower() == "host"} == {UNKNOWN}
        assert {each.instance for each in l7.ask(WITNESS)} == l7.task_ids("witness")
        create("second83", labels=DEFAULT)
        problem = l7.problem("second83", "default_backend")
        assert "default83" in problem["message"]
        assert problem["remedy"]
        l7.running("second83", 1)
        l7.converged()
        assert {each.instance for each in l7.ask(UNKNOWN, times=4)} == first
        l7.remove("default83")
        l7.reach(UNKNOWN, l7.task_ids("second83"), timeout=10)
        l7.solved("second83")
        l7.label("second83", default_backend=None)
        l7.refused(UNKNOWN)
    assert l7.unharmed(reports)
