"""The serving process: event loop, socket, signals, memory."""

import asyncio
import contextlib
import ctypes
import gc
import signal
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
import uvloop
from fastapi import FastAPI

from app import bootstrap, errors, telemetry
from app.api.application import create_app
from app.api.protocol import BoundedProtocol
from app.cli import development
from app.settings import Settings

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 65
# <malloc.h>; the same as MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ in the environment.
M_TRIM_THRESHOLD: Final = -1
M_ARENA_MAX: Final = -8
M_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 256 << 20
# Objects live as long as the process or as short as a request: look for cycles seldom.
GC_THRESHOLDS: Final = (50_000, 20, 50)


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    telemetry.configure(settings.log_level)
    _keep_memory_of_bodies()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


class Server(uvicorn.Server):
    """Ends serving on a signal and lets its caller close what it opened.

    uvicorn's own handling sends the signal a second time when it is done, which would end the
    process before that.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop taking requests on SIGINT and SIGTERM; a second SIGINT waits for nobody."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


async def _serve(settings: Settings) -> None:
    telemetry.guard_event_loop(asyncio.get_running_loop())
    listening = _listen(settings.host, settings.port)
    address = f"http://{_shown(settings.host)}:{listening.getsockname()[1]}"
    with listening:
        async with bootstrap.opened(settings) as gateway:
            if not settings.is_production:
                await development.welcome(gateway, address)
            app = create_app(
                gateway.services(), max_concurrent_uploads=settings.max_concurrent_uploads
            )
            server = Server(_config(app, settings))
            telemetry.log().info(
                "gateway-started",
                mode=str(settings.mode),
                port=listening.getsockname()[1],
                roles=sorted(settings.roles),
            )
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await server.serve(sockets=[listening])
        telemetry.log().info("gateway-stopped")


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=BoundedProtocol,
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


def _keep_memory_of_bodies() -> None:
    """Let glibc keep the memory of one body for the next instead of faulting it in anew."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such thresholds
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        # One pool for all threads: they take turns anyway, and each pool keeps memory of its own.
        mallopt(M_ARENA_MAX, 1)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
