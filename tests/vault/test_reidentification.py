import psycopg
import pytest

from app.audit.verifying import verify
from app.errors import (
    DatabaseUnavailable,
    KeyUnavailable,
    NotAuthenticated,
    PseudonymNotFound,
)
from app.vault.disclosure.looking_up import LookUp
from app.vault.disclosure.purposes import Purpose
from tests.mapping_house import NORTH, SOUTH, KeyPair, MappingHouse, make_keys, opened, originals

pytestmark = pytest.mark.db


async def test_the_way_back_leads_to_the_originals(house: MappingHouse) -> None:
    made = await house.record(originals())

    found = await house.reidentify(made.cloud_study_id)

    assert (
        found.patient_id,
        found.issuer_of_patient_id,
        found.study_uid,
        found.accession_number,
        found.others,
    ) == ("PAT-4711", "ISSUER", "1.2.840.999.1", "ACC-0815", ())
    assert found.first_seen_at.tzinfo is not None


async def test_an_id_is_found_as_people_type_it(house: MappingHouse) -> None:
    made = await house.record(originals())

    found = await house.reidentify(f" {made.cloud_study_id.lower().replace('-', ' ')} ")

    assert found.patient_id == "PAT-4711"


async def test_a_success_is_audited_with_purpose_and_id(house: MappingHouse) -> None:
    made = await house.record(originals())

    await house.reidentify(made.cloud_study_id, purpose=Purpose("TREAT", "T-9", "second opinion"))

    (row,) = house.query("SELECT * FROM audit_events WHERE action = 'reidentify'")
    assert (row["chain"], row["outcome"], row["actor"]) == (NORTH, "success", "reader")
    assert (row["cloud_study_id"], row["purpose"]) == (made.cloud_study_id, "TREAT second opinion")
    assert row["detail"] == {
        "reference": "T-9",
        "asked-by": "cloud_study_id",
        "cloud-patient-id": made.cloud_patient_id,
    }


async def test_an_unknown_id_is_audited(house: MappingHouse) -> None:
    unknown = house.vault.pseudonyms(NORTH).cloud_study_id("never seen")

    with pytest.raises(PseudonymNotFound):
        await house.reidentify(unknown)

    (row,) = house.query("SELECT * FROM audit_events")
    assert (row["outcome"], row["cloud_study_id"]) == ("pseudonym-not-found", unknown)


async def test_another_organisations_id_is_answered_like_one_that_was_never_issued(
    house: MappingHouse,
) -> None:
    made = await house.record(originals())

    with pytest.raises(PseudonymNotFound):
        await house.reidentify(made.cloud_study_id, organization=SOUTH)

    (row,) = house.query("SELECT * FROM audit_events WHERE action = 'reidentify'")
    assert (row["chain"], row["outcome"]) == (SOUTH, "pseudonym-not-found")


async def test_a_process_without_the_private_key_cannot(house: MappingHouse) -> None:
    made = await house.record(originals())

    async with opened(house.url, house.pair, can_open=False, is_new=False) as other:
        with pytest.raises(KeyUnavailable):
            await other.reidentify(made.cloud_study_id)

    assert house.outcomes() == ["success", "key-unavailable"]


async def test_a_process_with_another_private_key_cannot(house: MappingHouse, tmp_path) -> None:
    made = await house.record(originals())
    strange = KeyPair(house.pair.keys, make_keys(tmp_path / "strange").private)

    async with opened(house.url, strange, is_new=False) as other:
        with pytest.raises(KeyUnavailable):
            await other.reidentify(made.cloud_study_id)

    assert house.outcomes() == ["success", "key-unavailable"]


async def test_an_altered_row_is_not_revealed(house: MappingHouse) -> None:
    first = await house.record(originals())
    other = originals(2, patient_id="OTHER", study_uid="1.9", series_uid="1.9.1")
    await house.record(other)
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute(
            "UPDATE study_identities AS a SET sealed = b.sealed, data_key = b.data_key"
            " FROM study_identities AS b WHERE a.cloud_study_id <> b.cloud_study_id"
        )

    with pytest.raises(KeyUnavailable):
        await house.reidentify(first.cloud_study_id)


async def test_a_revoked_key_gets_nothing_though_it_was_valid_a_moment_ago(
    house: MappingHouse,
) -> None:
    made = await house.record(originals())
    key, token = await house.api_keys.create(
        name="reader", organization=NORTH, scopes=["reidentify"]
    )
    await house.api_keys.authenticate(token)
    async with opened(house.url, house.pair, is_new=False) as elsewhere:
        await elsewhere.api_keys.revoke(key.id)

    with pytest.raises(NotAuthenticated):
        await house.reidentify(made.cloud_study_id, api_key_id=key.id)

    assert house.outcomes()[-1] == "not-authenticated"


async def test_a_key_that_is_revoked_during_the_search_gets_nothing(
    house: MappingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await house.record(originals())
    key, _ = await house.api_keys.create(name="reader", organization=NORTH, scopes=["reidentify"])
    find = LookUp.find

    async def slow(self: LookUp, question):
        found = await find(self, question)
        await house.api_keys.revoke(key.id)
        return found

    monkeypatch.setattr(LookUp, "find", slow)

    with pytest.raises(NotAuthenticated):
        await house.reidentify(made.cloud_study_id, api_key_id=key.id)

    reads = house.query("SELECT outcome FROM audit_events WHERE action = 'reidentify'")
    assert reads == [{"outcome": "not-authenticated"}]


async def test_without_an_audit_row_nothing_is_revealed(house: MappingHouse) -> None:
    made = await house.record(originals())
    with psycopg.connect(house.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE audit_events ADD CHECK (action <> 'reidentify')")

    with pytest.raises(DatabaseUnavailable):
        await house.reidentify(made.cloud_study_id)


async def test_a_study_that_came_under_two_patients_shows_both_newest_first(
    house: MappingHouse,
) -> None:
    made = await house.record(originals(1, patient_id="WRONG"))
    await house.record(originals(2, patient_id="RIGHT"))

    found = await house.reidentify(made.cloud_study_id)

    assert found.patient_id == "RIGHT"
    assert [other.patient_id for other in found.others] == ["WRONG"]


async def test_an_accession_number_that_comes_later_is_found(house: MappingHouse) -> None:
    made = await house.record(originals(1, accession_number=""))
    await house.record(originals(2))

    found = await house.reidentify(made.cloud_study_id)

    assert [found.accession_number, *[o.accession_number for o in found.others]] == ["ACC-0815", ""]


async def test_every_look_is_in_an_intact_chain(house: MappingHouse) -> None:
    made = await house.record(originals())
    await house.reidentify(made.cloud_study_id)
    with pytest.raises(PseudonymNotFound):
        await house.reidentify(house.vault.pseudonyms(NORTH).cloud_study_id("never seen"))

    found = await verify(house.database, NORTH)

    assert (found.is_intact, found.events) == (True, 3)


async def test_an_answer_does_not_show_itself(house: MappingHouse) -> None:
    made = await house.record(originals())

    shown = repr(await house.reidentify(made.cloud_study_id)) + repr(originals())

    assert "PAT-4711" not in shown
