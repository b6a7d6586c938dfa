"""Originals that are destroyed: which, for whom, and what uploads at the same time meet."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import psycopg
import pytest

from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.audit.verifying import verify
from app.db.roles import DatabaseRole, ensure_user
from app.db.session import Database
from app.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    OrganizationNotFound,
    PseudonymNotFound,
    SubjectErased,
)
from app.vault.erasing import Eraser
from app.vault.erasing_clock import apply_retention
from app.vault.erasing_guard import SubjectChanged
from app.vault.erasing_policy import AfterErasure, RetentionPolicies, RetentionPolicy
from app.vault.erasing_report import processing
from app.vault.mapping import Originals
from app.vault.resealing import reseal_data_keys
from app.vault.sealing import Opener, SealedDataKey
from tests.mapping_house import NORTH, SOUTH, MappingHouse, opened, originals
from tests.vault.identities import patients_of

PASSWORD = "a-password-of-the-tests"
ORIGINALS = ("data_keys", "subjects", "studies", "study_identities", "series", "instances")


@pytest.fixture
def admin_url(house: MappingHouse) -> Iterator[str]:
    """The database as the user of the role admin sees it."""
    name = f"admin_{house.url.partition('/test_')[2][:12]}"
    ensure_user(house.url, DatabaseRole.ADMIN, name=name, password=PASSWORD)
    yield house.url.replace("postgres@", f"{name}:{PASSWORD}@")
    with psycopg.connect(house.url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


@pytest.fixture
def eraser(house: MappingHouse) -> Eraser:
    return Eraser(house.database, AuditTrail)


UNKNOWN_STUDY = "ABEGD-VMRG7-BWK9"  # whose key was revoked learns not even that


def asking(**given: object) -> AuditEvent:
    return AuditEvent(action="", actor="officer", **({"purpose": "request of the patient"} | given))


async def set_policy(
    house: MappingHouse, after: AfterErasure = AfterErasure.REFUSE, days: int | None = None
) -> None:
    policy = RetentionPolicy(NORTH, days, after)
    await RetentionPolicies(house.database).set(policy, asking(), AuditTrail())


def other(number: int = 1, **given: str):
    """An instance of another patient."""
    made = {"patient_id": "PAT-9", "study_uid": "1.9", "series_uid": "1.9.1"} | given
    return originals(number, sop_instance_uid=f"1.9.1.{number}", **made)


def age(house: MappingHouse, days: int) -> None:
    with psycopg.connect(house.url) as connection:
        for table in ("data_keys", "instances"):
            column = "created_at" if table == "data_keys" else "first_seen_at"
            connection.execute(
                f"UPDATE {table} SET {column} = {column} - make_interval(days => %s)", [days]
            )


def counts(house: MappingHouse) -> dict[str, int]:
    return {table: house.count(table) for table in ORIGINALS}


async def is_whole(house: MappingHouse) -> bool:
    """Whether every row's data key is there, and every row that is needed beside another."""
    lost = house.query(
        "SELECT 1 FROM (SELECT data_key FROM subjects UNION ALL SELECT data_key FROM studies"
        " UNION ALL SELECT data_key FROM study_identities UNION ALL SELECT data_key FROM series"
        " UNION ALL SELECT data_key FROM instances) AS rows (id)"
        " LEFT JOIN data_keys USING (id) WHERE data_keys.id IS NULL"
    )
    alone = house.query(
        "SELECT 1 FROM instances AS i LEFT JOIN series AS s"
        " ON s.organization = i.organization AND s.uid = i.series_uid WHERE s.uid IS NULL"
    )
    return not lost and not alone


async def test_all_originals_of_the_patient_are_destroyed_and_nobody_elses(
    house: MappingHouse, eraser: Eraser
) -> None:
    erased = await house.record(originals(1))
    await house.record(originals(2))
    kept = await house.record(other())
    same_elsewhere = await house.record(originals(1), organization=SOUTH)

    done = await eraser.erase(organization=NORTH, pseudonym=erased.cloud_patient_id, event=asking())

    assert done.counts() == {
        "data_keys": 1,
        "identities": 1,
        "studies": 1,
        "series": 1,
        "instances": 2,
        "file_names": 0,
        "held_objects": 0,
    }
    assert counts(house) == dict.fromkeys(ORIGINALS, 2)
    assert patients_of(house, kept.cloud_study_id) == ["PAT-9"]
    assert patients_of(house, same_elsewhere.cloud_study_id, SOUTH) == ["PAT-4711"]
    assert patients_of(house, erased.cloud_study_id) == []


