"""The outermost layer: request id, metrics, security headers, bounds, the last answer to errors.

Pure ASGI.
"""

import asyncio
import re
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors, telemetry
from app.api import problems
from app.api.answer_headers import secured
from app.api.clients import has_credential
from app.api.dependencies import Services, services_of
from app.api.spool import Disconnected
from app.api.uses import audit_fault
from app.api.watched_body import WatchedBody

# A caller who is still sending when it is refused reads the answer only if the connection stays
# open a while: what it sends meanwhile is thrown away, within these bounds.
LINGER_S: Final = 3.0
LINGER_BYTES: Final = 64 << 20


class Boundary:
    """Wraps the application so that nothing but answers leaves it.

    Args:
        app: what is wrapped.
        streamed: paths whose endpoints take large bodies and bound them by themselves.
    """

    def __init__(self, app: ASGIApp, streamed: Sequence[re.Pattern[str]] = ()) -> None:
        self.app = app
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        services = services_of(scope)
        is_streamed = any(path.match(scope["path"]) for path in self._streamed)
        body = WatchedBody(receive, services.limits, is_streamed=is_streamed)
        await _Exchange(self.app, scope, body, send).run(services)


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_app", "_body", "_request_id", "_scope", "_send", "_status")

    def __init__(self, app: ASGIApp, scope: Scope, body: WatchedBody, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._body = body
        self._send = send
        self._request_id = telemetry.new_request_id()
        self._status = 0

    async def run(self, services: Services) -> None:
        scope = self._scope
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = self._request_id
        metrics = services.metrics
        metrics.in_flight.inc()
        started = time.perf_counter()
        try:
            self._admit(services)
            await self._app(scope, self._body.receive, self._note_and_send)
        except (Disconnected, ClientDisconnect):
            self._status = self._status or 499  # the caller went away: nobody reads a status
        except errors.GatewayError as error:
            await self._refuse(problems.of_error(error), metrics)
        except HTTPException as error:
            await self._refuse(self._problem_of(error), metrics)
        except Exception as error:  # noqa: BLE001 - the outermost handler
            self._report(error)
            await self._refuse(await audit_fault(scope, services.vault), metrics)
        finally:
            metrics.in_flight.dec()
            metrics.answered(self._endpoint(), self._status, time.perf_counter() - started)

    def _admit(self, services: Services) -> None:
        """Count a request without a credential; those with one are counted by whom they name.

        Raises:
            errors.RateLimited: its address sends too many of them.
        """
        if not has_credential(self._scope):
            services.callers.rates.anonymous.admit(services.proxies.client_of(self._scope))

    def _endpoint(self) -> str:
        """Return the route's own pattern: a path as sent could carry anything."""
        route = self._scope.get("route") or self._scope.get("endpoint")
        return getattr(route, "path", "none")

    def _problem_of(self, error: HTTPException) -> problems.Problem:
        """Return the framework's refusal, or ours that it took for one of its own."""
        if self._body.refusal is not None:
            return problems.of_error(self._body.refusal)
        return problems.of_status(error.status_code, error.headers)

    async def _note_and_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = secured(
                [*message.get("headers", ()), (b"x-request-id", self._request_id.encode())],
                is_tls=self._scope.get("scheme") == "https",
            )
        await self._send(message)

    def _report(self, error: Exception) -> None:
        telemetry.log().error(
            "request-failed",
            request_id=self._request_id,
            endpoint=self._endpoint(),
            kind=type(error).__name__,
            where=telemetry.place_of(error),
        )

    async def _refuse(self, problem: problems.Problem, metrics: telemetry.Metrics) -> None:
        metrics.refusals.labels(problem.code).inc()
        telemetry.log().info(
            "request-refused",
            request_id=self._request_id,
            endpoint=self._endpoint(),
            code=problem.code,
            element_path=problem.path,
            status=problem.status,
        )
        if self._status:
            return  # the answer has begun: the server cuts the connection, so it cannot look whole
        if self._scope["method"] != "POST" or self._body.is_taken:
            await problems.send_problem(self._note_and_send, problem, self._request_id)
            return
        closing = problems.closing(problem)
        await problems.send_problem(self._note_and_send, closing, self._request_id, more_body=True)
        await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        dropped, more = 0, True
        try:
            async with asyncio.timeout(LINGER_S):
                while more and dropped < LINGER_BYTES:
                    message = await self._body.unwatched()
                    dropped += len(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            return
