"""A profile with an allow-list leaves what an IOD requires and numbers, and nothing else."""

import hashlib
import io
import struct
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread  # noqa: TID251 - the oracle, not the border

from app.deid.allowing import ALLOW_LIST_VERSION, Allowance, allowance, listed_tags
from app.deid.data import all_types, coded_words
from app.deid.profile import BUILT_IN, Profile, profile_from_text
from app.deid.rulebook import rulebook_of
from app.deid.standard import ROWS
from app.deid.substitutes import Originals
from app.deid.verifying import verify
from app.dicom.elements import encode_text
from app.dicom.source import MemorySource
from app.errors import ResidualIdentifier
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, part10, rtstruct, seg
from tools import generate_types, generate_words

STRICT = BUILT_IN["strict"]
KEEPS_LABEL = """
name: ours
unlisted: remove
overrides:
  - {keyword: BodyPartThickness, action: X}
  - {keyword: SequenceName, action: K}
"""


def deidentified(dataset: Dataset, profile: Profile = STRICT) -> Dataset:
    context = Context("DEMO", profile, Pseudonyms(bytes(range(32)), "DEMO"))
    made = deidentify(MemorySource(part10(dataset)), context)
    return dcmread(io.BytesIO(b"".join(made.chunks())))


def code(scheme: str, value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def test_text_that_no_iod_requires_goes_and_other_text_becomes_a_dummy() -> None:
    dataset = ct(Identity())
    dataset.SequenceName = "night shift"
    dataset.Manufacturer = "Somebody's Garage"
    dataset.PositionReferenceIndicator = "left of the door"

    made = deidentified(dataset)

    assert "SequenceName" not in made
    assert made.Manufacturer == "REMOVED"
    assert made.PositionReferenceIndicator == ""


def test_numbers_stay_but_not_those_that_tell_devices_apart() -> None:
    dataset = ct(Identity())
    dataset.SliceLocation = "12.5"
    dataset.BodyPartThickness = "210"
    dataset.ExposuresOnDetectorSinceManufactured = "88412"

    made = deidentified(dataset)

    assert (made.SliceLocation, made.BodyPartThickness) == (12.5, 210)
    assert "ExposuresOnDetectorSinceManufactured" not in made


def test_attributes_of_no_iod_go() -> None:
    dataset = ct(Identity())
    dataset.add_new(0x00201070, "IS", "7")  # Other Study Numbers, retired
    dataset.add_new(0x00080001, "UL", 4)  # Length to End, retired

    made = deidentified(dataset)

    assert 0x00201070 not in made
    assert 0x00080001 not in made


def test_codes_of_public_schemes_keep_the_words_of_the_standard_and_local_codes_go() -> None:
    dataset = ct(Identity())
    dataset.AnatomicRegionSequence = [
        code("SCT", "51185008", "Chest near Frobnitz"),
        code("99HERE", "FROB-7", "The room of Frobnitz"),
        code("", "FROB-8", "Frobnitz"),
    ]

    public, local, bare = deidentified(dataset).AnatomicRegionSequence

    assert (public.CodeValue, public.CodeMeaning) == ("51185008", "Chest near")
    assert {local.CodeValue, local.CodingSchemeDesignator, local.CodeMeaning} == {"REMOVED"}
    assert bare.CodeValue == bare.CodeMeaning == "REMOVED"


def test_contours_and_segments_stay_whole() -> None:
    contours, segments = rtstruct(Identity()), seg(Identity())

    struct, segmentation = deidentified(contours), deidentified(segments)

    assert len(struct.StructureSetROISequence) == len(contours.StructureSetROISequence)
    assert [s.SegmentNumber for s in segmentation.SegmentSequence] == [
        s.SegmentNumber for s in segments.SegmentSequence
    ]


def test_what_an_earlier_tool_wrote_of_its_method_goes() -> None:
    dataset = ct(Identity())
    dataset.DeidentificationMethod = "by hand, ask Frobnitz"

    made = deidentified(dataset)

    assert made.DeidentificationMethod == f"deid-gateway strict {STRICT.version}"


def test_a_site_adds_to_the_list_and_takes_from_it() -> None:
    dataset = ct(Identity())
    dataset.SequenceName = "edge enhanced"
    dataset.BodyPartThickness = "210"

    made = deidentified(dataset, profile_from_text(KEEPS_LABEL))

    assert made.SequenceName == "edge enhanced"
    assert "BodyPartThickness" not in made


@pytest.mark.parametrize(
    "element",
    [
        encode_text(0x00180024, "SH", "tuned", explicit=True),
        encode_text(0x00080070, "LO", "ACME", explicit=True),
        encode_text(0x00187011, "IS", "12", explicit=True),
    ],
    ids=["not-listed", "text", "counter"],
)
def test_verification_knows_the_list_too(element: bytes) -> None:
    with pytest.raises(ResidualIdentifier):
        verify(
            element,
            explicit=True,
            originals=Originals((), (), frozenset()),
            own=frozenset(),
            rules=rulebook_of(("basic",), has_allow_list=True),
        )


def test_the_list_is_about_what_the_table_does_not_name() -> None:
    assert [tag for tag in ROWS if allowance(tag) is not None] == []
    assert {allowance(tag) for tag in listed_tags()} == {*Allowance, None}


def test_a_change_of_the_list_raises_its_version() -> None:
    lines = "\n".join(f"{tag:08X} {allowance(tag)}" for tag in listed_tags())

    digest = hashlib.sha256(lines.encode()).hexdigest()[:12]

    assert (ALLOW_LIST_VERSION, digest) == (2, "219be9dbd7f9")


def test_the_types_are_what_the_generator_makes() -> None:
    pytest.importorskip("highdicom", reason="its module tables are the source")

    assert generate_types.module_text() == Path(all_types.__file__).read_text(encoding="utf-8")


def test_the_words_are_what_the_generator_makes() -> None:
    assert generate_words.module_text() == Path(coded_words.__file__).read_text(encoding="utf-8")


def icc_profile(*, version: int) -> bytes:
    """Give a profile with numbers, texts and a private tag; its description names somebody."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    contents = {
        b"wtpt": white,
        b"desc": b"text\0\0\0\0Quillonbury",
        b"Zork": b"XYZ \0\0\0\0Quillonbury",
    }
    offset = 132 + 12 * len(contents)
    table, values = struct.pack(">I", len(contents)), b""
    for signature, content in contents.items():
        table += struct.pack(">4sII", signature, offset + len(values), len(content))
        values += content
    header = bytearray(128)
    header[8], header[36:40], header[48:56] = version, b"acsp", b"ZorkQuil"
    return bytes(header) + table + values


@pytest.mark.parametrize("version", [2, 4])
def test_an_icc_profile_keeps_its_numbers_and_loses_its_texts(version: int) -> None:
    dataset = ct(Identity())
    dataset.ICCProfile = icc_profile(version=version)

    made = deidentified(dataset).ICCProfile

    assert struct.pack(">3i", 63190, 65536, 54061) in made
    assert made[36:40] == b"acsp"
    assert b"Zork" not in made
    assert b"Quil" not in made
    assert b"R\0e\0m\0o\0v\0e\0d" in made or b"Removed" in made


@pytest.mark.parametrize("content", [b"Quillonbury!", b"\0" * 36 + b"acsp" + b"Quil" * 40])
def test_what_is_no_icc_profile_is_emptied(content: bytes) -> None:
    dataset = ct(Identity())
    dataset.ICCProfile = content

    assert not deidentified(dataset).ICCProfile


def test_a_code_string_that_the_standard_leaves_open_holds_its_terms_only() -> None:
    dataset = ct(Identity())
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "QUILLON", "MPR"]
    dataset.BodyPartExamined, dataset.PatientPosition = "HUGO BLINKE", "FFDR"
    dataset.ScanOptions, dataset.RescaleType = ["HELIX", "QUILLON"], "Quillon"

    made = deidentified(dataset)

    assert list(made.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "", "MPR"]
    assert (made.BodyPartExamined, made.PatientPosition) == ("UNKNOWN", "FFDR")
    assert "QUILLON" not in str(made).upper()
    assert made.RescaleType == "US"


def test_text_that_no_code_string_can_hold_goes_from_every_one() -> None:
    data = part10(ct(Identity())).replace(b"MONOCHROME2 ", b"Quillonbury ")
    made = deidentify(
        MemorySource(data), Context("DEMO", STRICT, Pseudonyms(bytes(range(32)), "DEMO"))
    )

    assert b"uillonbury" not in b"".join(made.chunks())


def test_a_rule_of_the_site_keeps_a_code_string_whole() -> None:
    ours = "{name: ours, unlisted: remove, overrides: [{keyword: ScanOptions, action: K}]}"
    dataset = ct(Identity())
    dataset.ScanOptions = "QUILLON"

    assert deidentified(dataset, profile_from_text(ours)).ScanOptions == "QUILLON"
