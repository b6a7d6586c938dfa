"""Runs what ``deid-gateway keys`` does on a live database: counts, rotates, reseals, ends keys."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app import bootstrap
from app.audit.events import SUCCESS, AuditEvent
from app.audit.repository import record_alone
from app.batches.resealing import old_work, reseal_work
from app.cli.keys_view import bar
from app.cli.options import Settings, operating_system_user
from app.db.session import Database
from app.errors import Conflict, GatewayError, InvalidRequest
from app.quarantine.records import held_by_version
from app.vault.keys import Dated, GatewayKeys, KeyContent
from app.vault.keys_ring import LOOK_EVERY_S
from app.vault.keys_rotation import never_used
from app.vault.keys_store import KeyFiles, KeySource
from app.vault.resealing import data_key_versions, reseal_data_keys
from app.vault.sealing import Opener
from app.vault.sealing_kems import Kem
from app.vault.workbox import WorkBox

SETTLED_AFTER_S: Final = 86_400
ROTATE: Final = "rotate-keys"
RESEAL: Final = "reseal-keys"
RETIRE: Final = "retire-keys"
RETIRE_REVIEW: Final = "retire-review-key"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the database holds, by key version."""

    versions: Mapping[int, int]
    old_work: int


@dataclass(frozen=True, slots=True)
class Done:
    """What was sealed anew."""

    data_keys: int
    work: int
    unopenable: int


async def figures(settings: Settings, source: KeySource) -> Figures:
    """Count what is sealed with which key."""
    box = WorkBox(source.content().at(time.time()))
    async with bootstrap.administration(settings) as held:
        return Figures(await data_key_versions(held.database), await old_work(held.database, box))


async def reseal_everything(settings: Settings, source: KeySource, *, at_once: int) -> Done:
    """Seal anew whatever an older key sealed, once every process has the new keys.

    Raises:
        InvalidRequest: a key never comes into use, so that there is nothing to wait for.
        Misconfigured, KeyUnavailable: the private keys are not held here.
        DatabaseUnavailable: Postgres does not answer; start again, what was done stays done.
    """
    opener = Opener(source.private())
    if list(never_used(source.content(), time.time())):
        raise InvalidRequest("A key never comes into use; 'keys status' names it")
    await _until_in_use(source.content())
    keys = source.content().at(time.time())
    async with bootstrap.administration(settings) as held:
        done = await _reseal(held.database, opener, keys, at_once)
        counts = {
            "data_keys": done.data_keys,
            "batches": done.work,
            "unopenable": done.unopenable,
            "key_version": keys.sealing_key_version,
        }
        await _record(held.database, RESEAL, counts)
    return done


def rotate_files(
    settings: Settings, files: KeyFiles, *, activate_in_s: int, kem: Kem | None
) -> KeyContent:
    """Make new versions of the keys, once that is in the audit.

    Where they cannot be written after that, the audit has a second row that says so.

    Raises:
        InvalidRequest, Misconfigured, KeyUnavailable: see `KeyFiles.rotate`.
        DatabaseUnavailable: it cannot be recorded; the files are as they were.
    """
    recorded: dict[str, str | int] = {}

    def record(after: KeyContent) -> None:
        versions = _versions(after)
        asyncio.run(_record_alone(settings, ROTATE, versions))
        recorded.update(versions)

    try:
        return files.rotate(activate_in_s=activate_in_s, kem=kem, before=record)
    except GatewayError as error:
        if recorded:
            asyncio.run(_record_alone(settings, ROTATE, recorded, outcome=error.code))
        raise


async def retire_version(settings: Settings, files: KeyFiles, version: int) -> None:
    """Destroy an old private key.

    Raises:
        Conflict: something is sealed to it still, or it was in use a day ago.
        InvalidRequest: it is the newest one, or there is none of that version.
    """
    _require_settled(files.content().sealing, version)
    async with bootstrap.administration(settings) as held:
        left = (await data_key_versions(held.database)).get(version, 0)
        if left:
            raise Conflict(f"{left} data keys are sealed to that version; run 'keys reseal'")
        await _record(held.database, RETIRE, {"key_version": version})
    files.retire(version)


