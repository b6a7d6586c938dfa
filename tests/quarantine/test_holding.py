"""The sender's side: holding, asking, and what is left by a process that was killed."""

import asyncio
import base64
import hashlib
import os
import signal
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import psycopg
import pytest

from app import telemetry
from app.audit.repository import AuditTrail
from app.dicom.source import FileSource, MemorySource
from app.errors import (
    DatabaseUnavailable,
    HeldObjectDamaged,
    OrganizationNotFound,
    QuarantineFull,
)
from app.pixels.rulings import Act, Ruling
from app.quarantine.records import State, Wanted
from app.quarantine.sealing import HeldSource, HoldOpener, Place, SealedKey
from app.quarantine.service import HOLD
from app.vault.keys_review import ReviewKeys
from tests.quarantine.ward import NORTH, PICTURE, SOUTH, Ward, marks, opened, who

pytestmark = pytest.mark.db
DATA = b"DICM of somebody called Narwhal^Nora" * 20_000


async def read_back(ward: Ward, object_id: UUID, size: int) -> bytes:
    """Open a held object as the review does."""
    [row] = ward.query("SELECT key_version, sealed FROM quarantine WHERE id = %s", object_id)

    key = SealedKey(row["key_version"], bytes(row["sealed"]))
    cipher, _ = HoldOpener(ward.keys.review()).open(Place(NORTH, object_id, size), key)
    with ward.shelf.opened(object_id) as sealed:
        return HeldSource(sealed, cipher).read(0, size)


async def test_an_object_is_held_sealed_with_a_row_and_an_audit_row(ward: Ward) -> None:
    object_id = await ward.hold(DATA)

    assert [path.name for path in ward.files()] == [str(object_id)]
    assert b"Narwhal" not in ward.files()[0].read_bytes()
    assert await read_back(ward, object_id, len(DATA)) == DATA
    assert ward.audit()[-1] == (HOLD, "success", "viewer")
    [event] = ward.query("SELECT * FROM audit_events WHERE action = %s", HOLD)
    assert event["detail"] == {
        "quarantine": str(object_id),
        "source": "stream",
        "risk": "high",
        "reasons": "identifying-text",
    }
    assert event["cloud_study_id"] == "7QM2X-9THV4-CBK8"


async def test_nothing_that_tells_a_site_or_a_person_stands_in_clear(ward: Ward) -> None:
    await ward.hold(DATA)

    with psycopg.connect(ward.url) as connection:
        rows = connection.execute("SELECT q::text, e::text FROM quarantine q, audit_events e")
        text = " ".join(column for row in rows for column in row)
    for word in (PICTURE.manufacturer, PICTURE.model, "Narwhal"):
        assert word not in text


async def test_the_digest_is_keyed_and_differs_between_organisations(ward: Ward) -> None:
    source = MemorySource(DATA)
    north, south = (ward.quarantine.digest(one, source) for one in (NORTH, SOUTH))

    assert north == ward.quarantine.digest(NORTH, source)
    assert len({north, south, hashlib.sha256(DATA).digest()}) == 3


async def test_the_same_bytes_are_held_once(ward: Ward) -> None:
    first = await ward.hold(DATA)

    again = await ward.hold(DATA)
    other = await ward.hold(DATA, profile="other")
    elsewhere = await ward.hold(DATA, SOUTH)

    assert again == first
    assert len({first, other, elsewhere}) == 3
    assert len(ward.files()) == 3


async def test_bytes_that_come_twice_at_once_are_held_once(ward: Ward) -> None:
    ids = await asyncio.gather(*[ward.hold(DATA) for _ in range(6)])

    assert len(set(ids)) == 1
    assert len(ward.files()) == 1
    assert [row[0] for row in ward.audit()].count(HOLD) == 1


async def test_nothing_is_decided_until_somebody_does(ward: Ward) -> None:
    assert await ward.ruling(DATA) is None
    await ward.hold(DATA)
    assert await ward.ruling(DATA) is None


@pytest.mark.parametrize("act", Act)
async def test_who_sends_the_same_bytes_again_gets_what_was_decided(ward: Ward, act: Act) -> None:
    object_id = await ward.hold(DATA)

    await ward.review.decide(who(), object_id, act, marks() if act is Act.MASK else ())

    ruling = await ward.ruling(DATA)
    assert ruling == Ruling(act, tuple(marks()) if act is Act.MASK else (), str(object_id))
    assert await ward.ruling(DATA, SOUTH) is None
    assert await ward.ruling(DATA, profile="other") is None
    assert await ward.ruling(DATA + b"\0") is None
    assert ward.files() == []


async def test_states_are_told_to_who_waits(ward: Ward) -> None:
    held, rejected = await ward.hold(DATA), await ward.hold(b"other")
    elsewhere = await ward.hold(DATA, SOUTH)
    await ward.review.decide(who(), rejected, Act.REJECT)

    states = await ward.quarantine.states(NORTH, [held, rejected, elsewhere])

    assert states == {held: State.HELD, rejected: State.REJECTED}


async def test_a_full_quarantine_refuses_and_leaves_nothing(
    database_url: str, keys, tmp_path: Path
) -> None:
    async with opened(database_url, keys, tmp_path / "held", max_bytes=5000) as ward:
        kept = await ward.hold(b"x" * 4000)

        with pytest.raises(QuarantineFull):
            await ward.hold(b"y" * 4000)

        assert [path.name for path in ward.files()] == [str(kept)]
        assert len(ward.query("SELECT id FROM quarantine")) == 1


