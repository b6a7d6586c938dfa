"""Under an option nothing survives but what the option names, and that only in its own place."""

import io
from functools import lru_cache

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.deid.options import AVAILABLE_OPTIONS, Option
from app.deid.profile import Profile, with_version
from app.deid.standard import ROWS
from app.dicom.elements import CHARSET_VRS
from app.dicom.source import MemorySource
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, everything, part10, raw_element
from tests.canaries.search import found, searchable

WHO = Identity()
OPTIONS = sorted(AVAILABLE_OPTIONS - {Option.BASIC, Option.CLEAN_PIXEL_DATA})
CASES = [
    pytest.param(kind, syntax, option, id=f"{kind}-{syntax.name}-{option}")
    for kind, syntax in (
        ("ct", ImplicitVRLittleEndian),
        ("enhanced-mr", ExplicitVRLittleEndian),
        ("sr", ExplicitVRLittleEndian),
    )
    for option in OPTIONS
]


@lru_cache(maxsize=32)
def context(*options: str) -> Context:
    profile = with_version(Profile("tested", ("basic", *options)))
    return Context("wobble", profile, Pseudonyms(bytes(range(32)), "wobble"))


def output(data: bytes, *options: str) -> bytes:
    return b"".join(deidentify(MemorySource(data), context(*options)).chunks())


def result(dataset: Dataset, *options: str) -> Dataset:
    return dcmread(io.BytesIO(output(part10(dataset), *options)))


def named_by(option: str) -> set[str]:
    """Name the attributes whose own text or number an option lets through."""
    return {
        row.keyword
        for row in ROWS.values()
        if row.options.get(option) == "K"
        or (row.options.get(option) == "C" and row.vr in {*CHARSET_VRS, "CS", "TM"})
    }


@pytest.mark.parametrize(("kind", "syntax", "option"), CASES)
def test_only_what_an_option_names_survives(kind: str, syntax: str, option: str) -> None:
    data, canaries = everything(kind, syntax)

    made = output(data, option)

    places = {canary.text: canary.place for canary in canaries}
    if option == Option.MODIFIED_DATES:
        # A planted day that moves may become another planted day.
        places = {text: place for text, place in places.items() if not is_day(text)}
    survivors = {places[text] for text in found(places, searchable(made))}
    depths = ("root", "depth 1", "depth 3")
    lawful = {f"{depth} {name}" for name in named_by(option) for depth in depths}
    if option == Option.CLEAN_DESCRIPTORS:
        lawful |= {place for place in survivors if place.endswith("> PatientComments")}
    if option == Option.CLEAN_GRAPHICS:
        lawful = {f"{depth} UnformattedTextValue" for depth in depths}
    if option == Option.SAFE_PRIVATE:
        lawful = {"known safe private"}
    assert survivors - lawful == set()
    assert survivors & lawful or option == Option.CLEAN_STRUCTURED_CONTENT
    assert found(WHO.texts, searchable(made)) == retained_identity(option)


def is_day(text: str) -> bool:
    return len(text) == 8 and text.isdigit()


def retained_identity(option: str) -> list[str]:
    return [WHO.institution] if option == Option.INSTITUTION_IDENTITY else []


def test_a_retained_institution_stays_in_its_attribute_and_is_cleaned_elsewhere() -> None:
    dataset = ct(WHO)
    dataset.InstitutionAddress = "1 Wobble Lane"
    dataset.InterventionDescription = f"done at {WHO.institution}, 1 Wobble Lane"

    read = result(dataset, Option.INSTITUTION_IDENTITY)

    assert read.InstitutionName == WHO.institution
    assert read.InstitutionAddress == "1 Wobble Lane"
    assert read.InterventionDescription == "done at ,"
    assert read.Manufacturer == "Acme"


def test_a_retained_institution_that_is_absent_is_not_invented() -> None:
    dataset = ct(WHO)
    del dataset.InstitutionName, dataset.Manufacturer

    read = result(dataset, Option.INSTITUTION_IDENTITY)

    assert "InstitutionName" not in read


def test_a_persons_name_does_not_stay_in_a_retained_attribute() -> None:
    dataset = ct(WHO)
    dataset.InstitutionName = f"Practice {WHO.family}"
    dataset.DeviceSerialNumber = WHO.patient_id
    dataset.StationName = "CT-3"

    made = output(part10(dataset), Option.INSTITUTION_IDENTITY, Option.DEVICE_IDENTITY)

    read = dcmread(io.BytesIO(made))
    assert found(WHO.texts, searchable(made)) == []
    assert read.InstitutionName == "Practice"
    assert read.StationName == "CT-3"


