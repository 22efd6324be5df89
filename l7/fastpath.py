"""The fast path as the product imports it: compiled, or in plain Python where L7_FASTPATH=pure asks for that.

`MODE` says which, and the programs log it when they start.
"""

from __future__ import annotations

import os

from l7.fastpath_pure.health import Health
from l7.fastpath_pure.table import Table  # in both modes, until the compiled one is there

MODE = os.environ.get("L7_FASTPATH") or "compiled"
if MODE not in {"compiled", "pure"}:
    raise ImportError(f"L7_FASTPATH={MODE!r}: it is `compiled` or `pure`")

__all__ = ["MODE", "Health", "Table"]
