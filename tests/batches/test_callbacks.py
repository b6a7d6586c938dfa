"""Callbacks: known hosts only, signed, sent to real receivers, tried again for about a day."""

import asyncio
import base64
import contextlib
import datetime as dt
import io
import json
import logging
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from app import telemetry
from app.access import webhooks
from app.batches.callbacks import (
    MAX_ATTEMPTS,
    CallbackPolicy,
    Callbacks,
    Delivery,
    Outcome,
    is_permitted,
    message_id,
    pause_s,
)
from app.errors import CallbackNotAllowed, Misconfigured
from app.vault.keys import GatewayKeys
from app.vault.signing import Signer

FIELDS = {
    "batch_id": "0b0e7a0e-9d5c-4a55-8f4e-2f4d1c2b3a49",
    "state": "succeeded",
    "finished_at": "2026-01-31T12:00:00.000Z",
}
SIGNER = Signer(GatewayKeys(bytes(range(32)), bytes(32), 1))
DEVELOPMENT = CallbackPolicy((), is_loopback_allowed=True)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Receiver:
    """A server on the loopback interface that notes what it is sent."""

    answer: bytes
    port: int = 0
    heads: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/told?of=PLANTED"

    def serve(self, stream: BinaryIO, send: Callable[[bytes], object]) -> None:
        line = stream.readline().decode().strip()
        if not line:
            return  # hung up, or never shook hands
        head: dict[str, str] = {}
        while text := stream.readline().decode().strip():
            name, _, value = text.partition(": ")
            head[name.lower()] = value
        self.lines.append(line)
        self.heads.append(head)
        self.bodies.append(stream.read(int(head["content-length"])))
        send(self.answer)
        if not self.answer:
            stream.read()  # keeps silent until the caller gives up


class Server(socketserver.ThreadingTCPServer):
    """Ends every conversation before it is closed."""

    daemon_threads = False

    def __init__(self, receiver: Receiver, tls: ssl.SSLContext | None) -> None:
        class Conversation(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), self.request.makefile("rb") as stream:
                    receiver.serve(stream, self.request.sendall)

        super().__init__(("127.0.0.1", 0), Conversation)
        if tls is not None:  # shakes hands with the first byte that is read
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        receiver.port = self.server_address[1]


@contextlib.asynccontextmanager
async def receiving(
    answer: bytes = OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = Server(receiver, tls)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield receiver
    finally:
        await asyncio.to_thread(server.shutdown)
        await asyncio.to_thread(server.server_close)
        serving.join()


async def deliver(url: str, attempt: int = 1) -> Delivery:
    return await Callbacks(DEVELOPMENT, SIGNER, chance=lambda: 0.5).deliver(url, FIELDS, attempt)


# --- What is sent ------------------------------------------------------------------------------


async def test_the_receiver_gets_the_batch_signed() -> None:
    async with receiving() as receiver:
        delivery = await deliver(receiver.url)

    [head], [body] = receiver.heads, receiver.bodies
    version, _, signature = head["webhook-signature"].partition(",")
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    public = base64.urlsafe_b64decode(SIGNER.public_jwk()["x"] + "=")
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature), signed)
    assert (delivery.is_delivered, delivery.is_final, version) == (True, True, "v1a")
    assert json.loads(body) == FIELDS
    assert receiver.lines == ["POST /told?of=PLANTED HTTP/1.1"]
    assert head["content-type"] == "application/json"
    assert abs(int(head["webhook-timestamp"]) - telemetry.utc_now().timestamp()) < 60


def test_every_attempt_bears_the_same_id_until_the_batch_ends_anew() -> None:
    again = FIELDS | {"finished_at": "2026-01-31T13:00:00.000Z"}

    assert message_id(FIELDS) == message_id(FIELDS | {"version": 9})
    assert message_id(FIELDS) != message_id(again)


# --- What the answer means ---------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"200 OK", b"202 Accepted", b"204 No Content"])
async def test_every_success_delivers(status: bytes) -> None:
    async with receiving(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as receiver:
        delivery = await deliver(receiver.url)

    assert delivery == Delivery(Outcome.DELIVERED)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Later\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 What\r\nContent-Length: 0\r\n\r\n",
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 999999 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Endless: " + b"a" * 1_000_000,
    ],
    ids=["server-error", "too-many", "not-found", "no-http", "no-status", "endless-head"],
)
async def test_everything_else_is_tried_again(answer: bytes) -> None:
    async with receiving(answer) as receiver:
        delivery = await deliver(receiver.url, attempt=2)

    assert delivery == Delivery(Outcome.FAILED, again_in_s=30.0)


