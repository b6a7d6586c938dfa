"""TLS of the serving process: its certificate, whom it trusts, renewal without a restart."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from app import errors, telemetry
from app.vault.keyrings.files import read_private

LOOK_EVERY_S: Final = 5.0
WARN_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where certificate, key and the callers' certificate authorities lie."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def signature(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Tell one state of the files from another without reading them."""
        paths = (self.certificate, self.key, self.client_ca)
        return tuple(None if path is None else _signature(path) for path in paths)


class Tls:
    """What connections are secured with; files that change are taken without a restart.

    Raises:
        errors.Misconfigured: a file is missing, open to others or not what it should be.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = files.signature()
        self._current = context_of(files)
        self.context = self._current
        self.context.sni_callback = self._choose

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look for new files meanwhile."""
        watching = asyncio.create_task(self._watch(), name="tls")
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def look(self) -> bool:
        """Look once; True when connections from now on are secured with other files.

        What cannot be used leaves the old files in use; renewals often write one after another.
        """
        signature = self._files.signature()
        if signature == self._seen:
            return False
        self._seen = signature
        try:
            self._current = context_of(self._files)
        except errors.Misconfigured:
            telemetry.log().error("tls-files-not-usable")
            return False
        telemetry.log().info("tls-files-renewed")
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def _choose(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        """Give a new connection the newest files; OpenSSL asks at every handshake."""
        if self._current is not self.context:
            connection.context = self._current


def context_of(files: TlsFiles) -> ssl.SSLContext:
    """Make what a server secures connections with.

    Raises:
        errors.Misconfigured: a file is missing, open to others or not what it should be.
    """
    _check(files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError):
        _refuse(files.certificate, "and its key are refused by OpenSSL")
    if files.client_ca is not None:
        _trust(context, files.client_ca)
    return context


def _trust(context: ssl.SSLContext, client_ca: Path) -> None:
    """Let nobody in who shows no certificate of these authorities."""
    try:
        context.load_verify_locations(cadata=_read(client_ca).decode("ascii"))
    except (ssl.SSLError, ValueError):
        _refuse(client_ca, "holds no certificates in PEM form")
    context.verify_mode = ssl.CERT_REQUIRED
    # A session that is resumed is not verified again, whatever was taken out of the file meanwhile.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _check(files: TlsFiles) -> None:
    """Say what is wrong in words; OpenSSL's own do not tell one file from the other."""
    try:
        certificate = x509.load_pem_x509_certificates(_read(files.certificate))[0]
    except ValueError:
        _refuse(files.certificate, "holds no certificate in PEM form")
    try:
        key = load_pem_private_key(read_private(files.key), None)
    except TypeError:
        _refuse(files.key, "needs a password; store it without one, mode 0600")
    except ValueError:
        _refuse(files.key, "holds no private key in PEM form")
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        _refuse(files.key, "does not belong to the certificate")
    left = (certificate.not_valid_after_utc - telemetry.utc_now()).days
    if left < WARN_DAYS:
        telemetry.log().warning("tls-certificate-expires", count=left)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})")


def _refuse(path: Path, why: str) -> NoReturn:
    raise errors.Misconfigured(f"the TLS file {path} {why}") from None


def _no_password() -> NoReturn:
    """Keep OpenSSL from asking at the terminal."""
    raise ValueError


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
