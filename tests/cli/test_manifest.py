"""``deid-gateway manifest`` and ``keys public``; neither needs a database."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from app.batches.manifest import MANIFEST_NAME
from app.cli import group
from app.settings import PREFIX, Settings
from app.vault.keys import ensure_key_files, load_keys
from app.vault.signing import Signer
from tests.batches.published import (
    SIGNER,
    STRANGER,
    STUDIES,
    content_of,
    entries,
    entry,
    name_of,
    publish,
    resource_name,
    written,
)
from tests.storage.places import PREFIX as STORE_PREFIX
from tests.storage.places import S3Place
from tests.storage.servers import s3_server

Run = Callable[..., Result]
FIRST = name_of(entry(1))
RESOURCE = resource_name(STUDIES[0])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{field.upper()}", raising=False)
    monkeypatch.setenv("DEID_DATA_DIR", str(data_dir))
    root = logging.getLogger()
    before = root.handlers, root.level
    yield lambda *given: CliRunner().invoke(group, [str(one) for one in given])
    root.handlers, root.level = before
    logging.captureWarnings(capture=False)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    return publish(tmp_path / "batch")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [SIGNER.public_jwk()]}))
    return path


@pytest.fixture
def served(keys: Path) -> Iterator[str]:
    """The address at which the keys are, on this machine; below ``slow`` they come by the byte."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in {"/keys", "/keys/slow"}
            self.send_response(200 if found else 404)
            self.end_headers()
            body = keys.read_bytes() if found else b""
            pieces = [body] if self.path == "/keys" else [bytes([byte]) for byte in body]
            with contextlib.suppress(OSError):  # nobody listens any more
                for piece in pieces:
                    self.wfile.write(piece)
                    time.sleep(0.02 if len(pieces) > 1 else 0)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys"
        finally:
            server.shutdown()
            thread.join()


def test_a_whole_batch_is_said_to_be_complete(run: Run, batch: Path, keys: Path) -> None:
    done = run("manifest", "verify", batch, "--keys", keys)

    assert done.exit_code == 0, done.output
    assert "complete" in done.output
    assert "NOT" not in done.output
    assert "5 objects" in done.output


def test_an_object_that_is_gone_is_named(run: Run, batch: Path, keys: Path) -> None:
    (batch / FIRST).unlink()

    done = run("manifest", "verify", batch, "--keys", keys)

    assert done.exit_code == 1
    assert f"missing: {FIRST}" in done.output
    assert "NOT PROVEN COMPLETE" in done.output


def test_a_fhir_resource_that_was_changed_is_named(run: Run, tmp_path: Path, keys: Path) -> None:
    batch = publish(tmp_path / "described", fhir=True)
    (batch / RESOURCE).write_text("{}")

    done = run("manifest", "verify", batch, "--keys", keys)

    assert done.exit_code == 1
    assert f"wrong-size: {RESOURCE}" in done.output


def test_a_signature_that_is_not_valid_is_a_failure(run: Run, batch: Path, keys: Path) -> None:
    (batch / MANIFEST_NAME).write_bytes(written(entries(), signer=STRANGER))

    done = run("manifest", "verify", batch, "--keys", keys)

    assert done.exit_code == 1
    assert "NOT VALID" in done.output


def test_without_a_key_nothing_is_proven(run: Run, batch: Path) -> None:
    done = run("manifest", "verify", batch)

    assert done.exit_code == 2
    assert "--keys" in done.stderr


def test_the_signature_can_be_left_out(run: Run, batch: Path) -> None:
    done = run("manifest", "verify", batch, "--no-signature")

    assert done.exit_code == 0
    assert "not checked" in done.output


def test_keys_and_no_signature_contradict_each_other(run: Run, batch: Path, keys: Path) -> None:
    assert run("manifest", "verify", batch, "--keys", keys, "--no-signature").exit_code == 2


def test_a_gateway_checks_with_its_own_key(run: Run, batch: Path, data_dir: Path) -> None:
    own = data_dir / "keys" / "gateway-keys.json"
    ensure_key_files(own, data_dir / "keys" / "private.json")
    unknown = run("manifest", "verify", batch)
    (batch / MANIFEST_NAME).write_bytes(written(entries(), signer=Signer(load_keys(own))))

    known = run("manifest", "verify", batch)

    assert unknown.exit_code == 1
    assert known.exit_code == 0, known.output


