"""The metrics of a process, as one object that is passed around; there is no global registry.

Names are part of the interface to dashboards and alert rules: add, never rename. Core, sidecar and extension
service use the same class, each fills what it knows; a metric that was never touched shows no sample (or zero).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 600, 1800)


class Metrics:
    """Counters, gauges and histograms of one process, in their own registry.

    `role` is "core", "sidecar" or "extension"; `version` that of the software.
    """

    def __init__(self, role: str, version: str) -> None:
        registry = self.registry = CollectorRegistry()
        self.convergence = Histogram(
            "l7_convergence_seconds",
            "Time that a change took, by stage: event, build, push, apply; all from event to acknowledgement",
            ["stage"],
            registry=registry,
            buckets=_FAST,
        )
        self.routes = Gauge("l7_routes", "Routes in effect", ["cluster"], registry=registry)
        self.servers = Gauge("l7_servers", "Servers by state", ["cluster", "state"], registry=registry)
        self.problems = Gauge("l7_problems", "User errors, by label", ["label"], registry=registry)
        self.revision = Gauge(
            "l7_revision", "1 for the revision in effect", ["role", "cluster", "revision"], registry=registry
        )
        self.commands = Counter(
            "l7_runtime_commands_total",
            "Runtime API commands sent to HAProxy, by verb and result",
            ["verb", "result"],
            registry=registry,
        )
        self.reloads = Counter("l7_reloads_total", "Reloads, by reason", ["reason"], registry=registry)
        self.last_reload_success = Gauge(
            "l7_last_reload_success",
            "1 if HAProxy serves with what the last reload was for, 0 if that failed; none before the first",
            ["reason"],
            registry=registry,
        )
        self.last_reload_at = Gauge(
            "l7_last_reload_timestamp_seconds",
            "When the last reload ended, be it well or badly, Unix time",
            ["reason"],
            registry=registry,
        )
        self.drift = Counter("l7_drift_total", "Differences found by audits and repaired", registry=registry)
        self.audits = Counter(
            "l7_audits_total",
            "Comparisons of everything with what is wanted, made whether or not anything seemed to have changed, "
            "by what was looked at: services (of a cluster), servers and whole (of HAProxy)",
            ["of"],
            registry=registry,
        )
        self.drain = Histogram(
            "l7_drain_seconds", "From out of rotation to deleted", registry=registry, buckets=_SLOW
        )
        self.held = Gauge("l7_held_requests", "Requests that wait for a successor now", registry=registry)
        self.streams = Gauge("l7_streams", "Open Sync streams", ["cluster"], registry=registry)
        self.refusals = Counter(
            "l7_refused_revisions_total", "Revisions refused by an extension", ["cluster"], registry=registry
        )
        self.attachments = Counter(
            "l7_attachments_total",
            "Secrets and configs attached to extension services, and detached, by action",
            ["cluster", "action"],
            registry=registry,
        )
        self.fleet = Counter(
            "l7_fleet_actions_total",
            "What core did to the services, networks and identities of service clusters, by action",
            ["cluster", "action"],
            registry=registry,
        )
        self.published = Counter(
            "l7_published_configs_total",
            "Config objects with published configurations, by what was done: stored, again (was stored already), "
            "removed, failed, too large",
            ["cluster", "action"],
            registry=registry,
        )
        self.certificates = Gauge(
            "l7_cert_not_after_seconds",
            "End of the certificate that a host is served with, Unix time",
            ["host"],
            registry=registry,
        )
        self.cluster_servers = Gauge(
            "l7_cluster_servers",
            "Servers by state, as most proxies of the cluster see them: up, down, maint; split: they do not agree",
            ["cluster", "state"],
            registry=registry,
        )
        self.cluster_sessions = Gauge(
            "l7_cluster_sessions", "Sessions under way at all proxies", ["cluster"], registry=registry
        )
        self.cluster_queued = Gauge(
            "l7_cluster_queued", "Sessions that wait for a server at all proxies", ["cluster"], registry=registry
        )
        self.cluster_proxies = Gauge(
            "l7_cluster_proxies",
            "Proxies of the cluster in the last look: answered, silent (connected, but no answer in time)",
            ["cluster", "state"],
            registry=registry,
        )
        self.cluster_look_at = Gauge(
            "l7_cluster_look_timestamp_seconds",
            "When the proxies were last looked at, Unix time",
            ["cluster"],
            registry=registry,
        )
        self.cluster_backends = Gauge(
            "l7_cluster_backends", "Backends that have servers", ["cluster"], registry=registry
        )
        self.cluster_backend_servers = Gauge(
            "l7_cluster_backend_servers",
            "As l7_cluster_servers, of the 1,000 backends that had the most sessions since the proxies started",
            ["cluster", "backend", "state"],
            registry=registry,
        )
        self.cluster_backend_sessions = Gauge(
            "l7_cluster_backend_sessions",
            "As l7_cluster_sessions, of the same backends",
            ["cluster", "backend"],
            registry=registry,
        )
        self.ready = Gauge("l7_ready", "1 once the first full synchronisation is done", registry=registry)
        self.build = Info("l7_build", "Role and version of the process", registry=registry)
        self.build.info({"role": role, "version": version})
        self.before_exposition: Callable[[], None] = lambda: None
        self._role = role
        self._revisions: dict[str, str] = {}

    def set_revision(self, cluster: str, revision: str) -> None:
        """Marks the revision in effect; the one before it leaves the exposition, so series do not pile up."""
        before = self._revisions.get(cluster)
        if before == revision:
            return
        if before is not None:
            self.revision.remove(self._role, cluster, before)
        self._revisions[cluster] = revision
        self.revision.labels(self._role, cluster, revision).set(1)

    def set_servers(self, cluster: str, by_state: Mapping[str, int]) -> None:
        """Number of servers per state; states that are not named keep their value, so name them all."""
        for state, number in by_state.items():
            self.servers.labels(cluster, state).set(number)

    def set_problems(self, by_label: Mapping[str, int]) -> None:
        """Number of problems per label; labels without one leave the exposition."""
        self.problems.clear()
        for label, number in by_label.items():
            self.problems.labels(label).set(number)

    def reloaded(self, reason: str, success: bool, when: float) -> None:
        """How the last reload ended, and when (Unix time); the one before it leaves the exposition."""
        for gauge, value in ((self.last_reload_success, float(success)), (self.last_reload_at, when)):
            gauge.clear()
            gauge.labels(reason).set(value)

    def forget_certificate(self, host: str) -> None:
        """The host is served with none any more, or never was."""
        with suppress(KeyError):
            self.certificates.remove(host)

    def exposition(self) -> bytes:
        """The text that a Prometheus server scrapes; calls `before_exposition`, which may set gauges."""
        self.before_exposition()
        return generate_latest(self.registry)
