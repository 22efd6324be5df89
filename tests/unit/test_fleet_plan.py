"""What the fleet's plan does in each situation: settings and services in, exact actions out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from l7.config import Cluster
from l7.deploy import mounted, names
from l7.deploy.actions import (
    CreateIdentity,
    CreateNetwork,
    CreateService,
    Plan,
    RemoveNetwork,
    RemoveService,
    UpdateService,
)
from l7.deploy.decisions import Decision
from l7.deploy.existing import Existing, ManagedNetwork
from l7.deploy.plan import Situation, digest, plan
from l7.deploy.stored import Stored
from l7.deploy.wanted import Installation
from l7.fleet import Port, ProxyOptions, ServiceOptions

IDENTITIES = {base: Stored(f"id-{base}", base, base) for base in ("l7-ca", "l7-extension", "l7-proxy")}
EAST = {base: Stored(base, base, base) for base in ("l7-proxy-east", "l7-extension-east")}
INSTALLATION = Installation("l7:1", "tasks.l7-core:8080", ("ctl",), {"l7": "net", "shop": "net2"}, IDENTITIES)
DECISION = Decision(proxies=("node.role==worker",))
BLANK = Situation(INSTALLATION, {"": DECISION, "east": DECISION})
DEFAULT = Cluster()


def made(clusters: dict[str, Cluster], situation: Situation = BLANK) -> tuple[Existing, ...]:
    """The services that a plan creates, as Swarm would have them, serving."""
    done = plan(clusters, situation)
    created = [each for each in done.actions if isinstance(each, CreateService)]
    return tuple(Existing(f"id-{each.name}", 1, each.spec, running=2) for each in created)


def with_existing(*existing: Existing, **more: Any) -> Situation:
    return replace(BLANK, existing=existing, **more)


def kinds(found: Plan) -> list[tuple[str, str]]:
    return [(type(each).__name__, each.name) for each in found.actions]


def edited(existing: Existing, **spec: Any) -> Existing:
    return replace(existing, version=existing.version + 1, spec={**existing.spec, **spec})


def changed(existing: Existing, container: dict[str, Any]) -> Existing:
    template = existing.spec["TaskTemplate"]
    merged = {**template, "ContainerSpec": {**template["ContainerSpec"], **container}}
    return edited(existing, TaskTemplate=merged)


# ---------------------------------------------------------------- from nothing


def test_what_services_need_comes_first() -> None:
    empty = replace(INSTALLATION, networks={}, identities={"l7-ca": IDENTITIES["l7-ca"]})
    found = plan({"": DEFAULT}, replace(BLANK, installation=empty, subnets=("10.77.0.0/20",)))
    identities = [("CreateIdentity", "l7-extension"), ("CreateIdentity", "l7-proxy")]
    assert kinds(found) == [("CreateNetwork", "l7"), *identities]
    network = found.actions[0]
    assert isinstance(network, CreateNetwork)
    assert network.spec["IPAM"] == {"Config": [{"Subnet": "10.78.0.0/16"}]}
    assert (network.spec["Driver"], network.spec["Attachable"]) == ("overlay", True)
    assert network.spec["Labels"][names.MANAGED] == names.FLEET


def test_networks_that_are_made_at_once_do_not_overlap() -> None:
    empty = replace(INSTALLATION, networks={})
    found = plan(
        {"": DEFAULT, "east": Cluster("east")}, replace(BLANK, installation=empty, subnets=("10.77.0.0/16",))
    )
    specs = [each.spec for each in found.actions if isinstance(each, CreateNetwork)]
    assert [each["IPAM"]["Config"][0]["Subnet"] for each in specs] == ["10.78.0.0/16", "10.79.0.0/16"]


def test_no_subnet_is_left_for_a_cluster() -> None:
    installation = replace(INSTALLATION, identities=IDENTITIES | EAST)
    found = plan(
        {"": DEFAULT, "east": Cluster("east")}, replace(BLANK, installation=installation, subnets=("10.0.0.0/8",))
    )
    assert kinds(found) == [("CreateService", "l7-extension"), ("CreateService", "l7-proxy")]
    assert [(each.cluster, "no /16 of 10.0.0.0/8 is free" in each.message) for each in found.problems] == [
        ("east", True)
    ]


def test_swarm_chooses_the_subnet_where_it_chooses_a_large_one() -> None:
    empty = replace(INSTALLATION, networks={})
    found = plan({"": DEFAULT}, replace(BLANK, installation=empty, wide=True)).actions[0]
    assert isinstance(found, CreateNetwork)
    assert "IPAM" not in found.spec


def test_an_own_cluster_has_own_identities_and_a_network() -> None:
    found = plan({"east": Cluster("east")}, BLANK)
    assert [(type(each), each.name, each.cluster) for each in found.actions] == [
        (CreateNetwork, "l7-east", "east"),
        (CreateIdentity, "l7-extension-east", "east"),
        (CreateIdentity, "l7-proxy-east", "east"),
    ]


def test_both_services_are_created_and_then_nothing() -> None:
    found = plan({"": DEFAULT}, BLANK)
    assert kinds(found) == [("CreateService", "l7-extension"), ("CreateService", "l7-proxy")]
    for _ in range(1000):
        assert plan({"": DEFAULT}, with_existing(*made({"": DEFAULT}))) == Plan()


def test_the_proxies_are_as_asked() -> None:
    options = ProxyOptions(
        image="l7:2", args=("--threads", "2"), name="front", labels=(("team", "web"),),
        container_labels=(("tier", "0"),), preferences=("spread=node.labels.zone",), replicas=5,
        stop_signal="SIGTERM", stop_grace_period=40_000, update_delay=2_000, publish_mode="host",
        http=Port(8080, 80), tls=Port(8443, 443),
    )  # fmt: skip
    _, proxy = made({"": Cluster(proxy_options=options)})
    container = proxy.spec["TaskTemplate"]["ContainerSpec"]
    assert proxy.name == "front"
    assert proxy.labels["team"] == "web"
    assert proxy.labels["type"] == "com.docker.interlock.core.proxy"
    assert container["Image"] == "l7:2"
    assert container["Args"] == ["haproxy", "run", "--threads", "2"]
    assert container["Labels"] == {"tier": "0"}
    assert (container["StopSignal"], container["StopGracePeriod"]) == ("SIGTERM", 40_000_000_000)
    assert "L7_HAPROXY_STOP_GRACE=38.5" in container["Env"]
    assert proxy.spec["TaskTemplate"]["Placement"] == {
        "Constraints": ["node.role==worker"],
        "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
    }
    assert proxy.ports == {8080, 8443}
    assert {each["PublishMode"] for each in proxy.spec["EndpointSpec"]["Ports"]} == {"host"}
    update = proxy.spec["UpdateConfig"]
    assert (update["Order"], update["Delay"], update["FailureAction"]) == ("stop-first", 2_000_000_000, "rollback")


def test_proxies_that_share_no_port_of_a_node_start_before_others_stop() -> None:
    for options in (ProxyOptions(), ProxyOptions(publish_mode="host", http=Port(0, 80), tls=Port(0, 443))):
        _, proxy = made({"": Cluster(proxy_options=options)})
        assert proxy.spec["UpdateConfig"]["Order"] == "start-first"


def test_one_that_fails_is_known_before_the_next_is_stopped() -> None:
    """Without a pause Swarm looks at the failure and at the next task in any order: no proxy may be left."""
    for options, pause in ((ProxyOptions(publish_mode="host"), 1_000_000_000), (ProxyOptions(), 0)):
        _, proxy = made({"": Cluster(proxy_options=options)})
        assert proxy.spec["UpdateConfig"]["Delay"] == proxy.spec["RollbackConfig"]["Delay"] == pause


def test_one_on_each_node() -> None:
    _, proxy = made({"": DEFAULT}, replace(BLANK, decisions={"": replace(DECISION, replicas=None)}))
    assert proxy.spec["Mode"] == {"Global": {}}


def test_networks_of_the_settings_and_those_that_are_joined() -> None:
    joined = replace(BLANK, decisions={"": replace(DECISION, joined=frozenset({"a2", "a1"}))})
    _, proxy = made({"": Cluster(networks=("shop",))}, joined)
    assert [each["Target"] for each in proxy.spec["TaskTemplate"]["Networks"]] == ["ctl", "net2", "a1", "a2"]


# ---------------------------------------------------------------- what is wrong


def test_a_network_that_is_not_there_costs_its_own_cluster_only() -> None:
    installation = replace(INSTALLATION, identities=IDENTITIES | EAST)
    clusters = {"": DEFAULT, "east": Cluster("east", networks=("no",))}
    found = plan(clusters, replace(BLANK, installation=installation))
    assert kinds(found) == [("CreateService", "l7-extension"), ("CreateService", "l7-proxy")]
    assert [(each.cluster, each.value) for each in found.problems] == [("east", "no")]


def test_a_service_of_our_name_that_is_not_ours_is_left_alone() -> None:
    found = plan({"": DEFAULT}, replace(BLANK, foreign=frozenset({"l7-proxy"})))
    assert kinds(found) == [("CreateService", "l7-extension")]
    assert found.problems[0].value == "l7-proxy"


def test_a_core_that_does_not_know_itself_creates_nothing() -> None:
    nobody = replace(INSTALLATION, image="")
    found = plan({"": DEFAULT}, replace(BLANK, installation=nobody))
    assert not found.actions
    assert "core does not know" in found.problems[0].message


def test_a_core_outside_of_swarm_needs_images_of_the_settings() -> None:
    options = {"extension_options": ServiceOptions(image="l7:1"), "proxy_options": ProxyOptions(image="l7:1")}
    nobody = replace(INSTALLATION, image="")
    found = plan({"": Cluster(**options)}, replace(BLANK, installation=nobody))  # type: ignore[arg-type]
    assert kinds(found) == [("CreateService", "l7-extension"), ("CreateService", "l7-proxy")]


def test_without_the_secret_of_the_ca_nothing_is_made() -> None:
    lost = {base: each for base, each in IDENTITIES.items() if base != "l7-ca"}
    for identities in (lost, {}):
        found = plan({"": DEFAULT}, replace(BLANK, installation=replace(INSTALLATION, identities=identities)))
        assert not found.actions
        assert [(each.value, "l7 pki init" in each.remedy) for each in found.problems] == [("l7-ca", True)]


def test_tasks_that_do_not_run_are_told_of_after_a_rollback_too() -> None:
    extension, proxy = made({"": DEFAULT})
    back = replace(proxy, update="rollback_completed", trouble="No such image: l7:2")
    assert not plan({"": DEFAULT}, with_existing(extension, back)).problems  # it is what was before that runs
    (problem,) = plan({"": DEFAULT}, with_existing(extension, replace(back, running=1))).problems
    assert problem.message == "1 of 2 tasks run; Swarm says: No such image: l7:2"


# ---------------------------------------------------------------- changes


def test_a_changed_option_is_one_update_and_an_operators_own_changes_survive() -> None:
    extension, proxy = made({"": DEFAULT})
    placement = {"Constraints": ["node.role==worker", "node.labels.mine==1"]}
    theirs = edited(proxy, Mode={"Replicated": {"Replicas": 7}},
                    TaskTemplate={**proxy.spec["TaskTemplate"], "Placement": placement})  # fmt: skip
    assert plan({"": DEFAULT}, with_existing(extension, theirs)) == Plan()
    wanted = Cluster(proxy_options=ProxyOptions(stop_signal="SIGTERM"))
    (update,) = plan({"": wanted}, with_existing(extension, theirs)).actions
    assert isinstance(update, UpdateService)
    assert update.version == theirs.version
    assert update.replaces
    assert update.spec["TaskTemplate"]["ContainerSpec"]["StopSignal"] == "SIGTERM"
    assert update.spec["Mode"] == {"Replicated": {"Replicas": 7}}
    assert update.spec["TaskTemplate"]["Placement"] == placement


def test_a_label_or_the_number_of_proxies_replaces_no_task() -> None:
    extension, proxy = made({"": DEFAULT})
    more = replace(BLANK, existing=(extension, proxy), decisions={"": replace(DECISION, replicas=3)})
    (update,) = plan({"": Cluster(proxy_options=ProxyOptions(labels=(("a", "b"),)))}, more).actions
    assert isinstance(update, UpdateService)
    assert not update.replaces
    assert update.spec["Mode"] == {"Replicated": {"Replicas": 3}}


def test_a_new_image_goes_to_the_extension_service_first() -> None:
    extension, proxy = made({"": DEFAULT})
    newer = replace(BLANK, installation=replace(INSTALLATION, image="l7:2"), existing=(extension, proxy))
    found = plan({"": DEFAULT}, newer)
    assert kinds(found) == [("UpdateService", "l7-extension")]
    updated = replace(extension, spec=found.actions[0].spec, update="updating")  # type: ignore[union-attr]
    waiting = plan({"": DEFAULT}, replace(newer, existing=(updated, proxy)))
    assert not waiting.actions
    assert waiting.waiting
    done = plan({"": DEFAULT}, replace(newer, existing=(replace(updated, update="completed"), proxy)))
    assert kinds(done) == [("UpdateService", "l7-proxy")]


def test_what_swarm_rolled_back_is_not_tried_again_until_it_changes() -> None:
    extension, proxy = made({"": DEFAULT})
    bad = {"": Cluster(proxy_options=ProxyOptions(args=("--bad",)))}
    (update,) = plan(bad, with_existing(extension, proxy)).actions
    assert isinstance(update, UpdateService)
    back = replace(proxy, update="rollback_completed", message="task failed")
    refused = with_existing(extension, back, refused={"l7-proxy": update.digest})
    found = plan(bad, refused)
    assert not found.actions
    assert "task failed" in found.problems[0].message
    assert kinds(plan({"": Cluster(proxy_options=ProxyOptions(args=("--good",)))}, refused)) == [
        ("UpdateService", "l7-proxy")
    ]


def test_why_swarm_rolled_back_is_said_where_it_says_so() -> None:
    _, proxy = made({"": DEFAULT})
    newer = replace(INSTALLATION, image="l7:2")
    settled = made({"": DEFAULT}, replace(BLANK, installation=newer))[0]
    back = replace(proxy, update="rollback_completed", message="rollback completed", trouble="No such image: l7:2")
    situation = with_existing(settled, back, installation=newer)
    (update,) = plan({"": DEFAULT}, situation).actions
    assert isinstance(update, UpdateService)
    found = plan({"": DEFAULT}, replace(situation, refused={"l7-proxy": update.digest}))
    assert [each.message for each in found.problems] == ["Swarm took an update back: No such image: l7:2"]


def test_a_mode_that_swarm_cannot_change_is_said_to_need_another_name() -> None:
    extension, proxy = made({"": DEFAULT})
    everywhere = replace(BLANK, decisions={"": replace(DECISION, replicas=None)}, existing=(extension, proxy))
    found = plan({"": DEFAULT}, everywhere)
    assert not found.actions
    assert "ProxyServiceName" in found.problems[0].remedy


def test_secrets_that_core_attached_stay() -> None:
    extension, proxy = made({"": DEFAULT})
    own = extension.spec["TaskTemplate"]["ContainerSpec"]["Secrets"]
    attached = {"File": {"Name": "l7/abc", "UID": "0"}, "SecretID": "abc", "SecretName": "x"}
    theirs = changed(extension, {"Secrets": [*own, attached]})
    wanted = Cluster(extension_options=ServiceOptions(args=("-D",)))
    (update,) = plan({"": wanted}, with_existing(theirs, proxy)).actions
    assert isinstance(update, UpdateService)
    assert attached in update.spec["TaskTemplate"]["ContainerSpec"]["Secrets"]


def test_labels_that_cannot_be_read_are_no_reason_to_fail() -> None:
    extension, proxy = made({"": DEFAULT})
    odd = edited(proxy, Labels={**proxy.labels, names.APPLIED: "{"})
    (update,) = plan({"": DEFAULT}, with_existing(extension, odd)).actions
    assert isinstance(update, UpdateService)
    assert orjson.loads(update.spec["Labels"][names.APPLIED])["Name"] == "l7-proxy"
    assert digest(orjson.loads(update.spec["Labels"][names.APPLIED])) == update.digest


def test_newer_identities_replace_no_proxy_and_go_along_with_whatever_does() -> None:
    extension, proxy = made({"": DEFAULT})
    newer = {base: Stored(f"{each.id}.2", f"{base}.2", base, 2) for base, each in IDENTITIES.items()}
    older = {each.id: each for each in IDENTITIES.values()}
    installation = replace(INSTALLATION, identities=newer, older=older)
    situation = with_existing(extension, proxy, installation=installation)
    (update,) = plan({"": DEFAULT}, situation).actions
    assert update.name == "l7-extension"
    settled = made({"": DEFAULT}, replace(BLANK, installation=installation))[0]
    situation = replace(situation, existing=(settled, proxy))
    assert plan({"": DEFAULT}, situation) == Plan()
    (update,) = plan({"": Cluster(proxy_options=ProxyOptions(args=("-D",)))}, situation).actions
    assert isinstance(update, UpdateService)
    held = [each["SecretName"] for each in update.spec["TaskTemplate"]["ContainerSpec"]["Secrets"]]
    assert held == ["l7-ca.2", "l7-proxy.2"]


# ---------------------------------------------------------------- what is left over


def test_published_configurations_replace_no_task_and_go_along_with_whatever_does() -> None:
    def refers(spec: dict[str, Any]) -> frozenset[str]:
        return mounted.referred(spec)

    first, second = ({"": (_reference(name),)} for name in ("c1", "c2"))
    created = made({"": DEFAULT}, replace(BLANK, published=first))
    assert [refers(each.spec) for each in created] == [{"c1"}, {"c1"}]
    situation = with_existing(*created, published=second)
    assert plan({"": DEFAULT}, situation) == Plan()
    labelled = Cluster(proxy_options=ProxyOptions(labels=(("team", "web"),)))
    (update,) = plan({"": labelled}, situation).actions
    assert isinstance(update, UpdateService)
    assert (update.replaces, refers(update.spec)) == (False, {"c1"})
    rolled = Cluster(proxy_options=ProxyOptions(args=("--threads", "2")))
    (update,) = plan({"": rolled}, situation).actions
    assert isinstance(update, UpdateService)
    assert (update.replaces, refers(update.spec)) == (True, {"c2"})


def _reference(id: str) -> dict[str, Any]:
    return {"File": {"Name": "/run/l7-published/1"}, "ConfigID": id, "ConfigName": id}


def test_another_name_is_a_new_service_and_the_old_one_goes_when_it_serves() -> None:
    extension, proxy = made({"": DEFAULT})
    options = ProxyOptions(name="front", http=Port(81, 80), tls=Port(444, 443))
    renamed = {"": Cluster(proxy_options=options)}
    found = plan(renamed, with_existing(extension, proxy))
    assert kinds(found) == [("CreateService", "front")]
    front = made(renamed)[1]
    assert not plan(renamed, with_existing(extension, proxy, replace(front, running=0))).actions
    assert plan(renamed, with_existing(extension, proxy, front)).actions == (
        RemoveService("", "l7-proxy", "id-l7-proxy"),
    )


def test_a_pin_goes_on_to_an_extension_service_of_another_name() -> None:
    extension, proxy = made({"": DEFAULT})
    pinned = edited(extension, Labels={**extension.labels, names.PIN: "3f9c02"})
    renamed = {"": Cluster(extension_options=ServiceOptions(name="secrets"))}
    (create, *_) = plan(renamed, with_existing(pinned, proxy)).actions
    assert isinstance(create, CreateService)
    assert create.spec["Labels"][names.PIN] == "3f9c02"
    assert names.PIN not in orjson.loads(create.spec["Labels"][names.APPLIED])["Labels"]  # it is the operator's
    networks = {**INSTALLATION.networks, "l7-east": "e"}
    installation = replace(INSTALLATION, networks=networks, identities=IDENTITIES | EAST)
    east = plan({"east": Cluster("east")}, with_existing(pinned, installation=installation)).actions[0]
    assert isinstance(east, CreateService)
    assert names.PIN not in east.spec["Labels"]


def test_a_service_that_holds_the_ports_of_its_successor_goes_before_it_serves() -> None:
    extension, proxy = made({"": DEFAULT})
    renamed = {"": Cluster(proxy_options=ProxyOptions(name="front"))}
    front = replace(made(renamed)[1], running=0)
    assert kinds(plan(renamed, with_existing(extension, proxy, front))) == [("RemoveService", "l7-proxy")]
    # Swarm does not even create it, where ports are taken Swarm-wide.
    assert ("RemoveService", "l7-proxy") in kinds(plan(renamed, with_existing(extension, proxy)))


def test_a_cluster_that_is_gone_takes_its_services_and_network_along() -> None:
    here = made({"": DEFAULT})
    installation = replace(
        INSTALLATION, networks={**INSTALLATION.networks, "l7-east": "e"},
        identities=IDENTITIES | EAST,
    )  # fmt: skip
    east = made({"east": Cluster("east")}, replace(BLANK, installation=installation))
    network = ManagedNetwork("e", "l7-east", "east")
    situation = with_existing(*here, *east, installation=installation, networks=(network,))
    assert kinds(plan({"": DEFAULT}, situation)) == [
        ("RemoveService", "l7-extension-east"), ("RemoveService", "l7-proxy-east")
    ]  # fmt: skip
    situation = with_existing(*here, installation=installation, networks=(network,))
    assert plan({"": DEFAULT}, situation).actions == (RemoveNetwork("east", "l7-east", "e"),)
