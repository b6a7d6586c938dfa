"""From any pseudonym back to the originals, and never from two patients' pseudonyms at once."""

from dataclasses import replace

import pytest

from app.errors import (
    DifferentPatients,
    DifferentStudies,
    GatewayError,
    KeyUnavailable,
    MistypedCloudStudyId,
    PseudonymNotFound,
)
from app.vault.disclosure.purposes import Purpose
from app.vault.mapping import Replacements
from tests.mapping_house import NORTH, SOUTH, MappingHouse, originals

pytestmark = pytest.mark.db

STUDY = "1.2.840.999.1"
BY_STUDY = (STUDY, "ACC-0815")


def pseudonyms_of(made: Replacements) -> dict[str, str]:
    return {
        "cloud_study_id": made.cloud_study_id,
        "accession_number": made.cloud_study_id,
        "patient_id": made.patient_id,
        "study_uid": made.study_uid,
        "series_uid": made.series_uid,
        "sop_instance_uid": made.sop_instance_uid,
    }


async def found(house: MappingHouse, organization: str = NORTH, **question: str):
    [answer] = await house.ask(question, organization=organization)
    return answer.found


async def test_a_study_is_found_by_each_of_its_pseudonyms(house: MappingHouse) -> None:
    made = await house.record(originals())
    names = ("cloud_study_id", "accession_number", "study_uid")

    answers = [await found(house, **{name: pseudonyms_of(made)[name]}) for name in names]

    assert [one.cloud_study_id for one in answers] == [made.cloud_study_id] * 3
    assert [one.patient_id for one in answers] == ["PAT-4711"] * 3
    assert [(one.study_uid, one.accession_number) for one in answers] == [BY_STUDY] * 3
    assert [(one.series_uid, one.sop_instance_uid) for one in answers] == [(None, None)] * 3


async def test_a_series_is_found_with_its_original_uid_and_its_study(house: MappingHouse) -> None:
    made = await house.record(originals())

    it = await found(house, series_uid=made.series_uid)

    assert it.cloud_study_id == made.cloud_study_id
    assert (it.patient_id, it.study_uid) == ("PAT-4711", STUDY)
    assert (it.series_uid, it.sop_instance_uid) == ("1.2.840.999.1.1", None)


async def test_an_instance_is_found_with_its_original_uid_and_its_study(
    house: MappingHouse,
) -> None:
    made = await house.record(originals(7))

    it = await found(house, sop_instance_uid=made.sop_instance_uid)

    assert (it.patient_id, it.study_uid) == ("PAT-4711", STUDY)
    assert (it.series_uid, it.sop_instance_uid) == (None, "1.2.840.999.1.1.7")


async def test_a_patient_id_tells_the_patient_and_no_study(house: MappingHouse) -> None:
    made = await house.record(originals())

    it = await found(house, patient_id=made.patient_id)

    assert (it.patient_id, it.issuer_of_patient_id) == ("PAT-4711", "ISSUER")
    assert (it.cloud_study_id, it.study_uid, it.accession_number) == (None, None, None)


async def test_everything_at_once_is_one_answer(house: MappingHouse) -> None:
    made = await house.record(originals())

    it = await found(house, **pseudonyms_of(made))

    assert (it.patient_id, it.study_uid, it.accession_number) == ("PAT-4711", *BY_STUDY)
    assert (it.series_uid, it.sop_instance_uid) == ("1.2.840.999.1.1", "1.2.840.999.1.1.1")


async def test_a_study_that_kept_its_uid_is_found_by_it(house: MappingHouse) -> None:
    kept = originals(study_uid="2.25.123456789")
    made = house.replacements(kept)
    await house.record(kept, replacements=replace(made, study_uid=kept.study_uid))

    assert (await found(house, study_uid=kept.study_uid)).patient_id == "PAT-4711"


async def test_the_original_uid_of_a_study_that_got_another_one_leads_nowhere(
    house: MappingHouse,
) -> None:
    await house.record(originals())

    with pytest.raises(PseudonymNotFound):
        await found(house, study_uid=STUDY)


async def test_an_instance_without_a_mapped_series_leads_to_its_patient(
    house: MappingHouse,
) -> None:
    alone = originals(series_uid="")
    made = replace(house.replacements(alone), series_uid="")
    await house.record(alone, replacements=made)

    it = await found(house, sop_instance_uid=made.sop_instance_uid)

    assert (it.patient_id, it.sop_instance_uid) == ("PAT-4711", alone.sop_instance_uid)
    assert it.study_uid is None


# --- Mix-ups -----------------------------------------------------------------------------------

OTHER = {"patient_id": "OTHER", "study_uid": "1.9", "series_uid": "1.9.1", "accession_number": "A"}


async def refusals(house: MappingHouse, questions: list[dict[str, str]], organization: str = NORTH):
    """Ask one by one; return the codes."""
    codes = []
    for question in questions:
        try:
            await house.ask(question, organization=organization)
        except GatewayError as refusal:
            codes.append(refusal.code)
    return codes


async def test_pseudonyms_of_two_patients_are_refused(house: MappingHouse) -> None:
    mine = await house.record(originals())
    other = await house.record(originals(sop_instance_uid="1.9.1.1", **OTHER))
    theirs = pseudonyms_of(other)
    del theirs["accession_number"]

    codes = await refusals(
        house,
        [{"accession_number": mine.cloud_study_id, name: theirs[name]} for name in theirs],
    )

    rows = house.query("SELECT * FROM audit_events WHERE action = 'reidentify'")
    assert codes == [row["outcome"] for row in rows] == ["different-patients"] * len(theirs)
    assert [row["detail"]["asked-by"] for row in rows] == [
        f"{name} accession_number" for name in theirs
    ]


