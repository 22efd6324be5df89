"""The asynchronous face of the Runtime API client: one thread, so that HAProxy hears one voice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from haproxy.ops import Op
from haproxy.runtime.client import Result, Runtime

P = ParamSpec("P")
T = TypeVar("T")


class RuntimeThread:
    """Runs a blocking `Runtime` in a thread of its own; calls are done in the order they were made."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runtime")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    async def apply(self, ops: Sequence[Op]) -> list[Result]:
        return await self.call(self.runtime.apply, ops)

    def close(self) -> None:
        """After what is under way: connections belong to the thread, their end included."""
        self._thread.submit(self.runtime.close)
        self._thread.shutdown(wait=False)
