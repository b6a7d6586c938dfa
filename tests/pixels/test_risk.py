"""How likely an image carries text, out of its header."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deid.data.attribute_types import CIODS
from app.deid.standard import ciod_of
from app.pixels.model import Picture, Risk
from app.pixels.risk import assess, trusts_no
from app.pixels.risk_tables import NO_IMAGE_CLASSES, SOP_CLASSES, Group
from tests.pixels.pictures import CT, SEGMENTS, SLIDE, STORAGE, US, picture

DIRECTORY = "1.2.840.10008.1.3.10"
DX = picture(CT, sop_class=STORAGE + "1.1", modality="DX", bits_stored=14)
CAPTURE = picture(CT, sop_class=STORAGE + "7", modality="OT", image_type=("DERIVED", "SECONDARY"))


def risk_of(base: Picture, **changes: object) -> Risk:
    return assess(replace(base, **changes))[0]


def codes_of(base: Picture, **changes: object) -> set[str]:
    return {reason.code for reason in assess(replace(base, **changes))[1]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (CT, Risk.NONE),
        (DX, Risk.SOME),
        (US, Risk.HIGH),
        (CAPTURE, Risk.HIGH),
        (SLIDE, Risk.NONE),
        (SEGMENTS, Risk.NONE),
        (picture(CT, sop_class=STORAGE + "77.1.1", modality="ES"), Risk.HIGH),
        (picture(CT, sop_class=STORAGE + "77.1.1.1", modality="ES"), Risk.UNKNOWN),
        (picture(CT, sop_class=STORAGE + "12.2", modality="RF"), Risk.SOME),
    ],
    ids=["ct", "dx", "us", "capture", "slide", "segments", "endoscopy", "video", "fluoroscopy"],
)
def test_each_group_of_sop_classes_has_its_risk(given: Picture, expected: Risk) -> None:
    assert assess(given)[0] is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_type": ("DERIVED", "PRIMARY", "MPR")}, Risk.NONE),
        ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, Risk.SOME),
        ({"image_type": ()}, Risk.SOME),
        ({"image_type": ("SOMETHING", "PRIMARY")}, Risk.SOME),
        ({"image_type": ("DERIVED", "SECONDARY", "DOSE_INFO")}, Risk.HIGH),
        ({"image_type": ("DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT")}, Risk.HIGH),
        ({"image_type": ("DERIVED", "SECONDARY", "SCREEN SAVE")}, Risk.HIGH),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOW_DOSE")}, Risk.NONE),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, Risk.SOME),
        ({"image_type": ("DERIVED", "SECONDARY", "LOCALIZER")}, Risk.SOME),
        ({"photometric": "RGB", "samples": 3, "bits_stored": 16}, Risk.SOME),
        ({"bits_stored": 8}, Risk.SOME),
        ({"bits_stored": 8, "columns": 1024, "rows": 768}, Risk.HIGH),
        ({"modality": "US"}, Risk.HIGH),
        ({"modality": "MR"}, Risk.SOME),
        ({"conversion": "WSD"}, Risk.HIGH),
        ({"conversion": "SD"}, Risk.UNKNOWN),
        ({"conversion": "QQ"}, Risk.UNKNOWN),
        ({"burned_in": "YES"}, Risk.HIGH),
        ({"burned_in": "NO"}, Risk.NONE),
        ({"burned_in": "MAYBE"}, Risk.UNKNOWN),
        ({"recognizable": "YES"}, Risk.UNKNOWN),
        ({"manufacturer": "Vidar Systems"}, Risk.HIGH),
        ({"transfer_syntax": "1.2.840.10008.1.2.4.102"}, Risk.UNKNOWN),
        ({"rows": 0}, Risk.UNKNOWN),
        ({"frames": 0}, Risk.UNKNOWN),
        ({"sop_class": "1.2.840.113619.4.30"}, Risk.UNKNOWN),
        ({"sop_class": ""}, Risk.UNKNOWN),
    ],
)
def test_what_speaks_against_a_section_raises_its_risk(changes: dict, expected: Risk) -> None:
    assert risk_of(CT, **changes) is expected


def test_a_radiograph_is_read_even_if_its_console_declares_that_nothing_is_burned_in() -> None:
    assert risk_of(DX, burned_in="NO") is Risk.SOME
    assert risk_of(DX, burned_in="NO", image_type=("DERIVED", "SECONDARY")) is Risk.SOME


@pytest.mark.parametrize("word", ["LOCALIZER", "TOPOGRAM", "SCOUT"])
def test_a_localizer_is_read_because_consoles_write_on_it(word: str) -> None:
    assert risk_of(CT, image_type=("ORIGINAL", "PRIMARY", "AXIAL")) is Risk.NONE
    assert risk_of(CT, image_type=("ORIGINAL", "PRIMARY", word)) is Risk.SOME
    assert "image-type" in codes_of(CT, image_type=("ORIGINAL", "PRIMARY", word))


@pytest.mark.parametrize("base", [US, CAPTURE], ids=["us", "capture"])
def test_that_nothing_is_burned_in_counts_for_nothing_where_devices_lie(base: Picture) -> None:
    assert risk_of(base, burned_in="NO") is Risk.HIGH


def test_a_digitised_film_cannot_say_that_nothing_is_burned_in() -> None:
    assert trusts_no(picture(CAPTURE, burned_in="NO", conversion="WSD"))
    assert not trusts_no(picture(CAPTURE, burned_in="NO", conversion="DF"))
    assert not trusts_no(picture(CAPTURE, burned_in="NO", manufacturer="VIDAR"))


@pytest.mark.parametrize(
    ("flavour", "flag", "expected"),
    [
        ("VOLUME", "NO", Risk.NONE),
        ("VOLUME", "YES", Risk.UNKNOWN),
        ("VOLUME", "", Risk.NONE),
        ("THUMBNAIL", "NO", Risk.SOME),
        ("THUMBNAIL", "", Risk.UNKNOWN),
        ("", "NO", Risk.UNKNOWN),
    ],
)
def test_slides_are_judged_by_flavour_and_label(flavour: str, flag: str, expected: Risk) -> None:
    kinds = ("DERIVED", "PRIMARY", flavour, "NONE")

    assert risk_of(SLIDE, image_type=kinds, attributes=(("label_in_image", flag),)) is expected


@pytest.mark.parametrize(
    ("flavour", "flag"), [("LABEL", "YES"), ("OVERVIEW", "NO"), ("THUMBNAIL", "YES")]
)
def test_labels_of_slides_are_told_apart(flavour: str, flag: str) -> None:
    kinds = ("ORIGINAL", "PRIMARY", flavour, "NONE")

    found = codes_of(SLIDE, image_type=kinds, attributes=(("label_in_image", flag),))

    assert "slide-label" in found


@pytest.mark.parametrize(
    "changes", [{"burned_in": "YES"}, {"samples": 3}, {"modality": "OT"}], ids=str
)
def test_a_computed_image_that_contradicts_itself_is_unknown(changes: dict) -> None:
    assert risk_of(SEGMENTS, **changes) is Risk.UNKNOWN


def test_what_is_no_image_has_no_risk_unless_it_has_pixels() -> None:
    report = Picture(STORAGE + "88.33", "1.2.840.10008.1.2.1", modality="SR")

    assert assess(report)[0] is Risk.NONE
    assert risk_of(report, rows=10, columns=10) is Risk.UNKNOWN
    assert risk_of(report, sop_class=STORAGE + "4.2", rows=1, columns=64) is Risk.NONE


def test_every_group_has_sop_classes_and_every_image_class_an_iod() -> None:
    for group in set(Group) - {Group.NO_IMAGE}:
        assert [one for one in SOP_CLASSES.values() if one.group is group]
    known = [uid for uid in SOP_CLASSES if ciod_of(uid)]
    assert len(known) > 55


def test_every_storage_class_that_the_engine_knows_is_foreseen() -> None:
    classes = [line.split("\t")[0] for line in CIODS.splitlines()]

    unforeseen = [
        uid
        for uid in classes
        if uid not in SOP_CLASSES and not uid.startswith((*NO_IMAGE_CLASSES, DIRECTORY))
    ]

    assert len(classes) > 150
    assert unforeseen == []


VALUES = st.sampled_from(["", "YES", "NO", "SD", "WSD", "DF", "US", "CT", "OT", "X", "PRIMARY"])


@given(
    sop_class=st.sampled_from([*SOP_CLASSES, STORAGE + "88.11", "1.2.3"]),
    burned_in=VALUES,
    conversion=VALUES,
    modality=VALUES,
    image_type=st.lists(
        st.sampled_from(["ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "LABEL", "VOLUME", "DOSE"]),
        max_size=4,
    ).map(tuple),
    samples=st.integers(0, 4),
    bits=st.integers(0, 32),
    rows=st.integers(-1, 2000),
)
def test_every_assessment_names_a_reason(  # noqa: PLR0917
    sop_class, burned_in, conversion, modality, image_type, samples, bits, rows
) -> None:
    given = Picture(
        sop_class,
        "1.2.840.10008.1.2",
        modality=modality,
        burned_in=burned_in,
        conversion=conversion,
        image_type=image_type,
        samples=samples,
        bits_stored=bits,
        rows=rows,
        columns=100,
    )

    level, reasons = assess(given)

    assert reasons
    assert level in set(Risk)
    if burned_in == "YES":
        assert level in {Risk.HIGH, Risk.UNKNOWN}
