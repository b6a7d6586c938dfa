"""Verification refuses what must not leave, wherever the planner might have gone wrong."""

import base64

import pytest

from app.deid.override_text import read_overrides
from app.deid.overrides import Override
from app.deid.rulebook import rulebook_of
from app.deid.rules.identifiers import Kind
from app.deid.searching import compile_search
from app.deid.substitutes import Originals
from app.deid.verifying import Texts, verify
from app.dicom.elements import encode_element, encode_item, encode_text
from app.errors import ResidualIdentifier

LATIN_1 = b"ISO_IR 100"
VALUES = (
    (Kind.NAME, "Quillonbury^Zoé".encode("latin-1"), LATIN_1),
    (Kind.ID, b"PZ-7741-0093", LATIN_1),
    (Kind.BIRTH_DATE, b"19310417", LATIN_1),
    (Kind.PHRASE, b"Wobble Infirmary", LATIN_1),
)
UIDS = ("1.2.840.99999.4.17.23",)


def check(data: bytes, *, explicit: bool = True, options: tuple[str, ...] = ("basic",)) -> Texts:
    return verify(
        data,
        explicit=explicit,
        originals=Originals(VALUES, VALUES[:3], frozenset(UIDS)),
        own=frozenset({b"DEMO"}),
        rules=rulebook_of(options),
    )


def text(value: str, tag: int = 0x00081090, vr: str = "LO") -> bytes:
    raw = value.encode("utf-8")
    return encode_element(tag, vr, raw + b" " * (len(raw) % 2), explicit=True)


@pytest.mark.parametrize(
    "value",
    [
        "QUILLONBURY",
        "xQuillonburyx",
        "of zoé",
        "7741: PZ-7741-0093",
        "pz77410093",
        "born 17.04.1931",
        "wobble infirmary",
        "1.2.840.99999.4.17.23",
        base64.b64encode(b"Quillonbury").decode(),
        base64.b64encode(b"xxPZ-7741-0093yy").decode(),
        base64.b64encode(b"see 1.2.840.99999.4.17.23 there").decode(),
    ],
)
def test_an_identifying_value_anywhere_in_a_text_is_refused(value: str) -> None:
    with pytest.raises(ResidualIdentifier):
        check(text(value))


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-8", "latin-1"])
def test_a_name_in_binary_data_is_refused_in_every_encoding(codec: str) -> None:
    value = "Quillonbury ".encode(codec)
    with pytest.raises(ResidualIdentifier):
        check(encode_element(0x00282000, "OB", value + b"\0" * (len(value) % 2), explicit=True))


def test_a_value_in_a_nested_item_is_found() -> None:
    item = encode_item(encode_item(text("Quillonbury"))[8:])
    with pytest.raises(ResidualIdentifier):
        check(encode_element(0x00082218, "SQ", item, explicit=True))


def test_the_error_names_the_element_and_never_the_value() -> None:
    with pytest.raises(ResidualIdentifier) as caught:
        check(text("Quillonbury"))

    assert caught.value.path == "(0008,1090)"
    assert "uillon" not in str(caught.value)


@pytest.mark.parametrize(
    "element",
    [
        encode_text(0x00090010, "LO", "ACME", explicit=True),
        encode_text(0x00081030, "LO", "CHEST", explicit=True),
        encode_text(0x00020016, "AE", "NODE", explicit=True),
        encode_element(0x60003000, "OW", b"\0\0", explicit=True),
        encode_text(0x00080020, "DA", "20240229", explicit=True),
        encode_text(0x00080090, "PN", "Somebody^Else", explicit=True),
        encode_text(0x00080014, "UI", "1.2.3.4.5.6", explicit=True),
    ],
    ids=["private", "removed-row", "group-2", "overlay", "date", "name", "uid"],
)
def test_an_element_that_must_be_gone_or_a_dummy_is_refused(element: bytes) -> None:
    with pytest.raises(ResidualIdentifier):
        check(element)


