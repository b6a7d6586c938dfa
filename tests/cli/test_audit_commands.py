"""``deid-gateway audit``: sealed, checked, listed, exported."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4
from xml.etree import ElementTree as ET

import psycopg
import pytest
from click.testing import Result
from fhir.resources.R4B.bundle import Bundle
from psycopg import sql

from app.audit.chain import GENESIS, link
from app.audit.events import AuditEvent
from app.audit.forwarding import Forwarder
from app.audit.repository import record_alone
from app.cli import audit
from app.db.roles import DatabaseRole, ensure_user
from app.db.session import Database
from app.errors import AuditReceiverUnavailable, OrganizationNotFound
from tests.cli.conftest import Invoke

pytestmark = [pytest.mark.db, pytest.mark.usefixtures("written")]
PASSWORD = "a long pass phrase"


@pytest.fixture
def written(database_url: str) -> None:
    """Three events of an organisation and one of the gateway itself."""

    async def write() -> None:
        database = Database(database_url)
        for number in range(3):
            await record_alone(
                database,
                AuditEvent(action="a", organization="DEMO", actor="x", detail={"number": number}),
            )
        await record_alone(database, AuditEvent(action="own"))
        await database.close()

    asyncio.run(write())


@pytest.fixture
def kept(invoke: Invoke, tmp_path: Path) -> tuple[Path, Path]:
    """A file of checkpoints and one of the public keys."""
    checkpoints, keys = tmp_path / "checkpoints.json", tmp_path / "keys.json"
    assert invoke("keys", "init").exit_code == 0
    assert invoke("audit", "checkpoint", "--out", checkpoints).exit_code == 0
    keys.write_text(invoke("keys", "public").output)
    return checkpoints, keys


def change(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
        owner.execute(statement)


def test_what_was_sealed_is_intact(invoke: Invoke, kept: tuple[Path, Path]) -> None:
    checkpoints, keys = kept

    done = invoke("audit", "verify", "--checkpoint", checkpoints, "--keys", keys)

    assert done.exit_code == 0
    assert "DEMO: intact, 4 rows, 2 checkpoints agree, 0 rows behind the last one" in done.output
    assert "the gateway itself: intact, 1 rows" in done.output


def test_signatures_that_were_not_checked_are_told(invoke: Invoke, kept: tuple[Path, Path]) -> None:
    done = invoke("audit", "verify", "--checkpoint", kept[0], "--no-signature")

    assert done.exit_code == 0
    assert "Signatures of checkpoints were not checked" in done.output


@pytest.mark.usefixtures("kept")
def test_a_broken_chain_ends_with_exit_code_1_and_tells_no_values(
    invoke: Invoke, database_url: str
) -> None:
    change(database_url, "UPDATE audit_events SET actor = 'PLANTED' WHERE seq = 2")

    done = invoke("audit", "verify", "--json")

    found = json.loads(done.output)["chains"][1]
    assert done.exit_code == 1
    assert (found["broken_at"], found["problem"], found["rows"]) == (2, "altered", 1)
    assert "PLANTED" not in done.output


def test_a_forged_file_cannot_be_checked_against(invoke: Invoke, kept: tuple[Path, Path]) -> None:
    checkpoints, keys = kept
    document = json.loads(checkpoints.read_text())
    document["checkpoints"][0]["hash"] = "00" * 32
    checkpoints.write_text(json.dumps(document))

    done = invoke("audit", "verify", "--checkpoint", checkpoints, "--keys", keys)

    assert done.exit_code == 2
    assert "not signed by a trusted key" in done.stderr


def test_a_file_without_keys_is_wrong_usage(invoke: Invoke, kept: tuple[Path, Path]) -> None:
    assert invoke("audit", "verify", "--checkpoint", kept[0]).exit_code == 2


def test_a_database_that_does_not_answer_is_exit_code_2(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://x@/x?host={tmp_path}")

    assert invoke("audit", "verify").exit_code == 2


@pytest.mark.usefixtures("kept")
def test_a_checkpoint_of_one_organisation_names_no_other(invoke: Invoke) -> None:
    done = invoke("audit", "checkpoint", "--organization", "DEMO")

    assert [one["chain"] for one in json.loads(done.output)["checkpoints"]] == ["DEMO"]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("audit", "verify"), 2),
        (("audit", "checkpoint"), 1),
        (("audit", "list"), 1),
        (("audit", "export", "--format", "jsonl"), 1),
        (("report", "processing"), 1),
        (("api-keys", "list"), 1),
    ],
)
def test_a_mistyped_organisation_is_told_from_one_that_has_nothing(
    invoke: Invoke, command: tuple[str, ...], status: int
) -> None:
    done = invoke(*command, "--organization", "DEMOO")

    assert done.exit_code == status
    assert "intact" not in done.output
    assert isinstance(done.exception, OrganizationNotFound) or "(organization" in done.stderr
    assert done.stdout == ""


def test_events_are_listed_and_that_is_recorded(invoke: Invoke) -> None:
    lines = invoke("audit", "list", "--action", "a", "--limit", "2").output.splitlines()
    recorded = invoke("audit", "list", "--action", "read-audit", "--json").output.splitlines()

    assert [line.split()[2:4] for line in lines] == [["3", "a"], ["2", "a"]]
    assert len(recorded) == 2
    assert json.loads(recorded[1])["detail"] == {"filters": "action", "limit": 2}
    assert json.loads(recorded[1])["actor"].startswith("cli:")


def test_the_gateways_own_events_are_listed(invoke: Invoke) -> None:
    assert "own" in invoke("audit", "list", "--gateway").output


def test_an_export_in_lines_derives_the_chain(invoke: Invoke) -> None:
    done = invoke("audit", "export", "--format", "jsonl")

    previous = GENESIS
    for line in done.output.splitlines():
        row = json.loads(line)
        own = bytes.fromhex(row.pop("hash"))
        text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = link(previous, text)
        assert previous == own
    assert row["action"] == "export-audit"


def test_an_export_is_a_valid_bundle(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("audit", "export", "--format", "fhir", "--out", tmp_path / "bundle.json")

    found = Bundle.model_validate_json((tmp_path / "bundle.json").read_bytes())
    assert done.exit_code == 0
    assert [entry.resource.subtype[0].code for entry in found.entry] == [*"aaa", "export-audit"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_export_is_a_dicom_message_per_line(invoke: Invoke) -> None:
    done = invoke("audit", "export", "--format", "dicom", "--action", "a")

    roots = [ET.fromstring(line).tag for line in done.output.splitlines()]  # noqa: S314 - our own
    assert roots == ["AuditMessage"] * 3


def test_a_receiver_that_does_not_answer_is_exit_code_1(invoke: Invoke) -> None:
    done = invoke("audit", "forward", "--to", "tls://127.0.0.1:9", "--once")

    assert done.exit_code == 1
    assert getattr(done.exception, "code", None) == "audit-receiver-unavailable"


def test_a_receiver_that_is_away_is_told_in_the_log_of_a_process_that_forwards(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = asyncio.Event()

    async def away(_: Forwarder) -> None:
        stop.set()
        raise AuditReceiverUnavailable

    monkeypatch.setattr(Forwarder, "forward", away)
    monkeypatch.setattr(audit, "told", lambda: stop)

    done = invoke("audit", "forward", "--to", "tls://127.0.0.1:9")

    assert done.exit_code == 0
    assert '"audit-not-forwarded"' in done.stderr


@pytest.fixture
def as_role(database_url: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch):
    """Run a command as a database user with one role."""
    made: list[str] = []

    def run(role: DatabaseRole, *arguments: object) -> Result:
        name = f"test_{role}_{uuid4().hex[:8]}"
        made.append(name)
        ensure_user(database_url, role, name=name, password=PASSWORD)
        parts = urlsplit(database_url)
        netloc = f"{name}:{PASSWORD.replace(' ', '%20')}@"
        monkeypatch.setenv("DATABASE_URL", urlunsplit(parts._replace(netloc=netloc)))
        monkeypatch.setenv("DEID_MODE", "production")
        return invoke(*arguments)

    yield run
    with psycopg.connect(database_url, autocommit=True) as owner:
        for name in made:
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


def test_the_user_that_verifies_can_verify_and_needs_no_key_file(as_role) -> None:
    done = as_role(DatabaseRole.AUDIT, "audit", "verify")

    assert (done.exit_code, done.output.count("intact")) == (0, 2)


def test_the_user_that_verifies_cannot_read_unrecorded(as_role) -> None:
    done = as_role(DatabaseRole.AUDIT, "audit", "list")

    assert getattr(done.exception, "code", None) == "database-unavailable"
    assert done.output == ""


def test_the_auditor_reads_and_is_recorded(as_role) -> None:
    done = as_role(DatabaseRole.AUDITOR, "audit", "list", "--limit", "10")

    assert done.exit_code == 0
    assert [line.split()[3] for line in done.output.splitlines()] == ["read-audit", *"aaa"]
