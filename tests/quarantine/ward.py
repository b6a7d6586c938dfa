"""A quarantine on a database of its own, with both of its sides, and what is held in it."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from app.access.organizations import Organizations
from app.audit.events import AuditEvent
from app.audit.repository import AuditTrail
from app.db.session import Database
from app.dicom.source import MemorySource
from app.dicom.tokens import Limits
from app.pixels.children import Children
from app.pixels.model import Box, Decision, Mark, Picture, Reason, Risk, Rung, Verdict
from app.pixels.rulings import Case, SourceKind
from app.quarantine.keeping import Expiry
from app.quarantine.previews import Previews
from app.quarantine.review import Review
from app.quarantine.sealing import HoldOpener, HoldSealer
from app.quarantine.service import Quarantine
from app.quarantine.shelf import Shelf
from app.vault.disclosure.transactions import Recorder
from app.vault.keys import ensure_key_files
from app.vault.keys_store import KeyFiles
from app.vault.sealing_kems import Kem
from app.vault.workbox import WorkBox

NORTH, SOUTH = "NORTH", "SOUTH"
MIB = 1 << 20
BOX = Box(10, 0, 200, 24)
PICTURE = Picture(
    sop_class="1.2.840.10008.5.1.4.1.1.6.1",
    transfer_syntax="1.2.840.10008.1.2.1",
    modality="US",
    rows=480,
    columns=640,
    frames=4,
    photometric="MONOCHROME2",
    manufacturer="NARWHAL MEDICAL",
    model="SONAR OF WARD NINE",
)
DECISION = Decision(
    Verdict.QUARANTINE,
    Risk.HIGH,
    marks=(Mark(BOX, Rung.OCR, "patient-name", 0.9),),
    reasons=(Reason(Rung.OCR, "identifying-text", "patient-name", 0, 0.9),),
)


@dataclass
class Ward:
    """One process's quarantine with its database."""

    url: str
    database: Database
    quarantine: Quarantine
    review: Review
    shelf: Shelf
    expiry: Expiry
    keys: KeyFiles
    children: list[Children] = field(default_factory=list)

    def case(self, data: bytes, organization: str = NORTH, **given: Any) -> Case:
        digest = self.quarantine.digest(organization, MemorySource(data))
        case = Case(
            organization=organization,
            profile="basic",
            profile_version="7",
            digest=digest,
            picture=PICTURE,
            decision=DECISION,
            actor="viewer",
            source_kind=SourceKind.STREAM,
            cloud_study_id="7QM2X-9THV4-CBK8",
        )
        return replace(case, **given)

    async def hold(self, data: bytes, organization: str = NORTH, **given: Any):
        case = self.case(data, organization, **given)
        return await self.quarantine.hold(MemorySource(data), case)

    async def ruling(self, data: bytes, organization: str = NORTH, profile: str = "basic"):
        digest = self.quarantine.digest(organization, MemorySource(data))
        return await self.quarantine.decided(organization, profile, digest)

    def query(self, statement: str, *parameters: object) -> list[dict[str, object]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()

    def audit(self) -> list[tuple[object, ...]]:
        """Action, outcome, actor of every row of the audit, in order."""
        found = self.query("SELECT action, outcome, actor FROM audit_events ORDER BY chain, seq")
        return [tuple(row.values()) for row in found]

    def files(self) -> list[Path]:
        return sorted(self.shelf.directory.iterdir())


def who(actor: str = "reviewer", organization: str = NORTH) -> AuditEvent:
    return AuditEvent(action="", organization=organization, actor=actor)


def marks(*boxes: Box) -> list[Mark]:
    return [Mark(box, Rung.REVIEW) for box in boxes or (BOX,)]


def make_keys(directory: Path) -> KeyFiles:
    files = KeyFiles(directory / "gateway-keys.json", directory / "private.json")
    ensure_key_files(files.path, files.reidentify_path)
    files.ensure_review(Kem.X25519)
    return files


@asynccontextmanager
async def opened(
    url: str, keys: KeyFiles, directory: Path, *, max_bytes: int = 64 * MIB, is_new: bool = True
) -> AsyncIterator[Ward]:
    database = Database(url)
    if is_new:
        for organization in (NORTH, SOUTH):
            await Organizations(database).ensure(organization)
    gateway = keys.content().at(4e9)
    recorder, box = Recorder(database, AuditTrail), WorkBox(gateway)
    shelf = Shelf(directory, max_bytes)
    started: list[Children] = []

    def children() -> Children:
        if not started:
            started.append(Children(size=1))
        return started[0]

    spool = directory.with_name("spool")
    spool.mkdir(exist_ok=True)
    previews = Previews(shelf, children, spool=spool, limits=Limits())
    opener = HoldOpener(keys.review())
    try:
        yield Ward(
            url=url,
            database=database,
            quarantine=Quarantine(recorder, box, sealer=HoldSealer(gateway), shelf=shelf),
            review=Review(recorder, box, opener=opener, shelf=shelf, previews=previews),
            shelf=shelf,
            expiry=Expiry(recorder, shelf, dt.timedelta(days=30)),
            keys=keys,
        )
    finally:
        for one in started:
            one.close()
        await database.close()
