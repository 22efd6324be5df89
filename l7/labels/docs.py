"""docs/labels.md and docs/labels.schema.json from the table: `python -m l7.labels.docs`, where docs/ is."""

from __future__ import annotations

import textwrap

from l7.labels import legacy
from l7.labels.grammar import FALSE, TRUE
from l7.labels.prose import CANARY, CHANGES, EXAMPLE, INTRO, LEFT_OUT, LEGACY, SHARING, TLS, WRITING
from l7.labels.schema import render_schema
from l7.labels.table import PREFIX, SECTIONS, Label

_NAMES = {"header_request_*": "X-Team", "header_response_*": "X-Frame-Options"}
"""For the examples of rows that stand for several labels."""

PAGE, SCHEMA = "docs/labels.md", "docs/labels.schema.json"


def render_labels() -> str:
    """The page as text."""
    parts = [
        INTRO,
        render_example(),
        WRITING.format(true=_code(*sorted(TRUE)), false=_code(*sorted(FALSE))),
        CHANGES,
        _overview(),
        *(_section(title, rows) for title, rows in SECTIONS),
        TLS,
        SHARING,
        CANARY,
        LEFT_OUT,
        LEGACY.format(one=_legacy_table()),
    ]
    return "\n".join(parts)


def render_example() -> str:
    """The stack file at the top of the page."""
    lines = ["```yaml", "services:"]
    for service, image, comment, labels in EXAMPLE:
        lines += [
            f"  {service}:",
            f"    image: {image}",
            "    networks: [front]",
            "    deploy:",
            "      replicas: 3",
        ]
        lines += [f"      labels:                                # {comment}"]
        lines += [f'        {PREFIX}{name}: "{value}"' for name, value in labels]
    lines += ["networks:", "  front:", "    external: true", "    name: l7                    # the proxies'"]
    lines += ["```", ""]
    return "\n".join(lines)


def _overview() -> str:
    parts = ["## All labels\n"]
    for title, rows in SECTIONS:
        parts.append(f"**{title}**\n")
        parts.append("| label | type | default | change | HAProxy |\n| --- | --- | --- | --- | --- |")
        for row in rows:
            name = f"[`{row.name}`](#{row.name.rstrip('*')})"
            versions = row.versions.partition(";")[0]
            parts.append(f"| {name} | {row.type} | {row.default} | {row.change} | {versions} |")
        parts.append("")
    return "\n".join(parts)


def _section(title: str, rows: tuple[Label[object], ...]) -> str:
    return "\n".join([f"## {title}\n", *map(_label, rows)])


def _label(label: Label[object]) -> str:
    written = label.key.replace("*", _NAMES.get(label.name, ""))
    changing = f"{label.change}; {label.changing}" if label.changing else str(label.change)
    facts = [
        f"- Type: {label.type}",
        f"- Default: {label.default}",
        f"- Example: `{written}={label.example}`",
        f"- Change: {changing}",
        f"- HAProxy: {label.versions}",
    ]
    if label.conflicts:
        facts.append(f"- Together with others: {label.conflicts}")
    meaning = textwrap.fill(label.meaning, 112, break_long_words=False, break_on_hyphens=False)
    return f"### `{label.name}`\n\n{meaning}\n\n" + "\n".join(facts) + "\n"


def _legacy_table() -> str:
    rows = [f"| `{legacy.ONE}{old}` | {new} |" for old, new in legacy.DESCRIPTIONS]
    return "| Interlock 1 | becomes |\n| --- | --- |\n" + "\n".join(rows)


def _code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def main() -> None:
    """Write both files."""
    for name, text in ((PAGE, render_labels()), (SCHEMA, render_schema())):
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
