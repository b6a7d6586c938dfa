"""FHIR ImagingStudy of a published study: valid R4, pseudonyms only."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B.imagingstudy import ImagingStudy

from app.batches.imaging_study import imaging_study
from app.batches.records import ManifestEntry
from tests.batches.published import CT_STORAGE, HEADER, STUDIES, entries, entry


def first_study() -> list[Any]:
    return [one for one in entries() if one.cloud_study_id == STUDIES[0]]


def described(study: Iterable[ManifestEntry]) -> dict[str, Any]:
    text = imaging_study(HEADER, study)
    ImagingStudy.model_validate_json(text)
    content: dict[str, Any] = json.loads(text)
    return content


def test_a_study_is_a_resource_that_a_fhir_library_reads() -> None:
    study = ImagingStudy.model_validate_json(imaging_study(HEADER, first_study()))

    assert study.status == "available"
    assert [series.uid for series in study.series] == ["2.25.2000", "2.25.2001"]


def test_the_study_is_known_by_its_replacement_uid_and_its_cloud_study_id() -> None:
    content = described(first_study())

    assert content["id"] == STUDIES[0]
    assert content["identifier"][0] == {"system": "urn:dicom:uid", "value": "urn:oid:2.25.1000"}
    assert content["identifier"][1]["value"] == STUDIES[0]


def test_the_subject_is_the_patient_id_of_the_objects() -> None:
    study = [replace(one, patient_id="NORTH-P7QM2X9THV4C") for one in first_study()]
    subject = described(study)["subject"]

    assert subject["identifier"]["value"] == "NORTH-P7QM2X9THV4C"
    assert subject["identifier"]["assigner"] == {"display": "NORTH"}
    assert set(subject) == {"identifier"}


def test_without_a_patient_id_the_subject_is_known_by_the_study_alone() -> None:
    subject = described(first_study())["subject"]

    assert subject["identifier"]["value"] == f"NORTH-{STUDIES[0]}"


def test_series_and_instances_are_counted() -> None:
    content = described(first_study())

    assert (content["numberOfSeries"], content["numberOfInstances"]) == (2, 3)
    assert [series["numberOfInstances"] for series in content["series"]] == [2, 1]


def test_modalities_are_codes_of_dicom() -> None:
    content = described(first_study())
    system = "http://dicom.nema.org/resources/ontology/DCM"

    assert content["modality"] == [
        {"system": system, "code": "CT"},
        {"system": system, "code": "SEG"},
    ]
    assert content["series"][1]["modality"] == {"system": system, "code": "SEG"}


def test_instances_carry_their_uid_and_sop_class() -> None:
    assert described([entry(1)])["series"][0]["instance"] == [
        {
            "uid": "2.25.3001",
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{CT_STORAGE}"},
        }
    ]


@pytest.mark.parametrize("modality", ["", "DOE^JOHN"])
def test_a_series_without_a_valid_modality_is_called_other(modality: str) -> None:
    content = described([entry(1, modality=modality)])

    assert content["series"][0]["modality"]["code"] == "OT"
    assert "DOE" not in json.dumps(content)


def test_a_series_without_a_uid_says_that_it_has_none() -> None:
    series = described([entry(1, series_uid="")])["series"][0]

    assert "uid" not in series
    assert series["_uid"]["extension"][0]["valueCode"] == "unknown"


def test_there_is_no_date_in_it() -> None:
    content = described(first_study())
    fields = {key for part in (content, *content["series"]) for key in part}

    assert not fields & {"started", "description", "note"}
    assert "2026" not in json.dumps(content)


def test_the_same_study_is_described_by_the_same_bytes() -> None:
    assert imaging_study(HEADER, first_study()) == imaging_study(HEADER, iter(first_study()))


def test_a_study_without_objects_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one object"):
        imaging_study(HEADER, [])
