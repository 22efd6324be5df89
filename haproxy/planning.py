"""What the loop knows of its HAProxy, and plans made with it: the pure planner, fed from memory and clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from haproxy.admission import Admission
from haproxy.capabilities import Capabilities
from haproxy.checks import Check, shared_rows
from haproxy.clocks import Clocks
from haproxy.credentials import key_rows
from haproxy.features import rules_rows
from haproxy.mirror import Mirror, Touched
from haproxy.model import HOLD, Server
from haproxy.moves import Prospects, Routes, plan_hosts
from haproxy.observation import Observation
from haproxy.ops import AddMapRow, DeleteMapRow, Op, SetMapRow, TlsOp
from haproxy.places import Places
from haproxy.plan import (
    BackendPlan,
    plan_backend,
    plan_checks,
    plan_leaving,
    plan_rows,
    plan_rules,
)
from haproxy.policy import policy_of, spares
from haproxy.probe import Trust
from haproxy.routes import sni_host
from haproxy.settings import (
    ACME_MAP,
    AUTH_MAP,
    BACKENDS_MAP,
    CHECK_MAPS,
    CHECK_STATUS_MAP,
    FEATURES_MAP,
    RULES_MAPS,
    Settings,
)
from haproxy.store_plans import Nothing, StorePlans, Wanted
from haproxy.tables import HOST_MAPS, PROXY, SHARED, Rows, owner_of
from haproxy.targets import Targets, blocked
from haproxy.tls import authority_store, identity_store
from haproxy.work import CHALLENGES, ROUTES, Work, rules_name, rules_owner, store_owner

Again = Callable[[float, str], None]
"""Asks for another look at a backend, or at the rules of a service (`haproxy.work`'s names), at a time of the
monotonic clock."""


class Planner:
    """`seen` is what HAProxy answered last. `touched` is told of a backend of which one more server accepts."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Capabilities,
        mirror: Mirror,
        again: Again,
        touched: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self.capabilities = capabilities
        self.mirror = mirror
        self.seen = Observation()
        self.targets = Targets(capabilities)
        self.clocks = Clocks()
        self.places = Places(self._spares())
        self.admission = Admission(self.wanted, touched, lambda key: mirror.backends.get(key), self._trust)
        self.stores = StorePlans(Nothing(), mirror, lambda: self.seen, lambda: self._settings, self._lingering)
        self.late: dict[str, set[str]] = {}
        """host -> what makes its rows worth another look (`moves.Routes.late`)."""
        self._again = again

    @property
    def material(self) -> Wanted:
        """What of TLS can be had now."""
        return self.stores.material

    @material.setter
    def material(self, material: Wanted) -> None:
        self.stores.material = material

    @property
    def settings(self) -> Settings:
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        """Pools may have grown."""
        self._settings = settings
        self.places.resize(self._spares())

    def _spares(self) -> Iterable[str] | None:
        return None if self.capabilities.dynamic_backends else spares(self._settings)

    # -------------------------------------------------------------- what there is

    def adopt(self, seen: Observation) -> None:
        """This is the whole state of an HAProxy that was just started or found."""
        self.seen = seen
        self.stores.adopt(seen.stores)
        self.places.adopt(seen)

    def update(self, touched: Touched) -> None:
        """The mirror has changed: clocks start, and the first connection is made while the rest is planned."""
        now = time.monotonic()
        for key in touched.backends:
            want = self.mirror.backends.get(key)
            for due in self.clocks.left(key, want.servers.values() if want else (), now):
                self._again(due, key)
            self.admission.ask(key)

    def everything(self) -> Work:
        """All that is wanted or there."""
        orphans = self.places.orphans(self.seen, self.seen.servers)
        homeless = {name for name in self.seen.owners(CHECK_MAPS) if self.places.logical(name) is None}
        return Work(
            {*self.mirror.backends, *self.seen.placement, *orphans, *(homeless - {SHARED})},
            {*self.mirror.hosts, *self.seen.owners(HOST_MAPS), *map(sni_host, self.mirror.tls_hosts)},
            {*self.mirror.rules, *self.seen.owners(RULES_MAPS), SHARED, PROXY, CHALLENGES},
            self.stores.all(),
        )

    def worth_another_look(self, work: Work) -> set[str]:
        """Hosts with rows that wait for any of this."""
        changed = work.owners
        return {host for host, late in self.late.items() if not late.isdisjoint(changed)}

    def wanted(self, key: str) -> Mapping[str, Server]:
        """Servers of a logical backend by their HAProxy name."""
        want = self.mirror.backends.get(key)
        if want is None:
            return {}
        return self.targets.of(key, want, self.settings).servers

    def holding(self) -> list[str]:
        """Physical backends without a usable server in which requests may wait."""
        homes = self.places.homes(self.clocks.unusable).values()
        holds = ((home, self.seen.servers.get(home, {}).get(HOLD)) for home in homes)
        return [home for home, hold in holds if hold is not None and hold.enabled]

    def owner(self, op: Op) -> str:
        """Whose op it is: the key of a logical backend, or one of `haproxy.work`'s for rules and routes."""
        if not isinstance(op, AddMapRow | SetMapRow | DeleteMapRow):
            if isinstance(op, TlsOp):
                return store_owner(op.store)
            return self.places.logical(op.backend) or op.backend
        file = op.map.rpartition("/")[2]
        if file == BACKENDS_MAP:
            return op.key
        if file in HOST_MAPS:
            return ROUTES
        if file == ACME_MAP:
            return rules_owner(CHALLENGES)
        owner = owner_of(file, op.key)
        return rules_owner(owner) if file in RULES_MAPS or owner == SHARED else self.places.logical(owner) or owner

    # -------------------------------------------------------------- plans

    def backend(self, key: str) -> BackendPlan:
        """For one logical backend. Raises PoolExhausted, and ProtocolError or ValueError for what can't be said."""
        want, home = self.mirror.backends.get(key), self.places.homes([key])[key]
        place = self.places.place(key, policy_of(want) if want else None, self.seen)
        if place is None:
            self._forget(key)
            stale = self.seen.rows(CHECK_MAPS, home) if self.places.logical(home) is None else {}
            return plan_checks({}, stale, self.settings)
        if self._spared(key, want is not None):
            return BackendPlan()
        now = time.monotonic()
        self.admission.learn(key, place.rows)
        deadline = self.settings.hold_deadline / 1000 + 0.01
        if self.clocks.usable(key, want, place.rows, now):
            self._again(now + deadline, key)
        waiting = self._blocked(key) - place.rows.keys()
        if self.clocks.supersede(key, self.wanted(key), place.rows, now, waiting):
            self._again(now + deadline, key)
        accepting = self.admission.accepting.of(key)
        situation = self.clocks.situation(key, want, place.rows, accepting, self.settings, now)
        situation = replace(situation, blocked=waiting)
        known = None if want is None else self.targets.of(key, want, self.settings)
        return plan_backend(key, known, place, situation, self.settings, self.capabilities)

    def release(self, owners: Iterable[str]) -> None:
        """Routes led to these until now."""
        now = time.monotonic()
        for owner in owners:
            self._again(self.clocks.release(owner, now) + 0.01, owner)

    def _spared(self, owner: str, settled: bool) -> bool:
        """Whether it stays though nobody wants it: requests may have looked it up a moment ago. `settled`: it is
        wanted, or nothing is there."""
        if settled:
            self.clocks.released.pop(owner, None)
            return False
        if owner not in self.clocks.released:
            self.release([owner])
        return self.clocks.under_way(owner, time.monotonic())

    def _blocked(self, key: str) -> frozenset[str]:
        """Names of the servers of a backend that can't be added yet."""
        want = self.mirror.backends.get(key)
        if want is None or not any(own.tls_ca or own.tls_certificate for own in want.settings):
            self.stores.await_stores(key, ())
            return frozenset()
        targets = self.targets.of(key, want, self.settings).targets
        missing = {store for each in targets.values() for store in each.stores if not self.stores.has(store)}
        self.stores.await_stores(key, missing)
        return blocked(targets, {store for each in targets.values() for store in each.stores} - missing)

    def _trust(self, check: Check) -> Trust | None:
        """What a check needs of certificates, None while that is not there."""
        pem = self.material.pem
        ca = pem.get(authority_store(self.settings, check.ca)) if check.ca else None
        shown = pem.get(identity_store(self.settings, check.certificate)) if check.certificate else None
        missing = (check.ca and ca is None) or (check.certificate and shown is None)
        return None if missing else Trust(ca, shown)

    def _lingering(self) -> bool:
        """Whether there is a server of ours that is not wanted as it is."""
        ours = ((physical, rows) for physical, rows in self.seen.servers.items() if HOLD in rows)
        return any(
            rows.keys() - self.wanted(self.places.logical(physical) or physical).keys() != {HOLD}
            for physical, rows in ours
        )

    def _forget(self, key: str) -> None:
        self.admission.forget(key)
        self.stores.await_stores(key, ())
        self.clocks.forget(key)
        self.targets.forget(key)

    def leaving(self, key: str, going: Collection[str]) -> BackendPlan:
        """For a backend that is not wanted, while routes still lead to it."""
        place = self.places.place(key, None, self.seen)
        return BackendPlan() if place is None else plan_leaving(place, going)

    def rules(self, name: str) -> BackendPlan:
        """For the rules of one service, and for the rows that all checks share."""
        have = self.seen.rows(RULES_MAPS, name)
        if name == SHARED:
            want = {CHECK_STATUS_MAP: shared_rows()}
            return plan_checks(want, self.seen.rows(CHECK_MAPS, SHARED), self.settings)
        if name == CHALLENGES:
            challenges = {
                token: text for rows in self.seen.table(ACME_MAP).values() for token, text in rows.items()
            }
            want = {ACME_MAP: self.mirror.challenges}
            return plan_rows(want, {ACME_MAP: challenges}, (ACME_MAP,), self.settings)
        if name == PROXY:
            return plan_rules({AUTH_MAP: key_rows(self.material.credentials)}, have, self.settings)
        if self._spared(rules_owner(name), not have or name in self.mirror.rules):
            return BackendPlan()
        return plan_rules(self._rules_rows(name, have), have, self.settings)

    def _rules_rows(self, name: str, have: Rows) -> Rows:
        """Passwords that have not arrived yet leave those of before, or nobody gets in."""
        rules = self.mirror.rules.get(name)
        if rules is None:
            return {}
        rows: Rows = rules_rows(rules, self.capabilities, self.material.credentials)
        return {**rows, AUTH_MAP: have.get(AUTH_MAP, {})} if self._lacks_passwords(name) else rows

    def _lacks_passwords(self, name: str) -> bool:
        rules = self.mirror.rules.get(name)
        wanted = rules is not None and rules.HasField("basic_auth")
        return rules is not None and wanted and rules.basic_auth.id not in self.material.credentials.lines

    def passwords_of_before(self) -> bytes:
        """Rows of auth.map, as text, of rules whose passwords have not arrived yet."""
        tables = [rows for name, rows in self.seen.table(AUTH_MAP).items() if self._lacks_passwords(name)]
        return "".join(f"{key} {value}\n" for rows in tables for key, value in sorted(rows.items())).encode()

    def hosts(self, hosts: Collection[str], broken: Collection[str]) -> Routes:
        """For the routes of some hosts. `broken`: what HAProxy refuses."""
        want, now = self.mirror.backends, time.monotonic()
        deadline = self.settings.hold_deadline / 1000
        refused = {name for name in map(rules_name, broken) if name in self.mirror.rules}

        def may_come(key: str) -> bool:
            return self.clocks.holds(key, want.get(key), self.settings, now)

        def patient(key: str) -> bool:
            if key in self.stores.waiting:  # its time has not begun
                self.clocks.unwait(key)
            return self.clocks.patient(key, now, deadline)

        unsaid = {name for name in refused if name is not None and name not in self.seen.table(FEATURES_MAP)}
        prospects = Prospects(
            want, broken, may_come, patient, self.mirror.rules, unsaid, self.stores.terminated,
            self.stores.awaited, lambda host: self.stores.closed(host, broken),
        )  # fmt: skip
        routes = plan_hosts(hosts, self.mirror.hosts, prospects, self.seen, self.settings)
        self._wait(hosts, routes, now + deadline + 0.01)
        return routes

    def _wait(self, hosts: Collection[str], routes: Routes, until: float) -> None:
        """Remember what these hosts wait for, and for how long they may."""
        for host in hosts:
            self.late.pop(host, None)
        self.late |= routes.late
        for host, what in routes.closing.items():
            self.late.setdefault(host, set()).add(what)
        for key in routes.targets:
            if self.clocks.wait(key, time.monotonic()):
                self._again(until, key)
        if self.clocks.awaited:
            awaited = {key for late in self.late.values() for key in late}
            for key in self.clocks.awaited.keys() - awaited:
                del self.clocks.awaited[key]
