"""No planted value survives anywhere in the output bytes."""

import base64
import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from app.deid.profile import BUILT_IN
from app.dicom.source import MemorySource
from app.errors import GatewayError, UndecidableElement
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import (
    INSTANCES,
    NATIVE_SYNTAXES,
    REFERENCED_IMAGE,
    SCRIPTS,
    SENTENCES,
    Identity,
    Planter,
    ct,
    everything,
    part10,
    plant_kept_text,
    raw_element,
    sentence,
    sr,
    us_jpeg,
)
from tests.canaries.search import found, searchable

WHO = Identity()


@lru_cache(maxsize=1)
def context() -> Context:
    pseudonyms = Pseudonyms(bytes(range(32)), "wobble")
    profile = BUILT_IN["basic"]
    return Context(organization="wobble", profile=profile, pseudonyms=pseudonyms)


def deidentified(data: bytes) -> bytes:
    return b"".join(deidentify(MemorySource(data), context()).chunks())


def read_back(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def nothing_or(output: Callable[[], bytes]) -> bytes:
    """Give the output, or no bytes where the instance was refused."""
    try:
        return output()
    except GatewayError:
        return bytes(200)


CASES = [
    pytest.param(kind, syntax, id=f"{kind}-{syntax.name}")
    for kind in INSTANCES
    for syntax in ([JPEGBaseline8Bit] if kind == "us-jpeg" else NATIVE_SYNTAXES)
]


@pytest.mark.parametrize(("kind", "syntax"), CASES)
def test_no_canary_survives_in_any_place(kind: str, syntax: str) -> None:
    data, canaries = everything(kind, syntax)

    output = deidentified(data)

    places = {canary.text: canary.place for canary in canaries}
    survivors = found([*places, *WHO.texts], searchable(output))
    assert [places.get(text, "identity") for text in survivors] == []
    assert read_back(output).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize("kind", INSTANCES)
def test_an_instance_without_canaries_goes_through_and_loses_its_identity(kind: str) -> None:
    syntax = JPEGBaseline8Bit if kind == "us-jpeg" else ImplicitVRLittleEndian
    data = part10(INSTANCES[kind](WHO), syntax)

    output = deidentified(data)

    assert found(WHO.texts, searchable(output)) == []
    assert read_back(output).SOPClassUID == INSTANCES[kind](WHO).SOPClassUID


@pytest.mark.parametrize("name", SENTENCES)
def test_kept_texts_are_cleaned_of_the_identity(name: str) -> None:
    dataset = ct(WHO)
    plant_kept_text(dataset, sentence(name, WHO))

    output = deidentified(part10(dataset))

    assert found(WHO.texts, searchable(output)) == []
    assert "ManufacturerModelName" in read_back(output)


@pytest.mark.parametrize("charset", SCRIPTS)
def test_names_in_every_script_leave_kept_texts(charset: str) -> None:
    name, codec = SCRIPTS[charset]
    parts = [part for group in name.split("=") for part in group.split("^")]
    dataset = ct(WHO)
    dataset.SpecificCharacterSet = charset.split("\\")
    dataset.PatientName = name
    dataset.WindowCenterWidthExplanation = [f"for {part}" for part in parts]
    dataset.InterventionDescription = "; ".join(reversed(parts))

    output = deidentified(part10(dataset))

    assert found(parts, searchable(output), codec) == []


@pytest.mark.parametrize("charset", ["ISO_IR 13", "\\ISO 2022 IR 13"])
def test_katakana_of_half_width_stays_so_where_a_name_is_taken_out(charset: str) -> None:
    escape = b"\x1b)I" if "2022" in charset else b""
    katakana = "ｶﾞﾝ､ﾊﾟｰｾﾝﾄ".encode("shift_jis")
    dataset = ct(WHO)
    dataset.SpecificCharacterSet = charset.split("\\")
    text = raw_element(0x0018003A, "ST", b"Quillonbury " + escape + katakana)

    output = deidentified(part10(dataset, extra={0x0018003A: text}))

    assert katakana in output
    assert found(WHO.texts, searchable(output)) == []


@pytest.mark.parametrize("charset", SCRIPTS)
def test_other_text_in_every_script_stays_readable(charset: str) -> None:
    kept = SCRIPTS[charset][0].split("^")[0].split("=")[-1]
    dataset = ct(WHO)
    dataset.SpecificCharacterSet = charset.split("\\")
    dataset.ManufacturerModelName = kept

    output = read_back(deidentified(part10(dataset)))

    assert output.ManufacturerModelName == kept


@pytest.mark.parametrize("text", [WHO.family, WHO.given, WHO.patient_id, WHO.institution])
def test_identity_in_base64_in_kept_texts_is_cleaned_or_refused(text: str) -> None:
    in_base64 = base64.b64encode(f"id={text};".encode()).decode()
    dataset = ct(WHO)
    dataset.InterventionDescription = f"ref {in_base64}"
    dataset.TrackingID = in_base64

    output = nothing_or(lambda: deidentified(part10(dataset)))

    assert found([text], searchable(output)) == []


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be"])
def test_identity_in_kept_binary_is_cleaned_or_refused(codec: str) -> None:
    dataset = ct(WHO)
    dataset.ICCProfile = f"desc {WHO.family} {WHO.patient_id}".encode(codec).ljust(128, b"\x00")

    output = nothing_or(lambda: deidentified(part10(dataset)))

    assert found(WHO.texts, searchable(output)) == []


def test_original_uids_in_kept_texts_are_cleaned() -> None:
    dataset = ct(WHO)
    uids = [str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SOPInstanceUID")]
    dataset.InterventionDescription = f"copy of {uids[0]}, {uids[1]}.dcm"

    output = deidentified(part10(dataset))

    assert found(uids, searchable(output)) == []


def test_references_follow_their_instance() -> None:
    first = ct(WHO)
    first.SOPInstanceUID = REFERENCED_IMAGE

    image = read_back(deidentified(part10(first)))
    report = read_back(deidentified(part10(sr(WHO))))

    evidence = report.CurrentRequestedProcedureEvidenceSequence[0]
    reference = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert evidence.StudyInstanceUID == image.StudyInstanceUID
    assert image.SOPInstanceUID != REFERENCED_IMAGE


@pytest.mark.parametrize("syntax", NATIVE_SYNTAXES)
def test_native_pixels_stay_bit_exact(syntax: str) -> None:
    data, _ = everything("ct", syntax)

    output = read_back(deidentified(data))

    assert np.array_equal(output.pixel_array, read_back(data).pixel_array)


def test_jpeg_pixels_stay_bit_exact_without_their_segments() -> None:
    data = part10(us_jpeg(WHO), JPEGBaseline8Bit)

    output = deidentified(data)

    assert np.array_equal(read_back(output).pixel_array, read_back(data).pixel_array)
    assert found(WHO.texts, searchable(output)) == []


@pytest.mark.parametrize("kind", ["ct", "sr"])
@pytest.mark.parametrize("padding", [2, 6, 512, 4096])
def test_zeros_behind_the_data_set_are_dropped(kind: str, padding: int) -> None:
    dataset = INSTANCES[kind](WHO)

    output = deidentified(part10(dataset, trailing=bytes(padding)))

    assert output == deidentified(part10(dataset))


@pytest.mark.parametrize("kind", ["ct", "sr"])
@pytest.mark.parametrize("syntax", NATIVE_SYNTAXES)
@pytest.mark.parametrize("padding", [0, 6, 128])
def test_text_behind_the_data_set_does_not_leave(kind: str, syntax: str, padding: int) -> None:
    planter = Planter("trailing")
    trailing = bytes(padding) + planter.text("trailing bytes").encode() * 3
    data = part10(INSTANCES[kind](WHO), syntax, trailing=trailing)

    output = nothing_or(lambda: deidentified(data))

    assert found([planter.canaries[0].text], searchable(output)) == []


def test_identity_behind_the_last_native_pixel_does_not_leave() -> None:
    dataset = ct(WHO)
    dataset.PixelData += bytes(512) + f"{WHO.given} {WHO.family} ".encode()

    output = nothing_or(lambda: deidentified(part10(dataset)))

    assert found(WHO.texts, searchable(output)) == []


# Elements whose VR or value contradicts the dictionary: text in places where nobody expects it.
CONTRADICTIONS = {
    "modality as LO": (0x00080060, "LO"),
    "kVp as LO": (0x00180060, "LO"),
    "pixel aspect ratio as LO": (0x00280034, "LO"),
    "a kept sequence as LO": (0x00082218, "LO"),
    "a kept sequence as OB": (0x00082218, "OB"),
    "a kept sequence as UN": (0x00082218, "UN"),
    "body part as PN": (0x00180015, "PN"),
    "palette data": (0x00281201, "OW"),
    "a lookup table": (0x00283006, "OW"),
    "an ICC profile": (0x00282000, "OB"),
    "a character set": (0x00080105, "CS"),
    "a decimal string": (0x00180088, "DS"),
    "a second patient's name": (0x00100010, "PN"),
    "a coding scheme as LO": (0x0008010C, "LO"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_identity_in_unexpected_places_is_cleaned_or_refused(name: str) -> None:
    tag, vr = CONTRADICTIONS[name]
    value = f"{WHO.family}{WHO.given}".encode()
    data = part10(ct(WHO), extra={tag: raw_element(tag, vr, value)})

    output = nothing_or(lambda: deidentified(data))

    assert found(WHO.texts, searchable(output)) == []


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00100010, "UN"), (0x0010FFF0, "PN"), (0x00101060, "PN"), (0x00091001, "PN")]
)
def test_a_name_met_anywhere_is_taken_out_of_kept_texts(tag: int, vr: str) -> None:
    dataset = ct(WHO)
    if tag in dataset:
        del dataset[tag]
    dataset.InterventionDescription = "as Barnabyrose said"

    output = deidentified(part10(dataset, extra={tag: raw_element(tag, vr, b"X^Barnabyrose")}))

    assert found(["Barnabyrose"], searchable(output)) == []


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_name_inside_a_private_sequence_is_taken_out_of_kept_texts(syntax: str) -> None:
    item = Dataset()
    item.PatientName = "X^Barnabyrose"
    dataset = ct(WHO)
    dataset.add_new(0x00090010, "LO", "ACME")
    dataset.add_new(0x00091001, "SQ", [item])
    dataset.InterventionDescription = "as Barnabyrose said"

    output = deidentified(part10(dataset, syntax))

    assert found(["Barnabyrose"], searchable(output)) == []


def test_text_in_another_character_set_than_declared_is_cleaned_or_refused() -> None:
    dataset = ct(WHO)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müllersdörf^Jürgen"
    text = raw_element(0x0018003A, "ST", "for Müllersdörf, Jürgen".encode())

    output = nothing_or(lambda: deidentified(part10(dataset, extra={0x0018003A: text})))

    assert found(["Müllersdörf", "Jürgen"], searchable(output), "latin-1") == []


def test_a_nested_character_set_does_not_hide_a_name() -> None:
    hidden, shown = Dataset(), Dataset()
    hidden.SpecificCharacterSet = shown.SpecificCharacterSet = "ISO_IR 192"
    hidden.PatientName, shown.CodeMeaning = "Žižkovský^Θεόφραστος", "by Žižkovský"
    dataset = ct(WHO)
    dataset.OtherPatientIDsSequence = [hidden]
    dataset.ViewCodeSequence = [shown]

    output = nothing_or(lambda: deidentified(part10(dataset)))

    assert found(["Žižkovský", "Θεόφραστος"], searchable(output)) == []


def test_video_that_may_carry_user_data_is_refused() -> None:
    dataset = us_jpeg(WHO)

    with pytest.raises(UndecidableElement):
        deidentified(part10(dataset, MPEG4HP41))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_same_input_gives_the_same_bytes(syntax: str) -> None:
    data, _ = everything("enhanced-mr", syntax)

    assert deidentified(data) == deidentified(data)


@pytest.mark.parametrize("kind", INSTANCES)
def test_what_was_deidentified_before_goes_through_again(kind: str) -> None:
    syntax = JPEGBaseline8Bit if kind == "us-jpeg" else ExplicitVRLittleEndian
    data, _ = everything(kind, syntax)
    first = deidentified(data)

    second = read_back(deidentified(first))

    assert second.PatientIdentityRemoved == "YES"
    assert second.SOPInstanceUID != read_back(first).SOPInstanceUID
