"""The generated facts and the look-ups over them."""

import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.deid import standard
from app.deid.standard import Action, resolve_compound

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT.parent / "shared" / "standard"
needs_source = pytest.mark.skipif(
    not SOURCE.is_dir(), reason="the CSV files of the standard are not beside this checkout"
)


def csv_rows(name: str) -> Iterator[dict[str, str]]:
    with (SOURCE / name).open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


@needs_source
def test_the_generated_modules_are_what_the_source_makes(tmp_path: Path) -> None:
    command = [sys.executable, "tools/generate_standard.py", str(SOURCE), str(tmp_path)]

    subprocess.run(command, cwd=ROOT, check=True)

    for made in sorted(tmp_path.iterdir()):
        assert made.read_text() == (ROOT / "app/deid/data" / made.name).read_text(), made.name


def test_the_generator_says_how_to_call_it() -> None:
    command = [sys.executable, "tools/generate_standard.py"]

    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)

    assert done.returncode == 2
    assert b"SOURCE_DIR" in done.stderr


def test_every_row_of_the_table_is_there_with_its_code() -> None:
    counts = Counter(row.basic for row in standard.ROWS.values())

    assert counts == {
        "X": 413,
        "D": 93,
        "U": 55,
        "Z": 42,
        "X/D": 23,
        "X/Z": 11,
        "X/Z/D": 8,
        "Z/D": 6,
        "X/Z/U*": 2,
    }


def test_a_row_carries_the_codes_of_its_options() -> None:
    row = standard.table_row(0x00100040)

    assert row is not None
    assert (row.keyword, row.vr, row.basic) == ("PatientSex", "CS", "Z")
    assert row.options == {"retain_patient_characteristics": "K"}


@pytest.mark.parametrize(
    ("tag", "keyword"),
    [
        (0x00091010, "PrivateAttributes"),
        (0x00090010, "PrivateAttributes"),
        (0x50010010, "PrivateAttributes"),
        (0x50000005, "CurveData"),
        (0x501E3000, "CurveData"),
        (0x60003000, "OverlayData"),
        (0x601E4000, "OverlayComments"),
    ],
)
def test_patterns_cover_private_and_repeating_groups(tag: int, keyword: str) -> None:
    row = standard.table_row(tag)

    assert row is not None
    assert row.keyword == keyword


@pytest.mark.parametrize("tag", [0x00080060, 0x50200005, 0x60203000, 0x60000010])
def test_what_the_table_does_not_list_has_no_row(tag: int) -> None:
    assert standard.table_row(tag) is None


@needs_source
def test_every_compound_row_resolves_to_the_action_of_the_source() -> None:
    wrong = [
        row
        for row in csv_rows("ciod_compound_resolution.csv")
        if resolve_compound(
            row["code"],
            ciod=row["ciod"],
            path=tuple(int(tag, 16) for tag in row["path"].split("/") if tag),
            tag=int(row["tag"], 16),
        )
        != row["action_any"]
    ]

    assert wrong == []


def test_a_compound_code_follows_the_type_in_the_iod() -> None:
    study_date = 0x00080020

    at_ct = resolve_compound("Z/D", ciod="ct-image", path=(), tag=0x00080023)
    alone = resolve_compound("Z", ciod="ct-image", path=(), tag=study_date)

    assert at_ct in {Action.EMPTY, Action.DUMMY}
    assert alone is Action.EMPTY


def test_an_unknown_path_takes_the_strictest_type_of_the_iod() -> None:
    # (0008,0082) is Type 3 at the root of a CT image and 1C elsewhere in it.
    institution_code = 0x00080082

    action = resolve_compound(
        "X/Z/D", ciod="ct-image", path=(0x00081110, 0x00081115), tag=institution_code
    )

    assert action is Action.DUMMY


def test_an_unknown_iod_takes_the_strictest_type_of_any() -> None:
    assert resolve_compound("X/D", ciod=None, path=(), tag=0x00081072) is Action.DUMMY
    assert resolve_compound("X/D", ciod="no-such", path=(), tag=0x00081072) is Action.DUMMY


def test_a_compound_attribute_without_any_type_becomes_a_dummy() -> None:
    assert resolve_compound("X/Z/D", ciod=None, path=(), tag=0x00090001) is Action.DUMMY
    assert resolve_compound("X/Z/U*", ciod=None, path=(), tag=0x00090001) is Action.MAP_UID


def test_referenced_images_keep_their_items_where_they_are_required() -> None:
    assert resolve_compound("X/Z/U*", ciod=None, path=(), tag=0x00081140) is Action.MAP_UID


