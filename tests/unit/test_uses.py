"""Who needs which secret: one that nobody names any more is not needed, and what arrives touches whoever waits."""

from __future__ import annotations

from haproxy.mirror import Mirror, Touched
from haproxy.uses import Uses
from l7.v1 import sync_pb2 as pb


def secret(name: str) -> pb.Secret:
    return pb.Secret(id=name, name=name)


def pair(certificate: str, key: str = "") -> pb.KeyPair:
    return pb.KeyPair(certificate=secret(certificate), key=secret(key) if key else None)


def backend(name: str, protocol: pb.Protocol, tcp: bool = False) -> pb.Backend:
    settings = pb.ServerSettings(protocol=protocol, tls_ca=secret("ca"), tls_certificate=pair("own", "own-key"))
    return pb.Backend(name=name, settings=pb.BackendSettings(services=[name], server_settings=[settings], tcp=tcp))


def given(uses: Uses, mirror: Mirror, changes: pb.Changes) -> bool:
    number = int(mirror.revision or "0")
    kind = pb.UPDATE_KIND_INCREMENTAL if number else pb.UPDATE_KIND_COMPLETE
    response = pb.SyncResponse(
        kind=kind, applies_to=mirror.revision, results_in=str(number + 1), last=True, changes=changes
    )
    touched = mirror.apply(response)
    assert touched is not None
    return uses.update(touched, mirror)


def test_each_secret_has_those_who_need_it() -> None:
    uses, mirror = Uses(), Mirror()
    changes = pb.Changes(
        tls_hosts=[
            pb.TlsHost(host="x", certificate=pair("c", "k"), client_ca=secret("ca")),
            pb.TlsHost(host="y", certificate=pair("c", "k")),
        ],
        rules=[pb.Rules(name="r", basic_auth=secret("users")), pb.Rules(name="s", hsts="1")],
        backends=[backend("b", pb.PROTOCOL_HTTPS), backend("plain", pb.PROTOCOL_H2C)],
    )
    assert given(uses, mirror, changes)
    assert set(uses.ids) == {"c", "k", "ca", "users", "own", "own-key"}
    assert uses.touched(["c"]) == Touched(tls_hosts=frozenset({"x", "y"}))
    assert uses.touched(["ca"]) == Touched(backends=frozenset({"b"}), tls_hosts=frozenset({"x"}))
    assert uses.touched(["users", "nobody's"]) == Touched(rules=frozenset({"r"}))


def test_what_nobody_names_any_more_is_not_needed() -> None:
    uses, mirror = Uses(), Mirror()
    hosts = [pb.TlsHost(host=host, certificate=pair("c", "k")) for host in "xy"]
    given(uses, mirror, pb.Changes(tls_hosts=hosts, backends=[backend("b", pb.PROTOCOL_HTTPS)]))
    assert not given(uses, mirror, pb.Changes(removed_tls_hosts=["x"]))
    assert given(uses, mirror, pb.Changes(tls_hosts=[pb.TlsHost(host="y", certificate=pair("c2"))]))
    assert set(uses.ids) == {"c2", "ca", "own", "own-key"}
    assert given(uses, mirror, pb.Changes(removed_backends=["b"]))
    assert set(uses.ids) == {"c2"}
    assert not given(uses, mirror, pb.Changes(routes=[pb.Route(host="x", path="/")]))


def test_raw_tcp_needs_no_secret() -> None:
    uses, mirror = Uses(), Mirror()
    assert not given(uses, mirror, pb.Changes(backends=[backend("b", pb.PROTOCOL_HTTPS, tcp=True)]))
