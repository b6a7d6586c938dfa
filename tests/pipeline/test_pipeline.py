"""One instance through every step, seen from outside."""

import io
import json
from pathlib import Path

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit

from app.audit.events import AuditEvent
from app.deid.profile import BUILT_IN, profile_from_text
from app.dicom.source import FileSource, MemorySource
from app.errors import (
    BurnedInAnnotationSuspected,
    DatabaseUnavailable,
    MalformedDicom,
    MissingIdentifier,
    NotDicom,
    Truncated,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from app.pipeline import Actor, Context, deidentify, run
from app.vault.mapping import Originals, Replacements
from app.vault.pseudonyms import Pseudonyms
from tests.builders import REFERENCED_IMAGE, Identity, ct, ko, part10, raw_element, sr, us_jpeg

WHO = Identity()


def context(profile: str = "basic", organization: str = "DEMO") -> Context:
    pseudonyms = Pseudonyms(bytes(range(32)), organization)
    return Context(organization, BUILT_IN[profile], pseudonyms)


def output(data: bytes, using: Context | None = None) -> bytes:
    return b"".join(deidentify(MemorySource(data), using or context()).chunks())


def result(dataset: Dataset, using: Context | None = None) -> Dataset:
    return dcmread(io.BytesIO(output(part10(dataset), using)))


def test_identity_follows_the_seed_form_and_links_a_patients_studies() -> None:
    first, second = ct(WHO), ct(WHO)
    second.StudyInstanceUID = "1.2.826.0.1.3680043.10.998.99"

    one, two = result(first), result(second)

    assert one.PatientID == two.PatientID
    assert one.PatientID.startswith("DEMO-P")
    assert one.PatientName == f"CloudPatient^{one.PatientID.removeprefix('DEMO-')}"
    assert one.InstitutionName == "DEMO"
    assert one.AccessionNumber != two.AccessionNumber


def test_per_study_identity_does_not_link_a_patients_studies() -> None:
    first, second = ct(WHO), ct(WHO)
    second.StudyInstanceUID = "1.2.826.0.1.3680043.10.998.99"

    one, two = result(first, context("basic-per-study")), result(second, context("basic-per-study"))

    assert one.PatientID == f"DEMO-{one.AccessionNumber}"
    assert one.PatientName == f"CloudStudy^{one.AccessionNumber}"
    assert one.PatientID != two.PatientID


def test_instances_without_patient_id_are_not_taken_for_one_patient() -> None:
    first, second = ct(WHO), ct(WHO)
    second.StudyInstanceUID = "1.2.826.0.1.3680043.10.998.99"
    first.PatientID = second.PatientID = ""

    assert result(first).PatientID != result(second).PatientID


def test_organizations_get_unlinkable_pseudonyms() -> None:
    one, two = result(ct(WHO)), result(ct(WHO), context(organization="OTHER"))

    assert one.StudyInstanceUID != two.StudyInstanceUID
    assert one.AccessionNumber != two.AccessionNumber


def test_markers_say_what_was_done() -> None:
    dataset = result(ct(WHO))

    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.DeidentificationMethod.startswith("deid-gateway basic ")
    assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"


def test_an_earlier_de_identification_keeps_its_marks_beside_ours() -> None:
    dataset = ct(WHO)
    dataset.DeidentificationMethod = "SOME TOOL 1.0"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113111", "DCM", "Safe Private"
    dataset.DeidentificationMethodCodeSequence = [code]

    once = result(dataset)
    twice = result(once_again(once))

    assert once.DeidentificationMethod[0] == "SOME TOOL 1.0"
    assert list(twice.DeidentificationMethod) == list(once.DeidentificationMethod)
    values = [item.CodeValue for item in twice.DeidentificationMethodCodeSequence]
    assert values == ["113111", "113100"]


def once_again(dataset: Dataset) -> Dataset:
    again = Dataset()
    again.update(dataset)
    return again


def test_references_follow_across_the_instances_of_a_study() -> None:
    image = ct(WHO)
    image.SOPInstanceUID = REFERENCED_IMAGE

    replaced = result(image).SOPInstanceUID
    reports = [result(sr(WHO)), result(ko(WHO))]

    for report in reports:
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
        series = evidence.ReferencedSeriesSequence[0]
        assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == replaced
        assert evidence.StudyInstanceUID == report.StudyInstanceUID


@pytest.mark.parametrize(
    ("uid", "is_kept"),
    [
        ("2.16.840.1.113883.6.96", True),
        ("1.2.840.10008.2.16.4", True),
        ("1.2.3.77410093", False),
    ],
)
def test_coding_scheme_uids_stay_unless_they_are_somebodys_number(uid: str, is_kept: bool) -> None:
    dataset = ct(WHO)
    scheme = Dataset()
    scheme.add_new(0x0008010C, "UI", uid)
    dataset.CodingSchemeIdentificationSequence = [scheme]

    read = result(dataset)

    kept = read.CodingSchemeIdentificationSequence[0].CodingSchemeUID
    assert (kept == uid) is is_kept


def test_bytes_behind_the_last_pixel_are_cut_off_and_reported() -> None:
    dataset = ct(WHO)
    dataset.PixelData += b"left over"
    data = part10(dataset)

    made = deidentify(MemorySource(data), context())
    read = dcmread(io.BytesIO(b"".join(made.chunks())))

    assert read.PixelData == ct(WHO).PixelData
    assert "pixel-surplus-removed (7FE0,0010)" in map(str, made.warnings)


def test_encapsulated_data_under_a_native_transfer_syntax_is_refused() -> None:
    data = part10(us_jpeg(WHO), JPEGBaseline8Bit)
    native = data.replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0")

    with pytest.raises(MalformedDicom):
        output(native)


def test_frames_beyond_a_wrong_number_of_frames_are_not_lost() -> None:
    dataset = us_jpeg(WHO)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    del dataset.NumberOfFrames

    data = output(part10(dataset, JPEGBaseline8Bit))

    read = dcmread(io.BytesIO(data))
    assert len(list(generate_fragments(read.PixelData))) - 1 == len(frames)


def test_preamble_and_file_meta_are_new() -> None:
    data = output(b"\1" * 128 + part10(ct(WHO))[128:])
    dataset = dcmread(io.BytesIO(data))

    assert data[:132] == bytes(128) + b"DICM"
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.ImplementationVersionName.startswith("DEIDGATEWAY")
    assert "SourceApplicationEntityTitle" not in dataset.file_meta


def test_pixels_are_bit_exact_and_the_input_is_unchanged() -> None:
    data = part10(ct(WHO))
    before = bytes(data)

    dataset = dcmread(io.BytesIO(output(data)))

    assert dataset.PixelData == ct(WHO).PixelData
    assert data == before


def test_the_same_input_gives_the_same_bytes_from_memory_and_from_a_file(tmp_path: Path) -> None:
    data = part10(ct(WHO))
    path = tmp_path / "in"
    path.write_bytes(data)

    with path.open("rb") as source, (tmp_path / "out").open("wb") as target:
        made = deidentify(FileSource(source.fileno()), context())
        made.write_to(target.fileno())

    assert (tmp_path / "out").read_bytes() == output(data)
    assert made.size == len(output(data))


def test_chunks_are_bounded_and_complete() -> None:
    dataset = ct(WHO)
    dataset.Rows = dataset.Columns = 512
    dataset.PixelData = bytes(range(256)) * 2048
    made = deidentify(MemorySource(part10(dataset)), context())

    chunks = [bytes(chunk) for chunk in made.chunks(max_bytes=1000)]

    assert max(len(chunk) for chunk in chunks[1:]) <= 1000
    assert b"".join(chunks) == output(part10(dataset))


def test_metadata_inside_compressed_frames_is_reported() -> None:
    data = part10(us_jpeg(WHO), JPEGBaseline8Bit)

    made = deidentify(MemorySource(data), context())

    assert "frame-metadata-removed (7FE0,0010)" in map(str, made.warnings)


@pytest.mark.parametrize(
    ("codec", "declared"), [("utf-8", "ISO_IR 192"), ("latin-1", "ISO_IR 100")]
)
def test_kept_text_without_a_declared_character_set_gets_one(codec: str, declared: str) -> None:
    dataset = ct(WHO)
    placeholder = b"WOBBLE"
    dataset.ConvolutionKernel = placeholder.decode()
    text = "scharf ß".encode(codec)
    text += b" " * (len(text) % 2)
    old = b"\x18\x00\x10\x12SH\x06\x00" + placeholder
    new = b"\x18\x00\x10\x12SH" + len(text).to_bytes(2, "little") + text
    data = part10(dataset).replace(old, new)

    read = dcmread(io.BytesIO(output(data)))

    assert read.SpecificCharacterSet == declared
    assert read.ConvolutionKernel == "scharf ß"


@pytest.mark.parametrize(
    ("charset", "is_kept"),
    [("ISO_IR 100", True), ("\\ISO 2022 IR 87", True), ("GB18030", True), ("UNIQUECANARY", False)],
)
def test_a_character_set_is_one_of_the_standard_or_goes(charset: str, is_kept: bool) -> None:
    element = raw_element(0x00080005, "CS", charset.encode())

    data = output(part10(ct(WHO), extra={0x00080005: element}))

    assert (charset.encode() in data) is is_kept


def test_compressed_pixels_in_an_implicit_data_set_are_refused() -> None:
    data = part10(us_jpeg(WHO), ImplicitVRLittleEndian)
    end = data.index(b"1.2.840.10008.1.2\0")
    meta = data[:end] + b"1.2.840.10008.1.2.4.50" + data[end + 18 :]
    length = int.from_bytes(data[end - 2 : end], "little") + 4
    meta = meta[: end - 2] + length.to_bytes(2, "little") + meta[end:]

    with pytest.raises(UnsupportedTransferSyntax):
        output(meta)


def test_the_plan_explains_every_element_and_tells_no_value() -> None:
    made = deidentify(MemorySource(part10(sr(WHO), ImplicitVRLittleEndian)), context())

    report = made.plan.report()
    text = json.dumps(report)

    by_path = {step["path"]: step for step in report["steps"]}
    assert by_path["(0010,0010)"]["effect"] == "identity"
    assert by_path["(0040,A730)"]["because"].startswith("Table E.1-1 (0040,A730): D")
    assert "(0040,A730)[0].(0040,A010)" in by_path
    assert report["profile_version"] == BUILT_IN["basic"].version
    assert not [value for value in WHO.texts if value in text]


def test_originals_hide_from_repr() -> None:
    made = deidentify(MemorySource(part10(ct(WHO))), context())

    shown = repr(made) + repr(made.originals) + repr(made.plan)
    assert not [value for value in WHO.texts if value in shown]


def test_declared_burned_in_annotation_is_refused_unless_the_profile_accepts_it() -> None:
    dataset = ct(WHO)
    dataset.BurnedInAnnotation = "YES"
    lax = profile_from_text("{name: lax, options: [basic], burned_in: accept-uncleaned-pixels}")
    accepting = Context("DEMO", lax, Pseudonyms(bytes(range(32)), "DEMO"))

    with pytest.raises(BurnedInAnnotationSuspected):
        result(dataset)

    assert result(dataset, accepting).BurnedInAnnotation == "YES"


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"])
def test_an_instance_that_cannot_be_linked_is_refused(keyword: str) -> None:
    data = part10(ct(WHO))
    dataset = dcmread(io.BytesIO(data))
    setattr(dataset, keyword, "")
    buffer = io.BytesIO()
    dataset.save_as(buffer)

    with pytest.raises((MissingIdentifier, UnsupportedSOPClass)):
        output(buffer.getvalue())


def test_a_sop_class_that_the_standard_does_not_know_is_refused() -> None:
    dataset = ct(WHO)
    dataset.SOPClassUID = "1.3.12.2.1107.5.9.1"

    with pytest.raises(UnsupportedSOPClass):
        result(dataset)


def test_a_transfer_syntax_that_nobody_knows_is_refused() -> None:
    data = part10(ct(WHO)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0")

    with pytest.raises(UnsupportedTransferSyntax):
        output(data)


def test_a_cut_off_object_is_refused() -> None:
    with pytest.raises(Truncated):
        output(part10(ct(WHO))[:-100])


def test_what_is_not_dicom_is_refused() -> None:
    with pytest.raises(NotDicom):
        output(b"<html>no</html>" * 20)


class RecordingVault:
    """Keeps what it was told to record; can be out of order."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.recorded: list[tuple[Originals, Replacements, AuditEvent]] = []
        self.audited: list[AuditEvent] = []

    async def record(self, *, organization, originals, replacements, event, domain="") -> None:
        assert (organization, domain) == (event.organization, "")
        if self.error:
            raise self.error
        self.recorded.append((originals, replacements, event))

    async def audit(self, event: AuditEvent) -> None:
        self.audited.append(event)


async def test_the_mapping_is_recorded_before_the_instance_is_given_out() -> None:
    vault = RecordingVault()

    made = await run(
        MemorySource(part10(ct(WHO))), context(), vault=vault, actor=Actor("cli:tester")
    )

    originals, replacements, event = vault.recorded[0]
    assert originals.patient_id == WHO.patient_id
    assert replacements == made.replacements
    assert (event.action, event.outcome, event.actor) == ("anonymize", "success", "cli:tester")
    assert event.sop_instance_uid == made.replacements.sop_instance_uid


async def test_without_a_recorded_mapping_nothing_is_given_out() -> None:
    vault = RecordingVault(DatabaseUnavailable())

    with pytest.raises(DatabaseUnavailable):
        await run(MemorySource(part10(ct(WHO))), context(), vault=vault, actor=Actor("x"))


async def test_a_refusal_is_audited_with_its_code() -> None:
    vault = RecordingVault()

    with pytest.raises(NotDicom):
        await run(MemorySource(b"no" * 400), context(), vault=vault, actor=Actor("x"))

    assert [event.outcome for event in vault.audited] == ["not-dicom"]
    assert not vault.recorded


def test_the_plan_explains_what_is_inserted_too() -> None:
    dataset = ct(WHO)
    del dataset.InstitutionName, dataset.Manufacturer
    made = deidentify(MemorySource(part10(dataset)), context())

    explained = {step.tag for step in made.plan.steps()}
    written = set(dcmread(io.BytesIO(b"".join(made.chunks()))).keys())

    assert written - {0x7FE00010} <= explained
