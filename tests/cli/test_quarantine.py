"""What is held, on the command line of whoever reviews."""

import asyncio
import json
import stat
from pathlib import Path
from uuid import UUID

import pytest

from app import bootstrap, errors
from app.cli import quarantine
from app.cli.options import load_settings
from app.dicom.source import MemorySource
from app.pixels.model import Picture
from app.pixels.rulings import Case
from app.settings.service import Role
from tests.cli.conftest import Invoke
from tests.quarantine.images import GREY, SHOWN
from tests.quarantine.ward import DECISION, PICTURE

pytestmark = pytest.mark.db


async def held(data: bytes, picture: Picture, actor: str) -> UUID:
    settings = load_settings().model_copy(update={"roles": frozenset({Role.ANONYMIZE})})
    async with bootstrap.opened(settings) as gateway:
        assert gateway.quarantine is not None
        assert gateway.review is None
        source = MemorySource(data)
        digest = gateway.quarantine.digest("DEMO", source)
        case = Case("DEMO", "basic", "7", digest, picture, DECISION, actor)
        return await gateway.quarantine.hold(source, case)


def hold(data: bytes = b"DICM", picture: Picture = PICTURE, actor: str = "viewer") -> str:
    return str(asyncio.run(held(data, picture, actor)))


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch):
    def someone(name: str) -> None:
        monkeypatch.setattr(quarantine, "operating_system_user", lambda: name)

    return someone


def test_what_is_held_is_listed_shown_and_released(invoke: Invoke) -> None:
    object_id = hold()

    listed = invoke("quarantine", "list").output
    shown = json.loads(invoke("quarantine", "show", object_id).output)
    released = json.loads(invoke("quarantine", "release", object_id).output)

    assert listed.startswith(f"{object_id}  held")
    assert "640x480x4" in listed
    assert "identifying-text" in listed
    assert shown["proposed_marks"][0]["rule"] == "patient-name"
    assert released["state"] == "released"
    assert invoke("quarantine", "list").output == ""
    assert invoke("quarantine", "list", "--limit", 99_999_999_999_999_999_999).exit_code == 2
    assert object_id in invoke("quarantine", "list", "--state", "released").output


def test_a_preview_is_a_file_for_its_owner_alone(invoke: Invoke, tmp_path: Path) -> None:
    object_id, target = hold(SHOWN, GREY), tmp_path / "seen.png"

    done = invoke("quarantine", "preview", object_id, "--png", target, "--marks", "fill")
    again = invoke("quarantine", "preview", object_id, "--png", target)

    assert done.exit_code == 0, done.exception
    assert target.read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert isinstance(again.exception, errors.AlreadyExists)


def test_marks_are_typed_or_taken_over(invoke: Invoke) -> None:
    typed, taken = hold(b"one"), hold(b"two")

    first = invoke("quarantine", "mask", typed, "--mark", "1,2,30,40", "--mark", "0,0,9,9@1-2")
    second = invoke("quarantine", "mask", taken, "--proposed")
    third = invoke("quarantine", "mask", hold(b"three"), "--mark", "1,2,3")
    fourth = invoke("quarantine", "mask", hold(b"four"))

    marks = json.loads(first.output)["marks"]
    assert [(one["left"], one["bottom"], one["frames"]) for one in marks] == [
        (1, 40, None),
        (0, 9, [1, 2]),
    ]
    assert json.loads(second.output)["marks"][0]["right"] == 200
    assert third.exit_code == 2
    assert isinstance(fourth.exception, errors.InvalidRequest)