async def test_pseudonyms_of_two_studies_of_one_patient_are_refused(house: MappingHouse) -> None:
    mine = await house.record(originals())
    second = {"study_uid": "1.8", "series_uid": "1.8.1", "sop_instance_uid": "1.8.1.1"}
    later = await house.record(originals(**second))

    with pytest.raises(DifferentStudies):
        await found(house, cloud_study_id=mine.cloud_study_id, series_uid=later.series_uid)


async def test_two_patient_ids_are_refused_even_where_one_is_of_the_study(
    house: MappingHouse,
) -> None:
    mine = await house.record(originals())
    other = await house.record(originals(sop_instance_uid="1.9.1.1", **OTHER))

    with pytest.raises(DifferentPatients):
        await found(house, study_uid=mine.study_uid, patient_id=other.patient_id)


async def test_a_study_under_a_corrected_patient_id_goes_with_either(house: MappingHouse) -> None:
    wrong = await house.record(originals(1, patient_id="WRONG"))
    right = await house.record(originals(2, patient_id="RIGHT"))

    answers = [
        await found(house, cloud_study_id=right.cloud_study_id, patient_id=patient_id)
        for patient_id in (wrong.patient_id, right.patient_id)
    ]

    assert [one.patient_id for one in answers] == ["RIGHT", "RIGHT"]
    assert [one.others[0].patient_id for one in answers] == ["WRONG", "WRONG"]


async def test_one_unknown_pseudonym_hides_the_known_one(house: MappingHouse) -> None:
    made = await house.record(originals())
    unknown = house.vault.pseudonyms(NORTH).uid("never seen")

    with pytest.raises(PseudonymNotFound):
        await found(house, cloud_study_id=made.cloud_study_id, series_uid=unknown)


async def test_another_organisations_pseudonyms_are_not_found(house: MappingHouse) -> None:
    made = pseudonyms_of(await house.record(originals()))

    codes = await refusals(house, [{name: made[name]} for name in made], SOUTH)

    assert codes == ["pseudonym-not-found"] * len(made)


# --- What is told of it ------------------------------------------------------------------------


async def test_what_repeats_an_original_is_not_kept_in_the_audit(house: MappingHouse) -> None:
    made = await house.record(originals())

    await house.reidentify(
        made.cloud_study_id, purpose=Purpose("TREAT", "ACC-0815", "for pat-4711 and others")
    )

    [row] = house.query("SELECT * FROM audit_events WHERE action = 'reidentify'")
    assert row["detail"]["reference"] == "[original accession number]"
    assert row["purpose"] == "TREAT for [original patient id] and others"


async def test_the_audit_of_an_instance_names_its_pseudonym(house: MappingHouse) -> None:
    made = await house.record(originals())

    await found(house, sop_instance_uid=made.sop_instance_uid)

    [row] = house.query("SELECT * FROM audit_events WHERE action = 'reidentify'")
    assert (row["cloud_study_id"], row["sop_instance_uid"]) == (
        made.cloud_study_id,
        made.sop_instance_uid,
    )


async def test_what_was_pasted_into_the_wrong_field_is_in_no_row(house: MappingHouse) -> None:
    with pytest.raises(PseudonymNotFound):
        await found(house, study_uid="1.2.840.113619.4711.815.4711")

    assert "4711.815" not in str(house.query("SELECT * FROM audit_events"))


async def test_a_refused_question_is_recorded_before_it_is_answered(house: MappingHouse) -> None:
    refusal = MistypedCloudStudyId()

    await house.disclosure.refuse(house.asked(), refusal)

    [row] = house.query("SELECT * FROM audit_events")
    assert (row["outcome"], row["actor"]) == ("mistyped-cloud-study-id", "reader")


async def test_a_worklist_tells_what_is_wrong_beside_each_question(house: MappingHouse) -> None:
    made = await house.record(originals())
    unknown = house.vault.pseudonyms(NORTH).cloud_study_id("never seen")

    first, second = await house.ask(
        {"cloud_study_id": made.cloud_study_id}, {"cloud_study_id": unknown}, is_batch=True
    )

    assert first.found.patient_id == "PAT-4711"
    assert second.refusal.code == "pseudonym-not-found"
    rows = house.query("SELECT * FROM audit_events WHERE action = 'reidentify' ORDER BY seq")
    assert [(row["outcome"], row["detail"]["item"]) for row in rows] == [
        ("success", 1),
        ("pseudonym-not-found", 2),
    ]


async def test_a_row_that_does_not_open_spoils_no_worklist(house: MappingHouse) -> None:
    made = await house.record(originals())
    other = await house.record(originals(sop_instance_uid="1.9.1.1", **OTHER))
    await spoil(house, other.cloud_study_id)

    first, second = await house.ask(
        *({"cloud_study_id": one.cloud_study_id} for one in (other, made)), is_batch=True
    )

    assert isinstance(first.refusal, KeyUnavailable)
    assert second.found.patient_id == "PAT-4711"


async def spoil(house: MappingHouse, cloud_study_id: str) -> None:
    async with await house.database.connect() as connection:
        await connection.execute(
            "UPDATE study_identities SET sealed = '\\x0102' WHERE cloud_study_id = %s",
            [cloud_study_id],
        )
