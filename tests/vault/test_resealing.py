"""Data keys and batches sealed anew on a live system: killed in the middle, nothing is lost."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from app.batches.resealing import old_work, reseal_work
from app.errors import KeyUnavailable
from app.vault.keys import ReidentifyKeys, load_keys
from app.vault.keys_store import KeyFiles
from app.vault.resealing import data_key_versions, reseal_data_keys
from app.vault.sealing import Opener, Sealer
from app.vault.sealing_kems import Kem
from app.vault.workbox import WorkBox, sealed_version
from tests.mapping_house import NORTH, KeyPair, MappingHouse, opened, originals
from tests.vault.identities import patients_of

MANY = 300
ADD_KEYS = """
INSERT INTO data_keys (id, organization, key_version, cloud_patient_id, sealed)
SELECT id, (SELECT number FROM organizations WHERE id = 'NORTH'), 1, 'P' || id, sealed
FROM unnest(%s::bigint[], %s::bytea[]) AS new (id, sealed)
"""

LOCK_LAST_KEY = "SELECT id FROM data_keys ORDER BY id DESC LIMIT 1 FOR UPDATE"


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    return KeyFiles(tmp_path / "keys" / "keys.json", tmp_path / "keys" / "private.json")


def add_data_keys(house: MappingHouse, count: int) -> None:
    sealer = Sealer(house.pair.keys, lambda: 0.0)
    made = [sealer.data_key(NORTH, f"P{number}").stored for number in range(count)]
    with psycopg.connect(house.url) as connection:
        connection.execute(ADD_KEYS, [[m.data_key_id for m in made], [m.sealed for m in made]])


def versions(house: MappingHouse) -> dict[int, int]:
    rows = house.query("SELECT key_version AS v, count(*) AS n FROM data_keys GROUP BY 1")
    return {row["v"]: row["n"] for row in rows}


def reseal_command(house: MappingHouse, files: KeyFiles, directory: Path) -> subprocess.Popen:
    environment = {
        "DATABASE_URL": house.url,
        "DEID_KEY_FILE": str(files.path),
        "DEID_REIDENTIFY_KEY_FILE": str(files.reidentify_path),
        "DEID_DATA_DIR": str(directory),
        "PATH": "/usr/bin:/bin",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "keys", "reseal", "--at-once", "20"],
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_in_the_middle(house: MappingHouse, files: KeyFiles, directory: Path) -> int:
    with psycopg.connect(house.url) as other:  # holds it up at the last key
        other.execute(LOCK_LAST_KEY)
        process = reseal_command(house, files, directory)
        while not versions(house).get(2) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return process.returncode


async def test_a_run_that_was_killed_is_taken_up_again_while_uploads_go_on(
    house: MappingHouse, files: KeyFiles, tmp_path: Path
) -> None:
    before = await house.record(originals(1))
    add_data_keys(house, MANY)
    files.rotate(activate_in_s=-3600)  # in use for an hour, but for the process under test

    ended_with = await asyncio.to_thread(kill_in_the_middle, house, files, tmp_path)
    halfway = versions(house)
    during = await house.record(originals(2, patient_id="PAT-4712", study_uid="1.2.3"))
    second = reseal_command(house, files, tmp_path)
    said, complaint = await asyncio.to_thread(second.communicate)

    assert ended_with == -signal.SIGKILL
    assert 0 < halfway[1] < MANY
    assert (second.returncode, complaint) == (0, "")
    assert f"{halfway[1] + 1} data keys" in said
    assert versions(house) == {2: MANY + 2}
    assert await house.record(originals(1)) == before
    new_keys = KeyPair(load_keys(files.path), ReidentifyKeys(only_newest(files)))
    async with opened(house.url, new_keys, is_new=False) as restarted:
        found = [patients_of(restarted, made.cloud_study_id) for made in (before, during)]
        assert found == [["PAT-4711"], ["PAT-4712"]]
        assert restarted.replacements(originals(1)) == before


def only_newest(files: KeyFiles) -> dict[int, bytes]:
    return {2: files.private().sealing_private_keys[2]}


async def test_keys_that_a_slow_process_adds_meanwhile_are_sealed_anew_too(
    house: MappingHouse, files: KeyFiles
) -> None:
    add_data_keys(house, 30)
    files.rotate(activate_in_s=0, kem=Kem.HYBRID)
    steps = reseal_data_keys(
        house.database, Opener(files.private()), load_keys(files.path), at_once=10
    )

    await anext(steps)
    add_data_keys(house, 30)
    done = 10 + sum([step.resealed async for step in steps])

    assert done == 60
    assert await data_key_versions(house.database) == {2: 60}


async def test_a_key_that_nothing_opens_is_left_as_it_is(
    house: MappingHouse, files: KeyFiles
) -> None:
    add_data_keys(house, 3)
    house_keys = files.rotate(activate_in_s=0)
    stranger = Opener(ReidentifyKeys({1: bytes(range(32))}))

    steps = [
        step
        async for step in reseal_data_keys(house.database, stranger, house_keys.at(time.time()))
    ]

    assert [(step.resealed, step.unopenable) for step in steps] == [(0, 3)]
    assert versions(house) == {1: 3}


async def test_two_runs_at_once_do_the_work_once(house: MappingHouse, files: KeyFiles) -> None:
    add_data_keys(house, 200)
    files.rotate(activate_in_s=0)
    opener, keys = Opener(files.private()), load_keys(files.path)

    async def run() -> int:
        steps = reseal_data_keys(house.database, opener, keys, at_once=10)
        return sum([step.resealed async for step in steps])

    done = await asyncio.gather(run(), run())

    assert sum(done) == 200
    assert versions(house) == {2: 200}


async def test_what_batches_keep_sealed_is_sealed_anew_in_its_place(
    house: MappingHouse, files: KeyFiles
) -> None:
    old = WorkBox(house.pair.keys)
    batch = uuid4()
    with psycopg.connect(house.url) as connection:
        connection.execute(
            "INSERT INTO batches (id, organization, state, priority, on_error, profile,"
            " profile_version, destination, sealed_request, sealed_cursor, actor, request_hash)"
            " SELECT %s, number, 'processing', 0, 'hold', 'basic', '1', 'staging', %s, %s, 'x', ''"
            " FROM organizations WHERE id = 'NORTH'",
            [
                batch,
                old.seal(NORTH, f"{batch} request", b"request"),
                old.seal(NORTH, f"{batch} cursor", b"cursor"),
            ],
        )
        for number in range(5):
            connection.execute(
                "INSERT INTO batch_chunks (batch, number, organization, files, bytes, sealed_files)"
                " SELECT %s, %s, number, 1, 1, %s FROM organizations WHERE id = 'NORTH'",
                [batch, number, old.seal(NORTH, f"{batch} chunk {number}", b"files")],
            )
        connection.execute(
            "INSERT INTO batch_leftovers (organization, batch, kind, sealed_request)"
            " SELECT number, %s, 'staged', %s FROM organizations WHERE id = 'NORTH'",
            [batch, old.seal(NORTH, f"{batch} request", b"request")],
        )
    new = WorkBox(files.rotate(activate_in_s=0).at(time.time()))

    assert await old_work(house.database, new) == 8
    steps = [step async for step in reseal_work(house.database, new, at_once=2)]

    assert sum(step.resealed for step in steps) == 8
    assert await old_work(house.database, new) == 0
    for row in house.query("SELECT number, sealed_files FROM batch_chunks"):
        purpose = f"{batch} chunk {row['number']}"
        assert new.open(NORTH, purpose, row["sealed_files"]) == b"files"
        assert sealed_version(row["sealed_files"]) == 2
    (row,) = house.query("SELECT sealed_request, sealed_cursor FROM batches")
    assert new.open(NORTH, f"{batch} cursor", row["sealed_cursor"]) == b"cursor"
    with pytest.raises(KeyUnavailable):
        old.open(NORTH, f"{batch} request", row["sealed_request"])
