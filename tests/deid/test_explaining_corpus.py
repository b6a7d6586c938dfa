"""An explanation never disagrees with the output: pydicom compares both on every file at hand."""

from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from app.deid.explaining import Line
from app.deid.explaining_rules import RuleKind
from app.deid.profile import BUILT_IN
from app.errors import GatewayError
from tests import builders
from tests.deid.explained import EVERYTHING, REBUILT, explain, flat, quiet, told_by_pydicom
from tests.dicom.files import all_files

PROFILES = {**BUILT_IN, "everything": EVERYTHING}
# Every file meets the Basic Profile and one of the others, the same one every time.
OTHERS = ("everything", "research", "strict", "teleradiology")
CASES = {
    f"{name}-{profile}": (path, profile)
    for name, path in all_files().items()
    for profile in ("basic", OTHERS[int(name, 16) % len(OTHERS)])
}
# An action that says what became of an element must say so of nothing else.
PLAIN = {"keep": "kept", "remove": "removed"}


def disagreements(lines: list[Line], data: bytes, made: bytes) -> set[tuple[str, str, str]]:
    """Return path, what is explained and what pydicom finds, where that differs."""
    told = {line.path: line.result.value for line in lines}
    rebuilt = tuple(f"{line.path}[" for line in lines if line.effect in REBUILT)
    with quiet():
        found = told_by_pydicom(flat(data), flat(made))
    return {
        (path, told.get(path, "nothing"), result)
        for path, result in found.items()
        if not path.startswith(rebuilt) and told.get(path) != result
    }


@pytest.mark.parametrize(("path", "profile"), CASES.values(), ids=CASES)
def test_an_explanation_says_what_pydicom_finds(path: Path, profile: str) -> None:
    data = path.read_bytes()
    try:
        explanation, made = explain(data, PROFILES[profile])
    except GatewayError:
        return
    lines = list(explanation.lines())

    assert disagreements(lines, data, made) == set()
    assert {line.rule.text for line in lines if line.rule.kind is RuleKind.OTHER} == set()
    assert [line for line in lines if PLAIN.get(line.effect, line.result) != line.result] == []


@pytest.mark.parametrize("kind", ["ct", "sr"])
def test_planted_instances_are_explained_as_pydicom_finds_them(kind: str) -> None:
    data, _ = builders.everything(kind, ExplicitVRLittleEndian)

    explanation, made = explain(data, EVERYTHING)

    assert disagreements(list(explanation.lines()), data, made) == set()
