"""Removes an installation when its owner is gone: ``python -m testbed.reaper <directory>``.

The owner holds the other end of our standard input. It closes when the owner ends, however that happens
(SIGKILL included); after an orderly end nothing is left to do.
"""

from __future__ import annotations

import sys
from pathlib import Path

from testbed.namespace import remove


def main() -> None:
    directory = Path(sys.argv[1])
    sys.stdin.read()
    if directory.exists():
        remove(directory)


if __name__ == "__main__":
    main()
