"""The status document as tables for the terminal. Pure: document in, renderables out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]
_NARROW = 120
"""Columns of a terminal below which the sentences of a table would be a word or two wide."""
_NO_BACKEND: Document = {"name": "", "services": [], "states": {}, "expected": False, "servers": [], "shares": {}}


def report(document: Document) -> Iterator[RenderableType]:
    """Everything that `l7 status` shows, top to bottom."""
    yield Text(_headline(document), style="" if document["ready"] else "bold red")
    for cluster in document["clusters"]:
        yield Text(f"\nCluster {cluster['name'] or 'default'} at revision {cluster['revision'][:12]}", style="bold")
        view = _view(document, cluster)
        if view is not None:
            yield Text(_seen(view))
        yield _routes(cluster, _health_notes(document, cluster, view))
        if cluster.get("tls_hosts"):
            yield Text("\nCertificates", style="bold")
            yield _certificates(cluster, document["problems"])
        if cluster["rules"]:
            yield Text("\nRules", style="bold")
            yield _rules(cluster)
    if document["extensions"] or document["clusters"]:
        yield Text("\nProxies", style="bold")
        none = Text("none is connected to this core: they keep what they have, and learn no change", style="red")
        yield _extensions(document) if document["extensions"] else none
    if document.get("services"):
        yield Text("\nServices", style="bold")
        yield _kept(document)
    if document["problems"]:
        yield Text("\nNot as asked", style="bold red")
        yield _Problems(document)


def _headline(document: Document) -> str:
    source = document["source"]
    follows = f", follows Swarm by {source['source']}" if source.get("source") else ""
    lost = " (connection lost, last state kept)" if source.get("source") and not source.get("connected") else ""
    if error := source.get("secrets_error"):
        lost += f" (secrets and configs are not followed, the last ones kept: {error})"
    state = "ready" if document["ready"] else f"not ready: {document['reason']}"
    return f"l7 {document['version']}, {state}{follows}{lost}"


# ---------------------------------------------------------------- routes


def _view(document: Document, cluster: Document) -> Document | None:
    """What the cluster's proxies see together, as its extension service tells: that which looks at most of them,
    while one takes the place of another."""
    services = (each for each in document.get("extension_services", ()) if each["cluster"] == cluster["name"])
    views = (each["view"] for each in services if each.get("view"))
    return max(views, key=lambda view: int(view["proxies"]), default=None)


def _seen(view: Document) -> str:
    proxies = "1 proxy sees" if view["proxies"] == 1 else f"most of {view['proxies']} proxies see"
    silent = f" ({view['silent']} more did not answer)" if view["silent"] else ""
    servers = f"{view['up']} servers up, {view['down']} down, {view['maintenance']} out of rotation"
    return f"{servers}, as {proxies} them{silent}; {view['sessions']} sessions, {view['queued']} of them waiting"


def _health_notes(document: Document, cluster: Document, view: Document | None) -> Mapping[str, str]:
    """By backend: how many of its tasks the cluster's proxies find down, and what they do not agree about."""
    proxies = (each for each in document["extensions"] if each["cluster"] == cluster["name"])
    tasks = {(found["backend"], found["task"]) for proxy in proxies for found in proxy["unhealthy"]}
    split = {(each["backend"], each["task"]): each for each in view["split"]} if view else {}
    unhealthy = Counter(backend for backend, _ in tasks - split.keys())
    splits: dict[str, list[Document]] = {}
    for (backend, _), each in split.items():
        splits.setdefault(backend, []).append(each)
    notes = {backend: f"{number} unhealthy" for backend, number in unhealthy.items()}
    for backend, differing in splits.items():
        notes[backend] = ", ".join(filter(None, (notes.get(backend), _differing(differing))))
    return notes


def _differing(split: list[Document]) -> str:
    if len(split) > 1:
        return f"{len(split)} up on some proxies only"
    return f"1 up on {split[0]['up']} of {split[0]['proxies']} proxies only"


