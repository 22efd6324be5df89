"""File mode: what core stores of a publication, and how proxies are run from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from l7.config import Cluster
from l7.config.parse import parse_settings
from l7.deploy import published
from l7.deploy.actions import CreateService, UpdateService
from l7.deploy.existing import Existing
from l7.deploy.file_mode import Files, files_of
from l7.deploy.plan import Situation, plan
from l7.deploy.published import Version, parts_of, versions
from l7.fleet import ProxyOptions, ServiceOptions
from l7.kit.errors import ProtocolError
from l7.model import Secret
from l7.publication import Deployment, Publication, deployment_of, foreign
from l7.serve.collect import collect
from l7.v1 import sync_pb2 as pb
from tests.unit.test_fleet_plan import BLANK, kinds
from tests.unit.test_published import Swarm

CERTIFICATE = Secret("s1", "site.cert")
AUTHORITY = Secret("c1", "site.ca", config=True)
DEPLOYMENT = Deployment(
    (("/etc/proxy/a.map", "a.map"), ("/etc/proxy/proxy.conf", "proxy.conf")),
    (("/etc/proxy/site.ca", AUTHORITY), ("/etc/proxy/site.cert", CERTIFICATE)),
    ("proxy", "-f", "/etc/proxy/proxy.conf"),
    "SIGUSR1",
)
FILE = Cluster(hitless=False)


def publication(text: str = "one", revision: str = "a" * 32, deployment: Deployment = DEPLOYMENT) -> Publication:
    files = {"proxy.conf": text.encode(), "a.map": b"a b", "state.pb": b"state"}
    return Publication("", "state", revision, files, deployment=deployment)


def stored(swarm: Swarm) -> Version:
    found = published.newest(versions(swarm.configs.values(), ""))
    assert found is not None
    return found


# ---------------------------------------------------------------- what is stored


def test_each_file_that_is_mounted_is_an_object_as_it_is() -> None:
    swarm = Swarm()
    parts = {part.name.rpartition(".")[2]: part for part in parts_of(publication(), b"archive", "now")}
    assert [parts[number].data for number in "12"] == [b"a b", b"one"]
    swarm.store(publication())
    version = stored(swarm)
    assert [path for path, _ in version.files] == ["/etc/proxy/a.map", "/etc/proxy/proxy.conf"]
    assert version.deployment == DEPLOYMENT
    assert len(version.parts) == 1


def test_a_version_without_one_of_its_files_is_not_whole_and_is_cleared() -> None:
    swarm = Swarm()
    swarm.store(publication())
    lost = next(name for name in swarm.configs if name.endswith(".file.2"))
    del swarm.configs[lost]
    (version,) = versions(swarm.configs.values(), "")
    assert not version.whole
    swarm.store(publication("two"))
    assert stored(swarm).whole
    assert len(versions(swarm.configs.values(), "")) == 1


def test_swarm_can_go_back_to_the_two_before_the_newest() -> None:
    swarm = Swarm()
    for text in ("one", "two", "three", "four"):
        swarm.store(publication(text))
    assert len(versions(swarm.configs.values(), "")) == 1 + published.RETURN


def test_what_proxies_run_from_or_would_go_back_to_stays_whole_until_they_do_not() -> None:
    swarm = Swarm()
    swarm.store(publication("one"))
    old = stored(swarm)
    swarm.held = {old.files[0][1].id}
    for text in ("two", "three", "four", "five"):
        swarm.store(publication(text))
    assert old.content in {each.content for each in versions(swarm.configs.values(), "") if each.whole}
    swarm.held.clear()
    swarm.store(publication("six"))
    assert len(versions(swarm.configs.values(), "")) == 1 + published.RETURN


def test_what_docker_kept_of_a_version_is_completed_when_it_comes_back() -> None:
    swarm = Swarm()
    swarm.store(publication("one"))
    swarm.in_use = {config.name for config in stored(swarm).parts}
    for text in ("two", "three", "four"):
        swarm.store(publication(text))
    swarm.in_use.clear()
    assert [each.whole for each in versions(swarm.configs.values(), "")] == [True, True, True, False]
    todo = swarm.store(publication("one"))
    assert len(todo.make) == 2
    assert stored(swarm).content == publication("one").content


def test_another_way_to_run_the_same_files_is_another_version() -> None:
    other = publication(deployment=replace(DEPLOYMENT, command=("proxy",)))
    assert other.content != publication().content


def test_a_deployment_survives_its_label() -> None:
    assert deployment_of(DEPLOYMENT.text()) == DEPLOYMENT
    with pytest.raises(ProtocolError):
        deployment_of('{"mounts": 1}')


def test_a_file_that_docker_does_not_take_is_named() -> None:
    large = replace(publication(), files={"proxy.conf": bytes(1_024_000), "a.map": b"", "state.pb": b""})
    assert published.too_large_to_mount(large).startswith("has /etc/proxy/proxy.conf, 1,024,000 bytes")
    assert published.too_large_to_mount(publication()) == ""


def test_secrets_that_no_service_of_the_cluster_names_are_refused() -> None:
    assert foreign(DEPLOYMENT, {CERTIFICATE, AUTHORITY}) == ()
    assert foreign(DEPLOYMENT, {CERTIFICATE}) == ("site.ca",)
    other = (("/a", Secret("s1", "other")), ("/b", Secret("s1", "other")))
    assert foreign(replace(DEPLOYMENT, secrets=other), {CERTIFICATE}) == ("other",)


# ---------------------------------------------------------------- what an extension says


async def _collected(*pieces: pb.PublishConfigRequest) -> Publication:
    async def rest() -> AsyncIterator[pb.PublishConfigRequest]:
        for piece in pieces[1:]:
            yield piece

    return await collect(rest(), pieces[0])


def piece(mount: str = "", name: str = "f", **fields: Any) -> pb.PublishConfigRequest:
    return pb.PublishConfigRequest(files=[pb.ConfigFile(name=name, data=b"x", mount=mount)], **fields)


async def test_mounts_and_how_to_run_with_them() -> None:
    ca = pb.MountedSecret(secret=pb.Secret(id="c1", name="site.ca", config=True), mount="/etc/ca")
    certificate = pb.MountedSecret(secret=pb.Secret(id="s1", name="site.cert"), mount="/run/secrets/cert")
    secrets = [certificate, ca]
    how = pb.Deployment(secrets=secrets, command=["proxy"], stop_signal="SIGUSR1")
    found = await _collected(piece("/etc/b", "b", deployment=how), piece("/etc/a", "a"), piece(name="a"))
    mounts = (("/etc/a", "a"), ("/etc/b", "b"))
    named = (("/etc/ca", AUTHORITY), ("/run/secrets/cert", CERTIFICATE))
    assert found.deployment == Deployment(mounts, named, ("proxy",), "SIGUSR1")
    assert found.files["a"] == b"xx"
    assert (await _collected(piece(deployment=how))).deployment is None


@pytest.mark.parametrize(
    "first",
    [
        piece("etc/a"), piece("/etc/../a"), piece("/etc//a"), piece("/"), piece("/proc/1"),
        piece("/a" * 300), piece("/a", deployment=pb.Deployment(stop_signal="KILL")),
        piece("/a", deployment=pb.Deployment(command=["a\0b"])),
        piece("/a", deployment=pb.Deployment(secrets=[pb.MountedSecret(mount="/a")])),
        piece("/a", deployment=pb.Deployment(secrets=[pb.MountedSecret(mount="b")])),
        pb.PublishConfigRequest(files=[pb.ConfigFile(name="a", mount="/a")]),
        pb.PublishConfigRequest(
            files=[pb.ConfigFile(name=name, data=b"x", mount="/same") for name in ("a", "b")]
        ),
        pb.PublishConfigRequest(
            files=[pb.ConfigFile(name=f"f{n}", data=b"x", mount=f"/f{n}") for n in range(101)]
        ),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(first: pb.PublishConfigRequest) -> None:
    with pytest.raises(ProtocolError):
        await _collected(first)


# ---------------------------------------------------------------- proxies


def files(text: str = "one") -> Files:
    swarm = Swarm()
    swarm.store(publication(text))
    found = files_of(stored(swarm))
    assert found is not None
    ids = {each["ConfigName"] for each in found.configs}
    assert len(ids) == len(found.configs)
    return found


def with_files(*existing: Existing, text: str = "one", **more: Any) -> Situation:
    return replace(BLANK, existing=existing, files={"": files(text)}, **more)


def serving(spec: dict[str, Any], update: str = "") -> Existing:
    return Existing(f"id-{spec['Name']}", 1, spec, update=update, running=2)


def both(cluster: Cluster = FILE, situation: Situation | None = None) -> tuple[Existing, Existing]:
    found = plan({"": cluster}, situation or with_files())
    extension, proxies = (serving(each.spec) for each in found.actions if isinstance(each, CreateService))
    return extension, proxies


def container(existing: Existing) -> dict[str, Any]:
    found: dict[str, Any] = existing.spec["TaskTemplate"]["ContainerSpec"]
    return found


def test_proxies_wait_for_the_first_configuration() -> None:
    assert kinds(plan({"": FILE}, BLANK)) == [("CreateService", "l7-extension")]
    assert kinds(plan({"": FILE}, with_files())) == [
        ("CreateService", "l7-extension"),
        ("CreateService", "l7-proxy"),
    ]


def test_where_no_image_is_given_l7s_own_runs_what_the_extension_says() -> None:
    proxies = container(both()[1])
    assert (proxies["Image"], proxies["Command"]) == ("l7:1", ["proxy", "-f", "/etc/proxy/proxy.conf"])
    assert (proxies["User"], proxies["ReadOnly"], proxies["StopSignal"]) == ("1000:1000", True, "SIGUSR1")
    assert "Env" not in proxies


def test_a_stock_image_runs_as_it_is_with_files_and_secrets_and_nothing_else() -> None:
    options = ProxyOptions(image="proxy:1", args=("-d",), stop_signal="SIGTERM")
    proxies = both(replace(FILE, proxy_options=options))[1]
    found = container(proxies)
    assert found.keys() == {"Image", "Configs", "Secrets", "StopSignal", "StopGracePeriod", "Args"}
    assert (found["Image"], found["Args"], found["StopSignal"]) == ("proxy:1", ["-d"], "SIGTERM")
    targets = [each["File"]["Name"] for each in found["Configs"]]
    assert targets == ["/etc/proxy/a.map", "/etc/proxy/proxy.conf", "/etc/proxy/site.ca"]
    assert [(each["SecretID"], each["File"]["Name"]) for each in found["Secrets"]] == [
        ("s1", "/etc/proxy/site.cert")
    ]
    assert {"Target": "ctl"} not in proxies.spec["TaskTemplate"]["Networks"]


def test_a_new_configuration_is_one_roll_that_swarm_takes_back_when_it_fails() -> None:
    there = both()
    assert kinds(plan({"": FILE}, with_files(*there))) == []
    (update,) = plan({"": FILE}, with_files(*there, text="two")).actions
    assert isinstance(update, UpdateService)
    assert update.replaces
    wanted = [dict(each) for each in files("two").configs]
    assert update.spec["TaskTemplate"]["ContainerSpec"]["Configs"] == wanted
    assert update.spec["UpdateConfig"]["FailureAction"] == "rollback"
    assert update.spec["UpdateConfig"]["Delay"] == 1_000_000_000, "a stock image runs before its proxy listens"


def test_an_operators_pause_between_two_proxies_counts_where_it_is_longer() -> None:
    slow = replace(FILE, proxy_options=ProxyOptions(update_delay=7000))
    assert both(slow)[1].spec["UpdateConfig"]["Delay"] == 7_000_000_000


def test_what_swarm_took_back_is_told_to_be_tried_again() -> None:
    there = both()
    (update,) = plan({"": FILE}, with_files(*there, text="two")).actions
    assert isinstance(update, UpdateService)
    back = replace(there[1], update="rollback_completed", message="task failed")
    situation = replace(with_files(there[0], back, text="two"), refused={"l7-proxy": update.digest})
    (problem,) = plan({"": FILE}, situation).problems
    assert "task failed" in problem.message
    assert "tried again" in problem.remedy


def test_what_comes_during_a_roll_goes_with_the_next() -> None:
    extension, proxies = both()
    rolling = replace(proxies, update="updating")
    found = plan({"": FILE}, with_files(extension, rolling, text="two"))
    assert (kinds(found), found.waiting) == ([], True)
    assert kinds(plan({"": FILE}, with_files(extension, proxies, text="two"))) == [("UpdateService", "l7-proxy")]


def test_without_a_configuration_running_proxies_stay() -> None:
    assert kinds(plan({"": FILE}, replace(BLANK, existing=both()))) == []


def test_from_live_mode_to_files_and_back() -> None:
    made = plan({"": Cluster()}, replace(BLANK, published={"": ({"File": {"Name": "/run/l7-published/1"},
                "ConfigID": "b", "ConfigName": "b"},)})).actions  # fmt: skip
    live = tuple(serving(each.spec) for each in made if isinstance(each, CreateService))
    first = plan({"": FILE}, with_files(*live))
    # The extension service is told of file mode before proxies are.
    assert kinds(first) == [("UpdateService", "l7-extension")]
    assert isinstance(first.actions[0], UpdateService)
    told = serving(first.actions[0].spec)
    (update,) = plan({"": FILE}, with_files(told, live[1])).actions
    assert isinstance(update, UpdateService)
    fresh = container(both()[1])
    now = {key: value for key, value in update.spec["TaskTemplate"]["ContainerSpec"].items() if value}
    assert now == {key: value for key, value in fresh.items() if value}
    back = plan({"": Cluster()}, with_files(told, serving(update.spec)))
    assert [name for _, name in kinds(back)] == ["l7-extension"]


def test_another_extension_starts_by_itself_and_is_told_where_core_is() -> None:
    image = ServiceOptions(image="registry.test/edge/l7-other:2", args=("-D",))
    extension = container(both(replace(FILE, extension_options=image))[0])
    assert "Command" not in extension
    assert extension["Args"] == ["-D"]
    told = dict(each.split("=", 1) for each in extension["Env"])
    assert (told["L7_CORE"], told["L7_CLUSTER"], told["L7_FILE_MODE"]) == ("tasks.l7-core:8080", "", "true")
    assert (told["L7_HTTP_PORT"], told["L7_TLS_PORT"], told["L7_CONFIG_PATH"]) == ("80", "443", "")
    assert told["L7_TLS_IDENTITY"] == "/run/secrets/l7-extension"


def test_proxies_in_file_mode_have_no_identity() -> None:
    needed = {"l7-ca": BLANK.installation.identities["l7-ca"]}
    blank = replace(BLANK, installation=replace(BLANK.installation, identities=needed))
    assert kinds(plan({"": FILE}, blank)) == [("CreateIdentity", "l7-extension")]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("lines", "hitless"),
    [
        ("", True),
        ("HitlessServiceUpdate = false", False),
        ('Image = "registry.test/l7:1"', True),
        ('Image = "registry.test/l7-other:1"', False),
        ('Image = "registry.test/l7-other:1"\nHitlessServiceUpdate = true', True),
        ('Image = "docker/ucp-interlock-extension:3.2"', True),
    ],
)
def test_when_proxies_are_changed_live(lines: str, hitless: bool) -> None:
    assert parse_settings(f"[Extensions.default]\n{lines}", "c.toml").clusters[""].hitless is hitless


def test_stock_images_run_in_file_mode_alone() -> None:
    def image(lines: str) -> tuple[str, int]:
        settings = parse_settings(f"[Extensions.default]\n{lines}", "c.toml")
        return settings.clusters[""].proxy_options.image, len(settings.warnings)

    assert image('ProxyImage = "nginx:1"') == ("", 1)
    assert image('ProxyImage = "nginx:1"\nHitlessServiceUpdate = false') == ("nginx:1", 0)
    assert image('ProxyImage = "mirantis/ucp-interlock-proxy:3"\nHitlessServiceUpdate = false') == ("", 1)