@pytest.mark.parametrize(
    "element",
    [
        text("LightSpeed VCT"),
        text("DEMO", 0x00080080),
        encode_text(0x00080018, "UI", "2.25.77410093774100937741009377410093", explicit=True),
        encode_text(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.2", explicit=True),
        encode_text(0x00080020, "DA", "19000101", explicit=True),
        encode_text(0x00180088, "DS", "0.19310417", explicit=True),
        encode_text(0x00080060, "CS", "CT", explicit=True),
    ],
    ids=["model", "own", "mapped-uid", "class-uid", "dummy-date", "number", "modality"],
)
def test_what_may_leave_passes(element: bytes) -> None:
    check(element)


def test_bytes_that_cannot_be_read_back_are_refused() -> None:
    with pytest.raises(ResidualIdentifier):
        check(text("LightSpeed VCT")[:-4])


def test_implicit_vr_is_read_back_through_the_dictionary() -> None:
    with pytest.raises(ResidualIdentifier):
        check(encode_text(0x00081090, "LO", "Quillonbury", explicit=False), explicit=False)


def test_an_id_with_other_punctuation_is_suspected() -> None:
    search = compile_search(VALUES[1:])

    assert search.suspects(b"PZ 77.41/00-93")
    assert not search.suspects(b"PZ 77.41/00-94")


INSTITUTION = ("basic", "retain_institution_identity")
FULL_DATES = ("basic", "retain_long_full_dates")
MODIFIED_DATES = ("basic", "retain_long_modified_dates")


def test_a_retained_name_may_stand_in_its_own_attribute_and_nowhere_else() -> None:
    check(text("Wobble Infirmary", 0x00080080), options=INSTITUTION)

    with pytest.raises(ResidualIdentifier):
        check(text("Wobble Infirmary"), options=INSTITUTION)


def test_a_retained_attribute_may_not_hold_what_the_option_does_not_name() -> None:
    with pytest.raises(ResidualIdentifier):
        check(text("Quillonbury Infirmary", 0x00080080), options=INSTITUTION)


def test_where_dates_stay_a_date_may_stand_that_is_a_birth_date_elsewhere() -> None:
    check(encode_text(0x00080020, "DA", "19310417", explicit=True), options=FULL_DATES)


@pytest.mark.parametrize("options", [FULL_DATES, MODIFIED_DATES])
def test_text_in_the_place_of_a_date_is_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(ResidualIdentifier):
        check(encode_text(0x00080020, "DA", "Zebedee", explicit=True), options=options)


def test_a_date_that_nobody_moved_is_refused_where_dates_are_moved() -> None:
    with pytest.raises(ResidualIdentifier):
        check(encode_text(0x00080020, "DA", "20240229", explicit=True), options=MODIFIED_DATES)


def test_the_birth_date_is_refused_under_every_option_for_dates() -> None:
    for options in (FULL_DATES, MODIFIED_DATES):
        with pytest.raises(ResidualIdentifier):
            check(encode_text(0x00100030, "DA", "19310417", explicit=True), options=options)


def test_original_uids_stay_only_with_the_option_that_names_them() -> None:
    check(
        encode_text(0x00080014, "UI", "1.2.3.4.5.6", explicit=True),
        options=("basic", "retain_uids"),
    )


def test_text_in_the_place_of_a_retained_uid_is_refused() -> None:
    with pytest.raises(ResidualIdentifier):
        check(
            encode_text(0x00080014, "UI", "1.2.X", explicit=True), options=("basic", "retain_uids")
        )


SAFE_PRIVATE = ("basic", "retain_safe_private")
CREATOR = encode_text(0x00190010, "LO", "SIEMENS MR HEADER", explicit=True)
LISTED = encode_text(0x0019100C, "IS", "1000", explicit=True)


def test_listed_private_elements_may_stand_behind_their_creator() -> None:
    check(CREATOR + LISTED, options=SAFE_PRIVATE)
    check(
        encode_element(0x00082218, "SQ", encode_item(CREATOR + LISTED), explicit=True),
        options=SAFE_PRIVATE,
    )


@pytest.mark.parametrize(
    "data",
    [
        LISTED,
        CREATOR + encode_text(0x00191099, "LO", "OTHER", explicit=True),
        CREATOR + encode_text(0x0019110C, "IS", "1000", explicit=True),
        encode_text(0x00190010, "LO", "siemens mr header", explicit=True) + LISTED,
        encode_text(0x00190010, "LO", "ACME", explicit=True),
        CREATOR + encode_element(0x00190020, "SQ", b"", explicit=True),
        CREATOR
        + encode_element(0x00200011, "IS", b"1 ", explicit=True)
        + encode_element(0x00290000, "UL", bytes(4), explicit=True),
        encode_element(0x00082218, "SQ", encode_item(CREATOR) + encode_item(LISTED), explicit=True),
    ],
    ids=[
        "no creator",
        "unlisted",
        "other block",
        "spelling",
        "vendor",
        "gap",
        "length",
        "next item",
    ],
)
def test_other_private_elements_are_refused_with_the_option_too(data: bytes) -> None:
    with pytest.raises(ResidualIdentifier):
        check(data, options=SAFE_PRIVATE)


KEPT_AT_ROOT = read_overrides([{"keyword": "StudyDescription", "action": "K", "at": "root"}])
KEPT_INSIDE = read_overrides(
    [{"keyword": "StudyDescription", "action": "K", "at": "ReferencedStudySequence"}]
)
DESCRIPTION = encode_text(0x00081030, "LO", "CHEST", explicit=True)


def inside(*tags: int) -> bytes:
    data = DESCRIPTION
    for tag in tags:
        data = encode_element(tag, "SQ", encode_item(data), explicit=True)
    return data


def check_rules(data: bytes, overrides: tuple[Override, ...]) -> None:
    verify(
        data,
        explicit=True,
        originals=Originals((), (), frozenset()),
        own=frozenset(),
        rules=rulebook_of(("basic",), (), overrides),
    )


def test_a_rule_for_one_path_lets_a_value_stand_there() -> None:
    check_rules(DESCRIPTION, KEPT_AT_ROOT)
    check_rules(inside(0x00081110), KEPT_INSIDE)
    check_rules(inside(0x00081110) + encode_text(0x00081090, "LO", "X", explicit=True), KEPT_INSIDE)


@pytest.mark.parametrize(
    ("data", "overrides"),
    [
        (inside(0x00081110), KEPT_AT_ROOT),
        (DESCRIPTION, KEPT_INSIDE),
        (inside(0x00082218), KEPT_INSIDE),
        (inside(0x00082218, 0x00081110), KEPT_INSIDE),
        (inside(0x00081110, 0x00082218), KEPT_INSIDE),
        (inside(0x00082218, 0x00082218) + DESCRIPTION, KEPT_INSIDE),
        (inside(0x00081110) + DESCRIPTION, KEPT_INSIDE),
    ],
    ids=["below", "root", "beside", "deeper", "inside", "behind others", "behind"],
)
def test_a_rule_for_one_path_lets_no_value_stand_elsewhere(
    data: bytes, overrides: tuple[Override, ...]
) -> None:
    with pytest.raises(ResidualIdentifier):
        check_rules(data, overrides)


def test_what_a_rule_replaces_holds_nothing_else() -> None:
    overrides = read_overrides([{"keyword": "ManufacturerModelName", "action": "D"}])

    check_rules(encode_text(0x00081090, "LO", "REMOVED", explicit=True), overrides)
    with pytest.raises(ResidualIdentifier):
        check_rules(encode_text(0x00081090, "LO", "LightSpeed", explicit=True), overrides)
