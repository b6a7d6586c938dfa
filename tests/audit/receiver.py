"""A real syslog receiver with TLS on the loopback interface: Debian's rsyslog."""

import datetime as dt
import ipaddress
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.audit.syslog import Receiver
from app.telemetry import utc_now
from tools import debian_tools

PATIENCE_S = 30
_DAY = dt.timedelta(days=1)
_SETTINGS = """
global(workDirectory="{folder}" maxMessageSize="64k" net.enableDNS="off"
    parser.escapeControlCharactersOnReceive="off"
    defaultNetstreamDriverCAFile="{folder}/ca.pem"
    defaultNetstreamDriverCertFile="{folder}/server.pem"
    defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{mode}")
template(name="raw" type="string" string="%rawmsg%\\n")
ruleset(name="keep") {{ action(type="omfile" file="{folder}/received" template="raw") }}
input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{folder}/port"
    ruleset="keep")
"""


class Authority:
    """A certificate authority of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        usage = x509.KeyUsage(*(False, False, False, False, False, True, True, False, False))
        made = self._certificate(self._name, self._key.public_key())
        made = made.add_extension(basic, critical=True).add_extension(usage, critical=True)
        self._write("ca", made.sign(self._key, hashes.SHA256()))

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """Make a certificate for this machine; returns certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        purposes = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        made = self._certificate(subject, key.public_key())
        made = made.add_extension(names, critical=False).add_extension(purposes, critical=False)
        certificate = self._write(name, made.sign(self._key, hashes.SHA256()))
        key_file = self.folder / f"{name}.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, key_file

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = utc_now()
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(identifier, critical=False)
            .add_extension(issuer, critical=False)
        )

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@dataclass
class Rsyslog:
    """One receiver; it may be stopped and started again on the same port."""

    folder: Path
    asks_for_certificate: bool = False
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        mode = "x509/certvalid" if self.asks_for_certificate else "anon"
        settings = _SETTINGS.format(folder=self.folder, mode=mode, port=self.port)
        (self.folder / "rsyslog.conf").write_text(settings)
        tool = debian_tools.provide("rsyslog-gnutls", "rsyslogd", prefer_installed=False)
        modules = next(tool.path.parents[1].glob("lib/*-linux-gnu*/rsyslog"))
        arguments = ["-n", "-f", str(self.folder / "rsyslog.conf"), "-M", str(modules)]
        pid_file = str(self.folder / "pid")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                tool.command(*arguments, "-i", pid_file),
                stdout=log,
                stderr=log,
            )
        if not self.port:
            self._await(lambda: self._told_port() > 0)
            self.port = self._told_port()
        self._await(self._is_listening)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)

    def receiver(self, authority: Authority, **given: Path) -> Receiver:
        return Receiver("127.0.0.1", self.port, authority.file, **given)

    def received(self, count: int) -> list[str]:
        """Return the messages, when there are so many; they are written a moment later."""
        self._await(lambda: len(self._lines()) >= count)
        return self._lines()

    def _lines(self) -> list[str]:
        path = self.folder / "received"
        return path.read_text("ascii").splitlines() if path.exists() else []

    def _told_port(self) -> int:
        """Return the port that it chose at its first start; 0 where it has not told yet."""
        path = self.folder / "port"
        text = path.read_text().strip() if path.exists() else ""
        return int(text) if text else 0

    def _is_listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            said = (self.folder / "log").read_text(errors="replace")
            assert self._process is None or self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.01)
