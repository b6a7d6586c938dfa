"""A batch from the command line, without a server."""

import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from app import bootstrap, errors
from app.cli.batch_local import hand_in
from app.cli.batch_order import Order, SourceKind
from app.cli.options import operating_system_user
from app.samples import write_sample_study
from app.settings import Settings
from app.settings.service import Role
from tests.batches.house import files
from tests.cli.conftest import Invoke, files_below

pytestmark = pytest.mark.db
ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    directory = tmp_path / "PLANTED^NAME"
    write_sample_study(directory)
    return directory


def order(source: Path | str, **asked: object) -> Order:
    kind = SourceKind.URL if "://" in str(source) else SourceKind.DIRECTORY
    usual = {
        "destination": None,
        "organization": None,
        "profile": None,
        "priority": "STAT",
        "on_error": "hold",
        "watch": True,
        "fhir": False,
        "callback": None,
        "idempotency_key": "key-1",
    }
    return Order(**{**usual, "source": str(source), "kind": kind, **asked})


# --- Done here -----------------------------------------------------------------------------------


def test_a_directory_is_published_whole_with_its_manifest(
    invoke: Invoke, study: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    done = invoke("batch", study, "--to", out, "--concurrency", "2", "--fhir")

    names = files_below(out)
    assert done.exit_code == 0, done.output
    assert len([name for name in names if name.endswith(".dcm")]) == 7
    assert len([name for name in names if name.endswith("manifest.json")]) == 1
    assert re.search(r"published +│ +7 ", done.stdout)
    assert f"manifest: {out}/" in done.stdout
    assert "PLANTED" not in done.output
    assert "PLANTED" not in " ".join(names)


def test_nothing_is_published_and_the_code_says_so_when_one_file_is_refused(
    invoke: Invoke, study: Path, tmp_path: Path
) -> None:
    damaged = study / "ct-1-1.dcm"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    (study / "letter.txt").write_text("not DICOM, and no obstacle")

    done = invoke("batch", study, "--to", tmp_path / "out")

    assert done.exit_code == 1
    assert re.search(r"state +│ held", done.stdout)
    assert re.search(r"truncated +│ 1", done.stdout)
    assert re.search(r"not-dicom +│ 1", done.stdout)
    assert not (tmp_path / "out").exists() or files_below(tmp_path / "out") == []


def test_an_archive_is_worked_on_and_left_where_it_was(
    invoke: Invoke, study: Path, tmp_path: Path, data_dir: Path
) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as writing:
        for path in study.iterdir():
            writing.write(path, path.name)

    done = invoke("batch", archive, "--on-error", "skip", "--priority", "stat")

    assert done.exit_code == 0, done.output
    assert "lies in:" in done.stdout
    assert archive.exists()
    assert list((data_dir / "staging" / ".uploads").iterdir()) == []


def interrupted(study: Path, database_url: str, data_dir: Path, *numbers: int) -> tuple[int, str]:
    """Start a batch that waits for room, interrupt it, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "batch", str(study)],
        env={
            "DATABASE_URL": database_url,
            "DEID_DATA_DIR": str(data_dir),
            "DEID_STAGING_MIN_FREE_BYTES": str(1 << 60),
        },
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():
        time.sleep(0.01)
    for number in numbers:
        process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, said + rest


def test_an_interrupted_batch_is_kept_and_says_how_it_goes_on(
    study: Path, database_url: str, data_dir: Path
) -> None:
    code, said = interrupted(study, database_url, data_dir, signal.SIGINT)

    with psycopg.connect(database_url) as connection:
        (state,) = connection.execute("SELECT state FROM batches").fetchone()
        (workers,) = connection.execute("SELECT count(*) FROM batch_workers").fetchone()
    assert code == 130
    assert "worker --once" in said
    assert state in {"queued", "processing"}
    assert workers == 0
    assert "Traceback" not in said


def test_an_interrupted_batch_is_done_by_workers_that_come_later(
    study: Path, database_url: str, data_dir: Path
) -> None:
    interrupted(study, database_url, data_dir, signal.SIGTERM)

    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "worker", "--once", "--concurrency", "1"],
        env={"DATABASE_URL": database_url, "DEID_DATA_DIR": str(data_dir)},
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )

    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT state, published_files FROM batches").fetchall()
    assert done.returncode == 0, done.stderr
    assert found == [("succeeded", 7)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["letter.txt"],
        [".", "--priority", "SOON"],
        [".", "--gateway", "gateway.example"],
        [".", "--gateway", "http://127.0.0.1:1"],
        [".", "--gateway", "http://127.0.0.1:1", "--api-key-file", "scan.dcm"],
        [".", "--gateway", "http://127.0.0.1:1", "--concurrency", "2"],
        ["x" * 5000],
        [".", "--gateway", "http://[::1", "--api-key-file", "letter.txt"],
        [".", "--idempotency-key", "a b"],
        [".", "--idempotency-key", "k" * 256],
        [".", "--idempotency-key", "k\u00e9y", "--gateway", "http://127.0.0.1:1"],
    ],
    ids=[
        *("absent", "no-archive", "priority", "no-url", "no-key", "no-key-file", "not-both"),
        *("name-too-long", "broken-address"),
        *("key-with-a-space", "key-too-long", "key-not-ascii"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter.txt").write_text("dgw_key")
    (tmp_path / "scan.dcm").write_bytes(b"\xff\x00DICM")

    assert invoke("batch", *arguments).exit_code == 2
    assert not (tmp_path / "data").exists()


def test_an_organisation_is_not_made_by_naming_it(
    invoke: Invoke, study: Path, tmp_path: Path
) -> None:
    done = invoke("batch", study, "--to", tmp_path / "out", "--organization", "TYPO")

    assert isinstance(done.exception, errors.OrganizationNotFound)
    assert "TYPO" not in invoke("organizations", "list").output


# --- What is asked for ---------------------------------------------------------------------------


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[bootstrap.Gateway]:
    stores = tmp_path / "stores.yaml"
    stores.write_text(
        "stores:\n  archive:\n    url: s3://bucket/prefix\n    organizations: [DEMO]\n"
        "    use: [destination, source]\n"
    )
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path / "data",
        roles=frozenset({Role.BATCH}),
        stores_file=stores,
    )
    async with bootstrap.opened(settings) as opened:
        yield opened


async def request_of(gateway: bootstrap.Gateway, asked: Order) -> tuple[dict, dict, UUID | None]:
    """Hand a batch in and return what the worker that takes it is told."""
    await hand_in(gateway, asked)
    staging = gateway.intake.staging_id
    claim = await gateway.work.claim_scan(await gateway.work.join(staging), staging)
    with psycopg.connect(gateway.settings.database_url.get_secret_value()) as connection:
        (home,) = connection.execute("SELECT home FROM batches").fetchone()
    return dict(claim.request.source), dict(claim.request.destination), home


async def test_a_directory_of_the_caller_needs_no_configured_root(
    gateway: bootstrap.Gateway, study: Path
) -> None:
    source, destination, home = await request_of(gateway, order(study))

    assert (source["kind"], source["root"]) == ("directory", str(study))
    assert destination == {"kind": "staging"}
    assert home == gateway.intake.staging_id


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("archive", {"kind": "store", "name": "archive"}),
        ("s3://other/place", {"kind": "url", "url": "s3://other/place"}),
        ("./out", {"kind": "url", "url": f"file://{Path.cwd()}/out"}),
        ("/srv/out", {"kind": "url", "url": "file:///srv/out"}),
        ("staging", {"kind": "staging"}),
    ],
)
async def test_a_destination_is_a_store_by_its_name_or_a_place(
    gateway: bootstrap.Gateway, study: Path, given: str, stored: dict
) -> None:
    _, destination, _ = await request_of(gateway, order(study, destination=given))

    assert destination == stored


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (
            "store://archive/some/study",
            {"kind": "store", "name": "archive", "prefix": "some/study"},
        ),
        ("s3://other/place", {"kind": "url", "url": "s3://other/place"}),
    ],
)
async def test_a_source_may_be_an_object_store(
    gateway: bootstrap.Gateway, given: str, stored: dict
) -> None:
    source, _, _ = await request_of(gateway, order(given))

    assert source == stored


async def test_the_same_key_again_finds_the_same_batch(
    gateway: bootstrap.Gateway, study: Path
) -> None:
    first, _ = await hand_in(gateway, order(study))
    again, _ = await hand_in(gateway, order(study))

    assert first.batch_id == again.batch_id
    with pytest.raises(errors.IdempotencyKeyReused):
        await hand_in(gateway, order(study, on_error="skip"))


async def test_the_same_archive_again_is_the_same_batch_and_kept_once(
    gateway: bootstrap.Gateway, study: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as writing:
        writing.write(study / "report.dcm", "report.dcm")
    asked = order(archive, kind=SourceKind.ARCHIVE)

    first, name = await hand_in(gateway, asked)
    again, _ = await hand_in(gateway, asked)

    kept = list((gateway.settings.staging_path / ".uploads").iterdir())
    assert first.batch_id == again.batch_id
    assert [path.name for path in kept] == [name]
    assert [path.read_bytes() for path in kept] == [archive.read_bytes()]
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o600]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"destination": "elsewhere"}, errors.DestinationNotFound),
        ({"destination": "ftp://host/place"}, errors.InvalidRequest),
        ({"profile": "none-such"}, errors.ProfileNotFound),
        ({"callback": "https://unknown.example/"}, errors.CallbackNotAllowed),
    ],
)
async def test_what_cannot_be_done_is_refused_before_a_batch_is_made(
    gateway: bootstrap.Gateway, study: Path, asked: dict, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await hand_in(gateway, order(study, **asked))

    assert await gateway.batches.list("DEMO") == []


async def test_an_autoscaler_counts_a_batch_and_the_chunks_that_are_left(
    gateway: bootstrap.Gateway, study: Path, database_url: str
) -> None:
    query = (ROOT / "deploy/helm/deid-gateway/files/waiting.sql").read_text()
    staging = gateway.intake.staging_id
    counted = []

    with psycopg.connect(database_url, autocommit=True) as connection:
        counted.append(connection.execute(query).fetchone()[0])
        await hand_in(gateway, order(study))
        counted.append(connection.execute(query).fetchone()[0])
        claim = await gateway.work.claim_scan(await gateway.work.join(staging), staging)
        await gateway.work.add_chunks(claim, [files(3), files(2)])
        counted.append(connection.execute(query).fetchone()[0])

    assert counted == [0, 1, 3]


async def test_the_audit_names_who_handed_it_in(
    gateway: bootstrap.Gateway, study: Path, database_url: str
) -> None:
    await hand_in(gateway, order(study))

    with psycopg.connect(database_url) as connection:
        actors = connection.execute(
            "SELECT actor FROM audit_events WHERE action = 'batch-prepare'"
        ).fetchall()
    assert actors == [(f"cli:{operating_system_user()}",)]
