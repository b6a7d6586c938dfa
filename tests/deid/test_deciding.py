"""Decisions about single elements follow Table E.1-1, the IOD's Types and the dictionary."""

import pytest

from app.deid.deciding import Effect, Where, decide
from app.deid.standard import ROWS, Action, dictionary_vr, required_type, resolve_compound

CT = Where("ct-image")
INSIDE = Where("ct-image", (0x00082218, 0x00082228, 0x00082229))

PLAIN = {"X": Effect.REMOVE, "Z": Effect.EMPTY, "U": Effect.MAP_UID, "D": Effect.DUMMY}
IDENTITY = {0x00080050, 0x00080080, 0x00100010, 0x00100020}
BELOW_A_DATA_SET = 0x00080000
LISTED = [tag for tag in ROWS if tag >= BELOW_A_DATA_SET]


def expected(tag: int, where: Where) -> Effect:
    action = resolve_compound(ROWS[tag].basic, ciod=where.ciod, path=where.path, tag=tag)
    if tag in IDENTITY and not where.path:
        return Effect.IDENTITY
    if action is Action.REMOVE:
        needed = required_type(path=where.path, tag=tag) if tag != 0x00080201 else None
        return {"1": Effect.DUMMY, "2": Effect.EMPTY}.get(needed or "", Effect.REMOVE)
    if dictionary_vr(tag) == "UI" and action is Action.DUMMY:
        return Effect.MAP_UID
    if dictionary_vr(tag) == "SQ" and ROWS[tag].basic.endswith("U*"):
        return Effect.REMOVE if action is Action.REMOVE else Effect.ENTER
    if tag == 0x00420011 and not where.path:
        return Effect.NOTICE
    return PLAIN[action]


@pytest.mark.parametrize("tag", LISTED, ids=lambda tag: f"{tag:08X}")
def test_every_row_of_the_table_is_followed_at_the_root_and_inside_sequences(tag: int) -> None:
    vr = dictionary_vr(tag) or "LO"

    at_root, inside = decide(tag, vr, CT), decide(tag, vr, INSIDE)

    assert at_root.effect is expected(tag, CT)
    assert inside.effect is expected(tag, INSIDE)
    assert "E.1-1" in inside.because


@pytest.mark.parametrize("tag", [0x00020016, 0x00041430, 0x00000900, 0x00080000, 0x00100000])
def test_what_does_not_belong_to_a_data_set_goes(tag: int) -> None:
    assert decide(tag, "UL", CT).effect is Effect.REMOVE


@pytest.mark.parametrize("tag", [0x00090010, 0x00091001, 0x7FE10010, 0x00291010])
def test_every_private_element_goes_with_its_creator(tag: int) -> None:
    decision = decide(tag, "UN", CT)

    assert decision.effect is Effect.REMOVE
    assert "private" in decision.because


@pytest.mark.parametrize("tag", [0x50003000, 0x501E0005, 0x60000010, 0x60003000, 0x601E4000])
def test_curves_and_overlays_go_as_whole_groups(tag: int) -> None:
    assert decide(tag, "OW", CT).effect is Effect.REMOVE


@pytest.mark.parametrize("vr", ["DA", "PN", "UR", "LO"])
def test_a_delimiter_tag_with_a_vr_is_no_attribute(vr: str) -> None:
    assert decide(0xFFFE0010, vr, CT).effect is Effect.REMOVE


def test_an_element_that_no_dictionary_knows_goes_and_is_reported() -> None:
    decision = decide(0x00084FFE, "LO", CT)

    assert decision.effect is Effect.REMOVE
    assert decision.warning == "unknown-element-removed"


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00280010, "LO"), (0x00180060, "PN"), (0x00082218, "LO"), (0x00080060, "OB")]
)
def test_a_vr_that_contradicts_the_dictionary_is_never_kept(tag: int, vr: str) -> None:
    assert decide(tag, vr, CT).effect in {Effect.REMOVE, Effect.DUMMY}


@pytest.mark.parametrize(
    ("tag", "vr"),
    [(0x0040A067, "PN"), (0x00141020, "DA"), (0x00404073, "UR"), (0x40101025, "DT")],
)
def test_attributes_outside_the_table_are_decided_by_vr(tag: int, vr: str) -> None:
    decision = decide(tag, vr, CT)

    assert decision.effect is Effect.DUMMY
    assert "not in Table E.1-1" in decision.because


def test_an_unlisted_instance_uid_is_mapped() -> None:
    assert decide(0x00209312, "UI", CT).effect is Effect.MAP_UID


def test_what_stands_out_of_order_behind_pixel_data_goes() -> None:
    assert decide(0x00100010, "PN", Where("ct-image", tail=True)).effect is Effect.REMOVE


def test_everything_in_a_removed_sequence_goes() -> None:
    inside = Where("ct-image", (0x00400275,), removed=True)

    assert decide(0x00280010, "US", inside).effect is Effect.REMOVE


def test_the_birth_date_in_another_calendar_goes_though_no_row_lists_it() -> None:
    assert decide(0x00100033, "LO", CT).effect is Effect.REMOVE


def test_a_removal_that_would_break_the_iod_becomes_a_reported_dummy() -> None:
    decision = decide(0x00700082, "DA", Where("grayscale-softcopy-presentation-state"))

    assert decision.effect is Effect.DUMMY
    assert decision.warning == "dummy-on-type-1"


@pytest.mark.parametrize(
    ("tag", "vr"),
    [(0x00401006, "SH"), (0x00402007, "SH"), (0x0074100C, "LO"), (0x00720008, "LO")],
)
def test_numbers_and_persons_that_no_row_lists_go_or_become_dummies(tag: int, vr: str) -> None:
    decision = decide(tag, vr, CT)

    assert decision.effect in {Effect.REMOVE, Effect.DUMMY}
    assert "not in Table E.1-1" in decision.because
