"""The composition root: settings in, running parts out. The only place that knows all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

from app import errors
from app.access.api_keys import ApiKeys
from app.access.organizations import Organizations
from app.access.policies import OrganizationPolicies
from app.access.quotas import Quotas
from app.api.batch_parts import BatchIntake
from app.api.review_sessions import Sessions
from app.api.spool import prepare_directory
from app.audit.repository import AuditTrail
from app.batches.callbacks import CallbackPolicy
from app.batches.repository import BatchRepository
from app.batches.sealing import BatchBox
from app.batches.service import BatchService
from app.batches.staging import StagingArea
from app.batches.upkeep import Upkeep
from app.batches.work import BatchWork
from app.bootstrap.callers import callers_of
from app.bootstrap.keepers import audit_kept, audit_receiver, notices_kept, retention_kept, stopped
from app.bootstrap.keys import key_files, key_ring, key_source, renew
from app.bootstrap.looks import disclosure_of
from app.bootstrap.pixels import pixel_parts, warn_of_pixels
from app.bootstrap.profiles import (
    PROFILE_SUFFIXES,
    Contexts,
    Profiles,
    limits_of,
    passing_contexts,
    profiles_of,
    recognizer_of,
)
from app.bootstrap.quarantine import held_of
from app.bootstrap.running import Administration, Gateway
from app.db import revision
from app.db.embedded import EmbeddedPostgres
from app.db.keeper import KeptPostgres
from app.db.session import Database
from app.settings import Settings
from app.settings.service import Role
from app.storage.roots import Roots
from app.storage.stores import Stores
from app.storage.uploads import Uploads
from app.vault.sealing import Opener
from app.vault.service import Vault
from app.vault.signing import Signer
from app.vault.workbox import WorkBox

__all__ = [
    "PROFILE_SUFFIXES",
    "Administration",
    "Contexts",
    "Gateway",
    "Profiles",
    "administration",
    "audit_kept",
    "audit_receiver",
    "database",
    "disclosure_of",
    "key_files",
    "key_source",
    "notices_kept",
    "opened",
    "passing_contexts",
    "profiles_of",
    "retention_kept",
]

# Spool, large objects and database start-up; small objects never leave the event loop.
WORKER_THREADS: Final = 8


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[Administration]:
    """Open the database with the tables of this release.

    Raises:
        errors.Misconfigured: directories or tables are not fit.
        errors.DatabaseUnavailable: PostgreSQL does not answer.
    """
    _make_data_directory(settings)
    async with AsyncExitStack() as stack:
        url = await asyncio.to_thread(stack.enter_context, database(settings))
        await _bring_schema(settings, url)
        connected = Database(url, pool_size=settings.database_pool_size)
        stack.push_async_callback(connected.close)
        yield Administration(
            connected,
            ApiKeys(connected, AuditTrail()),
            Organizations(connected, AuditTrail()),
        )


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Gateway]:
    """Open the parts that the roles need, and close them in turn.

    Raises:
        errors.Misconfigured: keys, directories or tables are not fit to start with.
        errors.DatabaseUnavailable: PostgreSQL does not answer.
    """
    _make_data_directory(settings)
    ring = await asyncio.to_thread(key_ring, settings)
    keys, opener = ring.gateway, None if ring.private is None else Opener(ring.private)
    profiles = profiles_of(settings)
    prepare_directory(settings.spool_path)
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(administration(settings))
        vault = Vault(held.database, keys, trail=AuditTrail(), opener=opener)
        stack.push_async_callback(vault.close)
        work_box, signer = WorkBox(keys), Signer(keys)
        box = BatchBox(work_box)
        ring.tell(lambda renewed: renew(renewed, vault, opener, work_box, signer))
        watching = asyncio.create_task(ring.watch(), name="keys")
        stack.push_async_callback(stopped, watching)
        policies = OrganizationPolicies(held.database)
        callers = callers_of(settings, held, policies)
        stack.push_async_callback(callers.close)
        quotas = Quotas(held.database, policies)
        stack.push_async_callback(quotas.close)
        holding = held_of(settings, held.database, ring, work_box, stack)
        pixels = stack.enter_context(pixel_parts(settings, holding.quarantine, settings.spool_path))
        warn_of_pixels(profiles.all(), pixels)
        gateway = Gateway(
            settings=settings,
            database=held.database,
            vault=vault,
            disclosure=disclosure_of(settings, held.database, vault, opener, signer),
            api_keys=held.api_keys,
            callers=callers,
            quotas=quotas,
            organizations=held.organizations,
            contexts=Contexts(
                vault, profiles, limits_of(settings), recognizer_of(settings), pixels
            ),
            executor=stack.enter_context(ThreadPoolExecutor(WORKER_THREADS, "gateway")),
            can_reidentify=opener is not None,
            batches=BatchService(BatchRepository(held.database, box), vault, settings.staging_path),
            intake=_intake(settings) if Role.BATCH in settings.roles else None,
            work=BatchWork(held.database, box, vault),
            upkeep=Upkeep(
                held.database,
                box,
                vault.data_key,
                lost_after_s=settings.worker_lost_after_s,
                kept_days=settings.batch_kept_days,
            ),
            signer=signer,
            closing=stack,
            quarantine=holding.quarantine,
            review=holding.review,
            expiry=holding.expiry,
            sessions=None if holding.review is None else Sessions(keys.review_root()),
        )
        if not settings.is_production:
            await gateway.organizations.ensure(settings.organization)
        yield gateway


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Lend the URL of the database: the user's own, or that of the embedded server.

    Raises:
        errors.Misconfigured, errors.DatabaseUnavailable: see ``app.db.embedded``.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    server = KeptPostgres(EmbeddedPostgres(settings.data_dir / "postgres"))
    try:
        yield server.start()
    finally:
        server.stop()


def _make_data_directory(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.Misconfigured(
            f"the data directory {settings.data_dir} cannot be made: {error.strerror}"
        ) from None


async def _bring_schema(settings: Settings, url: str) -> None:
    """Migrate a database of our own; one that somebody runs in production is only looked at."""
    if await revision.current_revision(url) == revision.NEEDED:
        return
    if settings.database_url is None or not settings.is_production:
        from app.db import migrate  # noqa: PLC0415 - 11 MB that only a change of tables needs

        await migrate.upgrade(url)
    else:
        raise errors.Misconfigured(
            "the database does not have this release's tables; run 'deid-gateway db upgrade'"
        )


def _intake(settings: Settings) -> BatchIntake:
    """Open where batches may come from and go to.

    Raises:
        errors.Misconfigured: the staging area, the stores file or a callback host is not fit.
    """
    area = StagingArea(settings.staging_path)
    return BatchIntake(
        roots=_roots(settings),
        stores=Stores.from_file(settings.stores_file),
        uploads=Uploads(area.uploads),
        staging_id=area.staging_id,
        callbacks=CallbackPolicy(
            settings.callback_hosts, is_loopback_allowed=not settings.is_production
        ),
        max_archive_bytes=settings.max_archive_bytes,
        min_free_bytes=settings.staging_min_free_bytes,
    )


def _roots(settings: Settings) -> Roots:
    """Return where study directories may lie; what the gateway keeps for itself is none of it."""
    own = (settings.staging_path, settings.spool_path, settings.key_path.parent)
    refused = (*own, settings.data_dir / "postgres")
    return Roots(settings.roots, refused, owners=settings.root_owners)
