"""Keys, erasure, retention and the report on the command line."""

import errno
import json
from pathlib import Path

import pytest

from app.cli import keys_resealing
from app.cli.options import operating_system_user
from app.errors import DatabaseUnavailable, InvalidRequest, Misconfigured
from app.vault.keyrings import files
from tests.cli.conftest import Invoke

pytestmark = pytest.mark.db
WHY = ("--purpose", "PATRQT", "--reference", "DPO-1")


@pytest.fixture
def done(invoke: Invoke, folder: Path, tmp_path: Path) -> str:
    """One study de-identified; its cloud study id."""
    assert invoke("anonymize", folder, "-o", tmp_path / "out").exit_code == 0
    (study,) = (tmp_path / "out").iterdir()
    return study.name


@pytest.mark.usefixtures("done")
def test_keys_are_rotated_and_everything_is_sealed_anew(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_resealing, "LOOK_EVERY_S", 0)
    published = json.loads(invoke("keys", "public").stdout)["keys"]

    rotated = invoke("keys", "rotate", "--activate-in", 0, "--kem", "mlkem768-x25519")
    before = invoke("keys", "status")
    resealed = invoke("keys", "reseal")
    after = invoke("keys", "status")

    assert [one.exit_code for one in (rotated, before, resealed, after)] == [0, 0, 0, 0]
    assert "data keys sealed to version 1: 1" in before.stdout
    assert "Sealed anew: 1 data keys" in resealed.stdout
    assert "data keys sealed to version 2: 1" in after.stdout
    assert "mlkem768-x25519" in after.stdout
    assert json.loads(invoke("keys", "public").stdout)["keys"][1:] == published


def rotations(invoke: Invoke) -> list[dict[str, object]]:
    rows = invoke("audit", "list", "--gateway", "--action", "rotate-keys", "--json").stdout
    return [json.loads(row) for row in rows.splitlines()]


@pytest.mark.usefixtures("done")
def test_a_rotation_is_in_the_audit_with_its_versions(invoke: Invoke) -> None:
    invoke("keys", "rotate", "--activate-in", 0)

    [row] = rotations(invoke)
    detail = row["detail"]
    assert (row["outcome"], row["actor"]) == ("success", f"cli:{operating_system_user()}")
    assert isinstance(detail, dict)
    assert detail.pop("active_at") > 0
    assert detail == {
        "key_version": 2,
        "work_key_version": 2,
        "signing_key_version": 2,
        "review_key_version": 2,
    }


@pytest.mark.usefixtures("done")
def test_a_rotation_that_is_refused_is_not_said_to_have_been_one(invoke: Invoke) -> None:
    invoke("keys", "rotate")

    refused = invoke("keys", "rotate")

    assert refused.exit_code == 1
    assert len(rotations(invoke)) == 1


@pytest.mark.usefixtures("done")
def test_a_rotation_for_a_time_that_nobody_sees_is_refused_before_a_key_is_made(
    invoke: Invoke,
) -> None:
    refused = invoke("keys", "rotate", "--activate-in", 99_999_999_999_999)

    assert refused.exit_code == 2
    assert rotations(invoke) == []
    assert invoke("keys", "status").exit_code == 0


def change_times(data_dir: Path, active_at: object) -> Path:
    """Write another time into the newest version of every key of the key file."""
    [path] = [path for path in data_dir.rglob("*.json") if "pseudonym_root" in path.read_text()]
    content = json.loads(path.read_text())
    for kind in ("sealing_public_keys", "work_keys", "signing_seeds", "review_public_keys"):
        content[kind][max(content[kind], key=int)]["active_at"] = active_at
    path.write_text(json.dumps(content))
    return path


@pytest.mark.usefixtures("done")
@pytest.mark.parametrize("active_at", [10**20, 10**400, 99_999_999_999])
def test_a_key_whose_time_never_comes_is_named_and_replaced_by_a_rotation(
    invoke: Invoke, data_dir: Path, active_at: int
) -> None:
    invoke("keys", "rotate")
    change_times(data_dir, active_at)

    before = invoke("keys", "status")
    waiting = invoke("keys", "reseal")
    rotated = invoke("keys", "rotate", "--activate-in", 0)
    after = invoke("keys", "status")

    assert (before.exit_code, after.exit_code) == (0, 0), (before.output, after.output)
    for kind in ("sealing", "batch", "signing", "review"):
        assert f"{kind} key version 2 never comes into use" in before.stdout
    assert "'keys rotate'" in before.stdout
    assert "seals to key version 1" in before.stdout
    assert "private key file     usable" in before.stdout
    assert isinstance(waiting.exception, InvalidRequest)
    assert rotated.exit_code == 0, rotated.output
    assert "seals to key version 2" in after.stdout
    assert "never" not in after.stdout


@pytest.mark.usefixtures("done")
def test_a_key_file_with_a_time_that_is_no_number_is_damaged(
    invoke: Invoke, data_dir: Path
) -> None:
    invoke("keys", "rotate")
    path = change_times(data_dir, "PLANTED")

    for wrong in ('"PLANTED"', "1e999", "null", "true", "0.5"):
        path.write_text(path.read_text().replace('"PLANTED"', wrong))
        told = invoke("keys", "status").exception
        assert isinstance(told, Misconfigured), wrong
        assert "is damaged" in str(told)
        path.write_text(path.read_text().replace(f'"active_at": {wrong}', '"active_at": "PLANTED"'))


