"""TLS of a host: whose certificate it gets, or whose tasks get its connections as they are. Pure.

TLS is decided before there is a request, so it can be only one service's affair. The first created that has what
it takes decides; who shares the host is told what of their own labels has no effect there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l7.conflicts import Clash, clash
from l7.fragment import Claim
from l7.model import ClientCertificate, KeyPair, RouteKey, TlsHost


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """`tls`: how TLS ends here; `passed`: it is passed on. `withheld`: services, by id, that requests to this host
    don't get to, because they want certificates of clients that nobody would ask for."""

    tls: TlsHost | None = None
    passed: bool = False
    withheld: frozenset[str] = frozenset()
    clashes: tuple[Clash, ...] = ()


NOTHING = HostOutcome()


def decide_host(host: str, claims: Sequence[Claim]) -> HostOutcome:
    """`claims`: of those that have to do with TLS on the host, the oldest in front."""
    owner = next((claim for claim in claims if claim.passes(host) or claim.tls.certificate(host)), None)
    pair = owner.tls.certificate(host) if owner else None
    if owner is None:
        return NOTHING
    others = [claim for claim in claims if claim is not owner]
    if pair is None:
        return HostOutcome(passed=True, clashes=tuple(_outvoted(host, owner, others, None)))
    tls = TlsHost(host, owner.service, pair, owner.tls.client, owner.tls.client_ca)
    withheld = [claim for claim in others if _unproven(claim, tls)]
    clashes = [*_outvoted(host, owner, others, pair), *_client_clashes(host, owner, others, withheld)]
    return HostOutcome(tls, False, frozenset(claim.service_id for claim in withheld), tuple(clashes))


def _place(host: str) -> RouteKey:
    """The whole host; no route has such a key."""
    return (host, "")


def _outvoted(host: str, owner: Claim, others: Sequence[Claim], pair: KeyPair | None) -> Iterator[Clash]:
    """Who has another certificate, or wants TLS passed on where it ends, or the other way round."""
    remedy = "use another host, or have both services ask for the same"
    for other in others:
        if other.passes(host):
            if pair is not None:
                reason = f"service {owner.service}, created first, has a certificate there"
                yield clash(_place(host), other, "ssl_passthrough", reason, remedy)
        elif (wanted := other.tls.certificate(host)) and wanted != pair:
            label = "ssl_cert" if other.spec.tls.certificate else "acme"
            what = "has TLS passed through" if pair is None else "decides about the certificate"
            yield clash(_place(host), other, label, f"service {owner.service}, created first, {what}", remedy)


def _unproven(claim: Claim, tls: TlsHost) -> bool:
    """Whether clients of the host are not asked for what a service on it wants of them."""
    return claim.tls.client_ca is not None and claim.tls.client_ca != tls.client_ca


def _client_clashes(host: str, owner: Claim, others: Sequence[Claim], withheld: Sequence[Claim]) -> Iterator[Clash]:
    required = owner.tls.client is ClientCertificate.REQUIRED
    for other in others:
        if other in withheld:
            what = "asks clients for no certificate" if owner.tls.client_ca is None else "names another CA"
            reason = f"service {owner.service}, which decides about TLS, {what}; so no request gets to this service"
            remedy = "use hosts of its own, or the same ssl_client_ca on both services"
            yield clash(_place(host), other, "ssl_client_ca", reason, remedy)
        elif required and other.tls.client is ClientCertificate.OPTIONAL:
            reason = f"service {owner.service}, which decides about TLS, requires certificates of all clients"
            remedy = "use hosts of its own, or write ssl_client_verify=required"
            yield clash(_place(host), other, "ssl_client_verify", reason, remedy)
