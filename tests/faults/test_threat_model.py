"""The page of threats: every line names its proof or says that there is none; proofs exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"
LINES = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("- ")]
PROOFS = sorted(set(re.findall(r"`(tests/[^`]*)`", PAGE.read_text("utf-8"))))


def functions_of(path: Path) -> set[str]:
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {
        node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, functions)
    }


@pytest.mark.parametrize("proof", PROOFS)
def test_every_proof_of_the_page_is_a_test(proof: str) -> None:
    path, _, name = proof.partition("::")

    assert name.startswith("test_")
    assert name in functions_of(ROOT / path)


def test_every_line_has_a_proof_or_says_that_it_has_none() -> None:
    unproven = [
        line
        for line in LINES
        if "::test_" not in line and "a limit" not in line and "not proven" not in line
    ]

    assert len(LINES) > 60
    assert unproven == []
