"""``deid-gateway batch --gateway``: a client of the HTTP interface, and nothing of the program."""

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import httpx

from app.cli.batch_order import Order, SourceKind
from app.cli.batch_view import Shown, View, has_ended, is_published, print_summary

CONNECT_S: Final = 10.0
# The gateway gives a sign of life every 15 s.
SILENT_S: Final = 45.0
# One that never answered is more likely mistyped than away.
PATIENCE_AT_FIRST_S: Final = 10.0
PATIENCE_S: Final = 60.0
LONGEST_PAUSE_S: Final = 5.0
SENT_AT_ONCE: Final = 1 << 20
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Refused(click.ClickException):
    """The gateway says no, and why."""

    exit_code = 1

    def show(self, file: Any = None) -> None:  # noqa: ANN401 - click's
        """Print it in the form of the program's own errors."""
        click.echo(f"deid-gateway: {self.message}", err=True, file=file)


class Unreachable(Refused):
    """The gateway does not answer, or not as one."""

    exit_code = 3


def run(order: Order, gateway: str, key: str) -> int:
    """Hand a batch to a gateway, follow it, and return the exit code."""
    if not (key.isascii() and key.isprintable()):
        raise click.UsageError("The API key is not a line of plain characters")
    if urlsplit(gateway).scheme == "http" and urlsplit(gateway).hostname not in LOOPBACK:
        click.echo("deid-gateway: the API key goes over the network in the clear", err=True)
    timeout = httpx.Timeout(SILENT_S, connect=CONNECT_S)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=gateway, headers=headers, timeout=timeout) as http, View() as view:
        return followed(order, Client(http, view), view)


def followed(order: Order, client: "Client", view: View) -> int:
    """Hand a batch in, show it to its end, and return the exit code."""
    taken: Shown | None = None
    try:
        taken = client.hand_in(order)
        view.say(f"batch {taken['batch_id']} (idempotency key {order.idempotency_key})")
        if not order.watch:
            return 0
        batch = client.follow(taken)
    except KeyboardInterrupt:
        view.pause()
        return _interrupted(order, client, taken)
    view.pause()
    print_summary(batch)
    return 0 if is_published(batch) else 1


def _interrupted(order: Order, client: "Client", taken: Shown | None) -> int:
    again = f"The same command with --idempotency-key {order.idempotency_key} follows it again."
    if taken is None:
        click.echo(f"It is not known whether the batch was taken. {again}", err=True)
    elif wants_to_cancel():
        client.cancel(taken["batch_id"])
        click.echo("The batch is cancelled; nothing of it is published any more.", err=True)
    else:
        click.echo(f"The gateway goes on with the batch. {again}", err=True)
    return 130


