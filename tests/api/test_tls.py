"""TLS of the serving process, with certificates of an authority that the tests make."""

import io
import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app import errors, settings
from app.cli.serving_tls import Tls, TlsFiles, context_of
from tests.api.authority import Authority
from tests.api.test_uploads import Program

ROOT = Path(__file__).parents[2]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(authority: Authority) -> TlsFiles:
    return TlsFiles(*authority.issue("gateway"))


def trusting(authority: Authority, *shown: Path) -> ssl.SSLContext:
    """What a careful client connects with; it shows a certificate where one is given."""
    context = ssl.create_default_context(cafile=str(authority.path))
    if shown:
        context.load_cert_chain(*shown)
    return context


def options_of(files: TlsFiles) -> list[str]:
    options = ["--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]
    return options + (["--tls-client-ca", str(files.client_ca)] if files.client_ca else [])


@pytest.fixture
def serving(database_url: str, tmp_path: Path) -> Iterator[Callable[[TlsFiles], Program]]:
    running: list[Program] = []

    def serve(files: TlsFiles) -> Program:
        running.append(Program(database_url, tmp_path / "data", *options_of(files)))
        return running[-1]

    yield serve
    for program in running:
        program.stop()


def shaken(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory, send a byte each way, and return the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    left = [here, there]
    while left:
        for side in list(left):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(side)
    there.write(b"x")
    assert here.read(1) == b"x"
    return here


def serial_of(side: ssl.SSLObject) -> int:
    certificate = side.getpeercert()
    assert certificate is not None
    return int(str(certificate["serialNumber"]), 16)


def test_serve_speaks_tls_with_those_who_trust_its_authority(
    serving: Callable[[TlsFiles], Program], files: TlsFiles, authority: Authority
) -> None:
    url = f"https://127.0.0.1:{serving(files).port}/healthz"

    trusted = httpx.get(url, verify=trusting(authority))
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"))

    assert trusted.status_code == 200
    assert trusted.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert trusted.headers["X-Content-Type-Options"] == "nosniff"


def test_with_client_certificates_nobody_else_gets_a_word_in(
    serving: Callable[[TlsFiles], Program], files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    strict = TlsFiles(files.certificate, files.key, client_ca=authority.path)
    url = f"https://127.0.0.1:{serving(strict).port}/healthz"

    known = httpx.get(url, verify=trusting(authority, *authority.issue("viewer", "client")))
    for shown in (
        (),
        other.issue("stranger", "client"),
        authority.issue("expired", "client", days=-1),
        authority.issue("another-server", "server"),
    ):
        with pytest.raises(httpx.TransportError):
            httpx.get(url, verify=trusting(authority, *shown))

    assert known.status_code == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_nothing_older_than_tls_1_2_is_spoken(files: TlsFiles, authority: Authority) -> None:
    modern, old = trusting(authority), trusting(authority)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    server = context_of(files)

    assert shaken(server, modern).version() == "TLSv1.3"
    modern.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shaken(server, modern).version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shaken(server, old)


def test_renewed_files_are_shown_to_new_connections(files: TlsFiles, authority: Authority) -> None:
    tls, client = Tls(files), trusting(authority)
    before = serial_of(shaken(tls.context, client))
    authority.issue("gateway")

    assert tls.look()

    assert serial_of(shaken(tls.context, client)) != before
    assert not tls.look()


def test_an_authority_that_is_taken_away_lets_nobody_in_any_more(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    known = tmp_path / "known.pem"
    known.write_bytes(other.path.read_bytes() + authority.path.read_bytes())
    tls = Tls(TlsFiles(files.certificate, files.key, known))
    stranger = trusting(authority, *other.issue("stranger", "client"))
    shaken(tls.context, stranger)
    known.write_bytes(authority.path.read_bytes())

    tls.look()

    with pytest.raises(ssl.SSLError):
        shaken(tls.context, stranger)


def test_half_written_files_leave_the_old_ones_in_use(
    files: TlsFiles, authority: Authority, logs: io.StringIO
) -> None:
    tls, client = Tls(files), trusting(authority)
    before = serial_of(shaken(tls.context, client))
    key = files.key.read_bytes()
    authority.issue("gateway")
    files.key.write_bytes(key)

    assert not tls.look()

    assert serial_of(shaken(tls.context, client)) == before
    assert "tls-files-not-usable" in logs.getvalue()


def test_a_certificate_that_ends_soon_is_told(authority: Authority, logs: io.StringIO) -> None:
    context_of(TlsFiles(*authority.issue("gateway", days=5)))

    told = json.loads(logs.getvalue())
    assert (told["event"], told["level"]) == ("tls-certificate-expires", "warning")
    assert told["count"] in {4, 5}


def spoilt(authority: Authority, how: str) -> TlsFiles:
    certificate, key = authority.issue("gateway", password=b"secret" if how == "locked" else b"")
    client_ca = None
    if how == "missing":
        certificate = certificate.with_name("absent.pem")
    elif how == "swapped":
        certificate, key = key, certificate
    elif how == "foreign":
        _, key = authority.issue("another")
    elif how == "open":
        key.chmod(0o644)
    elif how == "no-key":
        key.write_text("nothing")
    elif how == "no-authority":
        client_ca = certificate.with_name("empty.pem")
        client_ca.touch()
    return TlsFiles(certificate, key, client_ca)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("missing", "cannot be read"),
        ("swapped", "holds no certificate"),
        ("foreign", "does not belong to the certificate"),
        ("open", "is open to others"),
        ("no-key", "holds no private key"),
        ("locked", "needs a password"),
        ("no-authority", "holds no certificates"),
    ],
)
def test_a_wrong_file_is_told_by_name_and_reason(authority: Authority, how: str, told: str) -> None:
    with pytest.raises(errors.Misconfigured, match=told):
        context_of(spoilt(authority, how))


def test_a_wrong_file_stops_the_start_with_one_line(
    authority: Authority, tmp_path: Path, database_url: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "serve", *options_of(spoilt(authority, "foreign"))],
        env={"DATABASE_URL": database_url, "DEID_DATA_DIR": str(tmp_path / "data")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "does not belong to the certificate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "given",
    [
        {"tls_certificate_file": "cert.pem"},
        {"tls_key_file": "key.pem"},
        {"tls_client_ca_file": "ca.pem"},
    ],
    ids=["certificate-alone", "key-alone", "authority-alone"],
)
def test_half_of_the_settings_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(settings.InvalidSettings, match="DEID_TLS"):
        settings.load(**given)
