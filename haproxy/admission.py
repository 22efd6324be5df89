"""Who may take requests: asks the tasks that run whether they accept connections, and remembers who does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from haproxy.accepting import Accepting
from haproxy.model import Server, ServerRow, ServerState
from haproxy.probe import Prober, Target


class Admission:
    """`wanted` gives the servers of a logical backend by their HAProxy name; `accepted` is told of a backend of
    which one more server accepts."""

    def __init__(self, wanted: Callable[[str], Mapping[str, Server]], accepted: Callable[[str], None]) -> None:
        self.accepting = Accepting()
        self._wanted = wanted
        self._tell = accepted
        self._prober = Prober(self._accepted)

    def ask(self, backend: str) -> None:
        """Probe what runs and is not known to accept, and nothing else of this backend."""
        running = {name: s for name, s in self._wanted(backend).items() if s.state is ServerState.READY}
        targets = {Target(backend, name, s.address, s.port) for name, s in running.items()}
        self._prober.want(backend, {target for target in targets if target.name not in self.accepting})

    def learn(self, backend: str, rows: Mapping[str, ServerRow]) -> None:
        """What is in rotation accepts; what is no longer wanted is forgotten; the rest is asked."""
        wanted = self._wanted(backend)
        enabled = {name for name in wanted if name in rows and rows[name].enabled}
        self.accepting.add(backend, enabled | {name for name in wanted if name in self.accepting})
        self.accepting.keep(backend, wanted)
        self.ask(backend)

    def forget(self, backend: str) -> None:
        """The backend is no more."""
        self.accepting.keep(backend, ())
        self._prober.want(backend, set())

    def close(self) -> None:
        self._prober.close()

    def _accepted(self, target: Target) -> None:
        self.accepting.add(target.backend, [target.name])
        self._tell(target.backend)
