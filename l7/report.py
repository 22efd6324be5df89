"""The status document as tables for the terminal. Pure: document in, renderables out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

Document = Mapping[str, Any]


def report(document: Document) -> Iterator[RenderableType]:
    """Everything that `l7 status` shows, top to bottom."""
    yield Text(_headline(document), style="" if document["ready"] else "bold red")
    for cluster in document["clusters"]:
        yield Text(f"\nCluster {cluster['name'] or 'default'} at revision {cluster['revision'][:12]}", style="bold")
        yield _routes(cluster)
    if document["extensions"]:
        yield Text("\nProxies", style="bold")
        yield _extensions(document)
    if document["problems"]:
        yield Text("\nNot as asked", style="bold red")
        yield _problems(document)


def _headline(document: Document) -> str:
    source = document["source"]
    follows = f", follows Swarm by {source['source']}" if source.get("source") else ""
    lost = " (connection lost, last state kept)" if source.get("source") and not source.get("connected") else ""
    state = "ready" if document["ready"] else f"not ready: {document['reason']}"
    return f"l7 {document['version']}, {state}{follows}{lost}"


def _routes(cluster: Document) -> RenderableType:
    if not cluster["routes"]:
        return Text("no routes: no service has labels that lead here")
    backends = {backend["name"]: backend for backend in cluster["backends"]}
    table = _table("Host", "Path", "Services", "Ready", "Coming", "Leaving", "")
    for route in cluster["routes"]:
        backend = backends[route["backend"]]
        states = backend["states"]
        notes = ["path stripped"] if route["strip_path"] else []
        if not states.get("ready"):
            notes.append("requests wait" if backend["expected"] else "scaled to zero")
        table.add_row(
            route["host"],
            route["path"],
            ", ".join(backend["services"]),
            *(str(states.get(state, 0)) for state in ("ready", "pending", "leaving")),
            ", ".join(notes),
        )
    return table


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


def _problems(document: Document) -> Table:
    table = _table("Service", "Label", "Value", "What is wrong", "What to do")
    for each in document["problems"]:
        table.add_row(each["service"], each["label"], each["value"], each["message"], each["remedy"])
    return table


def _table(*columns: str) -> Table:
    """Values come from users: Text, not markup, and folded rather than cut, so that they can be copied."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
