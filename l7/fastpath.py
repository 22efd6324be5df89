"""The fast path as the product imports it: compiled, or in plain Python where L7_FASTPATH=pure asks for that.

`MODE` says which, and the programs log it when they start. A compiled module that is missing is an error: the plain
one is so much slower that a silent switch would show as missed ticks, and nobody would know why.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

MODE = os.environ.get("L7_FASTPATH") or "compiled"

if TYPE_CHECKING or MODE == "pure":
    from l7.fastpath_pure.health import Health
    from l7.fastpath_pure.table import Table
elif MODE == "compiled":
    try:
        from l7._fastpath import Health, Table
    except ImportError as error:
        raise ImportError("l7._fastpath is not built for this source: run `make setup`") from error
else:
    raise ImportError(f"L7_FASTPATH={MODE!r}: it is `compiled` or `pure`")

__all__ = ["MODE", "Health", "Table"]