def test_keys_that_are_given_stand_alone(run: Run, batch: Path, keys: Path, data_dir: Path) -> None:
    own = data_dir / "keys" / "gateway-keys.json"
    ensure_key_files(own, data_dir / "keys" / "private.json")
    (batch / MANIFEST_NAME).write_bytes(written(entries(), signer=Signer(load_keys(own))))

    assert run("manifest", "verify", batch, "--keys", keys).exit_code == 1


def test_the_public_key_of_a_gateway_is_all_that_a_receiver_needs(
    run: Run, batch: Path, tmp_path: Path, data_dir: Path
) -> None:
    run("keys", "init")
    printed = run("keys", "public")
    (tmp_path / "public.json").write_text(printed.stdout)
    signer = Signer(load_keys(data_dir / "keys" / "gateway-keys.json"))
    (batch / MANIFEST_NAME).write_bytes(written(entries(), signer=signer))

    done = run(
        *("manifest", "verify", batch, "--keys", tmp_path / "public.json"),
        *("--data-dir", tmp_path / "receiver"),
    )

    assert done.exit_code == 0, done.output


def test_the_public_key_shows_nothing_private(run: Run, data_dir: Path) -> None:
    run("keys", "init")
    secret = json.loads((data_dir / "keys" / "gateway-keys.json").read_text())["pseudonym_root"]

    done = run("keys", "public")

    assert set(json.loads(done.stdout)["keys"][0]) == {"kty", "crv", "x", "kid", "use"}
    assert secret not in done.output


def test_keys_are_fetched_from_an_address(run: Run, batch: Path, served: str) -> None:
    assert run("manifest", "verify", batch, "--keys", served).exit_code == 0


@pytest.mark.parametrize(
    "address",
    [
        "http://keys.invalid/keys",
        "http://127.0.0.1.invalid/keys",
        "ftp://127.0.0.1/keys",
        "file:///etc/hostname",
        "http:///keys",
        "http://[",
    ],
)
def test_keys_are_not_fetched_where_others_could_change_them(
    run: Run, batch: Path, address: str
) -> None:
    done = run("manifest", "verify", batch, "--keys", address)

    assert done.exit_code == 2
    assert "invalid-request" in done.stderr


def test_keys_that_come_too_slowly_are_not_waited_for(
    run: Run, batch: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.manifest._KEYS_TIMEOUT_S", 0.5)

    done = run("manifest", "verify", batch, "--keys", f"{served}/slow")

    assert done.exit_code == 2
    assert "storage-unavailable" in done.stderr


@pytest.mark.parametrize(
    "address",
    ["https://[", "https://", "https://keys.invalid:port/", f"https://{'k' * 64}.invalid/"],
)
def test_an_address_that_is_none_is_no_outcome(run: Run, batch: Path, address: str) -> None:
    assert run("manifest", "verify", batch, "--keys", address).exit_code == 2


def test_keys_that_cannot_be_fetched_are_no_outcome(run: Run, batch: Path, served: str) -> None:
    done = run("manifest", "verify", batch, "--keys", f"{served}-2")

    assert done.exit_code == 2
    assert "storage-unavailable" in done.stderr


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}'])
def test_keys_that_are_none_are_no_outcome(
    run: Run, batch: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "none.json").write_text(text)

    assert run("manifest", "verify", batch, "--keys", tmp_path / "none.json").exit_code == 2
    assert run("manifest", "verify", batch, "--keys", tmp_path / "absent.json").exit_code == 2


