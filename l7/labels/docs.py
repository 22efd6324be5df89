"""docs/labels.md from the table: `python -m l7.labels.docs > docs/labels.md`."""

from __future__ import annotations

from l7.labels.grammar import FALSE, TRUE
from l7.labels.table import LATER, PREFIX, SUPPORTED, Label

_INTRO = f"""# Labels

What a service says about itself, as labels of the *service* (`docker service create --label`, `deploy.labels`
in a stack file), not of its containers. All begin with `{PREFIX}`. A service is published when it has
`{PREFIX}hosts`; one without any of these labels is left alone.

Generated from the table that the parser uses (`python -m l7.labels.docs`); do not edit.
"""

_RULES = f"""## Rules for all

- A value outside its grammar quarantines the service, and only it: where Swarm still has the specification
  before the last update, the service is routed by the labels of that one, else it is not routed. `l7 status`
  names service, label, value and remedy either way. (Swarm keeps one previous specification: a second update
  with bad labels, even one that changes something else, leaves none to fall back on.)
- Removing `{PREFIX}hosts` unpublishes the service, whatever its other labels say.
- A label that l7 does not know, or does not support yet, is reported and otherwise ignored.
- Booleans: {", ".join(f"`{word}`" for word in sorted(TRUE))} or {", ".join(f"`{word}`" for word in sorted(FALSE))},
  in any case.
- Services that share host and path are pooled. Where their settings of that route differ, those of the
  service created first (by time of creation, then id) hold, and the others are reported.
- A new or changed label takes effect on the running service; its tasks are not touched. "Change" says what
  it takes in the proxy: *live* is a row of a map or a command to the running HAProxy, no reload.
"""


def render_labels() -> str:
    """The page as text."""
    rows = "\n".join(f"| `{each.key}` | {each.type} | {each.default} |" for each in SUPPORTED)
    later = ", ".join(f"`{each.name}`" for each in LATER)
    parts = [
        _INTRO,
        f"| label | type | default |\n| --- | --- | --- |\n{rows}\n",
        *(_section(label) for label in SUPPORTED),
        _RULES,
        f"## Not supported yet\n\nKnown from Interlock; a service that has one is routed without it: {later}.\n",
    ]
    return "\n".join(parts)


def _section(label: Label[object]) -> str:
    facts = [
        f"- Type: {label.type}",
        f"- Default: {label.default}",
        f"- Example: `{label.key}={label.example}`",
        f"- Change: {label.change}",
        f"- HAProxy: {label.versions}",
    ]
    if label.conflicts:
        facts.append(f"- Together with others: {label.conflicts}")
    return f"## `{label.name}`\n\n{label.meaning}\n\n" + "\n".join(facts) + "\n"


def main() -> None:
    """Print the page."""
    print(render_labels(), end="")


if __name__ == "__main__":
    main()
