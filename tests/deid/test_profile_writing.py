"""A profile that is printed is read again as the same one."""

import json

import jsonschema
import pytest
import yaml

from app.deid.profile import BUILT_IN, profile_from_text
from app.deid.profile_writing import profile_content, profile_text
from tests.deid.test_profile_schema import EXAMPLES, SCHEMA

EVERYTHING = """
name: "0815"
options: [basic, retain_safe_private, clean_descriptors]
unlisted: remove
burned_in: accept-uncleaned-pixels
safe_private:
  - {creator: "ACME: FLUX", group: "0099", elements: {"01": DS, "0E": IS}}
  - {creator: "ACME: FLUX", group: "0099", elements: {"01": DS}}
  - {creator: OTHER, group: "7FE1", elements: {"10": SQ}}
vocabulary:
  SeriesDescription: [Axial, T1, "néon", "on"]
  StudyDescription: []
overrides:
  - {tag: "(60XX,0022)", action: K}
  - {tag: "(0018,0015)", action: X}
  - {keyword: StationName, action: replace-with, value: "0010"}
  - {vr: UR, action: X, at: root}
  - keyword: CodeMeaning
    action: C
    at: AnatomicRegionSequence/(0008,2220)
    when: {modality: [CT, MR], model: "1094"}
  - private: {creator: ACME FLUX, group: "0099", element: "01", vr: DS}
    action: K
  - private: {creator: ACME FLUX, group: "0099", element: "02"}
    action: X
"""


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_ready_made_profile_reads_back_as_itself(name: str) -> None:
    assert profile_from_text(profile_text(BUILT_IN[name])) == BUILT_IN[name]


@pytest.mark.parametrize("text", [*EXAMPLES, pytest.param(EVERYTHING, id="everything")])
def test_a_written_profile_has_the_version_it_had(text: str) -> None:
    profile = profile_from_text(text)

    written = profile_text(profile)

    assert profile_from_text(written) == profile
    assert profile_from_text(json.dumps(profile_content(profile))).version == profile.version
    jsonschema.validate(yaml.safe_load(written), SCHEMA)


def test_what_a_profile_does_not_say_is_not_written() -> None:
    assert set(profile_content(BUILT_IN["basic"])) == {
        *("name", "description", "options", "identity", "burned_in"),
    }
