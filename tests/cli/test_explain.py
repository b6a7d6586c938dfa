"""``deid-gateway explain``, and the reports that ``anonymize`` writes beside objects."""

import json
from pathlib import Path

import pytest

from app.api.profile_schemas import Comparison, ExplainedObject, ObjectReport
from tests import builders
from tests.cli.conftest import WHO, Invoke, files_below


@pytest.fixture
def file(tmp_path: Path) -> Path:
    dataset = builders.ct(WHO)
    dataset.StudyDescription = "HEAD"
    other = builders.ct(WHO).OtherPatientIDsSequence[0]
    dataset.OtherPatientIDsSequence.append(other)
    path = tmp_path / "slice.dcm"
    path.write_bytes(builders.part10(dataset))
    return path


def rows_of(output: str) -> dict[str, list[str]]:
    """Return the first cell of every row → the others."""
    lines = [line.strip("│ ").split("│") for line in output.splitlines() if "│" in line]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_element_has_a_row_with_action_kinds_and_rule(invoke: Invoke, file: Path) -> None:
    result = invoke("explain", file)

    assert result.exit_code == 0
    assert rows_of(result.output)["(0008,1030)"] == [
        "StudyDescription",
        "X remove",
        "LO(4 chars) → nothing",
        "Table E.1-1 (0008,1030): X",
    ]
    assert [text for text in WHO.texts if text in result.output] == []


def test_an_explanation_needs_no_keys_and_leaves_nothing(
    invoke: Invoke, file: Path, data_dir: Path
) -> None:
    result = invoke("explain", file)

    assert result.exit_code == 0
    assert not data_dir.exists()


def test_items_that_are_treated_alike_share_a_row_unless_each_is_asked_for(
    invoke: Invoke, file: Path
) -> None:
    folded, each = invoke("explain", file), invoke("explain", file, "--each")

    assert "(0010,1002)[*].(0010,0020) \N{MULTIPLICATION SIGN}2" in rows_of(folded.output)
    assert "(0010,1002)[1].(0010,0020)" in rows_of(each.output)


def test_values_are_shown_where_they_are_asked_for(invoke: Invoke, file: Path) -> None:
    result = invoke("explain", file, "--values")

    assert WHO.patient_id in result.output


def test_what_a_value_could_tell_a_terminal_is_not_sent_to_it(
    invoke: Invoke, tmp_path: Path
) -> None:
    dataset = builders.ct(WHO)
    dataset.StudyDescription = "A\x1b[2J[bold]B"
    path = tmp_path / "odd.dcm"
    path.write_bytes(builders.part10(dataset))

    result = invoke("explain", path, "--values")

    assert "\x1b" not in result.output
    assert "[2J[bold]B" in result.output


def test_another_profile_is_compared(invoke: Invoke, file: Path) -> None:
    result = invoke("explain", file, "--compare", "teleradiology")

    name, left, right = rows_of(result.output)["(0008,1030)"]
    assert (name, left) == ("StudyDescription", "X remove: LO(4 chars) → nothing")
    assert right == "C clean: LO(4 chars)"
    assert "(0020,000D)" not in rows_of(result.output)


def test_a_profile_is_like_itself(invoke: Invoke, file: Path) -> None:
    result = invoke("explain", file, "--compare", "basic")

    assert "alike" in result.output


def test_json_is_what_the_interface_answers(invoke: Invoke, file: Path) -> None:
    explained = invoke("explain", file, "--json")
    compared = invoke("explain", file, "--compare", "teleradiology", "--json")

    told = ExplainedObject.model_validate_json(explained.stdout)
    assert {one.path for one in told.elements} >= {"preamble", "(0010,0010)", "(7FE0,0010)"}
    assert Comparison.model_validate_json(compared.stdout).right.profile == "teleradiology"


def test_a_profile_may_be_a_file(invoke: Invoke, file: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\noverrides: [{keyword: Modality, action: Z}]\n")

    result = invoke("explain", file, "--profile", mine)

    assert rows_of(result.output)["(0008,0060)"][1] == "Z empty"


def test_a_narrow_terminal_has_names_below_elements(
    invoke: Invoke, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")

    result = invoke("explain", file)

    lines = result.output.splitlines()
    heading = next(line for line in lines if "element" in line)
    assert "name" not in heading
    assert max(map(len, lines[:1])) <= 100


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--values", "--compare", "basic"), 2), (("--profile", "none"), 1)],
)
def test_wrong_usage_is_told(
    invoke: Invoke, file: Path, arguments: tuple[str, ...], code: int
) -> None:
    result = invoke("explain", file, *arguments)

    assert result.exit_code == code


def test_reports_stand_under_the_pseudonyms_of_their_objects(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    output, reports = tmp_path / "out", tmp_path / "reports"

    result = invoke("anonymize", folder, "-o", output, "--report-dir", reports)

    names = files_below(reports)
    texts = [(reports / name).read_text(encoding="utf-8") for name in names]
    told = [ObjectReport.model_validate_json(text).sop_instance_uid for text in texts]
    assert result.exit_code == 0
    assert names == [name.replace(".dcm", ".json") for name in files_below(output)]
    assert told == [Path(name).stem for name in names]
    assert [planted for planted in WHO.texts if planted in "".join(texts)] == []


def test_a_refused_object_gets_no_report(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("not DICOM at all")

    result = invoke("anonymize", path, "-o", tmp_path / "out", "--report-dir", tmp_path / "reports")

    assert result.exit_code == 1
    assert files_below(tmp_path / "reports") == []


def test_json_has_one_element_a_line(invoke: Invoke, file: Path) -> None:
    lines = invoke("explain", file, "--json").stdout.splitlines()

    elements = [json.loads(line.rstrip(",")) for line in lines[1:-1]]
    assert elements[0]["path"] == "preamble"