async def retire_review_version(settings: Settings, files: KeyFiles, version: int) -> None:
    """Destroy an old private key of the review.

    Raises:
        Conflict: something is held under it still, or it was in use a day ago.
        InvalidRequest: it is the newest one, or there is none of that version.
    """
    _require_settled(files.content().review, version)
    async with bootstrap.administration(settings) as held:
        left = (await held_by_version(held.database)).get(version, 0)
        if left:
            raise Conflict(f"{left} held objects are sealed to that version; decide about them")
        await _record(held.database, RETIRE_REVIEW, {"key_version": version})
    files.retire_review(version)


def _require_settled(versions: Mapping[int, Dated], version: int) -> None:
    """Refuse to end what a process may still use.

    Raises:
        Conflict, InvalidRequest: as said.
    """
    successors = [dated for newer, dated in versions.items() if newer > version]
    if not successors:
        raise InvalidRequest("The newest version is in use and stays")
    superseded_at = min(dated.active_at for dated in successors)
    if time.time() < superseded_at + SETTLED_AFTER_S:
        raise Conflict("The version was in use within the last day; a slow process may use it yet")


async def _reseal(database: Database, opener: Opener, keys: GatewayKeys, at_once: int) -> Done:
    box = WorkBox(keys)
    data_keys = work = unopenable = 0
    with bar() as progress:
        task = progress.add_task("data keys", total=await _old_data_keys(database, keys))
        async for step in reseal_data_keys(database, opener, keys, at_once):
            data_keys += step.resealed
            progress.update(task, advance=step.resealed)
        task = progress.add_task("batches", total=await old_work(database, box))
        async for step in reseal_work(database, box, at_once):
            work += step.resealed
            unopenable += step.unopenable
            progress.update(task, advance=step.resealed)
    return Done(data_keys, work, unopenable + await _old_data_keys(database, keys))


async def _old_data_keys(database: Database, keys: GatewayKeys) -> int:
    versions = await data_key_versions(database)
    return sum(count for v, count in versions.items() if v != keys.sealing_key_version)


async def _until_in_use(content: KeyContent) -> None:
    """Wait until the newest keys are in use, and until every process has noticed."""
    newest = max(dated.active_at for dated in content.sealing.values())
    left = newest + 2 * LOOK_EVERY_S - time.time()
    if newest == 0 or left <= 0:
        return
    with bar() as progress:
        task = progress.add_task("until the new keys are in use (s)", total=int(left) + 1)
        while (left := newest + 2 * LOOK_EVERY_S - time.time()) > 0:
            progress.advance(task, min(1.0, left))
            await asyncio.sleep(min(1.0, left))


def _versions(content: KeyContent) -> dict[str, str | int]:
    """Return the newest version of each key, and from when on they are used."""
    newest = max(content.sealing)
    versions: dict[str, str | int] = {
        "key_version": newest,
        "work_key_version": max(content.work),
        "signing_key_version": max(content.signing),
        "active_at": content.sealing[newest].active_at,
    }
    return versions | ({"review_key_version": max(content.review)} if content.review else {})


async def _record_alone(
    settings: Settings, action: str, detail: Mapping[str, str | int], *, outcome: str = SUCCESS
) -> None:
    async with bootstrap.administration(settings) as held:
        await _record(held.database, action, detail, outcome=outcome)


async def _record(
    database: Database, action: str, detail: Mapping[str, str | int], *, outcome: str = SUCCESS
) -> None:
    """Write an event into the gateway's own chain."""
    actor = f"cli:{operating_system_user()}"
    event = AuditEvent(action=action, outcome=outcome, actor=actor, detail=detail)
    await record_alone(database, event)
