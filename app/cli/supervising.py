"""The process that ``deid-gateway worker`` is: keeps its worker processes going, works not itself.

Being told to stop is the cancellation of its one task, at whatever point of its start it is.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, cast

import uvloop
from prometheus_client import CollectorRegistry, generate_latest

from app import bootstrap, errors, telemetry
from app.batches.remaining import is_aftermath_left, is_work_left
from app.batches.staging import StagingArea
from app.cli import descriptors
from app.cli.metrics_port import exposed
from app.cli.workers import Workers
from app.settings import Settings
from app.settings.service import Role

LOOK_EVERY_S: Final = 0.5


def run(
    settings: Settings, *, count: int, once: bool, metrics: tuple[str, int] | None = None
) -> None:
    """Keep so many worker processes going until told to stop, or until no work is left.

    Args:
        settings: what they work by.
        count: how many.
        once: end when no work is left.
        metrics: address and port where metrics are answered; None for nowhere.

    Raises:
        errors.Misconfigured: a worker process may open too few files to work.
    """
    telemetry.configure(settings.log_level)
    descriptors.provide(descriptors.LEAST_OF_WORKER)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_supervise(settings, count, once=once, metrics=metrics))


async def _supervise(
    settings: Settings, count: int, *, once: bool, metrics: tuple[str, int] | None
) -> None:
    telemetry.guard_event_loop(asyncio.get_running_loop())
    narrowed = for_workers(settings)
    with stopped_by_signals() as signals, suppress(asyncio.CancelledError):
        async with (
            bootstrap.opened(narrowed) as gateway,
            Workers(narrowed, count, on_death=gateway.work.leave) as workers,
            _metrics(gateway, workers, metrics),
        ):
            signals.on_impatience = workers.kill
            telemetry.log().info("workers-started", count=count)
            if once:
                await until_nothing_is_left(gateway)
            else:
                await asyncio.Event().wait()
    telemetry.log().info("workers-stopped")


@asynccontextmanager
async def _metrics(
    gateway: bootstrap.Gateway, workers: Workers, place: tuple[str, int] | None
) -> AsyncIterator[None]:
    """Answer metrics where that is asked for."""
    if place is None:
        yield
        return
    registry = CollectorRegistry()
    registry.register(workers.counts)
    gauges = gateway.gauges(registry)

    async def exposition() -> bytes:
        await gauges.refresh()
        return generate_latest(registry)

    host, port = place
    async with exposed(host, port, exposition) as number:
        telemetry.log().info("metrics-answered", port=number)
        yield


def for_workers(settings: Settings) -> Settings:
    """Take away what worker processes do not need, the private key above all."""
    return settings.model_copy(update={"roles": frozenset({Role.BATCH})})


async def until_nothing_is_left(gateway: bootstrap.Gateway) -> None:
    """Return when there is nothing that workers at this staging area could do."""
    area = await asyncio.to_thread(StagingArea, gateway.settings.staging_path)
    while True:
        with suppress(errors.DatabaseUnavailable):  # it comes back
            if not (
                await is_work_left(gateway.database, area.staging_id)
                or await is_aftermath_left(gateway.database, area.staging_id)
            ):
                return
        await asyncio.sleep(LOOK_EVERY_S)


class Signals:
    """Cancels a task on the first SIGINT or SIGTERM; a second SIGINT waits for nobody."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self._task = task
        self._was_told = False
        self.on_impatience: Callable[[], None] = _nothing

    def told(self, number: int) -> None:
        """Follow a signal."""
        if not self._was_told:
            self._was_told = True
            self._task.cancel()
        elif number == signal.SIGINT:
            self.on_impatience()


def _nothing() -> None:
    """There is nobody to be hurried yet."""


@contextmanager
def stopped_by_signals() -> Iterator[Signals]:
    """Let SIGINT and SIGTERM end the running task, which may still do what it has to."""
    loop = asyncio.get_running_loop()
    signals = Signals(cast("asyncio.Task[None]", asyncio.current_task()))
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signals.told, number)
    try:
        yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
