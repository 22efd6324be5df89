"""`l7 config …`: the settings of an installation."""

from __future__ import annotations

import click

from l7.config_check import check
from l7.docker_cli import docker_options
from l7.install_cli import apply_settings, dry_run, timeout
from l7.swarm.engine import Address


@click.group(short_help="The settings of an installation.")
def config() -> None:
    """The settings of an installation: the TOML file that core runs with."""


config.add_command(check)


@config.command("apply", short_help="Give core other settings.")
@click.argument("file", type=click.Path(dir_okay=False))
@dry_run
@timeout
@docker_options()
def apply(file: str, dry_run: bool, timeout: float, manager: Address) -> None:
    """Give core the settings in FILE, while everything goes on.

    A file that core would not take is refused, with line and key, before anything is made. It becomes a new Docker
    config, and core is replaced, start-first. Where it does not get ready Swarm gives it the settings of before.
    What the difference asks of extension services and proxies, core does then.

    \b
      l7 config apply l7.toml
    """
    apply_settings(file, timeout, manager, dry_run)
