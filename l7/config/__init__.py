"""Core's settings as one frozen value, read from Interlock's TOML. Pure: text in, settings or ConfigError out.

Every key is a row of a table (`core_options`, `extension_options`, `proxy_options`): parser, docs/settings.md and
`l7 config check` follow from it.
"""

from l7.config.kinds import parse_duration
from l7.config.parse import examine, parse_settings
from l7.config.settings import (
    ACME_ACCOUNT,
    CERTIFICATE_KEYS,
    LETS_ENCRYPT,
    WATCH_SOURCES,
    AcmeSettings,
    Cluster,
    Settings,
)

__all__ = [
    "ACME_ACCOUNT",
    "CERTIFICATE_KEYS",
    "LETS_ENCRYPT",
    "WATCH_SOURCES",
    "AcmeSettings",
    "Cluster",
    "Settings",
    "examine",
    "parse_duration",
    "parse_settings",
]