async def test_a_tombstone_and_an_audit_row_stay(house: MappingHouse, eraser: Eraser) -> None:
    patient = (await house.record(originals())).cloud_patient_id

    await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

    (tombstone,) = house.query("SELECT * FROM tombstones")
    assert tombstone["cloud_patient_id"] == patient
    assert tombstone["erased_at"] is not None
    (row,) = house.query("SELECT * FROM audit_events WHERE action = 'erase-subject'")
    assert (row["outcome"], row["purpose"]) == ("success", "request of the patient")
    assert row["detail"]["cloud_patient_id"] == patient
    assert row["detail"]["instances"] == 1
    assert (await verify(house.database, NORTH)).is_intact


@pytest.mark.parametrize("form", ["{patient}", "{organization}-{patient}", "{study}", " {lower} "])
async def test_a_patient_is_named_by_any_of_his_pseudonyms(
    house: MappingHouse, eraser: Eraser, form: str
) -> None:
    made = await house.record(originals())
    asked = form.format(
        patient=made.cloud_patient_id,
        organization=NORTH,
        study=made.cloud_study_id,
        lower=made.cloud_patient_id.lower(),
    )

    done = await eraser.erase(organization=NORTH, pseudonym=asked, event=asking())

    assert done.cloud_patient_id == made.cloud_patient_id


async def test_a_study_of_two_patients_names_none(house: MappingHouse, eraser: Eraser) -> None:
    made = await house.record(originals(1))
    await house.record(originals(1, patient_id="PAT-4712"))

    with pytest.raises(Conflict):
        await eraser.erase(organization=NORTH, pseudonym=made.cloud_study_id, event=asking())

    assert counts(house)["study_identities"] == 2


async def test_a_study_that_is_also_anothers_stays_his(house: MappingHouse, eraser: Eraser) -> None:
    mistaken = await house.record(originals(1))
    await house.record(originals(1, patient_id="PAT-4712"))

    await eraser.erase(organization=NORTH, pseudonym=mistaken.cloud_patient_id, event=asking())

    assert patients_of(house, mistaken.cloud_study_id) == ["PAT-4712"]
    (study,) = house.query("SELECT sealed, data_key FROM studies")
    assert study == {"sealed": None, "data_key": None}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pseudonym": "P0000000000000"}, InvalidRequest),
        ({"pseudonym": "PLANTED^NAME"}, InvalidRequest),
        ({"event": asking(purpose=" ")}, InvalidRequest),
        ({"organization": "NOWHERE"}, OrganizationNotFound),
        ({"organization": SOUTH}, PseudonymNotFound),
        ({"event": asking(api_key_id="revoked")}, NotAuthenticated),
        ({"event": asking(api_key_id="revoked"), "pseudonym": "P000000000000"}, NotAuthenticated),
        ({"event": asking(api_key_id="revoked"), "pseudonym": UNKNOWN_STUDY}, NotAuthenticated),
    ],
    ids=range(8),
)
async def test_what_may_not_be_erased_is_refused_and_recorded(
    house: MappingHouse, eraser: Eraser, given: dict[str, object], expected: type[Exception]
) -> None:
    patient = (await house.record(originals())).cloud_patient_id
    asked = {"organization": NORTH, "pseudonym": patient, "event": asking()} | given

    with pytest.raises(expected):
        await eraser.erase(**asked)

    rows = house.query("SELECT outcome, detail FROM audit_events WHERE action = 'erase-subject'")
    assert [row["outcome"] for row in rows] == [expected.code]
    assert "PLANTED" not in str(rows)
    assert counts(house) == dict.fromkeys(ORIGINALS, 1)


async def test_later_uploads_of_the_patient_are_refused(
    house: MappingHouse, eraser: Eraser
) -> None:
    patient = (await house.record(originals(1))).cloud_patient_id
    await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

    for number in (1, 2):  # known to the process's memory, and new
        with pytest.raises(SubjectErased):
            await house.record(originals(number))
    await house.record(other())

    assert counts(house) == dict.fromkeys(ORIGINALS, 1)
    assert house.outcomes().count("subject-erased") == 2


async def test_a_fresh_process_refuses_him_too(house: MappingHouse, eraser: Eraser) -> None:
    patient = (await house.record(originals(1))).cloud_patient_id
    await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

    async with opened(house.url, house.pair, is_new=False) as fresh:
        with pytest.raises(SubjectErased):
            await fresh.record(originals(1))


async def test_an_organisation_may_take_him_again_and_everything_is_there_anew(
    house: MappingHouse, eraser: Eraser
) -> None:
    await set_policy(house, AfterErasure.RECREATE)
    before = await house.record(originals(1))
    await house.record(originals(2))
    await eraser.erase(organization=NORTH, pseudonym=before.cloud_patient_id, event=asking())

    after = await house.record(originals(1))

    assert after == before
    assert patients_of(house, after.cloud_study_id) == ["PAT-4711"]
    assert counts(house) == dict.fromkeys(ORIGINALS, 1)
    assert await is_whole(house)


