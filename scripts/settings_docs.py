"""docs/settings.md from the tables of options, core's and the HAProxy extension's."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from pathlib import Path

from haproxy import option as extension
from haproxy.nginx_options import NGINX
from haproxy.options import OPTIONS
from l7.config.core_options import ACME, CORE, HOST_POLICY
from l7.config.extension_options import CLUSTER, EXTENSION
from l7.config.option import Option
from l7.config.proxy_options import PROXY

FILE = Path(__file__).resolve().parents[1] / "docs/settings.md"

INTRO = """\
# Settings

Made from the tables of options by `python -m scripts.docs`; changes are lost.

Core reads one TOML file: that of Interlock 2 and 3, and of MKE, as it is, and some keys of l7's own. It may be
left out altogether, and so may every key of it. What a file means, and what is doubtful in it, says

```sh
l7 config check config.toml
```

A file that works:

```toml
ListenAddr = ":8080"

[Extensions.default]                        # one table for each service cluster
ProxyReplicas = 2
ProxyConstraints = ["node.labels.nodetype==loadbalancer"]
PublishMode = "host"

[Extensions.default.Config]                 # what its proxies run by
ConnectTimeout = 1
ReadTimeout = 600
ClientMaxBodySize = "32m"
```

- **Keys** may be written in any case. One that nobody knows is a warning; a wrong type, value or syntax is an
  error with line and key, before anything is changed. An empty string is as good as no key at all: Interlock's
  files have such.
- **Durations** are those of Go: `500ms`, `3s`, `1m30s`. In `Config`, timeouts are numbers of seconds, and those
  that were NGINX's may be written as NGINX has them: `75s`, `1m 30s`.
- **Changes**: core takes up a new file by itself, without being started anew (about 2 s after it was written,
  when it is mounted as a file; a Docker config never changes, there it is another config for core's service).
  What is wrong with it is in core's log and in `l7 status`, and the settings of before go on. What a change costs
  is said with each key.
- **One deliberate difference** from Interlock: without `HitlessServiceUpdate`, changes are made in running
  proxies.
"""

SECTIONS: tuple[tuple[str, str, tuple[Option, ...]], ...] = (
    ("Core", "At the top of the file.", CORE),
    ("A service cluster", "In `[Extensions.<name>]`; the table's own name is for messages alone.", CLUSTER),
    ("The extension service", "In `[Extensions.<name>]`.", EXTENSION),
    ("The proxies", "In `[Extensions.<name>]`.", PROXY),
    (
        "HostPolicy",
        "In `[[HostPolicy]]`, which may be repeated: whoever one of them names may claim its hosts.",
        HOST_POLICY,
    ),
    ("ACME", "In `[ACME]`.", ACME),
)

EXTENSIONS: tuple[tuple[str, str, tuple[extension.Option, ...]], ...] = (
    (
        "Config",
        "In `[Extensions.<name>.Config]`: the proxies' own settings. A value that is wrong leaves what the command "
        "line says, all others count, and `l7 status` tells.",
        OPTIONS,
    ),
    (
        "Config, for NGINX",
        "Keys of Interlock's NGINX, by what HAProxy does in their place. Those without an effect are named in one "
        "problem in `l7 status`, with what to use.",
        NGINX,
    ),
)


def render() -> str:
    """The page."""
    parts = [INTRO, _overview()]
    parts += [_section(title, about, map(_option, rows)) for title, about, rows in SECTIONS]
    parts += [_section(title, about, map(_extension_option, rows)) for title, about, rows in EXTENSIONS]
    return "\n".join(parts)


def _overview() -> str:
    listed = (
        *((title, [row.key for row in rows]) for title, _, rows in SECTIONS),
        *((title, [row.name for row in rows]) for title, _, rows in EXTENSIONS),
    )
    lines = [_fill(f"**{title}**: {', '.join(f'`{key}`' for key in keys)}") + "\n" for title, keys in listed]
    return "## All keys\n\n" + "\n".join(lines)


def _section(title: str, about: str, options: Iterable[str]) -> str:
    return f"## {title}\n\n{_fill(about)}\n\n" + "\n".join(options)


def _option(option: Option) -> str:
    facts = [
        ("Type", option.kind.name),
        ("Default", option.otherwise or f"`{_toml(option.default)}`"),
        ("Example", _example(option.key, option.example)),
        ("Change", str(option.cost)),
        ("Interlock", option.difference),
    ]
    idle = f" No effect: {option.idle}." if option.idle else ""
    return _entry(option.key, option.meaning + idle, facts)


def _extension_option(option: extension.Option) -> str:
    facts = [
        ("Type", option.type),
        ("Default", option.default),
        ("Example", _example(option.name, option.example)),
        ("Change", option.cost),
    ]
    return _entry(option.name, option.meaning, facts)


def _entry(key: str, meaning: str, facts: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f"- {name}: {text}" for name, text in facts if text)
    return f"### `{key}`\n\n{_fill(meaning)}\n\n{lines}\n"


def _example(key: str, example: str) -> str:
    return f"`{example}`" if example.startswith("[") and key in example else f"`{key} = {example}`"


def _toml(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _fill(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
