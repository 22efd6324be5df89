"""TLS of a host: whose certificate it gets, or whose tasks get its connections as they are. Pure.

TLS is decided before there is a request, so it can be only one service's affair. The first created that has what
it takes decides; who shares the host is told what of their own labels has no effect there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l7.conflicts import Clash, clash, waits
from l7.fragment import Claim
from l7.model import ClientCertificate, KeyPair, RouteKey, TlsHost


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """`tls`: how TLS ends here; `passed`: it is passed on. `withheld`: services, by id, that requests to this host
    don't get to, because they want certificates of clients that nobody would ask for. `ordered_by`: the service for
    which an ACME server is to make a certificate, "" for none."""

    tls: TlsHost | None = None
    passed: bool = False
    withheld: frozenset[str] = frozenset()
    clashes: tuple[Clash, ...] = ()
    ordered_by: str = ""


NOTHING = HostOutcome()


def decide_host(host: str, claims: Sequence[Claim], above: TlsHost | None = None) -> HostOutcome:
    """`claims`: of those that have to do with TLS on the host, the oldest in front. `above`: how TLS of the
    wildcard above it ends, which clients meet where the host has none of its own."""
    owner = next((claim for claim in claims if claim.passes(host) or claim.tls.certificate(host)), None)
    others = [claim for claim in claims if claim is not owner]
    pair = owner.tls.certificate(host) if owner else None
    tls = TlsHost(host, owner.service, pair, owner.tls.client, owner.tls.client_ca) if owner and pair else None
    met = above if owner is None else tls
    withheld = [claim for claim in others if met is not None and _unproven(claim, met, tls)]
    ordering = [claim for claim in claims if host in claim.tls.ordered and not _younger(claim, owner)]
    clashes = (
        *(_outvoted(host, owner, others, pair) if owner else ()),
        *(_client_clashes(host, met, others, withheld) if met else ()),
        *(_waits(host, claim) for claim in ordering if host in claim.tls.waiting),
    )
    ids = frozenset(claim.service_id for claim in withheld)
    ordered_by = ordering[0].service if ordering else ""
    return HostOutcome(tls, owner is not None and tls is None, ids, clashes, ordered_by)


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
        elif _wants_another(host, other, owner, pair):
            label = "ssl_cert" if other.spec.tls.certificate else "acme"
            what = "has TLS passed through" if pair is None else "decides about the certificate"
            yield clash(_place(host), other, label, f"service {owner.service}, created first, {what}", remedy)


def _wants_another(host: str, claim: Claim, owner: Claim, pair: KeyPair | None) -> bool:
    """Whether a service has, or waits for, another certificate than `pair`, and will not get its way."""
    wanted = claim.tls.certificate(host)
    return wanted != pair if wanted else host in claim.tls.waiting and _younger(claim, owner)


def _younger(claim: Claim, owner: Claim | None) -> bool:
    """Whether somebody else decides, also when the service has its certificate."""
    return owner is not None and owner is not claim and owner.seniority < claim.seniority


def _waits(host: str, claim: Claim) -> Clash:
    kept = "; meanwhile the previous one stays in use" if claim.tls.certificate(host) else ""
    reason = f"the ACME server has not made it yet{kept}"
    remedy = "have the name lead to the proxies, and port 80 of them reachable from outside"
    return waits(_place(host), claim, "acme", reason, remedy)


def _unproven(claim: Claim, met: TlsHost, own: TlsHost | None) -> bool:
    """Whether clients of the host are not asked for what a service on it wants of them. A wildcard that asks for
    nothing does no harm: who needs a certificate gets in nowhere, until the host has one of its own."""
    asked = own is not None or met.client_ca is not None
    return asked and claim.tls.client_ca is not None and claim.tls.client_ca != met.client_ca


def _client_clashes(host: str, met: TlsHost, others: Sequence[Claim], withheld: Sequence[Claim]) -> Iterator[Clash]:
    required = met.client_certificate is ClientCertificate.REQUIRED
    for other in others:
        if other in withheld:
            what = "asks clients for no certificate" if met.client_ca is None else "names another CA"
            reason = f"service {met.service}, which decides about TLS, {what}; so no request gets to this service"
            remedy = "use hosts of its own, or the same ssl_client_ca on both services"
            yield clash(_place(host), other, "ssl_client_ca", reason, remedy)
        elif required and other.tls.client is ClientCertificate.OPTIONAL:
            reason = f"service {met.service}, which decides about TLS, requires certificates of all clients"
            remedy = "use hosts of its own, or write ssl_client_verify=required"
            yield clash(_place(host), other, "ssl_client_verify", reason, remedy)
