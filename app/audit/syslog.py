"""Syslog over TLS: messages framed, sent, and known to have been read by the receiver.

Syslog has no answers. So the end is used as one: a receiver that is told that nothing follows, and
then ends the connection in good order, has read everything before that. Most end TLS itself, which
nobody can forge; but so does one that refuses us and reads nothing. So the end of TCP is awaited as
well: it counts when every byte is confirmed and no reset came, which is what an unread byte causes.

Source: RFC 5424, 6 (format); RFC 5425, 4.3 (octet counting), 4.4 (closure); PS3.15 2026d, A.6.
"""

import datetime as dt
import fcntl
import os
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.errors import AuditReceiverUnavailable, Misconfigured

DEFAULT_PORT: Final = 6514
TIMEOUT_S: Final = 20.0
APPLICATION: Final = "deid-gateway"
MESSAGE_ID: Final = "DICOM+RFC3881"
_SECURITY: Final = 10  # facility: security and authorisation messages
_NOTICE, _WARNING = 5, 4
_MAX_HOST_CHARACTERS: Final = 255
_CLOSE_WAIT: Final = 8  # state of TCP: the other side has closed, this one has not
_LOOK_AGAIN_S: Final = 0.01
_CLOSES_S: Final = 1.0  # in which most receivers close after the end of TLS
_READ_BYTES: Final = 4096
_MOST_BEHIND: Final = 64 << 10  # bytes that a receiver may send behind the end of TLS
_TELLS_OF_TCP: Final = sys.platform.startswith("linux")  # others do not tell what it takes


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where audit messages go.

    Attributes:
        host: name or address; its certificate must say the same.
        ca_file: certificates that it is trusted by; None for those of the system.
        certificate_file: what we show of ourselves; None shows nothing.
        key_file: the private key of that certificate.
    """

    host: str
    port: int = DEFAULT_PORT
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @property
    def name(self) -> str:
        """Under which it is remembered how far it has come."""
        return f"{self.host}:{self.port}"

    def send(self, frames: Iterable[bytes]) -> None:
        """Send messages and return when the receiver has read them all.

        Raises:
            AuditReceiverUnavailable: it is not known whether it has; some may have arrived.
            Misconfigured: certificate or key files cannot be used.
        """
        context = self._context()
        try:
            with (
                socket.create_connection((self.host, self.port), TIMEOUT_S) as plain,
                context.wrap_socket(plain, server_hostname=self.host) as secure,
            ):
                for frame in frames:
                    secure.sendall(frame)
                _await_end(secure)
        except ssl.SSLCertVerificationError:
            raise AuditReceiverUnavailable(
                "The certificate of the audit receiver is not trusted"
            ) from None
        except (OSError, ValueError):
            raise AuditReceiverUnavailable from None

    def check(self) -> None:
        """Read the files that are named.

        Raises:
            Misconfigured: one cannot be used.
        """
        self._context()

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file, password=_no_password)
        except (OSError, ValueError):
            raise Misconfigured(
                "the certificates or the key for the audit receiver cannot be used"
            ) from None
        return context


def receiver_of(
    address: str,
    *,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
) -> Receiver:
    """Read an address: ``tls://host:6514``, or ``host`` alone.

    Raises:
        Misconfigured: it is none.
    """
    parts = urlsplit(address if "://" in address else f"tls://{address}")
    with suppress(ValueError):
        port = parts.port or DEFAULT_PORT
        has_more = any((parts.path.strip("/"), parts.query, parts.fragment, parts.username))
        if parts.scheme == "tls" and parts.hostname and not has_more:
            return Receiver(parts.hostname, port, ca_file, certificate_file, key_file)
    raise Misconfigured("the audit receiver must be named as tls://host:port")


def frame(content: bytes, *, recorded_at: dt.datetime, is_success: bool, host: str) -> bytes:
    """Put one message into its frame: the number of octets, a space, header and content.

    Args:
        content: ASCII, so that no byte order mark is needed.
        recorded_at: when it happened, with its zone.
        is_success: notices are for what went well, warnings for the rest.
        host: name of this machine.
    """
    priority = _SECURITY * 8 + (_NOTICE if is_success else _WARNING)
    moment = f"{recorded_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    header = f"<{priority}>1 {moment} {host} {APPLICATION} {os.getpid()} {MESSAGE_ID} - "
    message = header.encode("ascii") + content
    return b"%d %b" % (len(message), message)


def own_host() -> str:
    """Name this machine as headers may: visible ASCII, or ``-``."""
    name = "".join([c for c in socket.gethostname() if "!" <= c <= "~"])
    return name[:_MAX_HOST_CHARACTERS] or "-"


def _await_end(secure: ssl.SSLSocket) -> None:
    """Say that nothing follows, and return when the other side has read that.

    Raises:
        OSError: it has not, or it cannot be known.
    """
    try:
        secure.unwrap()
    except ssl.SSLEOFError:  # closed without the end of TLS
        if not _TELLS_OF_TCP:
            raise
    else:
        if not _has_closed(secure) or not _TELLS_OF_TCP:
            return
    deadline = time.monotonic() + TIMEOUT_S
    while _unconfirmed(secure):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOOK_AGAIN_S)


def _has_closed(ended: socket.socket) -> bool:
    """Await the end of TCP behind the end of TLS; say whether the other side closed by itself.

    Raises:
        OSError: it did not end in good order, or not at all.
    """
    try:
        _read_to_end(ended, _CLOSES_S)
    except TimeoutError:  # it may be waiting for us
        ended.shutdown(socket.SHUT_WR)
        _read_to_end(ended, TIMEOUT_S)
        return False
    return True


def _read_to_end(ended: socket.socket, within_s: float) -> None:
    """Throw away what comes behind the end of TLS, where nothing should, until TCP ends.

    Raises:
        TimeoutError: it did not end in this time, whatever came meanwhile.
        OSError: too much came, or it did not end in good order.
    """
    deadline, received = time.monotonic() + within_s, 0
    while (left_s := deadline - time.monotonic()) > 0:
        ended.settimeout(left_s)
        part = ended.recv(_READ_BYTES)
        if not part:
            return
        received += len(part)
        if received > _MOST_BEHIND:
            raise ConnectionAbortedError
    raise TimeoutError


def _unconfirmed(closed: socket.socket) -> int:
    """Count the bytes that the other side's TCP has not confirmed.

    Raises:
        ConnectionResetError: the connection did not end in good order.
    """
    state = closed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state != _CLOSE_WAIT:
        raise ConnectionResetError
    (count,) = struct.unpack("i", fcntl.ioctl(closed, termios.TIOCOUTQ, bytes(4)))
    return int(count)


def _no_password() -> str:
    """Keep a key with a password from being asked for at the terminal."""
    raise ValueError