def test_a_rule_needs_two_people(invoke: Invoke, become) -> None:
    become("one")
    rule = json.loads(invoke("quarantine", "remember", hold(), "--proposed").output)

    own = invoke("quarantine", "approve-rule", rule["rule_id"])
    become("two")
    approved = invoke("quarantine", "approve-rule", rule["rule_id"])
    listed = invoke("quarantine", "rules", "--state", "approved").output
    revoked = invoke("quarantine", "revoke-rule", rule["rule_id"])
    denied = invoke("quarantine", "deny-rule", rule["rule_id"])

    assert isinstance(own.exception, errors.OwnRequest)
    assert json.loads(approved.output)["decided_by"] == "cli:two"
    assert json.loads(listed)["rule"]["mask"]
    assert json.loads(revoked.output)["state"] == "revoked"
    assert isinstance(denied.exception, errors.AlreadyDecided)


def test_who_sent_it_rejects_at_most(invoke: Invoke, become) -> None:
    become("one")
    object_id = hold(actor="cli:one")

    released = invoke("quarantine", "release", object_id)
    rejected = invoke("quarantine", "reject", object_id)

    assert isinstance(released.exception, errors.OwnObject)
    assert json.loads(rejected.output)["state"] == "rejected"


def test_without_the_review_key_nothing_is_seen(invoke: Invoke, data_dir: Path) -> None:
    object_id = hold()
    (data_dir / "keys" / "review-key.json").unlink()

    done = invoke("quarantine", "list")

    assert isinstance(done.exception, errors.KeyUnavailable)
    assert object_id not in done.output


def test_a_review_key_ends_when_nothing_is_held_under_it(invoke: Invoke, monkeypatch) -> None:
    object_id = hold()
    invoke("keys", "rotate", "--activate-in", 0)
    young = invoke("keys", "retire", "1", "--review")
    monkeypatch.setattr("app.cli.keys_resealing.SETTLED_AFTER_S", -5)

    early = invoke("keys", "retire", "1", "--review")
    invoke("quarantine", "reject", object_id)
    done = invoke("keys", "retire", "1", "--review")

    assert isinstance(young.exception, errors.Conflict)
    assert "1 held objects" in str(early.exception)
    assert done.exit_code == 0, done.exception
    assert "opens key versions 2" in invoke("keys", "status").output


def test_a_key_file_of_an_earlier_release_gets_a_review_key(invoke: Invoke, data_dir: Path) -> None:
    invoke("keys", "init")
    path = data_dir / "keys" / "gateway-keys.json"
    content = json.loads(path.read_text())
    del content["review_public_keys"]
    path.write_text(json.dumps(content))
    (data_dir / "keys" / "review-key.json").unlink()

    done = invoke("keys", "init")

    assert "Kept the key file" in done.output
    assert "Made the review key" in done.output
    after = json.loads(path.read_text())
    assert after.pop("review_public_keys")
    assert after == content


def test_a_production_gateway_of_an_earlier_release_starts_and_holds_nothing(
    invoke: Invoke, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("keys", "init")
    invoke("organizations", "add", "DEMO")
    path = data_dir / "keys" / "gateway-keys.json"
    content = json.loads(path.read_text())
    del content["review_public_keys"]
    path.write_text(json.dumps(content))
    monkeypatch.setenv("DEID_MODE", "production")
    monkeypatch.setenv("DEID_QUARANTINE_DIR", str(data_dir / "quarantine"))

    async def parts() -> tuple[object, object]:
        async with bootstrap.opened(load_settings()) as gateway:
            return gateway.quarantine, gateway.review

    assert asyncio.run(parts()) == (None, None)


@pytest.mark.parametrize("named", [True, False])
def test_in_production_nothing_is_held_where_no_reviewer_would_find_it(
    invoke: Invoke, data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    invoke("keys", "init")
    invoke("organizations", "add", "DEMO")
    monkeypatch.setenv("DEID_MODE", "production")
    monkeypatch.setenv("DEID_ROLES", "anonymize")
    if named:
        monkeypatch.setenv("DEID_QUARANTINE_DIR", str(data_dir / "quarantine"))

    async def holds() -> bool:
        async with bootstrap.opened(load_settings()) as gateway:
            return gateway.quarantine is not None

    assert asyncio.run(holds()) is named
