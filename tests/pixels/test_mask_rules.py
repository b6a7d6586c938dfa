"""Mask rules: reading and writing them, and what they mark."""

import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRules
from app.pixels.conditions import is_pattern_safe
from app.pixels.model import Box, Picture
from app.pixels.rectangles import Rectangle
from app.pixels.rules import NO_RULES, RuleSet, marks_for, remembered_rule
from app.pixels.rules_loading import built_in, load_rules, site_rules
from app.pixels.rules_schema import rules_schema
from app.pixels.rules_text import read_condition, read_rule, read_rules, write_rules
from app.pixels.signatures import NAMES, OTHERS, View
from tests.pixels.pictures import CT, US, picture

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "reference" / "pixel-rules.schema.json").read_text())
RULE = {"id": "echo", "match": {"model": "ECHO 9"}, "mask": [{"top": 0, "height": 50}]}


def rule(**changes: object):
    return read_rule({**RULE, **changes})


def holds(text: str, given: Picture = US) -> bool:
    return read_condition(yaml.safe_load(text), "match").holds(View(given))


def boxes(mask: list[dict], columns: int = 800, rows: int = 600) -> list[Box]:
    return [one.box(columns, rows) for one in rule(mask=mask).mask]


def file_of(*rules: dict) -> str:
    return yaml.safe_dump({"format": 1, "rules": list(rules)})


def test_the_published_schema_is_the_one_that_the_code_makes() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    assert rules_schema() == SCHEMA


def test_the_rules_of_the_program_fit_the_schema_and_say_where_they_come_from() -> None:
    text = (Path(__file__).resolve().parents[2] / "app/pixels/data/rules.yaml").read_text()

    jsonschema.validate(yaml.safe_load(text), SCHEMA)
    assert all(one.source for one in built_in())
    assert not any(one.complete for one in built_in())
    assert len(load_rules().version) == 12


@pytest.mark.parametrize("one", built_in(), ids=lambda one: one.id)
def test_rules_of_the_program_are_written_and_read_alike(one) -> None:
    assert read_rules(write_rules([one])) == (one,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{model: echo 9}", True),
        ("{model: echo}", False),
        ("{model: {contains: CHO}}", True),
        ("{model: {contains: CHO, exact_case: true}}", False),
        ("{model: {starts_with: ec, ends_with: '9'}}", True),
        ("{model: {matches: 'ECHO [0-9]'}}", True),
        ("{model: {matches: 'Echo'}}", False),
        ("{rows: 600, columns: [640, 800]}", True),
        ("{rows: {min: 480, max: 599}}", False),
        ("{rows: {contains: '60'}}", True),
        ("{model: {min: 1}}", False),
        ("{image_type: '0001'}", True),
        ("{image_type: {starts_with: 'original\\primary'}}", True),
        ("{image_type: {equals: primary, joined: true}}", False),
        ("{any: [{rows: 1}, {modality: US}]}", True),
        ("{not: {modality: US}}", False),
        ("{all: [{modality: US}, {not: {rows: 1}}]}", True),
        ("{burned_in: ''}", True),
        ("{series_description: ''}", True),
        ("{series_description: {contains: a}}", False),
    ],
)
def test_conditions_hold_as_they_read(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_other_attributes_are_compared_value_by_value_and_as_written() -> None:
    given = picture(US, attributes=(("window_width", "350\\ 80"), ("protocol_name", "Leber")))

    assert holds("{window_width: 80}", given)
    assert holds("{window_width: {min: 300, max: 400}}", given)
    assert holds("{protocol_name: leber}", given)
    assert not holds("{window_width: {equals: 80, joined: true}}", given)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ({"whole": True}, Box(0, 0, 800, 600)),
        ({"top": 0, "height": 50}, Box(0, 0, 800, 50)),
        ({"bottom": 0, "height": 50}, Box(0, 550, 800, 600)),
        ({"right": 10, "width": 100, "top": 5, "bottom": 5}, Box(690, 5, 790, 595)),
        ({"left": "10%", "right": "25%"}, Box(80, 0, 600, 600)),
        ({"height": "0.1%"}, Box(0, 0, 800, 1)),
        ({"left": 700, "width": 200}, Box(700, 0, 800, 600)),
        ({"left": 900, "width": 10}, Box(0, 0, 0, 0)),
        ({"left": 500, "right": 500}, Box(0, 0, 0, 0)),
    ],
    ids=str,
)
def test_rectangles_are_measured_from_any_edge(mask: dict, expected: Box) -> None:
    assert boxes([mask]) == [expected]


