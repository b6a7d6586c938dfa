"""Clean Structured Content: trees stay whole, content items follow Table E.3.4-1 by concept."""

import io

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.deid.options import Option
from app.deid.profile import Profile, with_version
from app.dicom.source import MemorySource
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import REFERENCED_IMAGE, Identity, ct, ko, part10, sr
from tests.canaries.search import found, searchable

WHO = Identity()
CONTENT = Option.CLEAN_STRUCTURED_CONTENT


def context(*options: str) -> Context:
    chosen = tuple(o for o in Option if o in {Option.BASIC, CONTENT, *options})
    profile = with_version(Profile("reports", chosen))
    return Context("wobble", profile, Pseudonyms(bytes(range(32)), "wobble"))


def output(dataset: Dataset, *options: str, syntax: str = ExplicitVRLittleEndian) -> bytes:
    source = MemorySource(part10(dataset, syntax))
    return b"".join(deidentify(source, context(*options)).chunks())


def result(dataset: Dataset, *options: str) -> Dataset:
    return dcmread(io.BytesIO(output(dataset, *options)))


def code(value: str, scheme: str = "DCM", meaning: str = "Concept") -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def item(value_type: str, concept: Dataset, **values: object) -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = "CONTAINS", value_type
    made.ConceptNameCodeSequence = [concept]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def report(*items: Dataset) -> Dataset:
    dataset = sr(WHO)
    dataset.ContentSequence = list(items)
    return dataset


def only(made: Dataset, *options: str) -> Dataset:
    return result(report(made), *options).ContentSequence[0]


def test_a_tree_keeps_its_shape_and_loses_every_person() -> None:
    made = output(sr(WHO))

    read = dcmread(io.BytesIO(made))
    types = [one.ValueType for one in read.ContentSequence]
    assert types == ["TEXT", "PNAME"]
    assert read.ContentSequence[1].PersonName == "REMOVED^"
    assert read.ContentSequence[1].ContentSequence[0].ValueType == "TEXT"
    assert read.ContentSequence[1].ConceptNameCodeSequence[0].CodeValue == "121008"
    assert read.VerifyingObserverSequence[0].VerifyingObserverName == "REMOVED^"
    assert found(WHO.texts, searchable(made)) == []


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_no_name_in_a_text_item_leaves_with_any_options(syntax: str) -> None:
    every = set(Option) - {
        Option.FULL_DATES,
        Option.CLEAN_PIXEL_DATA,
        Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES,
        Option.INSTITUTION_IDENTITY,
    }

    for options in ((), (Option.CLEAN_DESCRIPTORS,), tuple(every)):
        assert found(WHO.texts, searchable(output(sr(WHO), *options, syntax=syntax))) == []


COMMENT, ACCESSION = code("121106"), code("121022")


@pytest.mark.parametrize(
    ("concept", "options", "expected"),
    [
        (COMMENT, (), "REMOVED"),
        (COMMENT, (Option.CLEAN_DESCRIPTORS,), "is well"),
        (ACCESSION, (Option.CLEAN_DESCRIPTORS,), "REMOVED"),
        (code("121121"), (Option.CLEAN_DESCRIPTORS,), "REMOVED"),
        (code("999999", "99LOCAL"), (), "REMOVED"),
        (code("999999", "99LOCAL"), (Option.CLEAN_DESCRIPTORS,), "is well"),
        (code("113877"), (Option.DEVICE_IDENTITY,), "is well"),
        (code("113873"), (Option.INSTITUTION_IDENTITY,), "is well"),
        (code("121122"), (Option.DEVICE_IDENTITY, Option.CLEAN_DESCRIPTORS), "is well"),
        (code("363698007", "SCT"), (Option.CLEAN_DESCRIPTORS,), "is well"),
        (code("G-C0E3", "SRT"), (Option.CLEAN_DESCRIPTORS,), "is well"),
        (code("G-C0E3", "SRT"), (), "REMOVED"),
    ],
)
def test_a_text_follows_its_concept(
    concept: Dataset, options: tuple[str, ...], expected: str
) -> None:
    text = item("TEXT", concept, TextValue=f"{WHO.given} {WHO.family} is well")

    assert only(text, *options).TextValue == expected


def test_a_text_of_which_nothing_is_left_says_so() -> None:
    text = item("TEXT", COMMENT, TextValue=f"{WHO.given} {WHO.family}")

    assert only(text, Option.CLEAN_DESCRIPTORS).TextValue == "REMOVED"


def test_a_retired_code_of_a_listed_concept_is_the_same_concept() -> None:
    made = deidentify(
        MemorySource(part10(report(item("TEXT", code("G-C0E3", "99SDM"), TextValue="lung")))),
        context(),
    )

    because = {step.path: step.because for step in made.plan.steps()}
    assert because["(0040,A730)[0].(0040,A160)"].startswith("Table E.3.4-1 Finding Site, TEXT: D")


