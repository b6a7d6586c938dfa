"""The way back and its second person on the command line."""

import json
from pathlib import Path

import pytest

from app import errors
from app.cli import reidentify
from app.vault.disclosure.service import Disclosure
from tests.cli.conftest import WHO, Invoke

WHY = ("--purpose", "TREAT", "--reference", "TICKET-1")


@pytest.fixture
def study(invoke: Invoke, folder: Path, tmp_path: Path) -> str:
    invoke("anonymize", folder, "-o", tmp_path / "out")
    [study] = [path.name for path in (tmp_path / "out").iterdir()]
    return study


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch):
    def someone(name: str) -> None:
        monkeypatch.setattr(reidentify, "operating_system_user", lambda: name)

    return someone


def test_any_pseudonym_finds_the_patient(invoke: Invoke, study: str, tmp_path: Path) -> None:
    [instance, *_] = sorted((tmp_path / "out").rglob("*.dcm"))

    done = invoke(
        "reidentify", study, "--sop-instance-uid", instance.stem, "--patient-id", study, *WHY
    )

    found = json.loads(done.output)
    assert (found["original_patient_id"], found["cloud_study_id"]) == (WHO.patient_id, study)
    assert found["original_sop_instance_uid"].startswith("1.2.826.0.1.3680043.10.998.")


def test_a_worklist_comes_from_a_file(invoke: Invoke, study: str, tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    worklist.write_text(f"{study}\n\n{study.lower()}\n")

    done = invoke("reidentify", "--worklist", worklist, *WHY)

    assert [one["outcome"] for one in json.loads(done.output)] == ["success"] * 2


def test_a_mistyped_line_is_named(invoke: Invoke, study: str, tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    worklist.write_text(f"{study}\nnonsense\n")

    done = invoke("reidentify", "--worklist", worklist, *WHY)

    assert isinstance(done.exception, errors.MistypedCloudStudyId)
    assert "Line 2" in str(done.exception)


def test_without_a_reference_nothing_is_looked_up(invoke: Invoke, study: str) -> None:
    done = invoke("reidentify", study, "--purpose", "TREAT")

    assert isinstance(done.exception, errors.InvalidRequest)


def test_a_fault_that_nobody_foresaw_is_in_the_audit(
    invoke: Invoke, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(_disclosure: object, _asked: object) -> None:
        raise ZeroDivisionError("PLANTED^NAME")

    with monkeypatch.context() as patched:
        patched.setattr(Disclosure, "answer", faulty)
        done = invoke("reidentify", study, *WHY)

    assert isinstance(done.exception, ZeroDivisionError)
    told = invoke("audit", "export", "--format", "jsonl", "--action", "reidentify").output
    [row] = map(json.loads, told.splitlines())
    assert row["outcome"] == "internal-error"
    assert "PLANTED" not in told


def test_two_people_find_a_patient(invoke: Invoke, study: str, become) -> None:
    changed = invoke("approvals", "policy", "--organization", "DEMO", "--require")
    become("reader")
    alone = invoke("reidentify", study, *WHY)
    named = json.loads(invoke("approvals", "request", study, *WHY).output)["request_id"]
    own = invoke("approvals", "approve", named)
    become("second")
    listed = invoke("approvals", "list", "--state", "pending")
    approved = json.loads(invoke("approvals", "approve", named).output)
    become("reader")
    done = invoke("reidentify", "--approval", named)
    again = invoke("reidentify", "--approval", named)
    shown = json.loads(invoke("approvals", "show", named).output)

    assert "approval required" in changed.output
    assert isinstance(alone.exception, errors.ApprovalRequired)
    assert isinstance(own.exception, errors.OwnRequest)
    assert named in listed.output
    assert (approved["state"], approved["decided_by"]) == ("approved", "cli:second")
    assert json.loads(done.output)["original_patient_id"] == WHO.patient_id
    assert isinstance(again.exception, errors.ApprovalUsed)
    assert shown["state"] == "used"


def test_a_request_can_be_denied(invoke: Invoke, study: str, become) -> None:
    become("reader")
    named = json.loads(invoke("approvals", "request", study, *WHY).output)["request_id"]
    become("second")

    denied = json.loads(invoke("approvals", "deny", named).output)

    become("reader")
    done = invoke("reidentify", "--approval", named)
    assert denied["state"] == "denied"
    assert isinstance(done.exception, errors.ApprovalDenied)


@pytest.mark.usefixtures("study")  # it makes the organisation
def test_safeguards_are_shown_and_changed(invoke: Invoke) -> None:
    policy = ("approvals", "policy", "--organization", "DEMO")

    before = invoke(*policy)
    changed = invoke(*policy, "--per-hour", "5", "--per-day", "50", "--no-break-glass")
    back = invoke(*policy, "--per-hour", "default")
    wrong = invoke(*policy, "--per-day", "many")

    assert before.output == (
        "DEMO: approval not required, break-glass allowed, per hour default, per day default\n"
    )
    assert changed.output.endswith("break-glass not allowed, per hour 5, per day 50\n")
    assert back.output.endswith("per hour default, per day 50\n")
    assert wrong.exit_code == 2