async def test_a_receiver_that_is_not_there_is_tried_again() -> None:
    async with receiving() as receiver:
        pass

    assert await deliver(receiver.url) == Delivery(Outcome.FAILED, again_in_s=10.0)


async def test_a_silent_receiver_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_TIMEOUT_S", 0.05)
    async with receiving(b"") as receiver:
        delivery = await deliver(receiver.url)

    assert delivery.outcome is Outcome.FAILED


async def test_a_receiver_that_dawdles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "WHOLE_TIMEOUT_S", 0.05)
    async with receiving(b"") as receiver:
        delivery = await deliver(receiver.url)

    assert delivery.outcome is Outcome.FAILED


async def test_gone_ends_it() -> None:
    async with receiving(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n") as receiver:
        delivery = await deliver(receiver.url)

    assert delivery == Delivery(Outcome.GONE)
    assert (delivery.is_delivered, delivery.is_final) == (False, True)


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as elsewhere:
        answer = f"HTTP/1.1 307 There\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        async with receiving(answer.encode()) as receiver:
            delivery = await deliver(receiver.url)

    assert delivery.outcome is Outcome.FAILED
    assert elsewhere.lines == []


async def test_a_long_answer_is_not_read() -> None:
    async with receiving(
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nno more"
    ) as receiver:
        delivery = await deliver(receiver.url)

    assert delivery.is_delivered


async def test_a_host_taken_off_the_list_is_told_nothing_more() -> None:
    strict = Callbacks(CallbackPolicy((), is_loopback_allowed=False), SIGNER)
    async with receiving() as receiver:
        delivery = await strict.deliver(receiver.url, FIELDS, 1)

    assert delivery == Delivery(Outcome.FORBIDDEN)
    assert receiver.lines == []


# --- When it is tried again --------------------------------------------------------------------


def test_the_pauses_grow_for_about_a_day() -> None:
    pauses = [pause_s(attempt, 0.5) for attempt in range(1, MAX_ATTEMPTS)]

    assert pauses == sorted(pauses)
    assert pauses[0] == 10
    assert 20 * 3600 < sum(pauses) < 28 * 3600
    assert pause_s(MAX_ATTEMPTS, 0.5) is None


@given(attempt=st.integers(1, 10**9), chance=st.floats(0, 1))
def test_chance_spreads_a_pause_by_a_fifth(attempt: int, chance: float) -> None:
    mean, pause = pause_s(attempt, 0.5), pause_s(attempt, chance)

    assert (mean is None) == (pause is None)
    assert mean is None or abs(pause - mean) <= 0.2001 * mean


# --- Where it may go ---------------------------------------------------------------------------

LISTED = CallbackPolicy(
    ["receiver.example", "other.example:8443", "[2001:db8::7]:444", "169.254.10.1"],
    is_loopback_allowed=False,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://receiver.example/",
        "https://receiver.example",
        "https://RECEIVER.Example:443/a?b=c#d",
        "https://receiver.example./a",
        "https://other.example:8443/a",
        "https://[2001:db8::7]:444/a",
        "https://169.254.10.1/a",
    ],
)
def test_listed_hosts_are_allowed(url: str) -> None:
    assert LISTED.check(url).url.scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/",
        "https://receiver.example:8443/",
        "https://other.example/",
        "https://receiver.example.evil.example/",
        "https://evil.example/receiver.example",
        "https://receiver.example@evil.example/",
        "https://user@receiver.example/",
        "https://user:secret@receiver.example/",
        "https://receiver.example\\@evil.example/",
        "https://evil.example#@receiver.example/",
        "https://receiver.example:0/",
        "https://receiver.example:70000/",
        "https://127.0.0.1/",
        "https://localhost/",
        "http://localhost:8080/",
        "https://169.254.169.254/",
        "https://2852039166/",
        "https://[::ffff:169.254.169.254]/",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "//receiver.example/",
        "receiver.example",
        "https:///a",
        "https://receiver.example/\nHost: evil",
        "https://receiver.example/\x00",
        "https://receiver.example/\ud800",
        "https://[receiver.example/",
        "https://receiver.example/" + "a" * 2000,
        "",
    ],
)
def test_everything_else_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(CallbackNotAllowed) as refused:
        LISTED.check(url)

    assert url == "" or url not in str(refused.value)
    assert "example" not in str(refused.value)