def _routes(cluster: Document, health: Mapping[str, str]) -> RenderableType:
    """A row for each route, and one below it for each canary."""
    if not cluster["routes"]:
        return Text("no routes: no service has labels that lead here")
    backends = {backend["name"]: backend for backend in cluster["backends"]}
    hosts = {route["host"] for route in cluster["routes"]}
    table = _table("Host", "Path", "Services", "Ready", "Coming", "Leaving", "")
    for route in sorted(cluster["routes"], key=_place):
        backend = backends.get(route["backend"], _NO_BACKEND)
        host, path = _address(route)
        passed = f"@{route['host']}" in hosts and route["rules"]
        unanswered = "redirected to https" if passed else "weight 0: nobody answers"
        notes = _notes(route, backend, health.get(backend["name"], ""), unanswered)
        table.add_row(host, path, _services(backend), *_counts(backend), ", ".join(notes))
        for canary in route["canaries"]:
            chosen = backends.get(canary["backend"], _NO_BACKEND)
            table.add_row("", "", _services(chosen), *_counts(chosen), _canary(canary, chosen))
    return table


def _place(route: Document) -> tuple[int, str, str]:
    """Hosts, each with its TLS that is passed on, then the defaults, then TCP ports by their numbers."""
    host = route["host"]
    port = int(host[1:]) + 1 if host.startswith(":") else int(host == "*")
    return port, host.removeprefix("@"), route["path"]


def _address(route: Document) -> tuple[str, str]:
    """Host and path, for people."""
    if route["host"].startswith(":"):
        return f"TCP port {route['host'][1:]}", ""
    host = "any other" if route["host"] == "*" else route["host"].removeprefix("@")
    return host, "TLS" if route["host"].startswith("@") else route["path"]


def _services(backend: Document) -> str:
    """Names; with shares, where they are not simply by number of tasks."""
    shares: Mapping[str, int] = backend["shares"]
    total = sum(shares.values())
    if len(shares) < 2 or not total or len({server["weight"] for server in backend["servers"]}) == 1:
        return ", ".join(backend["services"])
    return ", ".join(f"{name} {_percent(shares[name] / total)}" for name in backend["services"])


def _percent(part: float) -> str:
    return f"{part * 100:.1f}".removesuffix(".0") + "%"


def _counts(backend: Document) -> tuple[str, ...]:
    if not backend["name"]:
        return ("", "", "")
    return tuple(str(backend["states"].get(state, 0)) for state in ("ready", "pending", "leaving"))


def _notes(route: Document, backend: Document, health: str, unanswered: str) -> Iterator[str]:
    if redirect := route["redirect"]:
        what = f"{redirect['scheme']} redirected" if redirect["scheme"] else "redirected"
        yield f"{what} to {redirect['location']}"
    if route["strip_path"]:
        yield "path stripped"
    if route["rules"]:
        yield f"rules {route['rules']}"
    if not backend["name"]:
        if route["host"].startswith("@"):
            yield "ends at the proxies"
        elif not redirect:
            yield "only by header or cookie" if route["canaries"] else unanswered
    elif not backend["states"].get("ready"):
        yield "requests wait" if backend["expected"] else "scaled to zero"
    if health:
        yield health


def _canary(canary: Document, backend: Document) -> str:
    value = f"={canary['value']}" if canary["value"] else ""
    away = "" if backend["states"].get("ready") else ", no server: falls back"
    return f"with {canary['source']} {canary['name']}{value}{away}"


# ---------------------------------------------------------------- TLS


def _certificates(cluster: Document, problems: list[Document]) -> Table:
    """What labels and settings name: whether that is served, the problems say."""
    table = _table("Host", "Certificate", "Key", "Named by", "Clients", "")
    for tls in cluster["tls_hosts"]:
        pair, authority = tls["certificate"], tls["client_ca"]
        host = "any other" if tls["host"] == "*" else tls["host"]
        key = pair["key"]["name"] if pair["key"] else ""
        clients = f"{tls['client_certificate']}, of {authority['name']}" if authority else ""
        note = "see below" if any(_concerns(each, tls) for each in problems) else ""
        table.add_row(host, pair["certificate"]["name"], key, tls["service"] or "the settings", clients, note)
    return table


_OF_CERTIFICATES = tuple(f"com.docker.lb.{name}" for name in ("ssl_cert", "ssl_key", "ssl_client_ca", "acme"))


def _concerns(problem: Document, tls: Document) -> bool:
    """Whether a problem is about how this host speaks TLS."""
    if tls["host"] == "*":
        return not problem["service"] and "DefaultCertificate" in problem["message"]
    return problem["service"] == tls["service"] and problem["label"] in _OF_CERTIFICATES


# ---------------------------------------------------------------- rules


