"""``deid-gateway batch`` without a server: hands the batch in and works on it, in this place."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import uvloop

from app import bootstrap, errors, telemetry
from app.api.batch_intake import STAGING, STORE_SCHEME, store_source
from app.api.batch_parts import BatchIntake
from app.audit.events import AuditEvent
from app.batches.records import Batch, NewBatch, Request
from app.batches.remaining import is_aftermath_left, is_work_left
from app.batches.representation import representation
from app.batches.service import CANCEL
from app.batches.states import ENDED, RETRIABLE, BatchState, OnError, Priority
from app.cli import descriptors
from app.cli.batch_order import Order, SourceKind
from app.cli.batch_remote import wants_to_cancel
from app.cli.batch_view import View, print_summary
from app.cli.cores import usable_cores
from app.cli.options import Settings, load_settings, operating_system_user
from app.cli.supervising import stopped_by_signals
from app.cli.workers import Rhythm, Workers
from app.settings.service import LogLevel, Role
from app.storage.destinations import config_of_url
from app.storage.sources import given_directory
from app.storage.stores import Stores
from app.storage.uploads import Uploads

LOOK_EVERY_S: Final = 1.0
PATIENCE_S: Final = 60.0
# What comes after the end: staged results are removed, a client is told.
AFTERMATH_S: Final = 30.0
GRACE_S: Final = 10.0
DEFAULT_PROFILE: Final = "basic"
_IN_REVIEW: Final = (
    "Objects wait for a review of their pixels (deid-gateway quarantine list). When all are "
    "decided, 'deid-gateway worker --once' goes on with the batch, as does a gateway that runs "
    "with this data directory."
)


def run(order: Order, *, concurrency: int | None, data_dir: Path | None) -> int:
    """Work on a batch and return the exit code.

    Raises:
        errors.Misconfigured: a worker process may open too few files to work.
    """
    settings = load_settings(data_dir=data_dir, log_level=LogLevel.ERROR).model_copy(
        update={"roles": frozenset({Role.BATCH})}
    )
    telemetry.configure(settings.log_level)
    descriptors.provide(descriptors.LEAST_OF_WORKER)
    count = concurrency or usable_cores()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(order, settings, count))


async def _run(order: Order, settings: Settings, count: int) -> int:
    telemetry.guard_event_loop(asyncio.get_running_loop())
    async with bootstrap.opened(settings) as gateway:
        batch, upload = await hand_in(gateway, order)
        with View() as view:
            view.say(f"batch {batch.batch_id} (idempotency key {order.idempotency_key})")
            if not order.watch:
                view.say("Whoever works on batches of this data directory does it.")
                return 0
            try:
                batch = await _work(gateway, batch, view, count)
            except asyncio.CancelledError:
                view.pause()
                return await _interrupted(gateway, batch)
        if upload and batch.state not in RETRIABLE:
            _intake_of(gateway).uploads.remove(upload)
        print_summary(representation(batch, telemetry.utc_now()))
        if _is_in_review(batch):
            click.echo(_IN_REVIEW, err=True)
        return 0 if batch.state is BatchState.SUCCEEDED else 1


async def _work(gateway: bootstrap.Gateway, batch: Batch, view: View, count: int) -> Batch:
    """Work on a batch to its end, with processes of its own."""
    last = batch
    with stopped_by_signals() as signals:
        async with Workers(
            gateway.settings, count, on_death=gateway.work.leave, rhythm=Rhythm(grace_s=GRACE_S)
        ) as workers:
            signals.on_impatience = workers.kill
            async with aclosing(_changes(gateway, batch)) as changes:
                async for last in changes:
                    view.show(representation(last, telemetry.utc_now()))
            await _tidied(gateway)
    return last


async def _changes(gateway: bootstrap.Gateway, batch: Batch) -> AsyncGenerator[Batch, None]:
    """Yield a batch as it stands, until it has ended; bear the database being away for a while."""
    clock = asyncio.get_running_loop().time
    answered_at = clock()
    yield batch
    while batch.state not in ENDED and not await _waits_for_people(gateway, batch):
        try:
            batch = await gateway.batches.wait(
                batch.organization, batch.batch_id, version=batch.version, timeout_s=LOOK_EVERY_S
            )
        except errors.DatabaseUnavailable:
            if clock() - answered_at > PATIENCE_S:
                raise
            await asyncio.sleep(LOOK_EVERY_S)
            continue
        answered_at = clock()
        yield batch


async def _waits_for_people(gateway: bootstrap.Gateway, batch: Batch) -> bool:
    """Tell whether workers have nothing left to do before people have decided."""
    if not _is_in_review(batch):
        return False
    with suppress(errors.DatabaseUnavailable):
        return not await is_work_left(gateway.database, _intake_of(gateway).staging_id)
    return False


def _is_in_review(batch: Batch) -> bool:
    return batch.waiting is not None and batch.waiting.code == errors.InReview.code


async def _tidied(gateway: bootstrap.Gateway) -> None:
    """Let the processes tell who is to be told, and tidy up, for there may be nobody else."""
    staging = _intake_of(gateway).staging_id
    with suppress(TimeoutError, errors.DatabaseUnavailable):
        async with asyncio.timeout(AFTERMATH_S):
            while await is_aftermath_left(gateway.database, staging):  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.1)


async def _interrupted(gateway: bootstrap.Gateway, batch: Batch) -> int:
    if wants_to_cancel():
        event = AuditEvent(action=CANCEL, actor=_actor())
        await gateway.batches.cancel(batch.organization, batch.batch_id, event)
        click.echo("The batch is cancelled; nothing of it is published any more.", err=True)
    else:
        click.echo(
            "The batch is kept as it stands; nobody loses anything. 'deid-gateway worker --once' "
            "goes on with it, as does a gateway that runs with this data directory.",
            err=True,
        )
    return 130


async def hand_in(gateway: bootstrap.Gateway, order: Order) -> tuple[Batch, str]:
    """Put a batch together from what was asked for, and hand it in.

    Returns:
        The batch, and the name of its copied archive; empty where the source is no archive.

    Raises:
        errors.OrganizationNotFound, errors.ProfileNotFound, errors.DestinationNotFound,
        errors.CallbackNotAllowed, errors.InvalidRequest, errors.IdempotencyKeyReused: as said.
    """
    intake = _intake_of(gateway)
    organization = order.organization or gateway.settings.organization
    await gateway.organizations.require(organization)
    profile = gateway.contexts.get(organization, order.profile or DEFAULT_PROFILE).profile
    if order.callback is not None:
        intake.callbacks.check(order.callback)
    new = NewBatch(
        organization=organization,
        request=Request(
            source={},
            destination=_destination(intake.stores, organization, order.destination),
            callback_url=order.callback,
            fhir=order.fhir,
        ),
        priority=Priority[order.priority],
        on_error=OnError(order.on_error),
        profile=profile.name,
        profile_version=profile.version,
        actor=_actor(),
        api_key_id=None,
        request_id=None,
        # Files and credentials of this place: others could not do it.
        home=intake.staging_id,
        idempotency_key=order.idempotency_key,
    )
    source = await asyncio.to_thread(_source, intake, organization, order)
    request = replace(new.request, source=source)
    batch, _ = await gateway.batches.submit(replace(new, request=request))
    return batch, source["name"] if order.kind is SourceKind.ARCHIVE else ""


def _source(intake: BatchIntake, organization: str, order: Order) -> Mapping[str, str]:
    if order.kind is SourceKind.DIRECTORY:
        return given_directory(Path(order.source))
    if order.kind is SourceKind.ARCHIVE:
        return {"kind": "archive", "name": _kept(intake.uploads, organization, order)}
    if order.source.startswith(f"{STORE_SCHEME}://"):
        return store_source(intake.stores, organization, order.source)
    config_of_url(order.source)
    return {"kind": "url", "url": order.source}


def _destination(stores: Stores, organization: str, given: str | None) -> Mapping[str, str]:
    """Say where objects go: a configured store by its name, else a URL or directory.

    Raises:
        errors.DestinationNotFound: no store has that name, and it looks like nothing else.
    """
    if given is None or given == STAGING:
        return {"kind": STAGING}
    if "://" in given:
        config_of_url(given)
        return {"kind": "url", "url": given}
    if "/" in given or given.startswith("."):
        return {"kind": "url", "url": Path(given).absolute().as_uri()}
    try:
        stores.destination(organization, given)
    except errors.DestinationNotFound:
        raise errors.DestinationNotFound(
            "There is no configured store of that name; write ./NAME for a directory"
        ) from None
    return {"kind": "store", "name": given}


def _kept(uploads: Uploads, organization: str, order: Order) -> str:
    """Copy an archive to where workers look for it; the same one again has the same name.

    Raises:
        errors.UnreadableFile: it cannot be read.
        errors.StorageUnavailable: the staging area is full or cannot be written.
    """
    try:
        with Path(order.source).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            told_apart_by = json.dumps([organization, order.idempotency_key, digest])
            name = hashlib.sha256(told_apart_by.encode()).hexdigest()[:32]
            file.seek(0)
            made, fd = uploads.create()
            with os.fdopen(fd, "wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
                copy.flush()
                uploads.path(made).replace(uploads.path(name))
                uploads.keep(copy.fileno())
    except OSError as error:
        raise errors.StorageUnavailable(f"The archive cannot be copied: {error.strerror}") from None
    return name


def _intake_of(gateway: bootstrap.Gateway) -> BatchIntake:
    if gateway.intake is None:
        raise errors.RoleNotServed
    return gateway.intake


def _actor() -> str:
    return f"cli:{operating_system_user()}"
