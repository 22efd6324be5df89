"""What `l7 install`, `l7 config apply` and `l7 upgrade` have to do, by what there is."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from l7.deploy import core_service, names, subnets
from l7.deploy.core_service import IDENTITIES, Object, Settings, settings_of
from l7.deploy.first_settings import Flags, read_label
from l7.deploy.install_plan import (
    Asked,
    CreateCore,
    Existing,
    MakeConfig,
    MakeIdentities,
    MakeNetwork,
    Step,
    UpdateCore,
    install_steps,
    settings_steps,
)
from l7.deploy.stored import ACME_ACCOUNT, CA, Stored
from l7.kit.errors import ConfigError

NOTHING = Existing(subnet="10.77.0.0/20")
ASKED = Asked(image="l7:dev")
HAND = '[Extensions.default]\nPublishMode = "host"\n'
Planning = Callable[[Existing, Asked], tuple[Step, ...]]


def identities(*bases: str, generation: int = 1) -> tuple[Stored, ...]:
    return tuple(Stored(f"id-{base}-{generation}", base, base, generation) for base in bases)


def take(existing: Existing, step: Step) -> Existing:
    """What there is after a step."""
    match step:
        case MakeNetwork():
            return replace(existing, network=Object("net", str(step.spec["Name"])))
        case MakeIdentities():
            left = tuple(each for each in existing.identities if each not in step.discarded)
            made = tuple(Stored(f"new-{base}", base, base) for base in step.missing)
            return replace(existing, identities=(*left, *made))
        case MakeConfig():
            made_config = settings_of({"ID": f"id-{step.spec['Name']}", "Spec": step.spec})
            configs = existing.config_names | {made_config.name}
            return replace(existing, settings=(*existing.settings, made_config), config_names=configs)
        case CreateCore():
            service = {"ID": "core", "Version": {"Index": 1}, "Spec": step.spec}
            return replace(existing, core=service, referred=secrets_of(step.spec))
        case UpdateCore():
            return replace(existing, core={**step.service, "Spec": step.spec}, referred=secrets_of(step.spec))


def secrets_of(spec: Any) -> frozenset[str]:
    return frozenset(each["SecretID"] for each in spec["TaskTemplate"]["ContainerSpec"]["Secrets"])


def done(existing: Existing, asked: Asked, planning: Planning = install_steps) -> Existing:
    """Everything is done, a step at a time; each makes the plan shorter."""
    steps = planning(existing, asked)
    while steps:
        existing = take(existing, steps[0])
        left = planning(existing, asked)
        assert [type(each) for each in left] == [type(each) for each in steps[1:]]
        steps = left
    return existing


def container(existing: Existing) -> dict[str, Any]:
    assert existing.core is not None
    found: dict[str, Any] = existing.core["Spec"]["TaskTemplate"]["ContainerSpec"]
    return found


INSTALLED = done(NOTHING, ASKED)


def test_all_that_is_made_in_order() -> None:
    steps = install_steps(NOTHING, ASKED)
    assert [str(each) for each in steps] == [
        "make the network l7-control (10.77.0.0/20)",
        "make the secrets l7-ca, l7-ca-key, l7-core, l7-acme-account",
        "make the config com.docker.l7.conf-1 with the settings",
        "make the service l7-core from l7:dev, on a manager",
    ]
    assert install_steps(INSTALLED, ASKED) == install_steps(INSTALLED, Asked()) == ()


@pytest.mark.acceptance(3)
def test_core_holds_the_sockets_and_nothing_else_that_it_does_not_need() -> None:
    held = container(INSTALLED)
    assert {each["Target"]: each.get("ReadOnly", False) for each in held["Mounts"]} == {
        "/var/run/docker.sock": False,
        "/var/run/docker/swarm": True,
        "/run/l7": False,
    }
    assert (held["User"], held["CapabilityDrop"], held["ReadOnly"]) == ("0:0", ["ALL"], True)
    assert {each["File"]["Name"]: each["SecretID"] for each in held["Secrets"]} == {
        base: f"new-{base}" for base in IDENTITIES
    }
    assert [(each["ConfigName"], each["File"]["Name"]) for each in held["Configs"]] == [
        ("com.docker.l7.conf-1", "/config.toml")
    ]
    assert INSTALLED.core is not None
    spec = INSTALLED.core["Spec"]
    assert spec["Labels"][names.MANAGED] == names.INSTALLED
    assert spec["TaskTemplate"]["Networks"] == [{"Target": "net"}]
    assert "node.role==manager" in spec["TaskTemplate"]["Placement"]["Constraints"]
    assert spec["UpdateConfig"]["FailureAction"] == "rollback"


@pytest.mark.parametrize("broken_off_after", range(4))
def test_what_was_broken_off_is_finished(broken_off_after: int) -> None:
    existing = NOTHING
    for step in install_steps(NOTHING, ASKED)[:broken_off_after]:
        existing = take(existing, step)
    assert done(existing, ASKED) == INSTALLED


def test_a_ca_that_nobody_has_is_made_anew_with_all_that_it_signed() -> None:
    half = replace(NOTHING, identities=identities(CA, "l7-ca-key"))
    [step] = [each for each in install_steps(half, ASKED) if isinstance(each, MakeIdentities)]
    assert (step.missing, step.discarded) == (IDENTITIES, half.identities)


def test_what_is_in_use_is_not_made_anew() -> None:
    held = identities(*IDENTITIES[:-1])
    some = replace(NOTHING, identities=held, referred=frozenset({held[0].id}))
    [step] = [each for each in install_steps(some, ASKED) if isinstance(each, MakeIdentities)]
    assert (step.missing, step.discarded) == ((ACME_ACCOUNT,), ())


def test_secrets_of_pki_init_are_taken() -> None:
    held = replace(NOTHING, identities=identities(*IDENTITIES, "l7-proxy"))
    assert not [each for each in install_steps(held, ASKED) if isinstance(each, MakeIdentities)]


# ---------------------------------------------------------------- run again


def test_an_option_that_changes_is_a_new_config_and_one_update() -> None:
    steps = install_steps(INSTALLED, Asked(flags={"http": 8080}))
    assert [str(each) for each in steps] == [
        "make the config com.docker.l7.conf-2 with the settings",
        "update the service l7-core: settings com.docker.l7.conf-1 -> com.docker.l7.conf-2",
    ]
    after = done(INSTALLED, Asked(flags={"http": 8080}))
    after = done(after, Asked(flags={"replicas": 3}))
    assert after.used is not None
    table = tomllib.loads(after.used.text)["Extensions"]["default"]
    assert (table["PublishedPort"], table["PublishedSSLPort"], table["ProxyReplicas"]) == (8080, 443, 3)
    assert install_steps(after, Asked(flags={"http": 8080})) == ()


def test_options_do_not_overwrite_what_a_person_wrote() -> None:
    after = done(INSTALLED, Asked(text=HAND))
    assert after.used is not None
    assert (after.used.text, after.used.name) == (HAND, "com.docker.l7.conf-2")
    assert install_steps(after, Asked()) == install_steps(after, Asked(text=HAND)) == ()
    with pytest.raises(ConfigError, match=r"--publish-mode.*l7 config apply"):
        install_steps(after, Asked(flags={"publish_mode": "host"}))


def test_another_image_is_one_update() -> None:
    [step] = install_steps(INSTALLED, Asked(image="l7:2"))
    assert str(step) == "update the service l7-core: image l7:dev -> l7:2"
    assert container(done(INSTALLED, Asked(image="l7:2")))["Image"] == "l7:2"


def test_what_an_operator_did_to_core_survives() -> None:
    assert INSTALLED.core is not None
    spec = INSTALLED.core["Spec"]
    template = spec["TaskTemplate"]
    held = template["ContainerSpec"]
    touched = {**held, "Env": [*held["Env"], "L7_LOG_LEVEL=debug"]}
    placement = {"Constraints": [*template["Placement"]["Constraints"], "node.labels.core==yes"]}
    template = {**template, "ContainerSpec": touched, "Placement": placement, "Resources": {"Limits": {"x": 1}}}
    changed = replace(INSTALLED, core={**INSTALLED.core, "Spec": {**spec, "TaskTemplate": template}})
    assert install_steps(changed, Asked()) == ()
    after = done(changed, Asked(image="l7:2"))
    assert after.core is not None
    assert "L7_LOG_LEVEL=debug" in container(after)["Env"]
    assert "node.labels.core==yes" in after.core["Spec"]["TaskTemplate"]["Placement"]["Constraints"]
    assert after.core["Spec"]["TaskTemplate"]["Resources"] == {"Limits": {"x": 1}}


def test_secrets_of_a_rotation_are_not_taken_back() -> None:
    rotated = identities(*IDENTITIES[:-1], generation=2)
    existing = replace(INSTALLED, identities=(*INSTALLED.identities, *rotated))
    after = done(existing, Asked())
    held = {each["File"]["Name"]: each["SecretID"] for each in container(after)["Secrets"]}
    assert held == {each.base: each.id for each in rotated} | {ACME_ACCOUNT: f"new-{ACME_ACCOUNT}"}


# ---------------------------------------------------------------- a core that a stack has made

STACKED: dict[str, Any] = {
    "ID": "core",
    "Version": {"Index": 7},
    "Spec": {
        "Name": "l7_core",
        "Labels": {"com.docker.stack.namespace": "l7"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "l7:dev",
                "Labels": {"com.docker.l7.role": "core"},
                "Env": ["L7_LISTEN=:8080"],
                "Secrets": [],
                "Configs": [{"ConfigID": "x", "ConfigName": "other", "File": {"Name": "/other"}}],
            }
        },
    },
}


def test_settings_of_a_stacks_core() -> None:
    existing = Existing(core=STACKED)
    after = done(existing, Asked(text=HAND), settings_steps)
    held = container(after)
    assert [each["File"]["Name"] for each in held["Configs"]] == ["/other", "/config.toml"]
    assert held["Env"] == ["L7_LISTEN=:8080", "L7_CONFIG=/config.toml"]
    held["Env"].reverse()
    assert settings_steps(after, Asked(text=HAND)) == ()
    [step] = settings_steps(existing, Asked(image="l7:2"))
    assert str(step) == "update the service l7_core: image l7:dev -> l7:2"
    with pytest.raises(ConfigError, match="l7 install"):
        settings_steps(Existing(), Asked(text=HAND))


# ---------------------------------------------------------------- the settings that are written


@pytest.mark.parametrize("flags", [Flags(), Flags(0, 8443, "host", "global", 7)])
def test_options_are_a_file_that_can_be_read(flags: Flags) -> None:
    table = tomllib.loads(flags.text())["Extensions"]["default"]
    assert table == {
        "PublishedPort": flags.http,
        "TargetPort": 80,
        "PublishedSSLPort": flags.https,
        "TargetSSLPort": 443,
        "PublishMode": flags.publish_mode,
        "ProxyMode": flags.mode,
        "ProxyReplicas": flags.replicas,
        "ProxyStopGracePeriod": "40s",
    }
    assert max(map(len, flags.text().splitlines())) <= 116
    assert read_label(flags.label()) == flags


@pytest.mark.parametrize("text", ["", "what", "color=red", "http=80,color=red"])
def test_a_label_that_is_none_of_ours(text: str) -> None:
    assert read_label(text) is None


def test_names_of_configs_go_on_from_the_highest() -> None:
    made = {"com.docker.l7.conf-2", "com.docker.l7.conf-10", "com.docker.l7.conf-x", "other"}
    assert core_service.next_config(made) == "com.docker.l7.conf-11"
    assert core_service.next_config(()) == "com.docker.l7.conf-1"


def test_settings_of_long_ago_are_removed_but_not_those_in_use() -> None:
    made = [Settings(str(number), "", "", number) for number in range(1, 9)] + [Settings("hand", "", "")]
    assert [each.id for each in core_service.outdated(made, {"2"})] == ["3", "1"]


def test_a_config_of_somebody_else_is_not_taken_for_ours() -> None:
    spec = {"Name": "com.docker.l7.conf-3", "Data": base64.b64encode(b"x").decode()}
    assert settings_of({"ID": "a", "Spec": spec}).number == 0
    assert settings_of({"ID": "a", "Spec": spec | {"Labels": {names.MANAGED: names.INSTALLED}}}).number == 3


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], "10.77.0.0/20"),
        (["10.77.0.0/24", "fd00::/64"], "10.77.16.0/20"),
        (["10.77.0.0/16"], "10.78.0.0/20"),
        (["10.77.0.1/16"], "10.78.0.0/20"),  # as Docker before 25 let one write it
    ],
)
def test_the_control_network_is_beside_all_others(taken: list[str], free: str) -> None:
    assert subnets.free_subnet(taken, subnets.CONTROL) == free


def test_no_network_without_addresses() -> None:
    with pytest.raises(ConfigError, match="/20"):
        subnets.free_subnet(["10.0.0.0/8"], subnets.CONTROL)
