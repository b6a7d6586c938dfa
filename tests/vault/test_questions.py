"""What people type about studies and patients, and why they ask."""

import pytest

from app.audit.fhir import PURPOSE_SYSTEM, _purpose
from app.errors import InvalidRequest, MistypedCloudStudyId, MistypedPseudonym
from app.vault.disclosure.purposes import PURPOSES, Purpose
from app.vault.disclosure.questions import Question
from app.vault.pseudonyms import Pseudonyms

MADE = Pseudonyms(bytes(range(32)), "NORTH")
STUDY = MADE.cloud_study_id("1.2.3")
PATIENT = MADE.cloud_patient_id("somebody")
UID = MADE.uid("1.2.3.4")


@pytest.mark.parametrize(
    "typed", [PATIENT, f"NORTH-{PATIENT}", f"north-{PATIENT.lower()}", f" RAD_1-{PATIENT}"]
)
def test_a_patient_id_is_read_with_and_without_its_organisation(typed: str) -> None:
    question = Question.stated({"patient_id": typed})

    assert (question.cloud_patient_id, question.studies) == (PATIENT, ())


@pytest.mark.parametrize("typed", [STUDY, f"NORTH-{STUDY}", f"X-{STUDY.lower()}"])
def test_a_patient_id_that_is_made_of_the_study_names_the_study(typed: str) -> None:
    question = Question.stated({"patient_id": typed})

    assert (question.cloud_patient_id, question.studies) == (None, (STUDY,))


@pytest.mark.parametrize("typed", [STUDY, STUDY.replace("-", " ").lower(), f"ACC {STUDY}"])
def test_an_accession_number_names_the_study_in_it(typed: str) -> None:
    assert Question.stated({"accession_number": typed}).studies == (STUDY,)


def test_what_was_given_is_kept_in_canonical_form() -> None:
    question = Question.stated({"cloud_study_id": STUDY.lower(), "series_uid": f" {UID} "})

    assert question.given == {"cloud_study_id": STUDY, "series_uid": UID}
    assert Question(**question.given) == question


@pytest.mark.parametrize(
    "given",
    [
        {"patient_id": "DOE^JANE"},
        {"patient_id": PATIENT[:-1] + ("0" if PATIENT[-1] != "0" else "1")},
        {"patient_id": f"{PATIENT} {MADE.cloud_patient_id('another')}"},
        {"patient_id": "x" * 200},
        {"accession_number": "4711"},
        {"accession_number": PATIENT},
        {"study_uid": "DOE^JANE"},
        {"series_uid": "1." + "2" * 63},
        {"sop_instance_uid": "1..2"},
        {"sop_instance_uid": "01.2"},
    ],
)
def test_what_cannot_be_a_pseudonym_is_refused_without_being_repeated(given: dict) -> None:
    with pytest.raises(MistypedPseudonym) as refusal:
        Question.stated(given)

    assert next(iter(given)) in refusal.value.detail
    assert next(iter(given.values())) not in str(refusal.value)


def test_a_mistyped_cloud_study_id_keeps_its_own_code() -> None:
    with pytest.raises(MistypedCloudStudyId):
        Question.stated({"cloud_study_id": "DOE^JANE"})


@pytest.mark.parametrize("given", [{}, {"cloud_study_id": None}, {"series_uid": " "}, {"a": "1"}])
def test_a_question_asks_by_something(given: dict) -> None:
    with pytest.raises(InvalidRequest):
        Question.stated(given)


def test_every_purpose_is_a_code_in_the_exported_audit() -> None:
    coded = {code: _purpose(Purpose(code, "T-1", "in words").audited) for code in PURPOSES}

    assert {code: one["coding"][0]["code"] for code, one in coded.items()} == {
        code: code for code in PURPOSES
    }
    assert coded["TREAT"]["coding"][0]["system"] == PURPOSE_SYSTEM


def test_originals_are_taken_out_of_what_was_written() -> None:
    purpose = Purpose("TREAT", "acc-0815", "asks for PAT-4711, accession ACC-0815 again")

    kept = purpose.without({"original patient id": "PAT-4711", "original accession": "ACC-0815"})

    assert kept.reference == "[original accession]"
    assert kept.reason == "asks for [original patient id], accession [original accession] again"


def test_a_short_original_is_taken_out_where_it_is_the_whole_text() -> None:
    purpose = Purpose("TREAT", "17", "bed 17 on ward 17")

    kept = purpose.without({"original patient id": "17", "original accession number": ""})

    assert (kept.reference, kept.reason) == ("[original patient id]", "bed 17 on ward 17")
