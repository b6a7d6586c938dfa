import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event

from app.audit.verifying import verify
from app.errors import DatabaseUnavailable, OrganizationNotFound, PseudonymCollision
from app.vault.mapping import Originals
from app.vault.repository import MappingRepository
from app.vault.sealing import Opener, SealedDataKey
from tests.mapping_house import NORTH, SOUTH, KeyPair, MappingHouse, opened, originals

pytestmark = pytest.mark.db
LEVELS = ("subjects", "studies", "study_identities", "series", "instances")


async def test_an_instance_makes_one_row_per_level_and_an_audit_row(house: MappingHouse) -> None:
    await house.record(originals())

    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 1, 1]
    assert house.outcomes() == ["success"]


async def test_the_same_instance_again_adds_only_an_audit_row(house: MappingHouse) -> None:
    await house.record(originals())
    await house.record(originals())

    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 1, 1]
    assert house.outcomes() == ["success", "success"]


async def test_the_same_instance_from_another_process_adds_only_an_audit_row(
    house: MappingHouse, pair: KeyPair
) -> None:
    await house.record(originals())

    async with opened(house.url, pair, is_new=False) as other:
        await other.record(originals())

    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 1, 1]


async def test_fifty_first_uploads_of_one_study_at_once_make_one_study(
    house: MappingHouse,
) -> None:
    made = await asyncio.gather(*[house.record(originals(n)) for n in range(50)])

    assert len({replacements.cloud_study_id for replacements in made}) == 1
    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 1, 50]
    assert house.count("data_keys") == 1
    assert (await verify(house.database, NORTH)).events == 50


async def test_fifty_first_uploads_through_two_processes_make_one_study(
    house: MappingHouse, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.vault.fifty_uploads", house.url, str(tmp_path / "keys")]
    root = Path(__file__).parents[2]

    processes = [
        subprocess.Popen(  # noqa: ASYNC220 - our own interpreter and module
            command, cwd=root, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    printed = {process.communicate(timeout=60)[0].strip() for process in processes}

    assert [process.returncode for process in processes] == [0, 0]
    assert len(printed) == 1
    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 1, 50]
    found = await verify(house.database, NORTH)
    assert (found.is_intact, found.events) == (True, 100)


async def test_organisations_do_not_share_rows_or_pseudonyms(house: MappingHouse) -> None:
    north = await house.record(originals())
    south = await house.record(originals(), organization=SOUTH)

    assert set(vars_of(north)).isdisjoint(vars_of(south))
    assert [house.count(table) for table in LEVELS] == [2, 2, 2, 2, 2]


async def test_no_column_holds_an_original_in_clear(house: MappingHouse) -> None:
    planted = originals()

    await house.record(planted)

    kept = "\n".join(
        str(row)
        for table in (*LEVELS, "data_keys", "audit_events")
        for row in rows_of(house, table)
    )
    for value in (planted.patient_id, planted.accession_number, planted.study_uid, "ISSUER"):
        assert value not in kept
        assert value.encode().hex() not in kept


async def test_a_pseudonym_of_another_original_is_refused(house: MappingHouse) -> None:
    first = originals()
    made = await house.record(first)
    second = originals(2, study_uid="1.2.840.999.2")
    stolen = house.replacements(second, cloud_study_id=made.cloud_study_id)

    with pytest.raises(PseudonymCollision):
        await house.record(second, replacements=stolen)

    assert house.count("instances") == 1
    assert house.outcomes() == ["success", "pseudonym-collision"]


@pytest.mark.parametrize("field", ["cloud_patient_id", "series_uid", "sop_instance_uid"])
async def test_a_collision_is_noticed_at_every_level_by_another_process(
    house: MappingHouse, pair: KeyPair, field: str
) -> None:
    made = await house.record(originals())
    second = Originals("P2", "I", "1.9", "A2", "1.9.1", "1.9.1.1", "patient:I:P2")

    async with opened(house.url, pair, is_new=False) as other:
        stolen = other.replacements(second, **{field: getattr(made, field)})
        with pytest.raises(PseudonymCollision):
            await other.record(second, replacements=stolen)

    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 1, 1]


async def test_a_collision_fails_its_own_call_only(house: MappingHouse, pair: KeyPair) -> None:
    made = await house.record(originals())
    second = originals(99, study_uid="1.2.840.999.2")

    async with opened(house.url, pair, is_new=False) as other:
        stolen = other.replacements(second, cloud_study_id=made.cloud_study_id)
        answers = await asyncio.gather(
            *[other.record(originals(n)) for n in range(2, 10)],
            other.record(second, replacements=stolen),
            *[other.record(originals(n)) for n in range(10, 20)],
            return_exceptions=True,
        )

    assert [type(answer) for answer in answers if isinstance(answer, Exception)] == [
        PseudonymCollision
    ]
    assert house.count("instances") == 19
    assert house.outcomes().count("pseudonym-collision") == 1
    found = await verify(house.database, NORTH)
    assert (found.is_intact, found.events) == (True, 20)


async def test_two_originals_that_meet_in_one_group_collide(house: MappingHouse) -> None:
    first, second = originals(1), originals(2)
    stolen = house.replacements(second, sop_instance_uid=house.replacements(first).sop_instance_uid)

    answers = await asyncio.gather(
        house.record(first), house.record(second, replacements=stolen), return_exceptions=True
    )

    # Which of the two comes first is not promised; that only one does, is.
    kinds = sorted(type(answer).__name__ for answer in answers)
    assert kinds == ["PseudonymCollision", "Replacements"]
    assert house.count("instances") == 1


async def test_other_spellings_of_one_subject_are_no_collision(house: MappingHouse) -> None:
    await house.record(originals(1, patient_id="4711", subject="patient:4711"))
    await house.record(originals(2, patient_id="04711", subject="patient:4711"))

    assert [house.count(table) for table in LEVELS] == [1, 1, 2, 1, 2]


async def test_a_uid_that_the_profile_keeps_is_not_mapped(house: MappingHouse) -> None:
    kept = originals()
    replacements = house.replacements(
        kept,
        study_uid=kept.study_uid,
        series_uid=kept.series_uid,
        sop_instance_uid=kept.sop_instance_uid,
    )

    await house.record(kept, replacements=replacements)

    assert [house.count(table) for table in LEVELS] == [1, 1, 1, 0, 0]
    assert house.query("SELECT uid FROM studies") == [{"uid": None}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cloud_study_id", "x'},{"),
        ("cloud_patient_id", "P,NULL"),
        ("sop_instance_uid", "1.2.3"),
        ("series_uid", f"2.25.{1 << 128}"),
    ],
)
async def test_what_is_no_pseudonym_is_not_stored_as_one(
    house: MappingHouse, field: str, value: str
) -> None:
    replacements = house.replacements(originals(), **{field: value})

    with pytest.raises(ValueError, match="not") as caught:
        await house.record(originals(), replacements=replacements)

    assert value not in str(caught.value)
    assert house.count("instances") == 0


