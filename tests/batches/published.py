"""Published batches on disk: made-up objects under their pseudonyms, with a signed manifest."""

import asyncio
import datetime as dt
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

from app.batches.imaging_study import IMAGING_STUDY_NAME, imaging_study
from app.batches.manifest import MANIFEST_NAME, ManifestHeader, ManifestWriter
from app.batches.records import ManifestEntry, object_name
from app.batches.shelves import DirectoryShelf
from app.batches.states import Priority
from app.batches.verifying import Verification, verify
from app.vault.keys import GatewayKeys
from app.vault.signing import PublicKeys, Signer

SIGNER = Signer(GatewayKeys(bytes(range(32)), bytes(32), 1))
STRANGER = Signer(GatewayKeys(bytes(32), bytes(32), 1))
KEYS = SIGNER.public_keys()
BATCH = UUID("6f1c2e5a-1111-4222-8333-944444444444")
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDIES = ("00000-00000-0001", "7QM2X-9THV4-CBK8")
HEADER = ManifestHeader(
    batch_id=BATCH,
    organization="NORTH",
    priority=Priority.STAT,
    submitted_at=dt.datetime(2026, 3, 1, 9, 30, 0, 250_000, dt.UTC),
    revision=1,
    profile="basic",
    profile_version="0123456789ab",
)


def content_of(number: int) -> bytes:
    return bytes(128) + b"DICM" + f"object {number}".encode() * 50


def entry(number: int, **given: Any) -> ManifestEntry:
    """One object; study and series can be chosen, all else follows from the number."""
    content = content_of(number)
    made: dict[str, Any] = {
        "cloud_study_id": STUDIES[0],
        "study_uid": "2.25.1000",
        "series_uid": "2.25.2000",
        "modality": "CT",
        "sop_instance_uid": f"2.25.{3000 + number}",
        "sop_class_uid": CT_STORAGE,
        "size": len(content),
        "sha256": hashlib.sha256(content).digest(),
    }
    return ManifestEntry(**(made | given))


def entries() -> list[ManifestEntry]:
    """Two studies: one of two series, one without a series UID."""
    second = {"cloud_study_id": STUDIES[1], "study_uid": "2.25.1001"}
    return [
        entry(1),
        entry(2),
        entry(3, series_uid="2.25.2001", modality="SEG"),
        entry(4, **second, series_uid="", modality=""),
        entry(5, **second, series_uid="2.25.2002", modality="MR"),
    ]


def written(
    listed: Iterable[ManifestEntry],
    *,
    header: ManifestHeader = HEADER,
    signer: Signer = SIGNER,
    fhir: bool = False,
) -> bytes:
    file = io.BytesIO()
    with ManifestWriter(file, header, signer) as writer:
        if fhir:
            for study in studies_of(listed):
                writer.add(study)
                resource = imaging_study(header, study)
                writer.attach(size=len(resource), sha256=hashlib.sha256(resource).digest())
        else:
            writer.add(listed)
        writer.finish()
    return file.getvalue()


def studies_of(listed: Iterable[ManifestEntry]) -> list[list[ManifestEntry]]:
    return [list(study) for _, study in groupby(listed, key=attrgetter("cloud_study_id"))]


def resource_name(study: str) -> str:
    return f"{study}/{IMAGING_STUDY_NAME}"


def name_of(one: ManifestEntry) -> str:
    return object_name(one.cloud_study_id, one.series_uid, one.sop_instance_uid)


def publish(
    directory: Path, listed: Sequence[ManifestEntry] | None = None, *, fhir: bool = False
) -> Path:
    """Lay out a whole batch; return its directory."""
    chosen = entries() if listed is None else listed
    for one in chosen:
        path = directory / name_of(one)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(int(one.sop_instance_uid.rpartition(".")[2]) - 3000))
    for study in studies_of(chosen) if fhir else []:
        path = directory / resource_name(study[0].cloud_study_id)
        path.write_bytes(imaging_study(HEADER, study))
    (directory / MANIFEST_NAME).write_bytes(written(chosen, fhir=fhir))
    return directory


def change(directory: Path, content: dict[str, Any]) -> None:
    """Write another manifest in the place of the one that is there."""
    (directory / MANIFEST_NAME).write_text(json.dumps(content), encoding="utf-8")


def manifest_of(directory: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((directory / MANIFEST_NAME).read_bytes())
    return read


def first_instance(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["studies"][0]["series"][0]["instances"][0]
    return found


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


FIRST = name_of(entry(1))
RESOURCE = resource_name(STUDIES[0])


def checked(directory: Path, keys: PublicKeys | None = KEYS, jobs: int = 3) -> Verification:
    with DirectoryShelf(directory) as shelf:
        return asyncio.run(verify(shelf, keys, jobs=jobs))
