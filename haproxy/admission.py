"""Who may take requests: asks the tasks that run whether they work, and remembers who does.

A server is asked what HAProxy's own checks will ask it (`haproxy.checks`), since a server that is enabled before
it passes them would answer requests that it can't answer, until they find out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from haproxy.accepting import Accepting, Passed
from haproxy.checks import check_of
from haproxy.model import Backend, Server, ServerRow, ServerState
from haproxy.probe import Prober, Target


class Admission:
    """`wanted` gives the servers of a logical backend by their HAProxy name, `backend` the backend itself (None:
    there is none); `accepted` is told of a backend of which one more server accepts."""

    def __init__(
        self,
        wanted: Callable[[str], Mapping[str, Server]],
        accepted: Callable[[str], None],
        backend: Callable[[str], Backend | None],
    ) -> None:
        self.accepting = Accepting()
        self._wanted = wanted
        self._backend = backend
        self._tell = accepted
        self._prober = Prober(self._accepted)
        self._serving: dict[str, frozenset[str]] = {}

    def ask(self, backend: str) -> None:
        """Probe what runs, is not in rotation and not known to accept, and nothing else of this backend."""
        serving = self._serving.get(backend, frozenset())
        self._prober.want(
            backend,
            {
                Target(backend, name, passed)
                for name, passed in self._passes(backend, ServerState.READY).items()
                if name not in serving and passed not in self.accepting
            },
        )

    def learn(self, backend: str, rows: Mapping[str, ServerRow]) -> None:
        """What is up in rotation accepts; what is down there, or no longer wanted, is forgotten; the rest is asked.

        Nobody asks what is in rotation: when its check changes, HAProxy finds out whether it passes.
        """
        wanted = self._passes(backend)
        serving = frozenset(name for name in wanted if name in rows and rows[name].enabled)
        up = {name: passed for name, passed in wanted.items() if name not in serving or rows[name].up}
        self.accepting.add(backend, {n: each for n, each in up.items() if n in serving or each in self.accepting})
        self.accepting.keep(backend, up)
        self._serving[backend] = serving
        self.ask(backend)

    def forget(self, backend: str) -> None:
        """The backend is no more."""
        self._serving.pop(backend, None)
        self.accepting.keep(backend, {})
        self._prober.want(backend, set())

    def close(self) -> None:
        self._prober.close()

    def _passes(self, backend: str, state: ServerState | None = None) -> dict[str, Passed]:
        """What has to be known of the servers of a backend, by name; of those in `state`."""
        settings = self._backend(backend)
        if settings is None:
            return {}
        return {
            name: Passed(server.task, check_of(settings, server))
            for name, server in self._wanted(backend).items()
            if state is None or server.state is state
        }

    def _accepted(self, target: Target) -> None:
        self.accepting.add(target.backend, {target.name: target.passed})
        self._tell(target.backend)