async def test_erasing_again_destroys_what_came_since(house: MappingHouse, eraser: Eraser) -> None:
    await set_policy(house, AfterErasure.RECREATE)
    patient = (await house.record(originals(1))).cloud_patient_id
    for _ in range(2):
        await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())
        await house.record(originals(1))

    done = await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())
    nothing = await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

    assert (done.instances, nothing.instances) == (1, 0)
    assert counts(house) == dict.fromkeys(ORIGINALS, 0)


async def test_a_destroyed_data_key_does_not_come_back_from_a_processs_memory(
    house: MappingHouse, eraser: Eraser
) -> None:
    await set_policy(house, AfterErasure.RECREATE)
    patient = (await house.record(originals(1))).cloud_patient_id
    remembered = house.vault.data_key(NORTH, patient).stored
    await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

    add_data_key(house, remembered, patient)

    assert house.count("data_keys") == 0


async def test_a_new_data_key_of_a_refused_patient_is_not_kept(
    house: MappingHouse, eraser: Eraser
) -> None:
    patient = (await house.record(originals(1))).cloud_patient_id
    await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

    add_data_key(house, SealedDataKey(7, NORTH, 1, b"x"), patient)

    assert house.count("data_keys") == 0


def add_data_key(house: MappingHouse, key: SealedDataKey, patient: str) -> None:
    with psycopg.connect(house.url) as connection:  # as workers do for the names of files
        connection.execute(
            "INSERT INTO data_keys (id, organization, key_version, cloud_patient_id, sealed)"
            " SELECT %s, number, 1, %s, %s FROM organizations WHERE id = 'NORTH'"
            " ON CONFLICT DO NOTHING",
            [key.data_key_id, patient, key.sealed],
        )


async def recorded_at_last(process: MappingHouse, found: Originals) -> None:
    """Record as senders do that are told to try again: a slow machine erases over and over."""
    while True:
        with suppress(SubjectChanged):
            await process.record(found)
            return


@pytest.mark.parametrize("after", AfterErasure)
async def test_an_erasure_among_uploads_of_the_same_patient_leaves_no_half_state(
    house: MappingHouse, eraser: Eraser, after: AfterErasure
) -> None:
    await set_policy(house, after)
    patient = (await house.record(originals(0))).cloud_patient_id
    numbers = itertools.count(1)
    refused, recorded = [], []
    async with opened(house.url, house.pair, is_new=False) as second:

        async def upload(process: MappingHouse) -> None:
            for _ in range(15):
                number = next(numbers)
                try:
                    await recorded_at_last(process, originals(number))
                    recorded.append(number)
                except SubjectErased:
                    refused.append(number)
                await recorded_at_last(process, other(number))

        async def erase() -> None:
            for _ in range(4):
                await asyncio.sleep(0.02)
                await eraser.erase(organization=NORTH, pseudonym=patient, event=asking())

        await asyncio.gather(*[upload(p) for p in (house, second) * 3], erase())

    assert await is_whole(house)
    assert house.count("tombstones") == 1
    rows = house.query("SELECT count(*) AS n FROM data_keys WHERE cloud_patient_id = %s", patient)
    if after is AfterErasure.REFUSE:
        assert rows[0]["n"] == 0
        assert refused
    else:
        assert (len(recorded), refused) == (90, [])
        await house.record(originals(1000))
        assert patients_of(house, house.replacements(originals(0)).cloud_study_id) == ["PAT-4711"]
    assert (
        house.query(
            "SELECT count(*) AS n FROM instances AS i JOIN data_keys AS k"
            " ON k.id = i.data_key WHERE k.cloud_patient_id <> %s",
            patient,
        )[0]["n"]
        == 90
    )
    assert (await verify(house.database, NORTH)).is_intact


async def test_originals_beyond_their_age_are_destroyed_and_younger_ones_stay(
    house: MappingHouse, eraser: Eraser
) -> None:
    await set_policy(house, days=30)
    old = await house.record(originals(1))
    await house.record(other(1))
    age(house, 31)
    async with opened(house.url, house.pair, is_new=False) as later:
        young = await later.record(originals(2, study_uid="1.7", series_uid="1.7.1"))

    done = [one async for one in eraser.expire(NORTH, AuditEvent(action="", actor="clock"))]

    assert sorted(one.instances for one in done) == [1, 1]
    assert patients_of(house, young.cloud_study_id) == ["PAT-4711"]
    assert patients_of(house, old.cloud_study_id) == []
    assert house.count("instances") == 1
    expired = house.query("SELECT * FROM audit_events WHERE action = 'erase-expired'")
    assert [row["actor"] for row in expired] == ["clock", "clock"]