@pytest.mark.usefixtures("done")
def test_without_its_audit_row_no_key_is_rotated(
    invoke: Invoke, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise DatabaseUnavailable

    before = {path: path.read_bytes() for path in data_dir.rglob("*key*.json")}
    monkeypatch.setattr(keys_resealing, "record_alone", refuse)

    refused = invoke("keys", "rotate")

    assert isinstance(refused.exception, DatabaseUnavailable)
    assert len(before) == 3
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.usefixtures("done")
def test_a_rotation_that_could_not_be_written_says_so_in_the_audit(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(files, "replace", refuse)

    failed = invoke("keys", "rotate")

    assert failed.exit_code == 1
    assert [row["outcome"] for row in rotations(invoke)] == ["misconfigured", "success"]


@pytest.mark.usefixtures("done")
def test_a_key_that_was_in_use_today_is_not_destroyed(invoke: Invoke) -> None:
    invoke("keys", "rotate", "--activate-in", 0)

    refused = invoke("keys", "retire", 1)

    assert refused.exit_code == 1
    assert "within the last day" in str(refused.exception)


@pytest.mark.usefixtures("done")
def test_a_key_that_something_is_sealed_to_is_not_destroyed(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_resealing, "SETTLED_AFTER_S", -10)
    monkeypatch.setattr(keys_resealing, "LOOK_EVERY_S", 0)
    invoke("keys", "rotate", "--activate-in", 0)

    refused = invoke("keys", "retire", 1)
    invoke("keys", "reseal")
    destroyed = invoke("keys", "retire", 1)

    assert "sealed to that version" in str(refused.exception)
    assert destroyed.exit_code == 0, destroyed.exception
    assert "opens key versions 2" in invoke("keys", "status").stdout


def test_keys_in_the_environment_are_only_read(
    invoke: Invoke, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("keys", "init")
    monkeypatch.setenv("DEID_KEY_MATERIAL", (data_dir / "keys/gateway-keys.json").read_text())
    (data_dir / "keys" / "gateway-keys.json").unlink()

    assert "usable" in invoke("keys", "status").stdout
    assert "only read" in str(invoke("keys", "rotate").exception)


def test_a_patient_is_erased_and_not_taken_again(
    invoke: Invoke, done: str, folder: Path, tmp_path: Path
) -> None:
    erased = invoke("erase", done, *WHY, "--yes")
    again = invoke("anonymize", folder, "-o", tmp_path / "again")

    assert json.loads(erased.stdout)["destroyed"]["instances"] == 2
    assert again.exit_code == 1
    assert "subject-erased" in again.output


@pytest.mark.parametrize(
    "why",
    [
        ("--purpose", "request of the patient", "--reference", "DPO-1"),
        ("--purpose", "PATRQT", "--reference", " "),
        ("--purpose", "BTG", "--reference", "DPO-1", "--reason", "in haste"),
    ],
    ids=range(3),
)
def test_nobody_is_erased_without_a_coded_purpose_and_a_reference(
    invoke: Invoke, done: str, why: tuple[str, ...]
) -> None:
    assert invoke("erase", done, *why, "--yes").exit_code == 1


def test_nothing_is_erased_without_a_yes(invoke: Invoke, done: str) -> None:
    asked = invoke("erase", done, *WHY)

    assert asked.exit_code == 1
    assert (
        json.loads(invoke("report", "processing", "--format", "json").stdout)["organizations"][0][
            "patients"
        ]
        == 1
    )


@pytest.mark.usefixtures("done")
def test_a_policy_is_set_listed_and_applied(invoke: Invoke) -> None:
    changed = invoke("retention", "set", "DEMO", "--days", 30, "--after-erasure", "recreate")
    kept = invoke("retention", "set", "DEMO", "--after-erasure", "refuse")
    listed = invoke("retention", "list")
    applied = invoke("retention", "run")
    rows = invoke("audit", "list", "--action", "change-retention", "--json").stdout.splitlines()

    assert [json.loads(row)["detail"] for row in rows] == [
        {"retention-days": 30, "after-erasure": "refuse"},
        {"retention-days": 30, "after-erasure": "recreate"},
    ]
    assert [changed.exit_code, kept.exit_code] == [0, 0]
    assert listed.stdout.split() == ["DEMO", "30", "days", "after", "an", "erasure:", "refuse"]
    assert applied.stdout.split() == ["DEMO", "0", "patients"]


def test_the_report_counts_and_names_nobody(invoke: Invoke, done: str) -> None:
    invoke("retention", "set", "DEMO", "--days", 3650)

    text = invoke("report", "processing").stdout
    (one,) = json.loads(invoke("report", "processing", "--format", "json").stdout)["organizations"]

    assert "| Originals are kept | 3650 days |" in text
    assert done not in text
    assert (one["patients"], one["studies"], one["instances"]) == (1, 1, 2)
