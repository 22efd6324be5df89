"""TLS in core: whose certificate a host gets, what is passed on, and what became of secrets that are not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l7.config import AcmeSettings, Cluster, Settings
from l7.host_policy import HostPolicy
from l7.issued import labels_of
from l7.model import (
    ClientCertificate,
    Delta,
    KeyPair,
    Problem,
    Protocol,
    ProxyHeader,
    Redirect,
    Route,
    Rules,
    Secret,
    Service,
    StoredSecret,
    TaskState,
    TlsHost,
)
from l7.swarm.cache import Kind
from tests.fakes.swarm_state import RUNNING, SHUTDOWN, World, labels, service, spec, task

STACK = "com.docker.stack.namespace"


def secret(name: str, *, config: bool = False) -> Secret:
    return Secret(f"id-{name}", name, config)


def pair(certificate: str, key: str = "") -> KeyPair:
    return KeyPair(secret(certificate), secret(key) if key else None)


def tls(world: World) -> dict[str, TlsHost]:
    return dict(world.snapshot().tls_hosts)


def told(world: World, of: str) -> dict[str, str]:
    """Problems of a service: short name of the label → message."""
    return {each.label.removeprefix("com.docker.lb."): each.message for each in world.problems(of)}


def fatal(world: World, of: str) -> set[str]:
    return {each.label.removeprefix("com.docker.lb.") for each in world.problems(of) if each.fatal}


def required(world: World) -> set[str]:
    return {each.name for each in world.build.required("")}


# ---------------------------------------------------------------- certificates


def test_each_host_of_a_service_gets_its_certificate() -> None:
    world = World()
    world.store("crt", "key")
    world.serve("web", hosts="a.example *.b.example", ssl_cert="crt", ssl_key="key")
    assert tls(world) == {host: TlsHost(host, "web", pair("crt", "key")) for host in ("a.example", "*.b.example")}
    assert world.build.problems() == ()
    assert required(world) == {"crt", "key"}


def test_a_certificate_comes_and_goes_with_its_secret() -> None:
    world = World()
    world.serve("web", hosts="a.example", ssl_cert="crt", ssl_key="key")
    assert tls(world) == {}
    assert world.routes() == {"a.example/": "web"}
    assert set(told(world, "web")) == {"ssl_cert", "ssl_key"}
    assert fatal(world, "web") == set()
    world.store("crt")
    assert tls(world) == {}
    [delta] = world.store("key").values()
    assert delta.changes.tls_hosts == (TlsHost("a.example", "web", pair("crt", "key")),)
    assert (delta.changes.backends, delta.changes.routes) == ((), ())
    [delta] = world.remove(Kind.SECRET, "id-key").values()
    assert delta.changes.removed_tls_hosts == ("a.example",)
    assert required(world) == set()


def test_a_new_secret_under_an_old_name_is_another_secret() -> None:
    world = World()
    world.store("crt")
    world.serve("web", hosts="a.example", ssl_cert="crt")
    world.remove(Kind.SECRET, "id-crt")
    world.put(StoredSecret("new", 9, "crt"))
    assert tls(world)["a.example"].certificate == KeyPair(Secret("new", "crt"))


def test_names_are_looked_up_as_written_then_as_the_stack_makes_them() -> None:
    world = World()
    given = labels(hosts="a.example", port="80", ssl_cert="crt") | {STACK: "shop"}
    world.put(service("web", spec(given)))
    world.store("shop_crt", "blog_crt")
    assert tls(world)["a.example"].certificate == pair("shop_crt")
    world.store("crt")
    assert tls(world)["a.example"].certificate == pair("crt")
    world.remove(Kind.SECRET, "id-crt")
    assert tls(world)["a.example"].certificate == pair("shop_crt")


def test_a_config_is_no_certificate() -> None:
    world = World()
    world.store("crt", config=True)
    world.serve("web", hosts="a.example", ssl_cert="crt")
    assert tls(world) == {}


def test_secrets_of_the_installation_may_not_be_named() -> None:
    world = World()
    world.put(StoredSecret("id-l7-core", 1, "l7-core", labels=(("com.docker.l7", "pki"),)))
    world.serve("web", hosts="a.example", ssl_cert="l7-core")
    world.serve("users", hosts="b.example", basic_auth="l7-core")
    assert tls(world) == {}
    assert told(world, "web") == {"ssl_cert": "is a secret of l7 itself"}
    assert (fatal(world, "users"), world.routes()) == ({"basic_auth"}, {"a.example/": "web"})
    assert required(world) == set()


def updated(world: World, name: str, old: dict[str, str], new: dict[str, str]) -> dict[str, Delta]:
    """A service whose labels changed."""
    return world.put(replace(service(name, spec(new), version=5), previous=spec(old)))


def test_the_previous_certificate_stays_until_the_new_one_is_there() -> None:
    world = World()
    world.store("old")
    before = labels(hosts="a.example", port="80", ssl_cert="old")
    updated(world, "web", before, labels(hosts="a.example", port="80", ssl_cert="new", compression="true"))
    assert tls(world) == {"a.example": TlsHost("a.example", "web", pair("old"))}
    assert world.snapshot().rules["web"].compression
    assert "meanwhile the previous certificate stays in use for a.example" in told(world, "web")["ssl_cert"]
    world.store("new")
    assert tls(world)["a.example"].certificate == pair("new")
    assert (required(world), world.build.problems()) == ({"new"}, ())


def test_without_the_label_there_is_no_tls_whatever_there_was() -> None:
    world = World()
    world.store("old")
    before = labels(hosts="a.example", port="80", ssl_cert="old")
    updated(world, "web", before, labels(hosts="a.example", port="80"))
    assert tls(world) == {}


@pytest.mark.parametrize("label", ["ssl_backend_ca", "ssl_backend_cert", "ssl_client_ca", "basic_auth"])
def test_what_protects_and_is_not_there_keeps_the_previous_labels(label: str) -> None:
    world = World()
    world.store("crt")
    before = labels(hosts="a.example", port="80", ssl_cert="crt", ssl_backend="true")
    after = before | labels(hosts="b.example", **{label: "missing"})
    world.put(service("web", spec(after)))
    assert (world.routes(), fatal(world, "web")) == ({}, {label})
    updated(world, "web", before, after)
    assert world.routes() == {"a.example/": "web"}
    assert set(tls(world)) == {"a.example"}
    world.store("missing")
    assert world.routes() == {"b.example/": "web"}
    assert world.build.problems() == ()
    assert "missing" in required(world)


def test_what_tasks_and_passwords_need_is_named_by_id() -> None:
    world = World()
    world.store("crt", "users", "id", "id-key")
    world.store("ca", config=True)
    world.serve(
        "web", hosts="a.example", ssl_backend="true", ssl_backend_ca="ca", ssl_backend_cert="id",
        ssl_backend_key="id-key", basic_auth="users", proxy_protocol="true",
    )  # fmt: skip
    assert world.build.problems() == ()
    [settings] = world.backend("web").settings.servers
    assert settings.protocol is Protocol.HTTPS
    assert (settings.tls_ca, settings.tls_name) == (secret("ca", config=True), "a.example")
    assert (settings.tls_certificate, settings.proxy_header) == (pair("id", "id-key"), ProxyHeader.V2)
    assert world.snapshot().rules["web"].basic_auth == secret("users")
    assert required(world) == {"ca", "id", "id-key", "users"}
    world.remove(Kind.SERVICE, "id-web")
    assert required(world) == set()


def test_a_ca_is_a_secret_before_it_is_a_config() -> None:
    world = World()
    world.store("crt")
    world.put(StoredSecret("config", 1, "ca", True), StoredSecret("secret", 1, "ca"))
    world.serve("web", hosts="a.example", ssl_cert="crt", ssl_client_ca="ca")
    assert tls(world)["a.example"].client_ca == Secret("secret", "ca")
    assert tls(world)["a.example"].client_certificate is ClientCertificate.REQUIRED
    assert world.snapshot().rules["web"].client_certificate is ClientCertificate.REQUIRED


# ---------------------------------------------------------------- services that share a host


def test_the_first_that_has_a_certificate_decides() -> None:
    world = World()
    world.store("two")
    world.serve("one", 1, hosts="a.example", ssl_cert="one")
    world.serve("two", 2, hosts="a.example", ssl_cert="two")
    world.serve("plain", 0, hosts="a.example", context_root="/plain")
    assert tls(world) == {"a.example": TlsHost("a.example", "two", pair("two"))}
    assert set(told(world, "two")) == set()
    world.store("one")
    assert tls(world) == {"a.example": TlsHost("a.example", "one", pair("one"))}
    assert told(world, "two") == {
        "ssl_cert": "has no effect on a.example: service one, created first, decides about the certificate"
    }
    assert told(world, "plain") == {}
    assert required(world) == {"one"}


def test_two_services_with_the_same_certificate_agree() -> None:
    world = World()
    world.store("crt")
    world.serve("one", 1, hosts="a.example", ssl_cert="crt")
    world.serve("two", 2, hosts="a.example b.example", ssl_cert="crt")
    assert world.build.problems() == ()
    assert {host: each.service for host, each in tls(world).items()} == {"a.example": "one", "b.example": "two"}
    world.remove(Kind.SERVICE, "id-one")
    assert tls(world)["a.example"].service == "two"


def test_a_younger_service_whose_clients_nobody_verifies_is_not_reached() -> None:
    world = World()
    world.store("crt", "ca", "other")
    world.serve("one", 1, hosts="a.example", ssl_cert="crt")
    given = {"hosts": "a.example b.example", "context_root": "/admin", "ssl_cert": "crt", "ssl_client_ca": "ca"}
    world.serve("two", 2, 1, **given)
    assert world.routes() == {"a.example/": "one", "b.example/admin": "two"}
    assert (
        "asks clients for no certificate; so no request gets to this service" in told(world, "two")["ssl_client_ca"]
    )
    world.serve("one", 1, hosts="a.example", ssl_cert="crt", ssl_client_ca="other")
    assert world.routes() == {"a.example/": "one", "b.example/admin": "two"}
    assert "names another CA" in told(world, "two")["ssl_client_ca"]
    world.serve("one", 1, hosts="a.example", ssl_cert="crt", ssl_client_ca="ca", ssl_client_verify="optional")
    assert world.routes() == {"a.example/": "one", "a.example/admin": "two", "b.example/admin": "two"}
    assert world.build.problems() == ()
    assert tls(world)["a.example"].client_certificate is ClientCertificate.OPTIONAL
    assert world.snapshot().rules["two"].client_certificate is ClientCertificate.REQUIRED
    world.remove(Kind.SERVICE, "id-one")
    assert tls(world)["a.example"] == TlsHost(
        "a.example", "two", pair("crt"), ClientCertificate.REQUIRED, secret("ca")
    )


def test_certificates_that_all_clients_need_are_needed_by_those_of_the_others() -> None:
    world = World()
    world.store("crt", "ca")
    both = {"hosts": "a.example", "ssl_cert": "crt", "ssl_client_ca": "ca"}
    world.serve("one", 1, 1, **both)
    world.serve("two", 2, 1, **both, context_root="/x", ssl_client_verify="optional")
    assert tls(world)["a.example"].client_certificate is ClientCertificate.REQUIRED
    assert "requires certificates of all clients" in told(world, "two")["ssl_client_verify"]


@pytest.mark.parametrize(
    ("label", "given"),
    [
        ("basic_auth", {"basic_auth": "users"}),
        ("ssl_client_ca", {"ssl_cert": "crt", "ssl_client_ca": "ca"}),
    ],
)
def test_who_lets_in_only_some_shares_no_route_with_who_lets_in_all(label: str, given: dict[str, str]) -> None:
    world = World()
    world.store("users", "crt", "ca")
    world.serve("open", 1, hosts="a.example")
    world.serve("closed", 2, 1, hosts="a.example", **given)
    assert world.routes() == {"a.example/": "open"}
    assert "so no request gets to this service there" in told(world, "closed")[label]
    world.serve("closed", 2, 1, hosts="a.example", **given, weight="0", canary_header="x-lane")
    assert world.route("a.example").canaries == ()
    world.remove(Kind.SERVICE, "id-open")
    world.serve("closed", 2, 1, hosts="a.example", **given)
    world.serve("open", 3, hosts="a.example")
    assert world.routes() == {"a.example/": "closed:open"}
    assert world.route("a.example").rules == "closed"


# ---------------------------------------------------------------- passed on


def test_tls_is_passed_on_and_plain_http_is_not() -> None:
    world = World()
    world.serve("app", hosts="a.example", ssl_passthrough="true", proxy_protocol="v1")
    assert world.routes() == {"@a.example/": "app.tls"}
    settings = world.backend("app.tls").settings
    assert settings.tcp
    assert [each.proxy_header for each in settings.servers] == [ProxyHeader.V1]
    assert (tls(world), world.build.problems()) == ({}, ())


def test_services_that_have_tls_passed_on_share_it_by_weight() -> None:
    world = World()
    world.serve("one", 1, 4, hosts="a.example", ssl_passthrough="true", weight="80")
    world.serve("two", 2, 1, hosts="a.example", ssl_passthrough="true", weight="20")
    assert world.routes() == {"@a.example/": "one:two.tls"}
    assert sorted(server.weight for server in world.servers("one:two.tls").values()) == [*[256] * 5]
    assert world.build.problems() == ()


@pytest.mark.parametrize("label", ["https_redirect", "ssl_only"])
def test_plain_http_leads_to_https_that_is_passed_on(label: str) -> None:
    world = World()
    world.serve("app", 1, 1, hosts="a.example", ssl_passthrough="true", **{label: "true"})
    assert world.routes() == {"@a.example/": "app.tls", "a.example/": ""}
    assert world.route("a.example") == Route("a.example", "/", "", rules="app")
    assert world.snapshot().rules == {"app": Rules("app", https_redirect=True)}


def test_redirects_of_plain_http_work_where_tls_is_passed_on() -> None:
    world = World()
    world.serve("app", hosts="a.example", ssl_passthrough="true", redirects="http://a.example,https://a.example")
    assert world.route("a.example").redirect == Redirect("http", "https://a.example")
    assert world.build.problems() == ()


def test_plain_http_of_one_service_and_tls_of_another_on_one_host() -> None:
    world = World()
    world.serve("app", 1, hosts="a.example", ssl_passthrough="true")
    world.serve("web", 2, hosts="a.example")
    assert world.routes() == {"@a.example/": "app.tls", "a.example/": "web"}
    assert world.build.problems() == ()


def test_who_leads_plain_http_to_https_and_who_answers_it_the_first_decides() -> None:
    world = World()
    world.serve("web", 2, hosts="a.example")
    world.serve("late", 3, hosts="a.example", ssl_passthrough="true", ssl_only="true")
    assert world.route("a.example") == Route("a.example", "/", "web")
    assert "service web, created first, answers there" in told(world, "late")["ssl_only"]
    world.remove(Kind.SERVICE, "id-late")
    world.serve("early", 1, hosts="a.example", ssl_passthrough="true", ssl_only="true")
    assert world.route("a.example") == Route("a.example", "/", "", rules="early")
    assert told(world, "early") == {}
    assert "has TLS passed through" in told(world, "web")["hosts"]


def test_a_certificate_and_passthrough_on_one_host_the_first_decides() -> None:
    world = World()
    world.store("crt")
    world.serve("app", 2, hosts="a.example", ssl_passthrough="true")
    world.serve("late", 3, hosts="a.example", ssl_cert="crt")
    assert (tls(world), world.routes()) == ({}, {"@a.example/": "app.tls", "a.example/": "late"})
    assert set(told(world, "late")) == {"ssl_cert"}
    world.remove(Kind.SERVICE, "id-late")
    world.serve("early", 1, hosts="a.example", ssl_cert="crt")
    assert (set(tls(world)), world.routes()) == ({"a.example"}, {"a.example/": "early"})
    assert told(world, "app") == {
        "ssl_passthrough": "has no effect on a.example: service early, created first, has a certificate there"
    }
    world.remove(Kind.SECRET, "id-crt")
    assert (tls(world), world.routes()) == ({}, {"@a.example/": "app.tls", "a.example/": "early"})


def test_a_host_whose_tls_ends_here_is_taken_out_of_a_wildcard_that_is_passed_on() -> None:
    world = World()
    world.store("crt")
    world.serve("web", 2, hosts="a.example", ssl_cert="crt")
    assert world.routes() == {"a.example/": "web"}
    world.serve("all", 1, hosts="*.example", ssl_passthrough="true")
    assert world.routes() == {"a.example/": "web", "@a.example/": "", "@*.example/": "all.tls"}
    world.remove(Kind.SECRET, "id-crt")
    assert world.routes() == {"a.example/": "web", "@*.example/": "all.tls"}
    world.store("crt")
    world.remove(Kind.SERVICE, "id-all")
    assert world.routes() == {"a.example/": "web"}


def test_host_policy_holds_for_tls_as_for_plain_http() -> None:
    world = World(Settings(host_policies=(HostPolicy(("a.example",), services=("friend",)),)))
    world.store("crt")
    world.serve("app", hosts="a.example b.example", ssl_passthrough="true", ssl_only="true")
    world.serve("web", hosts="a.example c.example", ssl_cert="crt")
    assert world.routes() == {"@b.example/": "app.tls", "b.example/": "", "c.example/": "web"}
    assert set(tls(world)) == {"c.example"}


# ---------------------------------------------------------------- ACME, default, challenges


def certificate(name: str, host: str, end: int) -> StoredSecret:
    return StoredSecret(f"id-{name}", 1, name, labels=tuple(sorted(labels_of(host, 0, end).items())))


def test_a_host_waits_for_its_certificate_and_takes_the_newest() -> None:
    world = World(Settings(acme=AcmeSettings()))
    world.serve("web", hosts="a.example b.example *.example", acme="true")
    assert world.build.acme_services("") == {"a.example": "web", "b.example": "web"}
    assert any("waits for the certificate of a.example, b.example" in each for each in told(world, "web").values())
    assert fatal(world, "web") == set()
    world.put(certificate("l7-acme-a-1", "a.example", 100))
    assert tls(world) == {"a.example": TlsHost("a.example", "web", pair("l7-acme-a-1"))}
    world.put(certificate("l7-acme-b-1", "b.example", 100), certificate("l7-acme-a-2", "a.example", 200))
    assert tls(world)["a.example"].certificate == pair("l7-acme-a-2")
    assert "waits" not in " ".join(told(world, "web").values())
    assert required(world) == {"l7-acme-a-2", "l7-acme-b-1"}
    world.remove(Kind.SECRET, "id-l7-acme-a-2")
    assert tls(world)["a.example"].certificate == pair("l7-acme-a-1")
    world.serve("web", hosts="b.example", acme="true")
    assert world.build.acme_services("") == {"b.example": "web"}
    world.remove(Kind.SERVICE, "id-web")
    assert (world.build.acme_services(""), required(world)) == ({}, set())


@pytest.mark.parametrize(("label", "value"), [("ssl_cert", "crt"), ("ssl_passthrough", "true")])
def test_no_certificate_is_ordered_for_a_host_about_which_another_service_decides(label: str, value: str) -> None:
    world = World(Settings(acme=AcmeSettings()))
    world.store("crt")
    world.serve("first", 1, 1, hosts="a.example", **{label: value})
    world.serve("second", 2, hosts="a.example b.example", acme="true")
    assert world.build.acme_services("") == {"b.example": "second"}
    messages = {each.message for each in world.problems("second") if each.label == "com.docker.lb.acme"}
    assert any(each.startswith("has no effect on a.example: service first") for each in messages)
    assert any(each.startswith("waits for the certificate of b.example:") for each in messages)
    world.serve("first", 1, hosts="c.example")
    assert world.build.acme_services("") == {"a.example": "second", "b.example": "second"}


def test_the_older_service_gets_its_certificate_although_a_younger_one_has_one_by_now() -> None:
    world = World(Settings(acme=AcmeSettings()))
    world.store("crt")
    world.serve("first", 1, hosts="a.example", acme="true")
    world.serve("second", 2, hosts="a.example", ssl_cert="crt")
    assert tls(world)["a.example"].service == "second"
    assert world.build.acme_services("") == {"a.example": "first"}
    world.put(certificate("l7-acme-a", "a.example", 100))
    assert tls(world)["a.example"].service == "first"
    assert world.build.acme_services("") == {"a.example": "first"}


def test_services_that_share_a_host_share_its_certificate() -> None:
    world = World(Settings(acme=AcmeSettings()))
    world.serve("first", 1, hosts="a.example", acme="true")
    world.serve("second", 2, hosts="a.example", acme="true")
    wanted = world.build.acme_services("")
    assert wanted == {"a.example": "first"}
    world.put(certificate("l7-acme-a", "a.example", 100))
    assert world.build.problems() == ()
    assert world.build.acme_services("") == wanted
    world.put(task("t1", "first"))
    assert world.build.acme_services("") is world.build.acme_services("")
    world.remove(Kind.SERVICE, "id-first")
    assert world.build.acme_services("") == {"a.example": "second"}


def test_no_certificate_is_ordered_for_a_host_that_the_settings_keep_for_others() -> None:
    policy = HostPolicy(("a.example",), services=("friend",))
    world = World(Settings(acme=AcmeSettings(), host_policies=(policy,)))
    world.put(certificate("l7-acme-a", "a.example", 100))
    world.serve("web", hosts="a.example b.example", acme="true")
    assert world.build.acme_services("") == {"b.example": "web"}
    assert tls(world) == {}


# ---------------------------------------------------------------- certificates of clients, under a wildcard


def under_a_wildcard(world: World, **labels: str) -> None:
    world.store("wild", "staff", "strangers")
    world.serve("all", 1, hosts="*.example", ssl_cert="wild", ssl_client_ca="strangers")
    world.serve("web", 2, 1, hosts="a.example", ssl_client_ca="staff", **labels)


@pytest.mark.parametrize("verify", ["required", "optional"])
def test_who_proved_itself_to_a_wildcard_is_nobody_to_a_host_below_it(verify: str) -> None:
    world = World(Settings(acme=AcmeSettings()))
    under_a_wildcard(world, acme="true", ssl_client_verify=verify)
    assert "a.example/" not in world.routes()
    assert "ssl_client_ca" in told(world, "web")
    world.put(certificate("l7-acme-a", "a.example", 100))
    assert world.routes()["a.example/"] == "web"
    assert told(world, "web") == {}
    world.remove(Kind.SECRET, "id-l7-acme-a")
    assert "a.example/" not in world.routes()
    world.serve("all", 1, hosts="*.example", ssl_cert="wild", ssl_client_ca="staff")
    assert world.routes()["a.example/"] == "web"
    assert "ssl_client_ca" not in told(world, "web")
    world.serve("all", 1, hosts="*.example", ssl_cert="wild", ssl_client_ca="strangers")
    assert "a.example/" not in world.routes()
    world.remove(Kind.SERVICE, "id-all")
    assert world.routes()["a.example/"] == "web"


def test_acme_without_a_server_is_told() -> None:
    world = World()
    world.serve("web", hosts="a.example", acme="true")
    assert told(world, "web") == {"acme": "has no effect: the settings have no ACME server"}


def test_the_operators_certificate_is_for_whoever_names_no_host() -> None:
    settings = Settings(clusters={"": Cluster(default_certificate="wild", default_key="wild-key")})
    world = World(settings)
    missing = world.build.problems()
    assert [each.label for each in missing] == [
        "Extensions.default.Config.DefaultCertificate", "Extensions.default.Config.DefaultCertificateKey",
    ]  # fmt: skip
    assert all(isinstance(each, Problem) and not each.fatal for each in missing)
    world.store("wild", "wild-key")
    assert tls(world) == {"*": TlsHost("*", "", pair("wild", "wild-key"))}
    assert (world.build.problems(), required(world)) == ((), {"wild", "wild-key"})
    [delta] = world.remove(Kind.SECRET, "id-wild").values()
    assert delta.changes.removed_tls_hosts == ("*",)


def test_challenges_are_part_of_the_state() -> None:
    world = World()
    before = world.snapshot()
    delta = world.build.set_challenges("", {"t": "t.k", "u": "u.k"})
    assert delta is not None
    assert delta.changes.challenges == (("t", "t.k"), ("u", "u.k"))
    assert (delta.applies_to, delta.results_in) == (before.revision, world.snapshot().revision)
    assert world.build.set_challenges("", {"u": "u.k", "t": "t.k"}) is None
    delta = world.build.set_challenges("", {"u": "other"})
    assert delta is not None
    assert (delta.changes.challenges, delta.changes.removed_challenges) == ((("u", "other"),), ("t",))
    assert world.snapshot().challenges == {"u": "other"}
    world.build.set_challenges("", {})
    assert world.snapshot() == before


# ---------------------------------------------------------------- where secrets are fetched


def extension(cluster: str = "", **more: str) -> Service:
    given = {"type": "com.docker.interlock.core.extension", "com.docker.l7.cluster": cluster, **more}
    return service("secrets", spec(given, ("front", "back"), 2))


def test_sources_are_the_running_tasks_the_newest_first() -> None:
    world = World()
    world.put(extension())
    assert world.snapshot().secret_sources == ()
    at = (("back", "10.0.1.1"), ("front", "10.0.0.1"))
    world.put(task("s1", "secrets", addresses=at, created=5))
    newer = (("front", "fd00::2"),)
    world.put(task("s2", "secrets", TaskState.STARTING, addresses=newer, created=6))
    assert world.snapshot().secret_sources == ("10.0.0.1:8081",)
    [delta] = world.put(task("s2", "secrets", addresses=newer, created=6, version=2)).values()
    assert delta.changes.secret_sources == ("[fd00::2]:8081", "10.0.0.1:8081")
    world.put(task("s1", "secrets", RUNNING, SHUTDOWN, addresses=at, created=5, version=3))
    assert world.snapshot().secret_sources == ("[fd00::2]:8081",)
    [delta] = world.remove(Kind.SERVICE, "id-secrets").values()
    assert delta.changes.secret_sources == ()


@pytest.mark.parametrize("port", ["0", "70000", "0000019999999", "000001" + "0" * 5000, "\uff18\uff10"])
def test_a_port_that_is_none_is_the_usual_one(port: str) -> None:
    world = World()
    at = (("front", "10.0.0.1"),)
    world.put(extension(**{"com.docker.l7.port": port}), task("s1", "secrets", addresses=at))
    assert world.snapshot().secret_sources == ("10.0.0.1:8081",)


def test_sources_are_on_a_network_that_the_proxies_share_and_of_their_cluster() -> None:
    settings = Settings(clusters={"": Cluster(), "east": Cluster("east", "east", ("back",))})
    world = World(settings, with_proxy=False)
    at = (("back", "10.0.1.1"), ("front", "10.0.0.1"))
    world.put(extension("east", **{"com.docker.l7.port": "9000"}), task("s1", "secrets", addresses=at))
    assert world.snapshot("east").secret_sources == ("10.0.1.1:9000",)
    assert world.snapshot("").secret_sources == ()
    world.put(replace(extension(""), version=2))
    assert world.snapshot("east").secret_sources == ()
    assert world.snapshot("").secret_sources == ()
    world.put(service("proxy", spec({"type": "com.docker.interlock.core.proxy"})))
    assert world.snapshot("").secret_sources == ("10.0.0.1:8081",)


def test_sources_are_found_on_a_network_that_is_none_of_the_applications() -> None:
    world = World(Settings(clusters={"": Cluster(networks=("back",))}), with_proxy=False)
    control = (("front", "10.0.0.1"),)
    world.put(extension(), task("s1", "secrets", addresses=control))
    assert world.snapshot().secret_sources == ()
    world.put(service("proxy", spec({"type": "com.docker.interlock.core.proxy"}, ("front", "back"))))
    assert world.snapshot().secret_sources == ("10.0.0.1:8081",)