async def test_a_quarantine_that_stays_full_says_so_once_a_minute(
    database_url: str, keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    log = SimpleNamespace(error=lambda event, **_: told.append(event))
    monkeypatch.setattr(telemetry, "log", lambda: log)
    async with opened(database_url, keys, tmp_path / "held", max_bytes=5000) as ward:
        await ward.hold(b"x" * 4000)
        counts = []
        for now in (0.0, 1.0, 59.0, 60.0, 61.0):
            monkeypatch.setattr(ward.quarantine, "_clock", iter([now]).__next__)
            with pytest.raises(QuarantineFull) as refused:
                await ward.hold(b"y" * 4000)
            counts.append(len(told))

        assert counts == [1, 1, 1, 2, 2]
        assert not ward.quarantine.has_room(refused.value.size)
        assert ward.quarantine.has_room(100)


async def test_without_its_row_nothing_is_held(ward: Ward) -> None:
    with pytest.raises(OrganizationNotFound):
        await ward.hold(DATA, "NOBODY")

    assert ward.query("SELECT id FROM quarantine") == []


async def test_where_the_audit_cannot_be_written_nothing_is_held(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(AuditTrail, "append", fails)

    with pytest.raises(DatabaseUnavailable):
        await ward.hold(DATA)

    assert ward.query("SELECT id FROM quarantine") == []
    assert HOLD not in [row[0] for row in ward.audit()]


KILLED = """
import asyncio, os, sys
from pathlib import Path
from app.dicom.source import MemorySource
from tests.quarantine.ward import make_keys, opened

class Endless(MemorySource):
    def view(self, offset, size):
        if offset >= len(self.data) // 2:
            sys.stdout.write("half\\n"); sys.stdout.flush()
            import time; time.sleep(60)
        return super().view(offset, size)

async def main():
    url, keys, held = sys.argv[1:]
    data = b"secret " * 300_000
    async with opened(url, make_keys(Path(keys)), Path(held), is_new=False) as ward:
        await ward.quarantine.hold(Endless(data), ward.case(data, digest=b"d" * 32))

asyncio.run(main())
"""


async def test_a_process_that_is_killed_while_holding_leaves_nothing_that_can_be_read(
    ward: Ward, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-c",
        KILLED,
        ward.url,
        str(tmp_path / "keys"),
        str(tmp_path / "held"),
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert line == b"half\n"

    [left] = ward.files()
    assert left.name.endswith(".part")
    assert b"secret" not in left.read_bytes()
    assert ward.query("SELECT id FROM quarantine") == []
    assert await ward.review.listed(NORTH, Wanted()) == []
    os.utime(left, (1, 1))
    await ward.expiry.apply()
    assert ward.files() == []


async def test_a_file_whose_row_was_never_committed_is_swept_and_opens_with_nothing(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(AuditTrail, "append", killed)
    with suppress(asyncio.CancelledError):
        await ward.hold(DATA)
    monkeypatch.undo()

    [left] = ward.files()
    assert ward.query("SELECT id FROM quarantine") == []
    os.utime(left, (1, 1))
    await ward.expiry.apply()
    assert ward.files() == []


async def test_memory_does_not_grow_with_the_object(ward: Ward, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(40_000_000)
    with path.open("rb") as file:
        source = FileSource(file.fileno())
        case = ward.case(b"", digest=b"e" * 32)
        tracemalloc.start()
        await ward.quarantine.hold(source, case)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 8_000_000


async def test_what_nobody_decided_about_in_time_is_rejected_and_destroyed(ward: Ward) -> None:
    old, young = await ward.hold(DATA), await ward.hold(b"young")
    with psycopg.connect(ward.url) as connection:
        connection.execute(
            "UPDATE quarantine SET held_at = now() - interval '31 days' WHERE id = %s", [old]
        )

    assert await ward.expiry.apply() == [old]

    assert [path.name for path in ward.files()] == [str(young)]
    assert await ward.quarantine.states(NORTH, [old]) == {old: State.EXPIRED}
    assert ward.audit()[-1] == ("quarantine-expire", "success", "retention")
    [row] = ward.query("SELECT sealed FROM quarantine WHERE id = %s", old)
    assert row["sealed"] is None
    # Nobody has decided about these bytes, so that they are held anew.
    assert await ward.ruling(DATA) is None
    assert await ward.hold(DATA) != old


async def test_a_gateway_that_holds_only_its_key_file_opens_nothing(
    ward: Ward, tmp_path: Path
) -> None:
    """Everything that such a process has: key file, database, directory."""
    object_id = await ward.hold(DATA)
    [row] = ward.query("SELECT sealed FROM quarantine")
    content = (tmp_path / "keys" / "gateway-keys.json").read_bytes()

    for private in ward.keys.private().sealing_private_keys.values():
        with pytest.raises(HeldObjectDamaged):
            HoldOpener(ReviewKeys({1: private})).open(
                Place(NORTH, object_id, len(DATA)), SealedKey(1, bytes(row["sealed"]))
            )
    for private in ward.keys.review().private_keys.values():
        assert base64.b64encode(private) not in content