@pytest.mark.parametrize("place", ["absent", "file", "s3://", "gopher://x/y", "s3://a/../b"])
def test_a_place_that_cannot_be_opened_is_no_outcome(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    where = place if "://" in place else tmp_path / place

    done = run("manifest", "verify", where, "--no-signature")

    assert done.exit_code == 2
    assert done.stderr.startswith("deid-gateway: ")


def test_a_link_that_leads_to_itself_is_no_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")

    done = run("manifest", "verify", tmp_path / "circle", "--no-signature")

    assert done.exit_code == 2
    assert done.stderr.startswith("deid-gateway: The directory cannot be opened")


def test_a_directory_may_be_given_as_an_address(run: Run, batch: Path) -> None:
    assert run("manifest", "verify", batch.as_uri(), "--no-signature").exit_code == 0


def test_a_place_without_a_manifest_is_not_complete(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    done = run("manifest", "verify", tmp_path / "empty", "--no-signature")

    assert done.exit_code == 1
    assert "there is no manifest.json" in done.output


def test_a_batch_below_a_configured_store_is_checked(
    run: Run, batch: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as url:
        place = S3Place(url)
        for path in batch.rglob("*"):
            if path.is_file():
                place.tamper(f"batch/{path.relative_to(batch)}", path.read_bytes())
        stores = {"stores": {"archive": {**place.fields, "organizations": ["NORTH"]}}}
        (tmp_path / "stores.yaml").write_text(json.dumps(stores))
        (tmp_path / "stores.yaml").chmod(0o600)
        monkeypatch.setenv("DEID_STORES_FILE", str(tmp_path / "stores.yaml"))
        options = ("--keys", keys, "--store", "archive")

        whole = run("manifest", "verify", "batch", *options, "--organization", "NORTH")
        place.client.delete_object(Bucket=place.bucket, Key=f"{STORE_PREFIX}/batch/{FIRST}")
        broken = run("manifest", "verify", "batch", *options, "--organization", "NORTH")
        foreign = run("manifest", "verify", "batch", *options, "--organization", "SOUTH")
        outside = run("manifest", "verify", "../x", *options, "--organization", "NORTH")

    assert (whole.exit_code, broken.exit_code) == (0, 1), whole.output
    assert f"missing: {FIRST}" in broken.output
    assert (foreign.exit_code, outside.exit_code) == (2, 2)


def test_the_outcome_is_there_for_programs(run: Run, batch: Path, keys: Path) -> None:
    (batch / FIRST).unlink()
    (batch / "note.txt").write_text("note")

    outcome = json.loads(run("manifest", "verify", batch, "--keys", keys, "--json").stdout)

    assert outcome["ok"] is False
    assert outcome["problem"] is None
    assert outcome["signature"] == "valid"
    assert outcome["manifest"]["totals"]["instances"] == 5
    assert outcome["manifest"]["key_id"] == SIGNER.key_id
    assert outcome["faults"] == {
        "missing": 1,
        "wrong-size": 0,
        "wrong-hash": 0,
        "unreadable": 0,
        "unexpected": 0,
    }
    assert outcome["findings"] == [{"fault": "missing", "file": FIRST}]
    assert outcome["other_files"] == 1


def test_programs_learn_of_a_manifest_that_is_none(run: Run, batch: Path) -> None:
    (batch / MANIFEST_NAME).write_text("{}")

    done = run("manifest", "verify", batch, "--no-signature", "--json")

    assert done.exit_code == 1
    assert json.loads(done.stdout)["manifest"] is None
    assert "missing" in json.loads(done.stdout)["problem"]


def test_a_name_that_was_found_cannot_steer_the_terminal(run: Run, batch: Path) -> None:
    (batch / "\x1b[2J[bold]\udcff.dcm").write_bytes(content_of(1))

    done = run("manifest", "verify", batch, "--no-signature")

    assert "\x1b" not in done.output
    assert "unexpected: \\x1b[2J[bold]\\udcff.dcm" in done.output


def test_more_findings_than_are_shown_are_counted(run: Run, tmp_path: Path) -> None:
    batch = publish(tmp_path / "many", [entry(number) for number in range(1000, 1060)])
    for path in batch.rglob("*.dcm"):
        path.unlink()

    done = run("manifest", "verify", batch, "--no-signature")

    assert "and 10 more" in done.output


def test_the_schema_is_printed(run: Run, batch: Path) -> None:
    schema = json.loads(run("manifest", "schema").stdout)

    jsonschema.validate(json.loads((batch / MANIFEST_NAME).read_bytes()), schema)


def test_an_interrupted_check_is_no_outcome(
    run: Run, batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.cli.manifest.verify", interrupt)

    assert run("manifest", "verify", batch, "--no-signature").exit_code == 2
