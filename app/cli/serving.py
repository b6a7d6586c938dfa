"""The serving process: event loop, socket, signals, memory."""

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

import uvicorn
import uvloop
from fastapi import FastAPI

from app import bootstrap, errors, telemetry
from app.api.application import create_app
from app.api.protocol import BoundedProtocol
from app.cli import descriptors, development, memory
from app.cli.supervising import for_workers
from app.cli.workers import Workers
from app.settings import Settings
from app.settings.service import Role

if TYPE_CHECKING:
    from app.cli.serving_tls import Tls

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 65
# Descriptors beside connections: spool files, database, object stores, logs.
OTHER_FILES: Final = 256
# With fewer connections a handful of callers would keep out everybody else.
LEAST_CONNECTIONS: Final = 16


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    telemetry.configure(settings.log_level)
    files = descriptors.provide(OTHER_FILES + min(settings.max_connections, LEAST_CONNECTIONS))
    memory.keep_memory_of_bodies()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, files))


class Server(uvicorn.Server):
    """Ends serving on a signal and lets its caller close what it opened.

    uvicorn's own handling sends the signal a second time when it is done, which would end the
    process before that.

    Attributes:
        told: set when the server is told to stop; it still answers what it has taken.
        hurried: set when it is told again, and waits for nobody.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told = asyncio.Event()
        self.hurried = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Follow a signal."""
        super().handle_exit(sig, frame)
        self.told.set()
        if self.force_exit:
            self.hurried.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop taking requests on SIGINT and SIGTERM, as ``until_released`` has it."""
        yield

    @contextlib.contextmanager
    def until_released(self) -> Iterator[None]:
        """Follow SIGINT and SIGTERM; a second SIGINT waits for nobody."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


async def _serve(settings: Settings, files: int) -> None:
    telemetry.guard_event_loop(asyncio.get_running_loop())
    tls = _tls(settings)
    listening = _listen(settings.host, settings.port)
    scheme = "http" if tls is None else "https"
    address = f"{scheme}://{_shown(settings.host)}:{listening.getsockname()[1]}"
    with listening:
        async with (
            bootstrap.opened(settings) as gateway,
            contextlib.nullcontext() if tls is None else tls.watched(),
        ):
            if not settings.is_production:
                await development.welcome(gateway, address)
            services = gateway.services()
            app = create_app(
                services,
                max_concurrent_uploads=settings.max_concurrent_uploads,
                max_waiting_uploads=settings.max_waiting_uploads,
            )
            server = Server(_config(app, settings, tls, files))
            telemetry.log().info(
                "gateway-started",
                mode=str(settings.mode),
                port=listening.getsockname()[1],
                roles=sorted(settings.roles),
            )
            memory.settle()
            with server.until_released():
                async with (
                    bootstrap.audit_kept(gateway),
                    bootstrap.notices_kept(gateway),
                    bootstrap.retention_kept(gateway),
                    _workers(gateway, server, services.metrics),
                ):
                    await server.serve(sockets=[listening])
        telemetry.log().info("gateway-stopped")


@contextlib.asynccontextmanager
async def _workers(
    gateway: bootstrap.Gateway, server: Server, metrics: telemetry.Metrics
) -> AsyncIterator[None]:
    """Keep worker processes beside the server; both stop at the same time."""
    settings = gateway.settings
    if Role.BATCH not in settings.roles or not settings.workers:
        yield
        return
    async with Workers(
        for_workers(settings), settings.workers, on_death=gateway.work.leave
    ) as workers:
        metrics.registry.register(workers.counts)
        following = asyncio.create_task(_follow(server, workers))
        try:
            yield
        finally:
            server.told.set()
            await following


async def _follow(server: Server, workers: Workers) -> None:
    """Stop the workers when the server is told to stop, not only when it has."""
    await server.told.wait()
    stopping = asyncio.create_task(workers.stop())
    hurried = asyncio.create_task(server.hurried.wait())
    await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not stopping.done():
        workers.kill()
    await stopping


def _tls(settings: Settings) -> "Tls | None":
    """Read the files of TLS, before anything is opened.

    Raises:
        errors.Misconfigured: one of them cannot be used.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    from app.cli.serving_tls import Tls, TlsFiles  # noqa: PLC0415 - 3 MB that only TLS needs

    return Tls(TlsFiles(certificate, key, settings.tls_client_ca_file))


def _protocol(settings: Settings, files: int) -> type[BoundedProtocol]:
    """Return the protocol with this site's bounds, for which there are descriptors."""
    room = settings.max_connections
    if files != resource.RLIM_INFINITY:
        room = min(room, files - OTHER_FILES)
    bounds = {
        "max_connections": room,
        "reading_timeout_s": settings.body_idle_timeout_s,
        "min_bytes_per_s": settings.min_bytes_per_s,
    }
    return type("SiteProtocol", (BoundedProtocol,), bounds)


def _config(app: FastAPI, settings: Settings, tls: "Tls | None", files: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=_protocol(settings, files),
        ssl_context_factory=None if tls is None else (lambda _config, _default: tls.context),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.shutdown_grace_s,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise errors.Misconfigured(
            f"cannot listen on {_shown(host)}:{port}: {error.strerror}"
        ) from None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