def test_device_identity_keeps_devices_apart_without_their_titles() -> None:
    one, other = ct(WHO), ct(WHO)
    one.StationAETitle, other.StationAETitle = "WOBBLE_CT1", "WOBBLE_CT2"
    one.DeviceSerialNumber = "SN-99812"

    first, second = result(one, Option.DEVICE_IDENTITY), result(other, Option.DEVICE_IDENTITY)
    again = result(one, Option.DEVICE_IDENTITY)

    assert first.DeviceSerialNumber == "SN-99812"
    assert first.StationAETitle == again.StationAETitle
    assert first.StationAETitle.startswith("AE")
    assert first.StationAETitle != second.StationAETitle
    assert "WOBBLE" not in first.StationAETitle


def test_patient_characteristics_stay_and_their_text_is_cleaned() -> None:
    dataset = ct(WHO)
    dataset.PatientAge, dataset.PatientSize, dataset.PatientWeight = "093Y", "1.72", "70.5"
    dataset.PatientSex, dataset.EthnicGroup, dataset.SmokingStatus = "F", "martian", "NO"
    dataset.Allergies = f"nuts, says Dr. Thimblewick; call 089 1234567; {WHO.given}"
    dataset.PatientComments = "goes"

    read = result(dataset, Option.PATIENT_CHARACTERISTICS)

    assert (read.PatientAge, read.PatientSex, read.PatientSize) == ("093Y", "F", 1.72)
    assert (read.PatientWeight, read.EthnicGroup, read.SmokingStatus) == (70.5, "martian", "NO")
    assert read.Allergies == "nuts, says ; call"
    assert "PatientComments" not in read
    assert read.PatientBirthDate == ""


def test_full_dates_stay_without_the_birth_date_and_say_so() -> None:
    dataset = ct(WHO)
    dataset.AcquisitionDateTime = "20240229101112.123456+0100"
    dataset.TimezoneOffsetFromUTC = "+0100"
    dataset.PatientBirthDate = dataset.StudyDate  # imaged on the day of birth
    dataset.InterventionDescription = "done 29.02.2024"

    read = result(dataset, Option.FULL_DATES)

    assert (read.StudyDate, read.StudyTime) == ("20240229", "101112")
    assert read.AcquisitionDateTime == "20240229101112.123456+0100"
    assert read.TimezoneOffsetFromUTC == "+0100"
    assert read.PatientBirthDate == ""
    assert read.InterventionDescription == "done"
    assert read.LongitudinalTemporalInformationModified == "UNMODIFIED"


@pytest.mark.parametrize("earlier", ["REMOVED", "MODIFIED"])
def test_dates_that_were_changed_before_are_not_declared_unmodified(earlier: str) -> None:
    dataset = ct(WHO)
    dataset.LongitudinalTemporalInformationModified = earlier

    read = result(dataset, Option.FULL_DATES)

    assert read.LongitudinalTemporalInformationModified == earlier


def test_text_in_the_place_of_a_retained_date_becomes_a_dummy() -> None:
    dataset = ct(WHO)
    data = part10(dataset).replace(b"DA\x08\x0020240229", b"DA\x08\x00Zork 229")

    made = deidentify(MemorySource(data), context(Option.FULL_DATES))

    assert dcmread(io.BytesIO(b"".join(made.chunks()))).StudyDate == "19000101"
    assert "date-unreadable-replaced (0008,0020)" in map(str, made.warnings)


def test_retained_uids_stay_everywhere_and_need_no_mapping() -> None:
    dataset = ct(WHO)

    made = deidentify(MemorySource(part10(dataset)), context(Option.UIDS))
    read = dcmread(io.BytesIO(b"".join(made.chunks())))

    assert read.StudyInstanceUID == dataset.StudyInstanceUID
    assert read.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    image = read.ReferencedImageSequence[0]
    assert image.ReferencedSOPInstanceUID == (
        dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID
    )
    assert made.replacements.study_uid == made.originals.study_uid
    assert read.PatientID != WHO.patient_id


def test_what_is_no_uid_is_mapped_though_uids_stay() -> None:
    dataset = ct(WHO)
    del dataset.FrameOfReferenceUID, dataset.SeriesInstanceUID
    odd = {
        0x0020000E: raw_element(0x0020000E, "UI", b"1.2.3." + b"9" * 70),
        0x00200052: raw_element(0x00200052, "UI", b"Quillonbury"),
    }

    read = dcmread(io.BytesIO(output(part10(dataset, extra=odd), Option.UIDS)))

    assert read.FrameOfReferenceUID.startswith("2.25.")
    assert read.SeriesInstanceUID.startswith("2.25.")


@pytest.mark.parametrize("option", OPTIONS)
def test_the_codes_name_the_basic_profile_and_the_option(option: str) -> None:
    read = result(ct(WHO), option)

    codes = [item.CodeValue for item in read.DeidentificationMethodCodeSequence]
    assert codes == ["113100", Option(option).code[0]]
    assert read.PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_retain_option_never_removes_what_the_basic_profile_keeps(option: str) -> None:
    data = part10(ct(WHO))
    basic = {e.tag for e in dcmread(io.BytesIO(output(data))).iterall()}

    kept = {e.tag for e in dcmread(io.BytesIO(output(data, option))).iterall()}

    assert basic - kept == set()
