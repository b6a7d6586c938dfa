"""``deid-gateway anonymize``: files and folders, what is written and what is not."""

import json
import os
import re
from pathlib import Path

import psycopg
import pytest

from app import errors
from app.cli import files
from app.cli.files import find
from tests import builders
from tests.cli.conftest import WHO, Invoke, files_below

NAME = re.compile(r"[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{4}/2\.25\.\d+/2\.25\.\d+\.dcm")


def test_folders_are_de_identified_recursively(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    done = invoke("anonymize", folder, "-o", tmp_path / "out")

    written = files_below(tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(written) == 2
    assert all(NAME.fullmatch(name) for name in written)
    assert len({name.split("/")[0] for name in written}) == 1


def test_nothing_of_the_patient_is_in_what_is_written(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    invoke("anonymize", folder, "-o", tmp_path / "out")

    contents = [path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")]
    assert not [text for text in WHO.texts if any(text.encode() in data for data in contents)]


def test_running_again_writes_the_same_bytes(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    invoke("anonymize", folder, "-o", tmp_path / "first")
    invoke("anonymize", folder, "-o", tmp_path / "second")

    first, second = tmp_path / "first", tmp_path / "second"
    assert files_below(first) == files_below(second)
    assert all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in files_below(first)
    )


def test_several_processes_write_what_one_writes(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    invoke("anonymize", folder, "-o", tmp_path / "one")
    done = invoke("anonymize", folder, "-o", tmp_path / "two", "--jobs", 2)

    assert done.exit_code == 0, done.output
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")


def test_what_is_refused_is_listed_and_not_written(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    letter = folder / "letter.txt"
    letter.write_text("PLANTED: Dear colleague")
    cut = folder / "cut.dcm"
    cut.write_bytes((folder / "first.dcm").read_bytes()[:-50])

    done = invoke("anonymize", folder, "-o", tmp_path / "out")

    assert done.exit_code == 1
    assert "letter.txt" in done.output
    assert "not-dicom" in done.output
    assert "truncated" in done.output
    assert "PLANTED" not in done.output
    assert len(files_below(tmp_path / "out")) == 2


def test_the_report_says_what_became_of_every_file(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    (folder / "letter.txt").write_text("PLANTED: Dear colleague")

    invoke("anonymize", folder, "-o", tmp_path / "out", "--report", tmp_path / "report.json")

    text = (tmp_path / "report.json").read_text()
    report = json.loads(text)
    by_name = {Path(entry["input"]).name: entry for entry in report["files"]}
    assert (report["done"], report["refused"]) == (2, {"not-dicom": 1})
    assert by_name["letter.txt"]["code"] == "not-dicom"
    assert by_name["first.dcm"]["output"] in files_below(tmp_path / "out")
    assert by_name["first.dcm"]["counts"]
    assert not [planted for planted in ("PLANTED", *WHO.texts) if planted in text]


def test_a_report_that_cannot_be_written_is_told_in_one_line(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    report = tmp_path / "nowhere" / "report.json"

    done = invoke("anonymize", folder, "-o", tmp_path / "out", "--report", report)

    assert isinstance(done.exception, errors.StorageUnavailable)
    assert "report" in str(done.exception)
    assert "de-identified" in done.output
    assert len(files_below(tmp_path / "out")) == 2


def test_every_instance_is_in_the_audit(
    invoke: Invoke, folder: Path, tmp_path: Path, database_url: str
) -> None:
    (folder / "letter.txt").write_text("Dear colleague")

    invoke("anonymize", folder, "-o", tmp_path / "out")

    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT outcome, actor FROM audit_events WHERE action = 'anonymize' ORDER BY outcome"
        ).fetchall()
    assert [outcome for outcome, _ in rows] == ["not-dicom", "success", "success"]
    assert all(actor.startswith("cli:") for _, actor in rows)


def test_a_study_can_be_found_again(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    invoke("anonymize", folder, "-o", tmp_path / "out")
    [study] = [path.name for path in (tmp_path / "out").iterdir()]

    done = invoke("reidentify", study.lower(), "--purpose", "TREAT", "--reference", "T-1")

    assert json.loads(done.output)["original_patient_id"] == WHO.patient_id


def test_another_profile_can_be_chosen_by_name(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    done = invoke("anonymize", folder, "-o", tmp_path / "out", "--profile", "basic-per-study")

    [study] = [path.name for path in (tmp_path / "out").iterdir()]
    data = (tmp_path / "out" / files_below(tmp_path / "out")[0]).read_bytes()
    assert done.exit_code == 0
    assert f"DEMO-{study}".encode() in data


def test_another_profile_can_be_chosen_as_a_file(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "own.yaml"
    profile.write_text("name: own\nidentity: {institution_name: Elsewhere}\n")

    done = invoke("anonymize", folder, "-o", tmp_path / "out", "--profile", profile)

    data = (tmp_path / "out" / files_below(tmp_path / "out")[0]).read_bytes()
    assert done.exit_code == 0, done.output
    assert b"Elsewhere" in data


def test_an_unknown_profile_is_refused_before_anything_is_written(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    done = invoke("anonymize", folder, "-o", tmp_path / "out", "--profile", "none-such")

    assert isinstance(done.exception, errors.ProfileNotFound)
    assert not (tmp_path / "out").exists()


def test_organisations_get_different_pseudonyms(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    invoke("organizations", "add", "OTHER")
    invoke("anonymize", folder, "-o", tmp_path / "own")
    invoke("anonymize", folder, "-o", tmp_path / "other", "--organization", "OTHER")

    assert not set(files_below(tmp_path / "own")) & set(files_below(tmp_path / "other"))
    assert len(files_below(tmp_path / "other")) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_organisation_is_not_made_by_naming_it(
    invoke: Invoke, folder: Path, tmp_path: Path, jobs: int
) -> None:
    where = ("-o", tmp_path / "out", "--jobs", jobs)

    done = invoke("anonymize", folder, *where, "--organization", "TYPO")
    own = invoke("anonymize", folder, *where, "--organization", "DEMO")

    assert isinstance(done.exception, errors.OrganizationNotFound)
    assert "organizations add" in str(done.exception)
    assert own.exit_code == 0, own.output
    assert "TYPO" not in invoke("organizations", "list").output


def test_the_same_instance_twice_is_counted(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    (folder / "copy.dcm").write_bytes((folder / "first.dcm").read_bytes())

    done = invoke("anonymize", folder, "-o", tmp_path / "out")

    assert done.exit_code == 0
    assert "1 files had the SOP Instance UID of another one" in done.output


def test_an_empty_folder_is_wrong_usage(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert invoke("anonymize", tmp_path / "empty", "-o", tmp_path / "out").exit_code == 2


def test_output_inside_the_input_is_not_taken_as_input(invoke: Invoke, folder: Path) -> None:
    invoke("anonymize", folder, "-o", folder / "out")
    done = invoke("anonymize", folder, "-o", folder / "out")

    assert "de-identified │ 2" in done.output


def test_links_to_folders_are_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.dcm").write_bytes(b"x")
    (folder / "link").symlink_to(elsewhere)

    found = [path.name for path in find([folder], outside=tmp_path / "out")]

    assert found == ["first.dcm", "second"]


def test_a_file_that_cannot_be_read_is_listed(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    (folder / "gone.dcm").symlink_to(tmp_path / "nowhere")

    done = invoke("anonymize", folder, "-o", tmp_path / "out")

    assert done.exit_code == 1
    assert "unreadable-file" in done.output


def test_a_write_that_fails_leaves_no_part_of_a_file(
    invoke: Invoke, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_self: object, fd: int) -> None:
        os.write(fd, b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.pipeline.Deidentified.write_to", failing)

    done = invoke("anonymize", folder, "-o", tmp_path / "out")

    assert isinstance(done.exception, errors.StorageUnavailable)
    assert files_below(tmp_path / "out") == []


def test_a_fault_of_the_program_ends_one_file_only(
    invoke: Invoke, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter([ValueError("PLANTED^NAME"), Path("written")])

    def faulty(_done: object, _directory: Path) -> Path:
        outcome = next(outcomes)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    monkeypatch.setattr(files, "write", faulty)

    done = invoke("anonymize", folder, "-o", tmp_path / "out")

    assert done.exit_code == 1
    assert "internal error: ValueError" in done.output
    assert "PLANTED" not in done.output
    assert "de-identified │ 1" in done.output
    listed = invoke("audit", "export", "--format", "jsonl").output
    assert listed.count('"internal-error"') == 1
    assert "PLANTED" not in listed


def test_objects_of_any_kind_go_through(invoke: Invoke, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for kind in ("mr", "sr", "ko", "rtstruct", "encapsulated-pdf"):
        data, _ = builders.everything(kind, "1.2.840.10008.1.2.1")
        (inputs / kind).write_bytes(data)

    done = invoke("anonymize", inputs, "-o", tmp_path / "out")

    assert done.exit_code == 0, done.output