@given(st.text(max_size=60), st.sampled_from(["", "https://", "https://receiver.example", "//"]))
def test_any_text_is_allowed_or_refused(text: str, start: str) -> None:
    with contextlib.suppress(CallbackNotAllowed):
        target = LISTED.check(start + text)
        assert (target.host, target.port) == ("receiver.example", 443)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:9/a", True),
        ("http://127.8.8.8/a", True),
        ("http://[::1]:9/a", True),
        ("http://localhost:9/a", True),
        ("https://localhost/a", True),
        ("http://[::ffff:127.0.0.1]/a", True),
        ("http://192.0.2.1/a", False),
        ("http://localhost.evil.example/a", False),
        ("http://127.0.0.1.evil.example/a", False),
    ],
)
def test_development_allows_this_machine_alone(url: str, allowed: bool) -> None:
    with contextlib.nullcontext() if allowed else pytest.raises(CallbackNotAllowed):
        DEVELOPMENT.check(url)


@pytest.mark.parametrize(
    "entry",
    ["", "https://a.example", "a.example/", "a.example/b", "a.example?b", "u@a.example", "a:70000"],
)
def test_a_list_that_is_no_list_of_hosts_ends_the_start(entry: str) -> None:
    with pytest.raises(Misconfigured):
        CallbackPolicy([entry], is_loopback_allowed=False)


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("192.0.2.1", True),
        ("10.1.2.3", True),
        ("127.0.0.1", True),
        ("2001:db8::1", True),
        ("fd12:3456::1", True),
        ("169.254.169.254", False),
        ("169.254.1.1", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),  # noqa: S104 - that it is refused is the point
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("fe80::1", False),
        ("fe80::1%2", False),
        ("ff02::1", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
    ],
)
def test_no_name_leads_to_the_machines_own_services(address: str, permitted: bool) -> None:
    assert is_permitted(address) is permitted


# --- Names, addresses and certificates ---------------------------------------------------------

NAME = "receiver.example"


def certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Make a certificate for a name: the receiver's context, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = telemetry.utc_now() - dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = directory / "receiver.pem"
    path.write_bytes(private + pem)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(path)
    return own, ssl.create_default_context(cadata=pem.decode())


async def told_by_name(
    tmp_path: Path, *, certified: str = NAME, leads_to: tuple[str, ...] = ("127.0.0.1",)
) -> tuple[Delivery, Receiver, list[str]]:
    own, trusting = certificate(tmp_path, certified)
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> tuple[str, ...]:
        asked.append(host)
        return leads_to

    async with receiving(tls=own) as receiver:
        policy = CallbackPolicy([f"{NAME}:{receiver.port}"], is_loopback_allowed=False)
        sending = Callbacks(policy, SIGNER, tls=trusting, resolve=resolve)
        delivery = await sending.deliver(f"https://{NAME}:{receiver.port}/a", FIELDS, 1)
    return delivery, receiver, asked


async def test_a_name_is_resolved_once_and_its_certificate_checked(tmp_path: Path) -> None:
    delivery, receiver, asked = await told_by_name(tmp_path)

    assert delivery.is_delivered
    assert asked == [NAME]
    assert receiver.heads[0]["host"] == f"{NAME}:{receiver.port}"


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    delivery, receiver, _ = await told_by_name(tmp_path, certified="other.example")

    assert delivery.outcome is Outcome.FAILED
    assert receiver.lines == []


async def test_the_next_address_is_taken_where_one_does_not_answer(tmp_path: Path) -> None:
    delivery, _, _ = await told_by_name(tmp_path, leads_to=("::1", "127.0.0.1"))

    assert delivery.is_delivered


async def test_a_name_that_leads_to_forbidden_addresses_alone_is_not_told(tmp_path: Path) -> None:
    delivery, receiver, _ = await told_by_name(tmp_path, leads_to=("169.254.169.254", "fe80::1"))

    assert delivery.outcome is Outcome.FAILED
    assert receiver.lines == []


async def test_a_name_that_nobody_knows_is_tried_again() -> None:
    policy = CallbackPolicy([f"{'a' * 70}.example"], is_loopback_allowed=False)

    delivery = await Callbacks(policy, SIGNER).deliver(f"https://{'a' * 70}.example/", FIELDS, 1)

    assert delivery.outcome is Outcome.FAILED


# --- What is logged ----------------------------------------------------------------------------


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers, root.level
    telemetry.configure("debug", stream)
    yield stream
    root.handlers, root.level = before
    logging.captureWarnings(capture=False)


async def test_the_address_is_not_logged(logs: io.StringIO) -> None:
    async with receiving() as receiver:
        await deliver(receiver.url)
    await deliver(receiver.url)

    assert "callback-tried" in logs.getvalue()
    assert "PLANTED" not in logs.getvalue()
