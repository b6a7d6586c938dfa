"""What runs beside serving: retention, notices, checkpoints and forwarding of the audit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from app import errors
from app.audit.events import AuditEvent
from app.audit.forwarding import Forwarder
from app.audit.keeping import Keeper, kept
from app.audit.sealing import Sealer
from app.audit.syslog import Receiver, receiver_of
from app.bootstrap.running import Gateway
from app.settings import Settings
from app.settings.service import Role
from app.vault.erasing_clock import keep_applying


@asynccontextmanager
async def retention_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Destroy now and then what was kept long enough.

    Originals, which the role admin does, and what nobody reviewed, which the role review does.
    """
    every_s = gateway.settings.retention_every_s
    applying = []
    if Role.ADMIN in gateway.settings.roles:
        event = AuditEvent(action="", actor="retention")
        kept_applying = keep_applying(gateway.database, gateway.eraser, event, every_s=every_s)
        applying.append(asyncio.create_task(kept_applying, name="retention"))
    if gateway.expiry is not None:
        applying.append(asyncio.create_task(gateway.expiry.keep(every_s), name="quarantine"))
    try:
        yield
    finally:
        for task in applying:
            await stopped(task)


@asynccontextmanager
async def notices_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Tell of emergencies meanwhile."""
    keepers = [gateway.disclosure.notices.run] if Role.REIDENTIFY in gateway.settings.roles else []
    async with kept(*keepers):
        yield


@asynccontextmanager
async def audit_kept(gateway: Gateway) -> AsyncIterator[None]:
    """Seal and forward the audit meanwhile, as the settings say.

    Raises:
        errors.Misconfigured: a receiver or a place is not fit.
    """
    settings = gateway.settings
    async with AsyncExitStack() as stack:
        destination = None
        if settings.audit_checkpoint_to is not None:
            # Clients of object stores cost 4 MB; most sites keep checkpoints in the database.
            from app.storage.destinations import open_destination  # noqa: PLC0415

            try:
                destination = open_destination(settings.audit_checkpoint_to)
            except errors.InvalidRequest as error:
                raise errors.Misconfigured(f"DEID_AUDIT_CHECKPOINT_TO: {error.detail}") from None
            stack.push_async_callback(destination.close)
        sealer = Sealer(
            gateway.database,
            gateway.signer,
            every_s=settings.audit_checkpoint_s,
            every_rows=settings.audit_checkpoint_rows,
            destination=destination,
        )
        keepers: list[Keeper] = [sealer.run]
        if settings.audit_syslog is not None and Role.AUDIT in settings.roles:
            receiver = audit_receiver(settings, settings.audit_syslog)
            keepers.append(Forwarder(gateway.database, receiver).run)
        await stack.enter_async_context(kept(*keepers))
        yield


def audit_receiver(settings: Settings, address: str) -> Receiver:
    """Return the audit receiver at an address, with the certificates that the settings name.

    Raises:
        errors.Misconfigured: address or files cannot be used.
    """
    receiver = receiver_of(
        address,
        ca_file=settings.audit_syslog_ca_file,
        certificate_file=settings.audit_syslog_certificate_file,
        key_file=settings.audit_syslog_key_file,
    )
    receiver.check()
    return receiver


async def stopped(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
