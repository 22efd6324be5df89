"""What the fleet relies on, of the Engine API of a real Swarm and of the fake."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from l7.deploy.apply import OURS
from l7.deploy.names import FLEET, MANAGED
from l7.kit.errors import Rejected
from l7.swarm.engine import Address, Engine, Outdated
from testbed import app
from testbed.swarm import Swarm
from tests.fakes.docker import FakeDocker

SPEC: dict[str, Any] = {
    "Name": "fleet-contract",
    "Labels": {MANAGED: FLEET, "team": "web"},
    "TaskTemplate": {"ContainerSpec": {"Image": app.TAG}},
    "Mode": {"Replicated": {"Replicas": 0}},
}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.swarm)])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeDocker()
        return
    swarm: Swarm = request.getfixturevalue("swarm1")
    engine = Engine(Address(swarm.node(0).url))
    yield engine
    for each in await engine.ask("GET", "/services", {"filters": OURS}):
        await engine.ask("DELETE", f"/services/{each['ID']}")
    await engine.close()


async def test_services_are_found_by_label_and_keep_what_they_were_given(api: Any) -> None:
    made = await api.ask("POST", "/services/create", body=SPEC)
    other = {**SPEC, "Name": "fleet-contract-other", "Labels": {"team": "web"}}
    theirs = await api.ask("POST", "/services/create", body=other)
    try:
        (found,) = await api.ask("GET", "/services", {"filters": OURS})
    finally:
        await api.ask("DELETE", f"/services/{theirs['ID']}")
    assert found["ID"] == made["ID"]
    assert found["Spec"]["Labels"] == SPEC["Labels"]
    assert (await api.ask("GET", "/services/fleet-contract"))["ID"] == made["ID"]
    with pytest.raises(Rejected):
        await api.ask("GET", "/services/no-such-service")
    with pytest.raises(Rejected):
        await api.ask("POST", "/services/create", body=SPEC)


async def test_an_update_is_for_the_version_that_was_read(api: Any) -> None:
    made = await api.ask("POST", "/services/create", body=SPEC)
    read = await api.ask("GET", "/services/fleet-contract")
    version = {"version": str(read["Version"]["Index"])}
    changed = {**read["Spec"], "Labels": {**SPEC["Labels"], "more": "yes"}}
    await api.ask("POST", f"/services/{made['ID']}/update", version, changed)
    with pytest.raises(Outdated):
        await api.ask("POST", f"/services/{made['ID']}/update", version, changed)
    again = await api.ask("GET", "/services/fleet-contract")
    assert again["Spec"]["Labels"]["more"] == "yes"
    assert again["Version"]["Index"] > read["Version"]["Index"]


async def test_a_network_in_use_cannot_be_removed(api: Any) -> None:
    spec = {"Name": "fleet-net", "Driver": "overlay", "Labels": {MANAGED: FLEET}, "CheckDuplicate": True}
    network = (await api.ask("POST", "/networks/create", body=spec))["Id"]
    template = {**SPEC["TaskTemplate"], "Networks": [{"Target": network}]}
    made = await api.ask("POST", "/services/create", body={**SPEC, "TaskTemplate": template})
    listed = await api.ask("GET", "/networks", {"filters": orjson.dumps({"scope": ["swarm"]}).decode()})
    (found,) = [each for each in listed if each["Name"] == "fleet-net"]
    assert (found["Id"], found["Labels"]) == (network, {MANAGED: FLEET})
    with pytest.raises(Rejected, match="in use"):
        await api.ask("DELETE", f"/networks/{network}")
    await api.ask("DELETE", f"/services/{made['ID']}")
    await api.ask("DELETE", f"/networks/{network}")
    with pytest.raises(Rejected):
        await api.ask("DELETE", f"/services/{made['ID']}")


async def test_a_secret_is_made_once(api: Any) -> None:
    spec = {"Name": "fleet-secret", "Labels": {MANAGED: FLEET}, "Data": base64.b64encode(b"x").decode()}
    made = await api.ask("POST", "/secrets/create", body=spec)
    with pytest.raises(Rejected):
        await api.ask("POST", "/secrets/create", body=spec)
    await api.ask("DELETE", f"/secrets/{made['ID']}")


async def test_the_swarm_and_its_nodes(api: Any) -> None:
    assert isinstance((await api.ask("GET", "/swarm"))["SubnetSize"], int)
    assert isinstance(await api.ask("GET", "/nodes"), list)
    with pytest.raises(Rejected):
        await api.ask("GET", "/containers/no-such-container/json")
