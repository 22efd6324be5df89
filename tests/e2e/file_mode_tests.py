"""What tests of NGINX in file mode may ask for by name, when several run at once (see `together`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from testbed.certificates import TestAuthority
from testbed.load import Report
from tests.e2e.file_mode import Edge
from tests.e2e.fleet import FleetSystem
from tests.e2e.installation import WITNESS, creating
from tests.e2e.test_acceptance_health import checked_by_docker
from tests.e2e.test_acceptance_stickiness import several_addresses
from tests.e2e.tls_app import TlsApp
from tests.e2e.tls_client import TlsClient
from tests.e2e.together import Case, together


class Batch:
    """Those that are chosen of a module's cases, run at once, while others ask for `WITNESS`.

    `failures`: by name, None for none; `bystanders`: what those others saw.
    """

    def __init__(self, fleet: FleetSystem, directory: Path, cases: Collection[Case]) -> None:
        self._fleet = fleet
        self._directory = directory
        self._authority = TestAuthority()
        self.bystanders: list[Report] = []
        with Edge(fleet).load(WITNESS) as reports:
            self.failures = together(cases, self._given)
        self.bystanders += reports

    def _given(self, name: str, stack: ExitStack) -> Mapping[str, Callable[[], object]]:
        edge, directory, authority = Edge(self._fleet), self._directory / name, self._authority
        directory.mkdir()
        tls = TlsClient(edge, directory)
        return {
            "l7": lambda: edge,
            "edge": lambda: edge,
            "create": lambda: stack.enter_context(contextmanager(creating)(edge)),
            "tls": lambda: tls,
            "authority": lambda: authority,
            "trusted": lambda: tls.trust(authority),
            "apps": lambda: stack.enter_context(closing(TlsApp(edge, authority.certificate))),
            "addresses": lambda: stack.enter_context(several_addresses(edge)),
            "docker_checked": lambda: stack.enter_context(checked_by_docker(edge)),
        }

    def told(self, case: Case) -> None:
        """Raises what the test raised."""
        failure = self.failures[case.name]
        if failure is not None:
            raise failure
