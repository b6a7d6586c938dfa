"""The sample study is conformant, always the same, and obviously not a patient's."""

from io import BytesIO

import pydicom
import pytest

from app.samples import PATIENT_ID, sample_instance, sample_study, write_sample_study
from tools import sample_object


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(data))  # noqa: TID251 - what the sample says to others


def test_the_sample_study_is_the_same_every_time():
    assert sample_study() == sample_study()


def test_the_sample_study_has_two_series_of_slices_and_a_report():
    datasets = [read(instance.data) for instance in sample_study()]

    slices = [dataset for dataset in datasets if dataset.Modality == "CT"]
    assert [dataset.SeriesNumber for dataset in slices] == [1, 1, 1, 2, 2, 2]
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 7
    assert len({dataset.StudyInstanceUID for dataset in datasets}) == 1


def test_the_report_refers_to_every_slice():
    *slices, report = [read(instance.data) for instance in sample_study()]

    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referred = {
        item.ReferencedSOPInstanceUID for one in series for item in one.ReferencedSOPSequence
    }

    assert referred == {dataset.SOPInstanceUID for dataset in slices}


def test_the_first_slice_can_be_had_alone():
    assert sample_instance() == sample_study()[0]


def test_every_identifier_says_that_it_is_a_sample():
    for instance in sample_study():
        dataset = read(instance.data)
        assert "Sample" in str(dataset.PatientName)
        assert dataset.PatientID == PATIENT_ID
        assert "SAMPLE" in dataset.AccessionNumber


@pytest.mark.parametrize("instance", sample_study(), ids=lambda instance: instance.name)
def test_the_outside_validator_finds_no_error(instance, dciodvfy, tmp_path):
    path = tmp_path / instance.name
    path.write_bytes(instance.data)

    assert dciodvfy(path) == []


def test_the_command_writes_the_files(tmp_path, capsys):
    sample_object.main([str(tmp_path / "out")])

    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted(instance.name for instance in sample_study())
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_writing_twice_gives_the_same_bytes(tmp_path):
    first = [path.read_bytes() for path in write_sample_study(tmp_path)]

    assert [path.read_bytes() for path in write_sample_study(tmp_path)] == first
