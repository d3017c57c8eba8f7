"""An event loop on virtual time: when nothing is ready, the clock jumps to what comes next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

BEGINNING_S = 1000.0


class Stuck(Exception):
    """Nothing will ever happen again."""


class Clock(selectors.SelectSelector):
    """Waits for nothing: it lets the time pass instead."""

    now_s = BEGINNING_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nothing will ever happen again")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, deterministic and without a wait. The first error in a callback or task is kept."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now_s

    def context_of(self, context: Mapping[str, Any]) -> BaseException:
        """What went wrong, as an exception."""
        error = context.get("exception")
        return error if isinstance(error, BaseException) else RuntimeError(str(context))
