"""Rotation, on a Swarm that does what it is told at once, and breaks off where the test wants."""

from __future__ import annotations

from copy import deepcopy
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from l7.deploy import pki, rotate
from l7.deploy.init import init
from l7.deploy.rotate import Rotation
from l7.deploy.secrets import labels_of
from l7.deploy.stored import ACME_ACCOUNT, CA, CA_KEY, CORE, Stored, named, stored
from l7.kit import tls
from l7.kit.errors import ConfigError, Rejected, Unavailable

Json = dict[str, Any]


class Broken(Exception):
    """The run was broken off."""


class FakeSwarm:
    """Secrets with their content, services, and a task each that has what its service refers to."""

    def __init__(self) -> None:
        self.secrets: dict[str, tuple[str, bytes, dict[str, str]]] = {}
        self.served: dict[str, Json] = {}
        self.running: dict[str, Json] = {}
        self.calls = 0
        self.breaks_at = -1
        self.frozen: set[str] = set()
        self._number = count(1)

    # -- what rotation needs

    def stored(self) -> tuple[Stored, ...]:
        return tuple(stored(id, name, labels) for id, (name, _, labels) in self.secrets.items())

    def create(self, base: str, generation: int, data: bytes) -> str:
        self._call()
        name = named(base, generation)
        assert name not in {held for held, _, _ in self.secrets.values()}
        self.secrets[f"id{next(self._number)}"] = (name, data, labels_of(base, generation, data))
        return name

    def remove(self, secret: Stored) -> None:
        self._call()
        if any(secret.name in self.held(name).values() for name in self.served):
            raise Rejected("remove", "in use")
        del self.secrets[secret.id]

    def authority(self) -> pki.Authority:
        return pki.authority(self.mounted("core", CA), self.mounted("core", CA_KEY), self.mounted("core", CORE))

    def core_names(self) -> tuple[str, ...]:
        return pki.dns_names(self.mounted("core", CORE))

    def expected(self, generation: int) -> str:
        found = [each for each in self.stored() if each.base == CA and each.generation == generation]
        return found[0].authorities[0] if found else ""

    def services(self) -> list[Json]:
        return deepcopy(list(self.served.values()))

    def tasks(self) -> list[Json]:
        return deepcopy(list(self.running.values()))

    def update(self, service: Json) -> None:
        self._call()
        held = self.served[service["ID"]]
        if service["Version"] != held["Version"]:
            raise Unavailable("update out of sequence")
        self.served[service["ID"]] = deepcopy(service) | {"Version": {"Index": held["Version"]["Index"] + 1}}
        if service["ID"] not in self.frozen:
            self.replace_task(service["ID"])

    def _call(self) -> None:
        if self.calls == self.breaks_at:
            raise Broken
        self.calls += 1

    # -- what the test does

    def deploy(self, name: str, generation: int, *bases: str) -> None:
        ids = {held: id for id, (held, _, _) in self.secrets.items()}
        names = {base: named(base, generation) for base in bases}
        references = [{"SecretID": ids[n], "SecretName": n, "File": {"Name": base}} for base, n in names.items()]
        spec = {"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "i", "Secrets": references}}}
        self.served[name] = {"ID": name, "Version": {"Index": 7}, "Spec": spec}
        self.replace_task(name)

    def replace_task(self, name: str) -> None:
        self.running[name] = {"ServiceID": name, "Spec": deepcopy(self.served[name]["Spec"]["TaskTemplate"])}

    def held(self, name: str) -> dict[str, str]:
        """Names of the secrets that the service refers to, by file."""
        references = self.served[name]["Spec"]["TaskTemplate"]["ContainerSpec"].get("Secrets", [])
        return {each["File"]["Name"]: each["SecretName"] for each in references}

    def mounted(self, name: str, file: str) -> bytes:
        """In the service's task."""
        references = self.running[name]["Spec"]["ContainerSpec"]["Secrets"]
        return self.secrets[next(each["SecretID"] for each in references if each["File"]["Name"] == file)][1]

    def names(self) -> set[str]:
        return {name for name, _, _ in self.secrets.values()}


PROXIES = {"proxy": "l7-proxy", "proxy-east": "l7-proxy-east"}
EXTENSIONS = {"extension": "l7-extension", "extension-east": "l7-extension-east"}
BASES = {CA, CA_KEY, CORE, *PROXIES.values(), *EXTENSIONS.values()}


@pytest.fixture
def swarm() -> FakeSwarm:
    swarm = FakeSwarm()
    init(swarm, ["east"], ["front.internal"])
    swarm.deploy("core", 1, CA, CA_KEY, CORE, ACME_ACCOUNT)
    for name, identity in (PROXIES | EXTENSIONS).items():
        swarm.deploy(name, 1, CA, identity)
    swarm.served["web"] = {
        "ID": "web",
        "Version": {"Index": 1},
        "Spec": {"Name": "web", "TaskTemplate": {"ContainerSpec": {}}},
    }
    return swarm


def run(swarm: FakeSwarm, *, finish: bool = False, dry: bool = False) -> Rotation:
    rotation = Rotation(swarm, dry)
    if finish:
        rotation.finish()
    else:
        rotation.rotate()
    return rotation


def replace_proxies(swarm: FakeSwarm, generation: int) -> None:
    for name, identity in PROXIES.items():
        swarm.deploy(name, generation, CA, identity)


def test_core_and_extension_services_move_and_proxies_stay(swarm: FakeSwarm) -> None:
    old = swarm.mounted("core", CA)
    rotation = run(swarm)
    assert swarm.names() == {named(base, each) for base in BASES for each in (1, 2)} | {ACME_ACCOUNT}
    assert swarm.held("core") == {
        CA: "l7-ca.2", CA_KEY: "l7-ca-key.2", CORE: "l7-core.2", ACME_ACCOUNT: ACME_ACCOUNT,
    }  # fmt: skip
    assert swarm.held("extension-east") == {CA: "l7-ca.2", "l7-extension-east": "l7-extension-east.2"}
    assert swarm.held("proxy") == {CA: "l7-ca", "l7-proxy": "l7-proxy"}
    new, other = tls.certificates(swarm.mounted("core", CA))
    assert other == old
    assert new != old
    assert "front.internal" in pki.dns_names(swarm.mounted("core", CORE)), "a name that core was given once stays"
    assert [line for line in rotation.left if line.startswith("proxy")], "the proxies are left to the operator"
    key = load_pem_private_key(swarm.mounted("core", CA_KEY), None)
    assert key.public_key() == pki.certificate_of(new).public_key()


def test_a_stack_would_take_the_new_secrets_back(swarm: FakeSwarm) -> None:
    assert not [line for line in run(swarm).left if "L7_PKI" in line]
    swarm.served["core"]["Spec"]["Labels"] = {"com.docker.stack.namespace": "l7"}
    assert [line for line in run(swarm).left if "L7_PKI=.2" in line]


def test_identities_carry_the_word_of_the_old_ca(swarm: FakeSwarm) -> None:
    old = swarm.mounted("core", CA)
    run(swarm)
    new = swarm.mounted("core", CA)
    for name, file in (("core", CORE), *EXTENSIONS.items()):
        leaf, cross = tls.certificates(swarm.mounted(name, file))
        assert pki.issued_by(leaf, new)
        assert not pki.issued_by(leaf, old)
        assert pki.issued_by(leaf, cross)
        assert pki.issued_by(cross, old)


def test_finish_waits_for_the_proxies(swarm: FakeSwarm) -> None:
    run(swarm)
    before = swarm.names()
    rotation = run(swarm, finish=True)
    assert rotation.said == []
    assert [line.split()[0] for line in rotation.left] == ["proxy", "proxy-east"]
    assert swarm.names() == before


def test_finish_waits_for_tasks_that_still_run_with_old_secrets(swarm: FakeSwarm) -> None:
    run(swarm)
    old_task = swarm.running["proxy"]
    replace_proxies(swarm, 2)
    swarm.running["proxy"] = old_task
    rotation = run(swarm, finish=True)
    assert rotation.said == []
    assert rotation.left == ["proxy still has tasks with older secrets: 1"]


def test_finish_leaves_only_the_new_ca(swarm: FakeSwarm) -> None:
    run(swarm)
    new = tls.certificates(swarm.mounted("core", CA))[0]
    key = swarm.mounted("core", CA_KEY)
    replace_proxies(swarm, 2)
    run(swarm, finish=True)
    assert tls.certificates(swarm.mounted("core", CA)) == (new,)
    assert swarm.mounted("core", CA_KEY) == key
    assert len(tls.certificates(swarm.mounted("core", CORE))) == 1, "the old CA's word is not needed any more"
    assert swarm.held("extension")[CA] == "l7-ca.3"
    still = {"l7-ca.2", "l7-proxy.2", "l7-proxy-east.2"}
    assert swarm.names() == {named(base, 3) for base in BASES} | still | {ACME_ACCOUNT}
    replace_proxies(swarm, 3)
    run(swarm, finish=True)
    assert swarm.names() == {named(base, 3) for base in BASES} | {ACME_ACCOUNT}
    assert run(swarm, finish=True).said == []


def test_another_rotation_begins_after_the_end_of_the_first(swarm: FakeSwarm) -> None:
    first = swarm.mounted("core", CA)
    for generation in (2, 4):
        run(swarm)
        replace_proxies(swarm, generation)
        run(swarm, finish=True)
        replace_proxies(swarm, generation + 1)
        run(swarm, finish=True)
    assert swarm.names() == {named(base, 5) for base in BASES} | {ACME_ACCOUNT}
    assert first not in tls.certificates(swarm.mounted("core", CA))


def test_rotating_twice_is_rotating_once(swarm: FakeSwarm) -> None:
    run(swarm)
    before = swarm.names()
    assert run(swarm).said == []
    assert swarm.names() == before


def test_a_dry_run_changes_nothing_and_says_the_same(swarm: FakeSwarm) -> None:
    before, calls = deepcopy((swarm.secrets, swarm.served)), swarm.calls
    said = run(swarm, dry=True).said
    assert (swarm.secrets, swarm.served) == before
    assert swarm.calls == calls
    assert run(swarm).said == said
    replace_proxies(swarm, 2)
    before, calls = deepcopy((swarm.secrets, swarm.served)), swarm.calls
    said = run(swarm, finish=True, dry=True).said
    assert (swarm.secrets, swarm.served) == before
    assert swarm.calls == calls
    assert run(swarm, finish=True).said[: len(said)] == said


def test_broken_off_anywhere_it_is_finished_by_the_next_run(swarm: FakeSwarm) -> None:
    """At each single call, in both steps; the same comes out as without."""
    whole = deepcopy(swarm)
    run(whole)
    replace_proxies(whole, 2)
    run(whole, finish=True)
    for call in range(swarm.calls, whole.calls):
        broken = deepcopy(swarm)
        broken.breaks_at = call
        for finish in (False, True):
            try:
                run(broken, finish=finish)
            except Broken:
                assert broken.mounted("core", CA), "core has a CA that there is"
                broken.breaks_at = -1
                run(broken, finish=finish)
            if not finish:
                replace_proxies(broken, 2)
        assert broken.names() == whole.names(), call
        assert {name: broken.held(name) for name in PROXIES | EXTENSIONS} == {
            name: whole.held(name) for name in PROXIES | EXTENSIONS
        }
        ca = tls.certificates(broken.mounted("core", CA))
        assert len(ca) == 1
        for name, file in EXTENSIONS.items():
            assert pki.issued_by(broken.mounted(name, file), ca[0])


def test_somebody_elses_change_of_a_service_is_kept(swarm: FakeSwarm) -> None:
    real, meddled = swarm.update, []

    def update(service: Json) -> None:
        if not meddled:
            meddled.append(True)
            spec = swarm.served[service["ID"]]
            spec["Version"]["Index"] += 1
            spec["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "newer"
        real(service)

    swarm.update = update  # type: ignore[method-assign]
    run(swarm)
    assert swarm.served["core"]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "newer"
    assert swarm.held("core")[CA] == "l7-ca.2"


def test_a_core_that_is_not_replaced_is_said(swarm: FakeSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "_PATIENCE", 0.0)
    swarm.frozen = {"core"}
    with pytest.raises(Unavailable, match="core's task"):
        run(swarm)
    assert swarm.held("extension")[CA] == "l7-ca", "nothing else moves before core does"
    swarm.replace_task("core")
    run(swarm)
    assert swarm.held("extension")[CA] == "l7-ca.2"


def test_init_makes_what_is_missing_in_the_generation_of_now(swarm: FakeSwarm) -> None:
    run(swarm)
    assert init(swarm, ["east"]) == []
    assert init(swarm, ["west"]) == ["l7-proxy-west.2", "l7-extension-west.2"]
    west = next(data for name, data, _ in swarm.secrets.values() if name == "l7-proxy-west.2")
    assert pki.issued_by(west, swarm.mounted("core", CA))
    assert len(tls.certificates(west)) == 2


def test_init_waits_for_a_core_with_the_ca_of_now(swarm: FakeSwarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "_PATIENCE", 0.0)
    swarm.frozen = {"core"}
    with pytest.raises(Unavailable):
        run(swarm)
    with pytest.raises(ConfigError, match="rotate"):
        init(swarm, ["west"])


def test_a_ca_of_before_rotation_is_refused_in_words(swarm: FakeSwarm) -> None:
    old = pki.new_authority()
    strict = pki.certificate_of(old.certificate)
    builder = pki._ca_builder(strict.subject, strict.issuer, strict.public_key(), path_length=0)  # type: ignore[arg-type]
    signed = (
        builder.not_valid_before(strict.not_valid_before_utc)
        .not_valid_after(strict.not_valid_after_utc)
        .sign(pki._private_key(old.key), strict.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    with pytest.raises(ConfigError, match="could not rotate"):
        pki.cross_signed(pki.new_authority(), pki.Authority(pki._pem(signed), old.key))


def test_nothing_can_be_rotated_or_finished_where_there_is_nothing() -> None:
    with pytest.raises(ConfigError, match="pki init"):
        run(FakeSwarm())
    with pytest.raises(ConfigError, match="no rotation"):
        run(FakeSwarm(), finish=True)
