"""A backup of mapping and keys finds an old study on another machine; without keys it does not."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from app.db.embedded import EmbeddedPostgres
from app.samples import sample_instance
from tests.api.test_uploads import Program

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.db


@contextmanager
def serving(url: str | None, data_dir: Path) -> Iterator[Program]:
    program = Program(url, data_dir)
    try:
        yield program
    finally:
        program.stop()


def run(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env={"PATH": "/usr/bin:/bin", "DEID_DATA_DIR": str(data_dir)} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def sent(program: Program, data_dir: Path) -> str:
    token = (data_dir / "keys" / "development.token").read_text().strip()
    answer = httpx.post(
        f"http://127.0.0.1:{program.port}/anonymize-stream",
        content=sample_instance().data,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"},
    )
    assert answer.status_code == 200
    return answer.headers["X-Cloud-Study-Id"]


def asked(program: Program, token: str, study: str) -> httpx.Response:
    return httpx.get(
        f"http://127.0.0.1:{program.port}/reidentify",
        params={"cloud_study_id": study, "purpose": "TREAT", "reference": "TICKET-1"},
        headers={"Authorization": f"Bearer {token}"},
    )


def carry_keys(here: Path, there: Path) -> None:
    for name in ("gateway-keys.json", "reidentification-key.json"):
        shutil.copy2(here / name, there / name)


@contextmanager
def machine(directory: Path) -> Iterator[Path]:
    """A data directory whose embedded server is kept up between commands."""
    directory.mkdir(mode=0o700)
    reachable = directory.with_name("reachable")
    server = EmbeddedPostgres(directory / "postgres", fsync=False, reachable_dir=reachable)
    server.start()
    try:
        yield directory
    finally:
        server.stop()


def test_a_restore_on_another_machine_finds_an_old_study(reachable_path: Path) -> None:
    """Both machines have embedded servers; only the dump and the key files are carried."""
    carried = reachable_path / "carried"
    carried.mkdir()
    with machine(reachable_path / "old") as old:
        with serving(None, old) as program:
            study = sent(program, old)
            dumped = run(old, "db", "dump", str(carried / "mapping.dump"))
        carry_keys(old / "keys", carried)
        token = (old / "keys" / "development-reporting.token").read_text().strip()
    shutil.rmtree(old)

    with machine(reachable_path / "new") as new:
        restored = run(new, "db", "restore", str(carried / "mapping.dump"))
        (new / "keys").mkdir()
        carry_keys(carried, new / "keys")
        verified = run(new, "audit", "verify")
        with serving(None, new) as program:
            found = asked(program, token, study)
            again = sent(program, new)

    said = dumped.stderr + restored.stderr + verified.stdout + verified.stderr
    assert (dumped.returncode, restored.returncode, verified.returncode) == (0, 0, 0), said
    assert stat.S_IMODE((carried / "mapping.dump").stat().st_mode) == 0o600
    assert found.json()["original_patient_id"] == "SAMPLE-0001"
    assert again == study


def test_every_missing_key_has_its_consequence(
    database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "mapping.dump"
    with serving(database_url, old) as program:
        study = sent(program, old)
    dumped = run(old, "db", "dump", str(file), DATABASE_URL=database_url)
    token = (old / "keys" / "development-reporting.token").read_text().strip()
    restored = run(new, "db", "restore", str(file), DATABASE_URL=empty_database_url)
    (new / "keys").mkdir(parents=True)
    refused = run(new, "serve", DATABASE_URL=empty_database_url, DEID_MODE="production")
    shutil.copy2(old / "keys" / "gateway-keys.json", new / "keys")
    with serving(empty_database_url, new) as program:
        unopened, same = asked(program, token, study), sent(program, new)
    (new / "keys" / "gateway-keys.json").unlink()
    with serving(empty_database_url, new) as program:  # development makes new ones
        unknown, other = asked(program, token, study), sent(program, new)

    assert (dumped.returncode, restored.returncode) == (0, 0), dumped.stderr + restored.stderr
    assert (refused.returncode, "gateway-keys.json cannot be read" in refused.stderr) == (1, True)
    assert (unopened.status_code, unopened.json()["code"]) == (503, "key-unavailable")
    assert same == study
    assert (unknown.status_code, unknown.json()["code"]) == (503, "key-unavailable")
    assert other != study


def test_a_file_that_is_no_dump_leaves_the_database_empty(
    empty_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "no.dump"
    file.write_bytes(os.urandom(1000))

    done = run(tmp_path / "data", "db", "restore", str(file), DATABASE_URL=empty_database_url)

    with psycopg.connect(empty_database_url) as connection:
        tables = connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert (done.returncode, tables) == (1, [])


def test_a_database_that_is_in_use_is_not_restored_into(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "mapping.dump"
    file.touch()

    done = run(tmp_path / "data", "db", "restore", str(file), DATABASE_URL=database_url)

    assert (done.returncode, "is not empty" in done.stderr) == (1, True)


def test_an_existing_file_is_not_overwritten(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "mapping.dump"
    file.write_text(json.dumps("kept"))

    done = run(tmp_path / "data", "db", "dump", str(file), DATABASE_URL=database_url)

    assert done.returncode == 1
    assert file.read_text() == '"kept"'
    assert sorted(path.name for path in tmp_path.glob("*mapping*")) == ["mapping.dump"]
