"""``make demo``, ``python -m examples.demo``: see `examples.demo.run`; ``--help`` for the options."""

from __future__ import annotations

import sys


def main() -> int:
    """The exit status. What the demo consists of is imported here, so that Ctrl-C and a missing package, at this
    early moment, are no traceback."""
    try:
        try:
            from examples.demo import run
        except ImportError as error:
            print(f"{error}: `make demo` prepares this machine, then runs the demo", file=sys.stderr)
            return 1
        return run.main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
