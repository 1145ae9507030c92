"""An event loop for libraries whose calls are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """An event loop that runs while something is waited for, and not in between."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.loop.run_until_complete(coroutine)
        # In a notebook a loop runs already, and no second one can in the same thread.
        with ThreadPoolExecutor(1) as other:
            return other.submit(self.loop.run_until_complete, coroutine).result()

    def close(self) -> None:
        """End what still runs in it, and its threads."""
        if not self.loop.is_closed():
            self.run(self._end())
            self.loop.close()

    async def _end(self) -> None:
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()
