"""Modified dates: one offset per patient, everywhere; no original date leaves."""

import datetime as dt
import io
from functools import lru_cache

from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset

from app.deid.options import Option
from app.deid.profile import Profile, with_version
from app.dicom.source import MemorySource
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, enhanced_mr, part10
from tests.canaries.search import found, searchable

WHO = Identity()
ORIGINAL = dt.date(2024, 2, 29)


@lru_cache(maxsize=8)
def context(organization: str = "wobble", *options: str) -> Context:
    chosen = tuple(o for o in Option if o in {Option.BASIC, Option.MODIFIED_DATES, *options})
    profile = with_version(Profile("moved", chosen))
    return Context(organization, profile, Pseudonyms(bytes(range(32)), organization))


def output(dataset: Dataset, using: Context | None = None) -> bytes:
    return b"".join(deidentify(MemorySource(part10(dataset)), using or context()).chunks())


def result(dataset: Dataset, using: Context | None = None) -> Dataset:
    return dcmread(io.BytesIO(output(dataset, using)))


def offset_of(dataset: Dataset, using: Context | None = None) -> int:
    moved = dt.datetime.strptime(result(dataset, using).StudyDate, "%Y%m%d").date()  # noqa: DTZ007
    return (moved - ORIGINAL).days


def test_every_date_of_an_instance_moves_by_the_same_days_and_times_stay() -> None:
    dataset = ct(WHO)
    dataset.SeriesDate, dataset.SeriesTime = "20240301", "000001"
    dataset.AcquisitionDateTime = "20231231235959.999999-0500"
    dataset.TimezoneOffsetFromUTC = "-0500"
    step = Dataset()
    step.ScheduledProcedureStepStartDate = "20240229"
    step.ScheduledProcedureStepStartTime = "0830"
    inside = Dataset()
    inside.ReferencedDateTime = "20240102"
    dataset.PerformedProtocolCodeSequence = [inside]
    dataset.ContainerComponentSequence = [step]

    read = result(dataset)

    days = dt.timedelta(offset_of(ct(WHO)))
    assert read.StudyDate == f"{ORIGINAL + days:%Y%m%d}"
    assert read.SeriesDate == f"{dt.date(2024, 3, 1) + days:%Y%m%d}"
    assert (read.StudyTime, read.SeriesTime) == ("101112", "000001")
    assert read.AcquisitionDateTime == f"{dt.date(2023, 12, 31) + days:%Y%m%d}235959.999999-0500"
    assert read.TimezoneOffsetFromUTC == "-0500"
    moved = read.ContainerComponentSequence[0]
    assert moved.ScheduledProcedureStepStartDate == read.StudyDate
    assert moved.ScheduledProcedureStepStartTime == "0830"
    deeper = read.PerformedProtocolCodeSequence[0].ReferencedDateTime
    assert deeper == f"{dt.date(2024, 1, 2) + days:%Y%m%d}"
    assert read.LongitudinalTemporalInformationModified == "MODIFIED"


def test_every_frame_moves_by_the_days_of_its_study() -> None:
    read = result(enhanced_mr(WHO))

    day = f"{ORIGINAL + dt.timedelta(offset_of(ct(WHO))):%Y%m%d}"
    frames = [
        group.FrameContentSequence[0].FrameAcquisitionDateTime
        for group in read.PerFrameFunctionalGroupsSequence
    ]
    assert frames == [f"{day}10111{number}" for number in range(3)]


def test_the_offset_is_the_same_for_every_study_and_upload_of_a_patient() -> None:
    later = ct(WHO)
    later.StudyInstanceUID, later.AccessionNumber = "1.2.3.99", "OTHER"

    assert offset_of(ct(WHO)) == offset_of(later) == offset_of(ct(WHO))
    assert offset_of(ct(WHO)) != 0


def test_other_patients_and_organizations_have_other_offsets() -> None:
    other = ct(Identity(patient_id="PZ-1"))

    assert len({offset_of(ct(WHO)), offset_of(other), offset_of(ct(WHO), context("else"))}) == 3


def test_no_original_date_leaves_and_the_birth_date_goes() -> None:
    dataset = ct(WHO)
    dataset.InterventionDescription = "scan of 29.02.2024, born 17 Apr 1931"

    made = output(dataset)

    assert found(["20240229", "29.02.2024", *WHO.texts], searchable(made)) == []
    assert dcmread(io.BytesIO(made)).PatientBirthDate == ""


def test_a_moved_date_may_equal_another_date_of_the_patient() -> None:
    dataset = ct(WHO)
    days = offset_of(dataset)
    dataset.SeriesDate = f"{ORIGINAL + dt.timedelta(days):%Y%m%d}"

    read = result(dataset)

    assert read.StudyDate == dataset.SeriesDate
    assert read.SeriesDate == f"{ORIGINAL + dt.timedelta(2 * days):%Y%m%d}"


def test_a_patient_imaged_on_the_day_of_birth_goes_through() -> None:
    dataset = ct(WHO)
    dataset.PatientBirthDate = dataset.StudyDate

    assert result(dataset).PatientBirthDate == ""


def test_a_date_that_is_none_becomes_a_dummy() -> None:
    data = part10(ct(WHO)).replace(b"DA\x08\x0020240229", b"DA\x08\x0020240231")

    made = deidentify(MemorySource(data), context())

    assert dcmread(io.BytesIO(b"".join(made.chunks()))).StudyDate == "19000101"
    assert "date-unreadable-replaced (0008,0020)" in map(str, made.warnings)


def test_the_age_stays_true_to_the_moved_dates() -> None:
    dataset = ct(WHO)
    dataset.PatientAge = "092Y"

    read = result(dataset, context("wobble", Option.PATIENT_CHARACTERISTICS))

    assert read.PatientAge == "092Y"


def test_calibration_dates_of_a_retained_device_move_too() -> None:
    dataset = ct(WHO)
    dataset.DateOfLastCalibration = "20240229"

    read = result(dataset, context("wobble", Option.DEVICE_IDENTITY))

    assert read.DateOfLastCalibration == read.StudyDate


def test_an_object_without_dates_stays_removed() -> None:
    dataset = ct(WHO)
    dataset.LongitudinalTemporalInformationModified = "REMOVED"

    assert result(dataset).LongitudinalTemporalInformationModified == "REMOVED"