def _rules(cluster: Document) -> Table:
    table = _table("Service", "Rules")
    for rules in cluster["rules"]:
        told = (_rule(name, value) for name, value in rules.items() if name != "name")
        table.add_row(rules["name"], ", ".join(told))
    return table


_TIMES = ("timeout_server", "timeout_tunnel", "timeout_connect", "queue_timeout")
_PERIODS = {1000: "s", 10_000: "10s", 60_000: "m", 3_600_000: "h"}


def _rule(name: str, value: Any) -> str:
    """One rule, in the words of its label."""
    if value is True:
        return name
    if name in _TIMES:
        return f"{name} {value / 1000:g}s"
    if name == "hash_key":
        source = "source" if value["source"] == "address" else value["source"]
        return f"balance {source}:{value['name']}" if value["name"] else f"balance {source}"
    if name in ("request_headers", "response_headers"):
        return f"{name} " + " ".join(f"{each['action']} {each['name']}" for each in value)
    return f"{name} {_value(name, value)}"


def _value(name: str, value: Any) -> str:
    if name == "rate_limit":
        return f"{value['requests']}/{_PERIODS.get(value['period'], value['period'])}"
    if name == "basic_auth":
        return str(value["name"])
    listed = value["origins"] if name == "cors" else value
    return " ".join(listed) if isinstance(listed, list) else str(listed)


# ---------------------------------------------------------------- proxies, problems


def _extensions(document: Document) -> Table:
    revisions = {cluster["name"]: cluster["revision"] for cluster in document["clusters"]}
    table = _table("Cluster", "Instance", "Proxy", "Revision", "Reloads", "Held", "Unhealthy", "")
    for each in document["extensions"]:
        current = each["applied"] == revisions.get(each["cluster"])
        note = f"refused {each['refused'][:12]}: {each['reason']}" if each["refused"] else ""
        table.add_row(
            each["cluster"] or "default",
            each["instance"],
            each["proxy"],
            f"{each['applied'][:12] or 'none'}{'' if current else ' (behind)'}",
            str(each["reloads"]),
            str(each["held_requests"]),
            str(len(each["unhealthy"])),
            note,
        )
    return table


def _kept(document: Document) -> Table:
    """What core keeps: extension services and proxies."""
    table = _table("Cluster", "Service", "Is", "Image", "Running", "Last update")
    for each in document["services"]:
        wanted = "one per node" if each["replicas"] is None else str(each["replicas"])
        update = each["update"].replace("_", " ")
        table.add_row(
            each["cluster"] or "default",
            each["name"],
            "proxies" if each["proxy"] else "extension service",
            each["image"],
            f"{each['running']} of {wanted}",
            f"{update}: {each['message']}" if each["message"] and update != "completed" else update,
        )
    return table


@dataclass(frozen=True, slots=True)
class _Problems:
    """A table where there is room for it, else a paragraph for each."""

    document: Document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < _NARROW:
            yield from _paragraphs(self.document)
        else:
            yield _problems(self.document)


def _problems(document: Document) -> Table:
    table = _table("Service", "Label", "Value", "Routed", "What is wrong", "What to do")
    routed = _routed(document)
    for each in document["problems"]:
        became = _became(each, routed)
        table.add_row(each["service"], each["label"], each["value"], became, each["message"], each["remedy"])
    return table


def _paragraphs(document: Document) -> Iterator[RenderableType]:
    """What a row of the table has, in lines of their own. Only labels have a value."""
    routed = _routed(document)
    for each in document["problems"]:
        label = f"{each['label']}={each['value']}" if each["value"] else each["label"]
        became = _became(each, routed)
        about = "  ".join(filter(None, (each["service"], label, f"(routed: {became})" if became else "")))
        yield Text(about, style="bold", overflow="fold")
        for words in (each["message"], each["remedy"] and f"to do: {each['remedy']}"):
            if words:
                yield Padding(Text(words, overflow="fold"), (0, 0, 0, 4))


def _routed(document: Document) -> set[str]:
    backends = [backend for cluster in document["clusters"] for backend in cluster["backends"]]
    return {service for backend in backends for service in backend["services"]}


def _became(problem: Document, routed: set[str]) -> str:
    """What became of a service that has a problem: with a fatal one its labels of now can't be followed."""
    if problem["service"] not in routed:
        return "no" if problem["fatal"] else ""
    return "as before" if problem["fatal"] else "yes"


def _table(*columns: str) -> Table:
    """Values come from users: Text, not markup, and folded rather than cut, so that they can be copied."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
