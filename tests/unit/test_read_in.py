"""A file read in a container, of which Docker may lose a part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from l7.deploy.secrets import ATTEMPTS, END, read_in
from l7.kit.errors import Unavailable

WHOLE = b"key" + END.encode()


@dataclass
class Container:
    """Says one thing after the other."""

    outputs: list[bytes]
    status: int = 0
    name: str = "core"
    commands: list[list[str]] = field(default_factory=list)

    def exec_run(self, command: list[str], **_: Any) -> tuple[int, tuple[bytes, bytes]]:
        self.commands.append(command)
        return self.status, (self.outputs.pop(0), b"")


@pytest.mark.parametrize("outputs", [[WHOLE], [b"", WHOLE], [b"k", WHOLE], [b"key", b"key\nend of", WHOLE]])
def test_what_is_lost_is_read_again(outputs: list[bytes]) -> None:
    container = Container([*outputs])
    assert read_in(container, "/run/secrets/l7-ca-key") == b"key"
    assert len(container.commands) == len(outputs)


def test_a_file_that_is_not_there() -> None:
    assert read_in(Container([b""], status=1), "/run/secrets/none") is None


def test_it_does_not_go_on_for_ever() -> None:
    with pytest.raises(Unavailable, match="try again"):
        read_in(Container([b"key"] * ATTEMPTS), "/run/secrets/l7-ca-key")
