"""Options go by every name that people have for them, and only together where both can be true."""

import pytest

from app.deid.options import AVAILABLE_OPTIONS, Option, combined, option_named, section, title
from app.deid.profile import profile_from_text
from app.deid.rulebook import Dates, rulebook_of
from app.deid.standard import CID7050, ROWS, Action
from app.errors import InvalidProfile


@pytest.mark.parametrize(
    "name",
    [
        "retain_uids",
        "Retain UIDs",
        "Retain UIDs Option",
        "RETAIN UIDS OPTION",
        "113110",
        "RetainUIDs",
    ],
)
def test_an_option_is_found_by_all_of_its_names(name: str) -> None:
    assert option_named(name) is Option.UIDS


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("BasicProfile", Option.BASIC),
        ("Basic Application Level Confidentiality Profile", Option.BASIC),
        ("Basic Application Confidentiality Profile", Option.BASIC),
        ("RetainDeviceIdent", Option.DEVICE_IDENTITY),
        ("RetainInstitutionIdent", Option.INSTITUTION_IDENTITY),
        ("RetainPatientChars", Option.PATIENT_CHARACTERISTICS),
        ("RetainLongFullDates", Option.FULL_DATES),
        ("Retain Longitudinal Temporal Information Full Dates Option", Option.FULL_DATES),
        ("Retain Longitudinal Temporal Information with Full Dates Option", Option.FULL_DATES),
    ],
)
def test_names_of_other_products_are_understood(name: str, option: Option) -> None:
    assert option_named(name) is option


def test_there_is_an_option_for_every_code_with_a_title_and_a_section() -> None:
    assert {option.value for option in Option} == set(CID7050)
    assert [option.code[0] for option in Option] == sorted(code for code, _ in CID7050.values())
    assert all(title(option) and section(option).startswith("E.") for option in Option)


@pytest.mark.parametrize("option", sorted(set(Option) - AVAILABLE_OPTIONS))
def test_an_option_that_is_not_built_says_so(option: Option) -> None:
    with pytest.raises(InvalidProfile, match=f"{option}.*not available"):
        combined(["basic", option])


@pytest.mark.parametrize("option", [Option.CLEAN_RECOGNIZABLE_VISUAL_FEATURES, "113102"])
def test_nothing_claims_to_clean_faces(option: str) -> None:
    with pytest.raises(InvalidProfile, match="not available"):
        combined(["basic", option])


def test_a_name_that_is_no_option_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidProfile) as caught:
        option_named("Quillonbury")

    assert "uillon" not in str(caught.value)


def test_options_are_in_the_order_of_their_codes_however_they_are_written() -> None:
    one = profile_from_text("{name: x, options: [RetainUIDs, basic, 113108]}")
    other = profile_from_text(
        "{name: x, options: [113100, Retain Patient Characteristics, retain_uids, retain_uids]}"
    )

    assert one == other
    assert one.options == ("basic", "retain_patient_characteristics", "retain_uids")
    assert [code for code, _ in one.method_codes] == ["113100", "113108", "113110"]


def test_a_row_is_decided_by_the_option_that_retains_less() -> None:
    device = rulebook_of(("basic", "retain_device_identity"))
    both = rulebook_of(("basic", "retain_long_modified_dates", "retain_device_identity"))
    calibration = 0x00181200

    assert device.cells[calibration].action is Action.KEEP
    assert both.cells[calibration].action is Action.CLEAN
    assert both.dates is Dates.MODIFIED


def test_the_birth_date_has_no_cell_whatever_is_chosen() -> None:
    everything = rulebook_of(tuple(set(Option) - {Option.FULL_DATES}))

    assert 0x00100030 not in everything.cells


@pytest.mark.parametrize("option", sorted(AVAILABLE_OPTIONS - {Option.BASIC}))
def test_every_filled_cell_of_an_option_is_in_its_rulebook(option: Option) -> None:
    rules = rulebook_of(("basic", option))

    filled = {tag: row.options[option] for tag, row in ROWS.items() if option in row.options}
    if option is Option.CLEAN_GRAPHICS:
        filled[0x00700006] = "C"  # text objects are graphics too
    assert {tag: cell.action for tag, cell in rules.cells.items()} == filled