@given(
    near=st.integers(0, 100_000),
    extent=st.integers(1, 100_000),
    edge=st.integers(1, 5000),
    is_far=st.booleans(),
)
def test_percentages_never_leave_out_a_part_of_what_they_name(near, extent, edge, is_far) -> None:
    names = ("right", "width") if is_far else ("left", "width")
    values = (f"{near / 1000:.3f}%", f"{extent / 1000:.3f}%")
    box = boxes([dict(zip(names, values, strict=True))], columns=edge)[0]

    low, high = edge * near / 100_000, edge * (near + extent) / 100_000
    if is_far:
        low, high = edge - high, edge - low
    inside = [x for x in range(edge) if x + 1 > low + 1e-9 and x < high - 1e-9]
    assert set(inside) <= set(range(box.left, box.right))


def test_all_rules_that_match_are_joined() -> None:
    rules = RuleSet(
        (
            rule(),
            rule(id="bottom", mask=[{"bottom": 0, "height": 20}], complete=True),
            rule(id="other", match={"model": "Echo 8"}),
        )
    )

    found = marks_for(US, rules)

    assert found.rules == ("echo", "bottom")
    assert {mark.rule: mark.box for mark in found.marks} == {
        "echo": Box(0, 0, 800, 50),
        "bottom": Box(0, 580, 800, 600),
    }
    assert found.complete


@pytest.mark.parametrize(
    "pattern",
    ["|".join(f"echo{n}" for n in range(60)), "(GE|Acme) ?(?:Echo|Vivid)[- ]?.*", r"a\??b{2}c+?"],
)
def test_patterns_with_few_ways_through_are_taken(pattern: str) -> None:
    assert is_pattern_safe(pattern[:256])


def test_a_rule_takes_another_one_back_only_by_name_and_where_it_matches() -> None:
    better = rule(id="better", match={"rows": 600}, replaces=["echo"], mask=[{"height": 10}])
    rules = RuleSet((rule(), better))

    assert marks_for(US, rules).rules == ("better",)
    assert marks_for(picture(US, rows=480), rules).rules == ("echo",)


def test_a_rule_whose_rectangle_leaves_the_image_does_not_fit_and_is_never_complete() -> None:
    rules = RuleSet((rule(mask=[{"top": 700, "height": 9}, {"height": 5}], complete=True),))

    found = marks_for(US, rules)

    assert found.misfits == ("echo",)
    assert not found.complete


def test_the_version_changes_with_what_rules_say_and_not_with_remarks() -> None:
    version = RuleSet((rule(),)).version

    assert RuleSet((rule(comment="seen in room 3", source="me"),)).version == version
    assert RuleSet((rule(complete=True),)).version != version
    assert RuleSet((rule(mask=[{"height": 51}]),)).version != version
    assert NO_RULES.version != version


def test_rules_for_a_modality_are_found_whatever_its_spelling() -> None:
    rules = RuleSet((rule(match={"modality": ["us", "IVUS"], "rows": 600}),))

    assert rules.for_modality("US")
    assert not rules.for_modality("CT")
    assert marks_for(US, rules).rules == ("echo",)


def test_a_remembered_rule_is_for_images_with_the_same_signature_alone() -> None:
    given = picture(US, software=("1.2", "B"))
    made = remembered_rule(given, [Box(5, 6, 900, 40)], rule_id="r-1", source="review")
    rules = RuleSet((read_rule(json.loads(json.dumps(made.content()))),))

    assert marks_for(given, rules).marks[0].box == Box(5, 6, 800, 40)
    assert not made.complete
    others = ({"software": ("1.2",)}, {"rows": 480}, {"model": "Echo 10"}, {"modality": "OT"})
    assert not any(marks_for(picture(given, **one), rules).rules for one in others)


