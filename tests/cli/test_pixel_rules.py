"""``deid-gateway pixels rules``, as an administrator uses it."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from app.cli import group
from app.errors import InvalidRules

SITE = {
    "format": 1,
    "rules": [
        {
            "id": "room-3",
            "match": {"model": "Echo 9"},
            "mask": [{"height": 40}],
            "complete": True,
            "source": "seen in room 3",
        }
    ],
}
SCRIPT = '{ Modality.equals("US") }\n(0,0,640,40)\n'


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(group, ["pixels", "rules", *arguments], env=env)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "rules"
    directory.mkdir()
    (directory / "ours.yaml").write_text(yaml.safe_dump(SITE))
    return directory


def test_the_rules_of_program_and_site_are_listed_with_one_version(site: Path) -> None:
    result = run("list", DEID_PIXEL_RULES_DIR=str(site))

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert any(line.split()[:3] == ["room-3", "site", "complete"] for line in lines)
    assert any(line.split()[:3] == ["ge-logiq-e9", "built-in", "partial"] for line in lines)
    assert "version" in lines[-1]


def test_the_list_is_itself_a_rules_file() -> None:
    text = run("list", "--text").output

    assert len(yaml.safe_load(text)["rules"]) > 30


@pytest.mark.parametrize("name", ["", "ours.yaml"])
def test_a_file_and_a_directory_are_checked(site: Path, name: str) -> None:
    result = run("check", str(site / name))

    assert result.exit_code == 0
    assert "1 rules: valid, 1 complete" in result.output


def test_a_faulty_file_is_refused_with_its_place(site: Path) -> None:
    (site / "ours.yaml").write_text("format: 1\nrules:\n  - id: X\n")

    result = run("check", str(site))

    assert isinstance(result.exception, InvalidRules)
    assert result.exception.detail.startswith("ours.yaml: rules[0].id")


def test_a_rule_with_the_id_of_a_built_in_one_is_refused(site: Path) -> None:
    content = {**SITE, "rules": [{**SITE["rules"][0], "id": "ge-logiq-e9"}]}
    (site / "ours.yaml").write_text(yaml.safe_dump(content))

    assert isinstance(run("check", str(site)).exception, InvalidRules)


def test_a_script_of_ctp_is_imported_and_checks(tmp_path: Path) -> None:
    script, rules = tmp_path / "Our Library.script", tmp_path / "rules.yaml"
    script.write_text(SCRIPT)

    result = run("import", "ctp", str(script))
    rules.write_text(result.stdout)

    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["rules"][0]["id"] == "our-library-1"
    assert run("check", str(rules)).exit_code == 0


def test_what_cannot_be_imported_ends_with_its_line_and_an_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "a.script"
    script.write_text(SCRIPT + '{ PatientID.equals("1") } (0,0,1,1)')

    result = run("import", "ctp", str(script))

    assert result.exit_code == 1
    assert "line 3: not imported" in result.stderr
    assert len(yaml.safe_load(result.stdout)["rules"]) == 1


def test_a_script_that_is_no_text_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "a.script"
    script.write_bytes(b"\xff\xfe\x00")

    assert isinstance(run("import", "ctp", str(script)).exception, InvalidRules)


def test_the_schema_is_printed() -> None:
    assert json.loads(run("schema").output)["title"] == "Mask rules of deid-gateway"
