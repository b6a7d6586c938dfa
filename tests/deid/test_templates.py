"""Templates of other products become profiles: CSV, JSON and XML, with the standard's meaning."""

import pytest

from app.deid.profile import Profile, profile_from_text
from app.deid.templates import Imported, read_template
from app.errors import InvalidProfile

CSV = """TagPattern;Action
0010,0010;Z  // the name
0008,1030;K  // what was done
0008,1010;X
0020,000D;U

0018,0015;X  # the body part
"""
JSON = """[
  {"Tag": "0008,1030", "Action": "K"},
  {"TagPattern": "(0018,0015)", "Action": "x"}
]"""
XML = """<?xml version="1.0"?>
<root>
  <item><tag>0008,1030</tag><action>K</action></item>
  <item><tag>0018,0015</tag><action>X</action></item>
</root>"""
WIDE = """TagPattern;BasicProfile;RetainSafePrivate;RetainUIDs;RetainDeviceIdent
0008,1030;K;;;
0018,1000;X/Z/D;;;K
0018,9424;X;;;K
"""
RULES = [
    {"keyword": "StudyDescription", "action": "K"},
    {"keyword": "BodyPartExamined", "action": "X"},
]


def read(text: str, *options: str) -> Imported:
    return read_template(text, name="taken-over", options=("basic", *options))


@pytest.mark.parametrize("text", [CSV, JSON, XML, "\ufeff" + CSV, CSV.split("\n", 1)[1]])
def test_a_template_becomes_the_rules_that_differ_from_the_table(text: str) -> None:
    assert read(text).content["overrides"] == RULES


def test_what_the_identity_templates_write_is_noted_and_left_out() -> None:
    assert read(CSV).notes == ("row 1: (0010,0010) is written by the identity templates",)


def test_what_is_imported_is_a_profile() -> None:
    import json  # noqa: PLC0415 - JSON is YAML

    profile = profile_from_text(json.dumps(read(CSV).content))

    assert isinstance(profile, Profile)
    assert len(profile.overrides) == 2


def test_columns_of_options_count_where_the_option_is_chosen() -> None:
    basic, device = read(WIDE), read(WIDE, "RetainDeviceIdent")

    assert basic.content["overrides"] == [RULES[0]]
    assert device.content["options"] == ["basic", "retain_device_identity"]
    assert device.content["overrides"] == [
        RULES[0],
        {"keyword": "AcquisitionProtocolDescription", "action": "K"},
    ]


@pytest.mark.parametrize(
    "pattern", ["60xx,0022", "60[0-9A-F]{2},0022", "60[0-9A-Fa-f][0-9A-Fa-f],0022"]
)
def test_patterns_of_repeating_groups_are_understood(pattern: str) -> None:
    rules = read(f"TagPattern;Action\n{pattern};K\n").content["overrides"]

    assert rules == [{"tag": "60XX,0022", "action": "K"}]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("0008,1030;Q", "action"),
        ("0008,1030;", "action"),
        ("00[0-9]+,10;X", "pattern"),
        ("0009,1010;K", "creator"),
        ("0020,000D;K", "not for a profile"),
        ("0018,0050;U", "UIDs"),
        ("0008,FFFE;X", "no attribute"),
    ],
)
def test_a_row_that_makes_no_rule_is_noted_by_its_number_only(row: str, why: str) -> None:
    made = read(f"TagPattern;Action\n{row}\n")

    assert "overrides" not in made.content
    assert made.notes[0].startswith("row 1: ")
    assert why in made.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n# nothing\n",
        "Tag;Action\n",
        "[]",
        "[1, 2]",
        '{"Tag": "0008,1030"}',
        "[{]",
        '[{"Action": "X"}]',
        "<root><item>",
        '<!DOCTYPE r [<!ENTITY a "b">]><root/>',
    ],
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(InvalidProfile):
        read(text)


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidProfile):
        read(CSV, "RetainEverything")