def test_nothing_is_remembered_of_a_device_without_a_name() -> None:
    with pytest.raises(InvalidRules):
        remembered_rule(picture(US, model=""), [Box(0, 0, 5, 5)], rule_id="r-1")
    with pytest.raises(InvalidRules):
        remembered_rule(US, [Box(900, 0, 950, 5)], rule_id="r-1")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"id": "Echo 9"}, "rules[0].id"),
        ({"match": {}}, "rules[0] (echo).match"),
        ({"match": {"patient_name": "x"}}, "rules[0] (echo).match"),
        ({"match": {"model": {"like": "x"}}}, "rules[0] (echo).match.model"),
        ({"match": {"burned_in": True}}, "rules[0] (echo).match.burned_in"),
        ({"match": {"rows": {"min": "a"}}}, "rules[0] (echo).match.rows.min"),
        ({"match": {"rows": {"min": 5, "joined": True}}}, "rules[0] (echo).match.rows.min"),
        ({"match": {"model": {"matches": "(a+)+"}}}, "rules[0] (echo).match.model.matches"),
        ({"match": {"model": {"matches": ".*a.*b.*c.*"}}}, "rules[0] (echo).match.model.matches"),
        ({"match": {"model": {"matches": "a?" * 26 + "a" * 26}}}, "rules[0] (echo).match.model.m"),
        ({"match": {"model": {"matches": "(?:a|a)" * 24}}}, "rules[0] (echo).match.model.m"),
        ({"match": {"model": {"matches": "["}}}, "rules[0] (echo).match.model.matches"),
        ({"match": {"any": []}}, "rules[0] (echo).match.any"),
        ({"mask": []}, "rules[0] (echo).mask"),
        ({"mask": [{}]}, "rules[0] (echo).mask[0]"),
        ({"mask": [{"left": 1, "right": 1, "width": 1}]}, "rules[0] (echo).mask[0]"),
        ({"mask": [{"left": -1}]}, "rules[0] (echo).mask[0].left"),
        ({"mask": [{"left": "101%"}]}, "rules[0] (echo).mask[0].left"),
        ({"mask": [{"width": 0}]}, "rules[0] (echo).mask[0].width"),
        ({"mask": [{"whole": True, "left": 1}]}, "rules[0] (echo).mask[0]"),
        ({"complete": "yes"}, "rules[0] (echo).complete"),
        ({"replaces": "echo"}, "rules[0] (echo).replaces"),
        ({"colour": 1}, "rules[0] (echo)"),
    ],
    ids=str,
)
def test_a_fault_is_named_with_its_place(changes: dict, place: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        read_rules(file_of({**RULE, **changes}))

    assert str(caught.value.detail).startswith(place)


def test_the_schema_refuses_what_the_gateway_refuses() -> None:
    for changes in ({"id": "A B"}, {"match": {}}, {"mask": []}, {"complete": "yes"}, {"x": 1}):
        content = {"format": 1, "rules": [{**RULE, **changes}]}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "- a",
        "format: 2\nrules: []",
        "format: 1",
        "format: 1\nrules: &a []\nx: *a",
        "format: 1\nformat: 1\nrules: []",
        "format: 1\nrules: [\n",
        "[" * 100,
        "format: 1\nrules: {a: b}",
    ],
)
def test_what_is_no_rules_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidRules):
        read_rules(text)


def test_a_fault_of_yaml_is_named_with_its_line() -> None:
    with pytest.raises(InvalidRules, match="line 3"):
        read_rules("format: 1\nrules:\n  - id: ]\n")


def test_ids_are_unique_and_what_is_replaced_has_to_be_there() -> None:
    with pytest.raises(InvalidRules, match="echo"):
        RuleSet((rule(), rule()))
    with pytest.raises(InvalidRules, match="nowhere"):
        RuleSet((rule(replaces=["nowhere"]),))
    with pytest.raises(InvalidRules):
        RuleSet((rule(replaces=["echo"]),))


def test_the_rules_of_a_site_come_from_all_files_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(file_of({**RULE, "id": "b"}))
    (tmp_path / "a.json").write_text(json.dumps({"format": 1, "rules": [{**RULE, "id": "a"}]}))
    (tmp_path / "notes.txt").write_text("no rules")

    assert [one.id for one in site_rules(tmp_path)] == ["a", "b"]
    assert load_rules(tmp_path).version != load_rules().version


def test_a_faulty_file_of_a_site_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRules, match=r"a\.yaml"):
        site_rules(tmp_path)
    (tmp_path / "a.yaml").write_text("format: 3")
    with pytest.raises(InvalidRules, match=r"a\.yaml: format"):
        site_rules(tmp_path)
    with pytest.raises(InvalidRules):
        site_rules(tmp_path / "nowhere")


def test_no_rule_can_look_at_who_the_patient_is() -> None:
    groups = {tag >> 16 for tag in NAMES.values()}

    assert 0x0010 not in groups
    assert len(NAMES) == len(set(NAMES.values()))
    assert set(OTHERS) <= set(NAMES)


def test_a_known_dose_sheet_is_masked_at_its_head() -> None:
    sheet = picture(CT, attributes=(("series_description", "999 Dose Report"),))

    found = marks_for(sheet, load_rules())

    assert found.rules == ("ct-dose-report-series",)
    assert found.marks[0].box == Box(0, 0, 512, 110)


def test_a_rectangle_without_edges_is_the_whole_image() -> None:
    assert Rectangle().box(3, 4) == Box(0, 0, 3, 4)
    assert Rectangle().content() == {"whole": True}


EXAMPLES = re.findall(r"```yaml\n(.*?)```", (DOCS / "how-to/mask-rules.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_documentation_is_a_rules_file(number: int) -> None:
    jsonschema.validate(yaml.safe_load(EXAMPLES[number]), SCHEMA)

    assert RuleSet((*built_in(), *read_rules(EXAMPLES[number]))).version


def test_a_pipe_among_the_rules_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rules.yaml")

    with pytest.raises(InvalidRules):
        site_rules(tmp_path)
