"""Waiting for what has to come, without saying when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def eventually(
    condition: Callable[[], object], what: object = "it", seconds: float = 20.0
) -> None:
    """Returns once the condition holds; fails when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        if condition():
            return
        assert time.monotonic() < deadline, f"never came: {what}"
        await asyncio.sleep(0.01)
