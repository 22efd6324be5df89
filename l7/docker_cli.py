"""The options by which a command is told where the Engine API is, and how it is to be trusted."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DOCKER = "unix:///var/run/docker.sock"


def docker_options(help: str = "The Engine API of a manager.") -> Callable[[F], F]:
    """The command gets one argument for all of them: `manager`, an `l7.swarm.engine.Address`.

    The environment variables of the SDK and of Docker's own command are not looked at: a proxy or a manager of
    somebody's shell is no setting of a cluster.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*arguments: Any, **given: Any) -> Any:
            from l7.swarm.engine import Address

            url, ca, certificate, key, insecure = (given.pop(name) or "" for name in _NAMES)
            return command(*arguments, manager=Address(url, ca, certificate, key, bool(insecure)), **given)

        for each in reversed(_options(help)):
            wrapped = each(wrapped)
        return wrapped  # type: ignore[return-value]  # click calls it with options, not by its signature

    return decorate


_NAMES = ("docker_url", "docker_tls_ca", "docker_tls_cert", "docker_tls_key", "docker_insecure")


def _options(help: str) -> tuple[Callable[[F], F], ...]:
    return (
        _option("--docker-url", help, default=DOCKER, show_default=True),
        _option("--docker-tls-ca", "The CA that its certificate must be of, PEM."),
        _option("--docker-tls-cert", "Who we are to it: certificate, PEM."),
        _option("--docker-tls-key", "The certificate's key, PEM."),
        _option("--docker-insecure", "Believe any certificate.", is_flag=True),
    )


def _option(flag: str, help: str, **more: Any) -> Callable[[F], F]:
    variable = f"L7_{flag.removeprefix('--').upper().replace('-', '_')}"
    return click.option(flag, envvar=variable, show_envvar=True, help=help, **more)
