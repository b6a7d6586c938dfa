import asyncio
import base64
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import psycopg
import pytest

from app.audit import syslog
from app.audit.events import AuditEvent
from app.audit.forwarding import Forwarded, Forwarder
from app.audit.keeping import kept
from app.audit.syslog import Receiver, frame, receiver_of
from app.errors import AuditReceiverUnavailable, Misconfigured
from tests.audit.events import WHEN
from tests.audit.receiver import Authority, Rsyslog
from tests.mapping_house import NORTH, SOUTH, MappingHouse
from tools import debian_tools

pytestmark = pytest.mark.db
HEADER = re.compile(
    r"<(8[45])>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ deid-gateway \d+ DICOM\+RFC3881 - (<.+)"
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.issue("server")
    return made


@pytest.fixture
def rsyslog(authority: Authority) -> Iterator[Rsyslog]:
    if not debian_tools.is_available():
        pytest.skip("rsyslogd comes from Debian, and there is no apt-get here")
    server = Rsyslog(authority.folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def strict(authority: Authority) -> Iterator[Rsyslog]:
    """A receiver that takes nothing from whom it does not know."""
    if not debian_tools.is_available():
        pytest.skip("rsyslogd comes from Debian, and there is no apt-get here")
    server = Rsyslog(authority.folder, asks_for_certificate=True)
    server.start()
    yield server
    server.stop()


async def forwarded(forwarder: Forwarder) -> Forwarded:
    """Forward once it is its turn: an earlier one's ends when the server sees its connection go."""
    while (done := await forwarder.forward()) is None:  # noqa: ASYNC110 - another connection ends
        await asyncio.sleep(0.02)
    return done


async def write(house: MappingHouse, count: int, organization: str | None = NORTH) -> None:
    for number in range(count):
        detail = {"number": number}
        await house.vault.audit(AuditEvent(action="a", organization=organization, detail=detail))


def rows_of(lines: list[str]) -> list[str]:
    """Which rows of the audit the messages are, with a star where they say they are repeated."""
    return [_row_of(line) for line in lines]


def _row_of(line: str) -> str:
    match = HEADER.fullmatch(line)
    assert match is not None, line
    record = ET.fromstring(match[2]).findall("ParticipantObjectIdentification")[-1]  # noqa: S314
    details = {one.get("type"): one.get("value") for one in record.iter("ParticipantObjectDetail")}
    repeated = base64.b64decode(details.get("repeated", "")) == b"true"
    return record.get("ParticipantObjectID", "") + "*" * repeated


async def test_a_real_receiver_gets_every_row_once(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    await asyncio.gather(write(house, 5), write(house, 2, SOUTH), write(house, 1, None))
    forwarder = Forwarder(house.database, rsyslog.receiver(authority), at_once=2)

    assert await forwarder.forward() == Forwarded(8, 0)
    assert await forwarder.forward() == Forwarded(0, 0)
    await write(house, 1)
    assert await forwarder.forward() == Forwarded(1, 0)

    north = [f"{NORTH}/{seq}" for seq in range(1, 6)]
    wanted = ["/1", *north, f"{SOUTH}/1", f"{SOUTH}/2", f"{NORTH}/6"]
    assert rows_of(rsyslog.received(9)) == wanted


async def test_refusals_are_warnings(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    await house.vault.audit(AuditEvent(action="a", outcome="not-authorised"))
    await house.vault.audit(AuditEvent(action="a"))

    await forwarded(Forwarder(house.database, rsyslog.receiver(authority)))

    assert [line[:4] for line in rsyslog.received(2)] == ["<84>", "<85>"]


async def test_a_receiver_that_was_away_gets_what_it_missed(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    forwarder = Forwarder(house.database, rsyslog.receiver(authority))
    await write(house, 2)
    await forwarder.forward()
    rsyslog.stop()
    await write(house, 2)

    with pytest.raises(AuditReceiverUnavailable):
        await forwarder.forward()
    rsyslog.start()
    done = await forwarder.forward()

    # Nothing can have arrived, but that is not known: they are marked.
    assert done == Forwarded(2, 2)
    rows = rows_of(rsyslog.received(4))
    assert rows == [f"{NORTH}/1", f"{NORTH}/2", f"{NORTH}/3*", f"{NORTH}/4*"]


class Forgetful(Receiver):
    """Sends, and dies before it knows."""

    def send(self, frames) -> None:
        super().send(frames)
        raise AuditReceiverUnavailable


async def test_what_may_have_arrived_is_sent_again_and_says_so(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    forgetful = Forgetful("127.0.0.1", rsyslog.port, authority.file)
    await write(house, 2)
    with pytest.raises(AuditReceiverUnavailable):
        await forwarded(Forwarder(house.database, forgetful))
    await write(house, 1)

    done = await forwarded(Forwarder(house.database, rsyslog.receiver(authority)))

    assert done == Forwarded(3, 2)
    rows = rows_of(rsyslog.received(5))
    assert rows[:2] == [f"{NORTH}/1", f"{NORTH}/2"]
    assert rows[2:] == [f"{NORTH}/1*", f"{NORTH}/2*", f"{NORTH}/3"]


async def test_a_batch_in_doubt_that_is_sent_in_smaller_ones_stays_in_doubt(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    forgetful = Forgetful("127.0.0.1", rsyslog.port, authority.file)
    await write(house, 3)
    with pytest.raises(AuditReceiverUnavailable):
        await forwarded(Forwarder(house.database, forgetful))

    done = await forwarded(Forwarder(house.database, rsyslog.receiver(authority), at_once=1))

    assert done == Forwarded(3, 3)


async def test_of_many_that_forward_at_once_one_does(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    await write(house, 20)
    receiver = rsyslog.receiver(authority)

    done = await asyncio.gather(
        *[Forwarder(house.database, receiver, at_once=2).forward() for _ in range(3)]
    )

    assert sum(one.messages for one in done if one is not None) == 20
    assert len(set(rows_of(rsyslog.received(20)))) == 20


async def test_while_another_process_forwards_nothing_is_sent(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    receiver = rsyslog.receiver(authority)
    await write(house, 1)
    with psycopg.connect(house.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(4107006, hashtext(%s))", [receiver.name])

        assert await Forwarder(house.database, receiver).forward() is None


async def test_two_receivers_come_along_each_at_its_own_pace(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    by_address = rsyslog.receiver(authority)
    by_name = Receiver("localhost", rsyslog.port, authority.file)
    await write(house, 1)
    await forwarded(Forwarder(house.database, by_address))
    await write(house, 1)

    assert await forwarded(Forwarder(house.database, by_name)) == Forwarded(2, 0)
    assert await forwarded(Forwarder(house.database, by_address)) == Forwarded(1, 0)


async def test_it_goes_on_by_itself_when_the_receiver_is_back(
    house: MappingHouse, rsyslog: Rsyslog, authority: Authority
) -> None:
    forwarder = Forwarder(house.database, rsyslog.receiver(authority))
    rsyslog.stop()
    await write(house, 2)

    async with kept(forwarder.run):
        while not house.count("audit_forwards"):  # noqa: ASYNC110 - a row, no event
            await asyncio.sleep(0.01)
        await asyncio.to_thread(rsyslog.start)
        received = await asyncio.to_thread(rsyslog.received, 2)

    assert [row.rstrip("*") for row in rows_of(received)] == [f"{NORTH}/1", f"{NORTH}/2"]


async def test_a_client_certificate_is_shown_where_it_is_asked_for(
    house: MappingHouse, strict: Rsyslog, authority: Authority
) -> None:
    certificate, key = authority.issue("client")
    await write(house, 2)

    with pytest.raises(AuditReceiverUnavailable):
        await forwarded(Forwarder(house.database, strict.receiver(authority)))
    known = strict.receiver(authority, certificate_file=certificate, key_file=key)
    await forwarded(Forwarder(house.database, known))

    assert rows_of(strict.received(2)) == [f"{NORTH}/1*", f"{NORTH}/2*"]


async def test_a_receiver_of_another_authority_is_not_trusted(
    house: MappingHouse, rsyslog: Rsyslog, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    stranger = Authority(tmp_path / "others")
    await write(house, 1)

    with pytest.raises(AuditReceiverUnavailable, match="not trusted"):
        await forwarded(Forwarder(house.database, rsyslog.receiver(stranger)))


def test_a_receiver_that_speaks_no_tls_gets_nothing(authority: Authority) -> None:
    with pytest.raises(AuditReceiverUnavailable):
        Receiver("127.0.0.1", 9, authority.file).send([b"1 x"])


@contextmanager
def stubborn(authority: Authority, end: Callable[[ssl.SSLSocket], None]) -> Iterator[Receiver]:
    """A receiver that shakes hands with everybody, and ends every connection in its own way."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(authority.folder / f"server.{kind}" for kind in ("pem", "key")))

    def serve(listening: socket.socket) -> None:
        plain, _ = listening.accept()
        with context.wrap_socket(plain, server_side=True) as secure:
            end(secure)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=[listening])
        serving.start()
        yield Receiver("127.0.0.1", listening.getsockname()[1], authority.file)
        serving.join()


def say_end(secure: ssl.SSLSocket) -> None:
    """End TLS without waiting for the other side's word."""
    secure.settimeout(0)
    with suppress(OSError):
        secure.unwrap()


def test_a_receiver_that_ends_politely_and_has_not_read_has_nothing(authority: Authority) -> None:
    def refuse(secure: ssl.SSLSocket) -> None:
        select.select([secure], [], [])  # something is there, and stays unread
        say_end(secure)
        time.sleep(0.2)

    with (
        stubborn(authority, refuse) as receiver,
        pytest.raises(AuditReceiverUnavailable),
    ):
        receiver.send([b"1 x"])


def test_a_receiver_that_left_before_anything_came_has_nothing(authority: Authority) -> None:
    gone = threading.Event()

    def leave(secure: ssl.SSLSocket) -> None:
        say_end(secure)
        secure.close()
        gone.set()

    def late() -> Iterator[bytes]:
        gone.wait()
        yield b"1 x"

    with (
        stubborn(authority, leave) as receiver,
        pytest.raises(AuditReceiverUnavailable),
    ):
        receiver.send(late())


def test_a_receiver_that_waits_for_us_to_close_has_everything(authority: Authority) -> None:
    read: list[bytes] = []

    def wait(secure: ssl.SSLSocket) -> None:
        while piece := secure.recv(100):
            read.append(piece)
        secure.unwrap().recv(1)

    with stubborn(authority, wait) as receiver:
        receiver.send([b"1 x", b"1 y"])

    assert b"".join(read) == b"1 x1 y"


class Talking:
    """A connection whose other side sends something again and again, and never ends."""

    def __init__(self, size: int, pause_s: float = 0.0) -> None:
        self.now = 0.0
        self.received = 0
        self._size = size
        self._pause_s = pause_s
        self._timeout_s = 0.0

    def settimeout(self, seconds: float) -> None:
        self._timeout_s = seconds

    def shutdown(self, _how: int) -> None:
        """Say that nothing follows; nobody listens."""

    def recv(self, most: int) -> bytes:
        assert self.received < 10 << 20, "nobody ends this"
        self.now += min(self._pause_s, self._timeout_s)
        if self._pause_s > self._timeout_s:
            raise TimeoutError
        self.received += min(self._size, most)
        return bytes(min(self._size, most))


@pytest.mark.parametrize(("size", "pause_s"), [(4096, 0.0), (1, 0.5)], ids=["much", "slowly"])
def test_a_receiver_that_goes_on_talking_behind_the_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, size: int, pause_s: float
) -> None:
    talking = Talking(size, pause_s)
    monkeypatch.setattr(syslog, "time", SimpleNamespace(monotonic=lambda: talking.now))

    with pytest.raises(OSError):  # noqa: PT011 - of whatever kind: it is not known to have read
        syslog._has_closed(talking)

    assert talking.received <= syslog._MOST_BEHIND + 4096
    assert talking.now <= syslog.TIMEOUT_S + 2


def test_messages_are_counted_in_octets() -> None:
    made = frame(b"<x/>", recorded_at=WHEN, is_success=True, host="here")

    length, _, message = made.partition(b" ")
    assert int(length) == len(message)
    assert message.startswith(b"<85>1 2026-01-02T03:04:05.000006Z here deid-gateway ")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("tls://audit.example:6515", "audit.example:6515"),
        ("audit.example", "audit.example:6514"),
        ("tls://[::1]:1", "::1:1"),
    ],
)
def test_addresses_are_understood(address: str, name: str) -> None:
    assert receiver_of(address).name == name


@pytest.mark.parametrize(
    "address", ["", "udp://x", "tls://x:port", "tls://x/path", "tls://u@x", "tls://x:70000"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(Misconfigured):
        receiver_of(address)


def test_certificates_that_cannot_be_read_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")

    for given in (
        {"ca_file": tmp_path / "none.pem"},
        {"ca_file": tmp_path / "empty.pem"},
        {"certificate_file": tmp_path / "empty.pem"},
    ):
        with pytest.raises(Misconfigured):
            receiver_of("tls://x", **given).check()