async def test_an_unknown_organisation_is_refused(house: MappingHouse) -> None:
    with pytest.raises(OrganizationNotFound):
        await house.record(originals(), organization="NOBODY")


async def test_the_first_records_that_come_together_ask_for_their_organisation_once(
    house: MappingHouse, pair: KeyPair
) -> None:
    asked: list[str] = []

    def look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM organizations" in statement:
            asked.append(statement)

    async with opened(house.url, pair) as fresh:
        engine = fresh.database.engine.sync_engine
        event.listen(engine, "before_cursor_execute", look)
        await asyncio.gather(*(fresh.record(originals(number)) for number in range(40)))

    assert len(asked) == 1


async def test_where_the_database_is_away_they_hear_so_together(
    house: MappingHouse, pair: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def away(_self: MappingRepository, organization: str) -> int:
        asked.append(organization)
        await asyncio.sleep(0.2)
        raise DatabaseUnavailable

    async with opened(house.url, pair) as fresh:
        with monkeypatch.context() as patch:
            patch.setattr(MappingRepository, "_asked_number", away)
            answers = await asyncio.gather(
                *(fresh.record(originals(number)) for number in range(40)), return_exceptions=True
            )
        assert {type(answer) for answer in answers} == {DatabaseUnavailable}
        assert len(asked) == 1
        await fresh.record(originals(1))  # nothing is kept of the failure


async def test_every_level_opens_with_the_private_key(house: MappingHouse) -> None:
    planted = originals()
    made = await house.record(planted)

    opener = Opener(house.pair.private)

    assert opened_row(house, opener, "subjects", made.cloud_patient_id) == ("PAT-4711", "ISSUER")
    assert opened_row(house, opener, "studies", made.cloud_study_id) == (planted.study_uid,)
    series, instance = uuid_hex(made.series_uid), uuid_hex(made.sop_instance_uid)
    assert opened_row(house, opener, "series", series) == (planted.series_uid,)
    assert opened_row(house, opener, "instances", instance) == (planted.sop_instance_uid,)


def opened_row(house: MappingHouse, opener: Opener, table: str, name: str) -> tuple[str, ...]:
    (row,) = house.query(
        "SELECT t.sealed, k.id, k.key_version, k.sealed AS key"
        f" FROM {table} AS t JOIN data_keys AS k ON k.id = t.data_key"
    )
    stored = SealedDataKey(row["id"], NORTH, row["key_version"], row["key"])
    return opener.open(stored, row["sealed"], table=table, pseudonym=name)


def uuid_hex(uid: str) -> str:
    return f"{int(uid.removeprefix('2.25.')):032x}"


def rows_of(house: MappingHouse, table: str) -> list[object]:
    return [
        [bytes(value).hex() if isinstance(value, bytes) else value for value in row.values()]
        for row in house.query(f"SELECT * FROM {table}")
    ]


def vars_of(replacements: object) -> list[str]:
    return [getattr(replacements, name) for name in replacements.__slots__]
