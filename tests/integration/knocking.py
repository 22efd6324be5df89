"""Clients that come again and again: ``python -m tests.integration.knocking PORT``, until all of them are refused.

Prints "ready" when the first was answered, and at the end, as JSON, how many were `answered`, and what became of
those who were connected and got no answer (`lost`).
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from dataclasses import dataclass, field

CLIENTS = 32
PATIENCE = 40.0
REQUEST = b"GET / HTTP/1.1\r\nhost: nobody.test\r\nconnection: close\r\n\r\n"


@dataclass
class Outcome:
    answered: int = 0
    lost: list[str] = field(default_factory=list)
    first: threading.Event = field(default_factory=threading.Event)


def knock(port: int, outcome: Outcome) -> None:
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            return
        with connection:
            try:
                connection.sendall(REQUEST)
                answer = connection.recv(1000)
            except OSError as error:
                outcome.lost.append(str(error))
                continue
        if not answer.startswith(b"HTTP/1.1 503"):
            outcome.lost.append(f"answer {answer[:20]!r}")
        outcome.answered += 1
        outcome.first.set()


def main(port: int) -> None:
    outcome = Outcome()
    threads = [threading.Thread(target=knock, args=(port, outcome)) for _ in range(CLIENTS)]
    for each in threads:
        each.start()
    outcome.first.wait()
    print("ready", flush=True)
    for each in threads:
        each.join()
    print(json.dumps({key: value for key, value in vars(outcome).items() if key != "first"}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
