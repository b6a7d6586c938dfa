"""Runs one administrative act on the database, for the commands that need no key."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app import bootstrap
from app.bootstrap import Administration
from app.cli.options import Settings

T = TypeVar("T")


def administer(settings: Settings, act: Callable[[Administration], Awaitable[T]]) -> T:
    """Open the database, act, close it."""

    async def run() -> T:
        async with bootstrap.administration(settings) as held:
            return await act(held)

    return asyncio.run(run())