def test_a_serial_number_that_is_retained_stays_in_its_own_item_only() -> None:
    dataset = report(
        item("TEXT", code("113880"), TextValue="SN-99812"),
        item("TEXT", COMMENT, TextValue="scanner SN-99812 ok"),
    )
    dataset.DeviceSerialNumber = "SN-99812"

    read = result(dataset, Option.DEVICE_IDENTITY, Option.CLEAN_DESCRIPTORS)

    texts = [one.TextValue for one in read.ContentSequence]
    assert texts == ["SN-99812", "scanner ok"]


def test_dates_of_content_items_follow_the_option_and_the_birth_date_never_does() -> None:
    dataset = report(
        item("DATE", code("111060"), Date="20240229"),
        item("DATETIME", code("113809"), DateTime="20240229101112"),
        item("DATE", code("121031"), Date=WHO.birth_date),
    )

    basic = [result(dataset).ContentSequence[n] for n in range(3)]
    moved = result(dataset, Option.MODIFIED_DATES)
    full = result(dataset, Option.FULL_DATES).ContentSequence

    assert [basic[0].Date, basic[1].DateTime] == ["19000101", "19000101000000"]
    assert moved.ContentSequence[0].Date == moved.StudyDate
    assert moved.ContentSequence[1].DateTime == f"{moved.StudyDate}101112"
    assert [full[0].Date, full[1].DateTime] == ["20240229", "20240229101112"]
    assert {moved.ContentSequence[2].Date, full[2].Date, basic[2].Date} == {"19000101"}


def test_age_and_sex_of_the_subject_follow_the_patients_characteristics() -> None:
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "93", [code("a", "UCUM")]
    dataset = report(
        item("NUM", code("121033"), MeasuredValueSequence=[measured]),
        item("CODE", code("121032"), ConceptCodeSequence=[code("F", "DCM", "Female")]),
        item("NUM", code("410668003", "SCT"), MeasuredValueSequence=[measured]),
    )

    basic = result(dataset).ContentSequence
    kept = result(dataset, Option.PATIENT_CHARACTERISTICS).ContentSequence

    assert len(basic[0].MeasuredValueSequence) == 0
    assert basic[1].ConceptCodeSequence[0].CodeValue == "REMOVED"
    assert basic[2].MeasuredValueSequence[0].NumericValue == 93
    assert kept[0].MeasuredValueSequence[0].NumericValue == 93
    assert kept[1].ConceptCodeSequence[0].CodeValue == "F"


def test_references_are_mapped_or_retained_and_follow_the_evidence() -> None:
    uid = item("UIDREF", code("112040"), UID="1.2.826.0.1.3680043.10.998.5")
    observer = item("UIDREF", code("121012"), UID="1.2.826.0.1.3680043.10.998.6")

    mapped = result(report(uid, observer))
    device = result(report(uid, observer), Option.DEVICE_IDENTITY)
    kept = result(report(uid, observer), Option.UIDS)
    selection = result(ko(WHO))

    assert all(one.UID.startswith("2.25.") for one in mapped.ContentSequence)
    assert device.ContentSequence[0].UID.startswith("2.25.")
    assert device.ContentSequence[1].UID == observer.UID
    assert [one.UID for one in kept.ContentSequence] == [uid.UID, observer.UID]
    shown = selection.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    evidence = selection.CurrentRequestedProcedureEvidenceSequence[0]
    listed = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert shown == listed.ReferencedSOPInstanceUID != REFERENCED_IMAGE


def test_a_listed_container_is_emptied_and_stays() -> None:
    inside = item("TEXT", COMMENT, TextValue="device 7")
    udi = item(
        "CONTAINER", code("121000"), ContinuityOfContent="SEPARATE", ContentSequence=[inside]
    )

    assert "ContentSequence" not in only(udi)
    assert "ContentSequence" in only(udi, Option.DEVICE_IDENTITY)


def test_an_acquisition_context_is_entered_and_its_text_judged() -> None:
    dataset = ct(WHO)
    dataset.AcquisitionContextSequence = [
        item("TEXT", COMMENT, TextValue=f"asked by {WHO.given}"),
        item("CODE", code("1", "99X"), ConceptCodeSequence=[code("2", "99X", "Supine")]),
    ]

    read = result(dataset, Option.CLEAN_DESCRIPTORS)

    assert read.AcquisitionContextSequence[0].TextValue == "asked by"
    assert read.AcquisitionContextSequence[1].ConceptCodeSequence[0].CodeMeaning == "Supine"


def test_without_the_option_the_content_goes() -> None:
    basic = with_version(Profile("plain"))
    using = Context("wobble", basic, Pseudonyms(bytes(range(32)), "wobble"))

    made = b"".join(deidentify(MemorySource(part10(sr(WHO))), using).chunks())

    assert len(dcmread(io.BytesIO(made)).ContentSequence) == 1