def test_an_attribute_coded_x_names_the_type_that_removal_would_break() -> None:
    contributing_equipment = (0x0018A001, 0x0018100A)

    assert standard.required_type(path=contributing_equipment, tag=0x00181009) == "1"
    assert standard.required_type(path=(), tag=0x00102297) == "2"
    assert standard.required_type(path=(), tag=0x60023000) == "1"
    assert standard.required_type(path=(), tag=0x60024000) is None
    assert standard.required_type(path=(), tag=0x00080081) is None


def test_sop_classes_name_their_iod() -> None:
    assert standard.ciod_of("1.2.840.10008.5.1.4.1.1.2") == "ct-image"
    assert standard.ciod_of("1.2.3") is None


@pytest.mark.parametrize(
    "value",
    [
        "1.2.840.10008.1.2.1",
        "1.2.840.10008.1.4.1.1",
        "1.2.840.10008.6.1.1190",
        "1.2.840.10008.5.1.4.1.1.88.33",
    ],
)
def test_uids_of_the_standard_are_well_known(value: str) -> None:
    assert standard.well_known_uid(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1.2.840.10008",
        "1.2.840.100089.1",
        "1.2.840.10008.5.1.4.1.1.4.20040826185059.5457",
        "1.2.840.10008.77410.931",
        "1.2.840.10008.6.1.77410",
        "1.2.840.10008.1.2.1\n",
        "2.25.1",
    ],
)
def test_other_uids_are_not_well_known(value: str) -> None:
    assert not standard.well_known_uid(value)


def test_ui_attributes_say_how_they_are_treated() -> None:
    assert standard.uid_role(0x0020000D) == "by_value"
    assert standard.uid_role(0x00081150) == "keep"
    assert standard.uid_role(0x00020003) == "meta_rebuild"
    assert standard.uid_role(0x00100010) is None
    assert standard.uid_kind("1.2.840.10008.1.2.1") == "TransferSyntax"
    assert standard.may_hold_well_known_uid(0x00200052)
    assert not standard.may_hold_well_known_uid(0x0020000D)


def test_every_ui_attribute_of_the_dictionary_has_a_treatment() -> None:
    from pydicom.datadict import DicomDictionary  # noqa: PLC0415 - the dictionary's own table

    without = [tag for tag, entry in DicomDictionary.items() if entry[0] == "UI" and tag >> 16 != 0]
    without = [tag for tag in without if standard.uid_role(tag) is None]

    assert [f"{tag:08X}" for tag in without] == []


def test_the_dictionary_knows_what_only_the_table_has() -> None:
    known = {f"{tag:08X}" for tag in standard.ROWS if standard.dictionary_vr(tag) is None}

    assert known == set()
    assert standard.keyword(0x00081301) == "PrincipalDiagnosisCodeSequence"


def test_the_dictionary_answers_for_repeating_groups_and_multiple_vrs() -> None:
    assert standard.dictionary_vr(0x60020010) == "US"
    assert standard.keyword(0x60020010) == "OverlayRows"
    assert standard.dictionary_vr(0x7FE00010) == "OB or OW"
    assert standard.dictionary_vr(0x00280106) == "US or SS"


@pytest.mark.parametrize("tag", [0x00091001, 0x00090010, 0x60220010, 0x50200010, 0x0008FFFE])
def test_what_no_dictionary_knows_has_no_vr(tag: int) -> None:
    assert standard.dictionary_vr(tag) is None
    assert standard.keyword(tag) == ""


def test_every_option_has_its_code() -> None:
    assert len(standard.CID7050) == 13
    assert standard.CID7050["basic"] == (
        "113100",
        "Basic Application Confidentiality Profile",
    )
    assert standard.CID7050["clean_pixel_data"][0] == "113101"
    columns = {name for row in standard.ROWS.values() for name in row.options}
    assert columns <= set(standard.CID7050)


def test_safe_private_attributes_are_keyed_by_creator_group_and_low_byte() -> None:
    assert standard.SAFE_PRIVATE["GEMS_ACQU_01", 0x0019, 0x23] == "DS"
    assert len(standard.SAFE_PRIVATE) == 479


def test_a_dummy_term_differs_from_the_original() -> None:
    assert standard.dummy_cs_term(0x04000565) == "COERCE"
    assert standard.dummy_cs_term(0x04000565, original="COERCE") == "CORRECT"
    assert standard.dummy_cs_term(0x00160071) == "UNKNOWN"