def wants_to_cancel() -> bool:
    """Ask who interrupted, where somebody can answer; no answer means no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return click.confirm("Cancel the batch?", default=False, err=True)
    except click.Abort:
        click.echo(err=True)
        return False


class Client:
    """Talks to one gateway, and bears it being away for a while.

    Args:
        http: knows address and API key.
        view: shows how the batch stands.
        patience_s: how long the gateway may be away, once it has answered.
        patience_at_first_s: how long it may be away before.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        http: httpx.Client,
        view: View,
        *,
        patience_s: float = PATIENCE_S,
        patience_at_first_s: float = PATIENCE_AT_FIRST_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._view = view
        self._patience_s = patience_at_first_s
        self._later_patience_s = patience_s
        self._sleep = sleep
        self._answered_at = time.monotonic()
        self._pause_s = 0.0

    def hand_in(self, order: Order) -> Shown:
        """Hand a batch in; its idempotency key makes it safe to do so again.

        Raises:
            Refused: the gateway does not take it.
            Unreachable: it does not answer.
        """
        headers = {"Idempotency-Key": order.idempotency_key}
        fields = _fields(order)
        if order.kind is not SourceKind.ARCHIVE:
            return self._asked(
                lambda: self._http.post("batch-prepare", json=fields, headers=headers)
            )
        path = Path(order.source)
        size = path.stat().st_size
        headers |= {"Content-Type": "application/zip", "Content-Length": str(size)}
        params = {name: _text(value) for name, value in fields.items()}

        def send() -> httpx.Response:
            with closing(self._pieces(path, size)) as content:
                return self._http.post(
                    "batch-prepare", params=params, content=content, headers=headers
                )

        return self._asked(send)

    def follow(self, batch: Shown) -> Shown:
        """Show a batch until it has ended, and return it then.

        Raises:
            Refused: the gateway does not show it any more.
            Unreachable: it was away for too long.
        """
        last = batch
        self._view.show(last)
        while not has_ended(last):
            try:
                for following in self._events(last):
                    last = following
                    self._heard()
                    self._view.show(last)
            except (httpx.TransportError, _Busy) as error:
                self._wait(error)
        return last

    def cancel(self, batch_id: str) -> None:
        """End a batch.

        Raises:
            Refused: it has ended.
            Unreachable: the gateway does not answer.
        """
        self._asked(lambda: self._http.post(f"batches/{batch_id}/cancel"))

    def _events(self, batch: Shown) -> Iterator[Shown]:
        """Yield how the batch stands from now on; the stream may break off at any point."""
        own = f"batches/{batch['batch_id']}"
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(batch["version"])}
        with self._http.stream("GET", f"{own}/events", headers=headers) as response:
            if response.status_code == httpx.codes.OK:
                yield from events_of(response.iter_lines())
                return
            response.read()
        if response.status_code == httpx.codes.NO_CONTENT:  # it ended meanwhile
            response = self._http.get(own)
        yield _checked(response)

    def _asked(self, ask: Callable[[], httpx.Response]) -> Shown:
        while True:
            try:
                answer = _checked(ask())
            except (httpx.TransportError, _Busy) as error:
                self._wait(error)
            else:
                self._heard()
                return answer

    def _heard(self) -> None:
        self._answered_at, self._pause_s = time.monotonic(), 0.0
        self._patience_s = self._later_patience_s

    def _wait(self, error: Exception) -> None:
        """Wait before the next attempt, longer each time.

        Raises:
            Unreachable: patience is at its end.
        """
        if time.monotonic() - self._answered_at > self._patience_s:
            why = str(error) if isinstance(error, _Busy) else type(error).__name__
            raise Unreachable(f"the gateway cannot be reached ({why})") from None
        if not self._pause_s:
            self._view.say("the gateway does not answer; trying again")
        self._pause_s = min(LONGEST_PAUSE_S, max(0.25, 2 * self._pause_s))
        self._sleep(self._pause_s)

    def _pieces(self, path: Path, size: int) -> Generator[bytes, None, None]:
        sent = 0
        with path.open("rb") as file:
            while piece := file.read(SENT_AT_ONCE):
                yield piece
                sent += len(piece)
                self._view.sent(sent, size)


class _Busy(Exception):
    """The gateway cannot do it right now."""


def events_of(lines: Iterator[str]) -> Iterator[Shown]:
    """Read server-sent events and yield the batch in each of them.

    Source: HTML Standard, 9.2.6 (interpreting an event stream).
    """
    data: list[str] = []
    for line in lines:
        if not line and data:
            yield _plain_values(json.loads("\n".join(data)))
            data = []
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))


def _checked(response: httpx.Response) -> Shown:
    """Return what the gateway answered.

    Raises:
        Refused: it says no.
        Unreachable: this is no answer of a gateway.
        _Busy: it cannot do it now.
    """
    try:
        answer: dict[str, Any] = response.json()
        if response.is_success:
            return _plain_values({**answer, "batch_id": str(answer["batch_id"])})
        detail, code = plain(answer["detail"]), plain(answer["code"])
    except (ValueError, KeyError, TypeError):
        status = f"status {response.status_code}"
        if response.is_server_error:
            raise _Busy(status) from None
        raise Unreachable(f"what answers is no gateway of this kind ({status})") from None
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and code != "role-not-served":
        raise _Busy(code)
    raise Refused(f"{detail} ({code})")


def plain(text: object) -> str:
    """Take out of a foreign text what would move the cursor."""
    return "".join(character for character in str(text) if character.isprintable())


def _plain_values(batch: Shown) -> Shown:
    waiting = batch.get("waiting_for") or {}
    return _plain_texts(batch) | {
        "problems": {plain(code): count for code, count in batch.get("problems", {}).items()},
        "waiting_for": _plain_texts(waiting) or None,
    }


def _plain_texts(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: plain(value) if isinstance(value, str) else value for name, value in members.items()
    }


def _fields(order: Order) -> dict[str, Any]:
    path = Path(order.source)
    source = {
        SourceKind.URL: {"source_url": order.source},
        SourceKind.DIRECTORY: {
            "study_directory": str(path.absolute()) if path.is_dir() else order.source
        },
        SourceKind.ARCHIVE: {},
    }[order.kind]
    given = {
        "organization_id": order.organization,
        "profile": order.profile,
        "destination": order.destination,
        "callback_url": order.callback,
        "priority": order.priority,
        "on_error": order.on_error,
        "fhir": order.fhir,
    }
    return {**source, **{name: value for name, value in given.items() if value is not None}}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
