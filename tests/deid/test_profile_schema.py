"""The published JSON Schema takes what the gateway takes, and the examples of the documentation."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from app.deid.override_text import _FIELDS as OVERRIDE_FIELDS
from app.deid.overrides import Deed
from app.deid.profile import _FIELDS, profile_from_text
from app.errors import InvalidProfile
from tests.deid.test_overrides import profile as profile_with

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "reference" / "profile.schema.json").read_text())
PAGES = [*sorted((DOCS / "options").glob("*.md")), DOCS / "reference" / "profiles.md"]
EXAMPLES = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_of_the_documentation_is_a_profile(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), SCHEMA)

    assert profile_from_text(text).name


def test_the_schema_knows_the_fields_that_the_gateway_knows() -> None:
    override = SCHEMA["$defs"]["override"]["properties"]

    assert set(SCHEMA["properties"]) == _FIELDS
    assert set(override) == OVERRIDE_FIELDS
    assert set(override["action"]["enum"]) == set(Deed)


@pytest.mark.parametrize(
    "rule",
    [
        "{action: K}",
        "{keyword: StudyDescription, action: Q}",
        "{keyword: StudyDescription, tag: '00081030', action: K}",
        "{keyword: StudyDescription, action: K, value: x}",
        "{keyword: StudyDescription, action: replace-with}",
        "{private: {creator: A, group: '0010', element: '01'}, action: K}",
    ],
)
def test_the_schema_refuses_what_the_gateway_refuses(rule: str) -> None:
    content = {"name": "x", "options": ["basic"], "overrides": [yaml.safe_load(rule)]}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)
    with pytest.raises(InvalidProfile):
        profile_with(rule)