async def test_an_expired_patient_is_taken_again_whatever_the_policy(
    house: MappingHouse, eraser: Eraser
) -> None:
    await set_policy(house, AfterErasure.REFUSE, days=30)
    before = await house.record(originals(1))
    age(house, 31)
    assert len([one async for one in eraser.expire(NORTH, asking())]) == 1

    await house.record(originals(1))

    assert patients_of(house, before.cloud_study_id) == ["PAT-4711"]
    assert await is_whole(house)


async def test_without_a_number_of_days_nothing_expires(
    house: MappingHouse, eraser: Eraser
) -> None:
    await house.record(originals(1))
    age(house, 5000)

    assert [one async for one in eraser.expire(NORTH, asking())] == []


async def test_names_of_files_at_the_source_are_destroyed(
    house: MappingHouse, eraser: Eraser
) -> None:
    made = await house.record(originals(1))
    (key,) = house.query("SELECT id FROM data_keys")
    with psycopg.connect(house.url) as connection:
        batch = connection.execute(
            "INSERT INTO batches (id, organization, state, priority, on_error, profile,"
            " profile_version, destination, sealed_request, actor, request_hash)"
            " SELECT gen_random_uuid(), number, 'succeeded', 0, 'hold', 'basic', '1', 's', '', 'x',"
            " '' FROM organizations WHERE id = 'NORTH' RETURNING id"
        ).fetchone()[0]
        for seq, data_key in enumerate((key["id"], 99)):
            connection.execute(
                "INSERT INTO batch_items (batch, seq, chunk, state, data_key, sealed_name)"
                " VALUES (%s, %s, 0, 'succeeded', %s, 'sealed')",
                [batch, seq, data_key],
            )

    done = await eraser.erase(organization=NORTH, pseudonym=made.cloud_patient_id, event=asking())

    assert done.file_names == 1
    names = house.query("SELECT sealed_name FROM batch_items ORDER BY seq")
    assert [bytes(row["sealed_name"]) for row in names] == [b"", b"sealed"]


async def test_the_administering_user_erases_reseals_and_reads_no_original(
    house: MappingHouse, admin_url: str
) -> None:
    patient = (await house.record(originals(1))).cloud_patient_id
    await house.record(other())
    await set_policy(house, days=30)
    database = Database(admin_url)
    admin = Eraser(database, AuditTrail)
    keys = replace(house.pair.keys, sealing_key_version=2)

    steps = [s async for s in reseal_data_keys(database, Opener(house.pair.private), keys)]
    await admin.erase(organization=NORTH, pseudonym=patient, event=asking())
    age(house, 31)
    done = await apply_retention(database, admin, asking())
    report = await processing(database)
    await database.close()

    assert [step.resealed for step in steps] == [2]
    assert done == {NORTH: 1}
    assert counts(house) == dict.fromkeys(ORIGINALS, 0)
    assert [(one.erased_patients, one.expired_patients) for one in report] == [(1, 1), (0, 0)]
    with psycopg.connect(admin_url) as connection:
        for table in ORIGINALS[1:]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT sealed FROM {table}")
            connection.rollback()


async def test_one_process_at_a_time_applies_retention(house: MappingHouse, eraser: Eraser) -> None:
    await set_policy(house, days=30)
    await house.record(originals(1))
    age(house, 31)

    with psycopg.connect(house.url, autocommit=True) as other_process:
        other_process.execute("SELECT pg_advisory_lock(hashtextextended('retention', 0))")
        assert await apply_retention(house.database, eraser, asking()) is None

    assert await apply_retention(house.database, eraser, asking()) == {NORTH: 1}


async def test_a_policy_is_set_and_read_back(house: MappingHouse) -> None:
    policies = RetentionPolicies(house.database)
    await policies.set(RetentionPolicy(NORTH, 3650, AfterErasure.RECREATE), asking(), AuditTrail())

    assert await policies.all() == [
        RetentionPolicy(NORTH, 3650, AfterErasure.RECREATE),
        RetentionPolicy(SOUTH, None, AfterErasure.REFUSE),
    ]
    for organization, days, refusal in (
        (NORTH, 0, InvalidRequest),
        ("NONE", 1, OrganizationNotFound),
    ):
        with pytest.raises(refusal):
            await policies.set(
                RetentionPolicy(organization, days, AfterErasure.REFUSE), asking(), AuditTrail()
            )
