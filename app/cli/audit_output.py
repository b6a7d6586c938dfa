"""What the commands of the audit share: options that choose events, forms, files, signals."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from app.audit.dicom_messages import audit_message
from app.audit.events import AuditEvent
from app.audit.fhir import Collection
from app.audit.reading import AuditReader, Filter, StoredEvent
from app.audit.repository import record_alone
from app.bootstrap import Administration
from app.cli.options import Settings, operating_system_user
from app.db.session import Database
from app.errors import StorageUnavailable
from app.vault.pseudonyms import parse_cloud_study_id

_MOMENT: Final = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
_AT_ONCE: Final = 500
_OPTIONS: Final = (
    click.option("--organization", help="Whose audit (DEID_ORGANIZATION)."),
    click.option("--gateway", "of_gateway", is_flag=True, help="The gateway's own chain."),
    click.option("--since", type=_MOMENT, help="The earliest moment; UTC without a zone."),
    click.option("--until", type=_MOMENT, help="The moment that is too late."),
    click.option("--action", help="What was tried."),
    click.option("--outcome", help="'success' or the code of an error."),
    click.option("--actor", help="Who, by name."),
    click.option("--study", help="Which study, by its cloud study id."),
    click.option("--request-id", help="What one request did."),
)


def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose events."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen_events(settings: Settings, chosen: dict[str, Any]) -> tuple[str | None, Filter]:
    """Return whose chain (None for the gateway's own) and which events the options mean.

    Raises:
        click.UsageError: they contradict each other.
        errors.MistypedCloudStudyId: the study cannot be right.
    """
    organization, of_gateway, study = (
        chosen[name] for name in ("organization", "of_gateway", "study")
    )
    if of_gateway and organization:
        raise click.UsageError("--gateway and --organization contradict each other")
    wanted = Filter(
        since=_in_utc(chosen["since"]),
        until=_in_utc(chosen["until"]),
        action=chosen["action"],
        outcome=chosen["outcome"],
        actor=chosen["actor"],
        cloud_study_id=None if study is None else parse_cloud_study_id(study),
        request_id=chosen["request_id"],
    )
    return None if of_gateway else organization or settings.organization, wanted


async def require_named(held: Administration, chosen: dict[str, Any]) -> None:
    """Tell a mistyped organisation from one that has no events, before anything is recorded.

    Raises:
        OrganizationNotFound: one was named, and is not there.
    """
    if chosen["organization"] is not None:
        await held.organizations.require(chosen["organization"])


async def recorded(
    database: Database, action: str, organization: str | None, wanted: Filter, **detail: str | int
) -> None:
    """Put into the audit that it is read: which filters are used, not what stands in them.

    Raises:
        DatabaseUnavailable: it cannot be recorded, so that nothing may be shown.
    """
    used = [one.name for one in fields(wanted) if getattr(wanted, one.name) is not None]
    event = AuditEvent(
        action=action,
        organization=organization,
        actor=f"cli:{operating_system_user()}",
        cloud_study_id=wanted.cloud_study_id,
        detail={**detail, "filters": " ".join(used)},
    )
    await record_alone(database, event)


async def shown(
    reader: AuditReader,
    organization: str | None,
    wanted: Filter,
    *,
    limit: int,
    as_json: bool,
) -> AsyncIterator[str]:
    """Yield a line per event, the newest first."""
    left, behind = limit, None
    while left:
        found = await reader.page(organization, wanted, behind=behind, limit=min(left, _AT_ONCE))
        for event in found.events:
            yield _json_line(event) if as_json else _line(event)
        left, behind = left - len(found.events), found.following
        if behind is None:
            return


async def pieces(
    reader: AuditReader, organization: str | None, wanted: Filter, form: str
) -> AsyncIterator[bytes]:
    """Yield a file of events piece by piece, the oldest first."""
    bundle = Collection() if form == "fhir" else None
    async for event in reader.events(organization, wanted, at_once=_AT_ONCE):
        if bundle is not None:
            yield bundle.add(event).encode()
        elif form == "dicom":
            yield audit_message(event) + b"\n"
        else:
            yield _json_line(event).encode() + b"\n"
    if bundle is not None:
        yield bundle.end().encode()


@contextlib.contextmanager
def output(path: Path | None) -> Iterator[BinaryIO]:
    """Lend standard output, or a file that appears under its name when it is whole and durable.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StorageUnavailable(f"The file cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def told() -> asyncio.Event:
    """Return an event that is set when the process is told to stop."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
    return event


def _in_utc(moment: dt.datetime | None) -> dt.datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=dt.UTC)


def _json_line(event: StoredEvent) -> str:
    """Return what was hashed, with the hash beside it."""
    hashed = event.canonical()
    return f'{{"hash":{json.dumps(event.hash.hex())},{hashed[1:]}'


def _line(event: StoredEvent) -> str:
    """Return an event for people; what a terminal would take for commands is replaced."""
    facts = (
        f"{event.recorded_at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}Z",
        str(event.seq),
        event.action,
        event.outcome,
        event.actor or "-",
        event.cloud_study_id or "-",
        event.purpose or "-",
    )
    return "  ".join(
        ["".join([c if c.isprintable() else "\ufffd" for c in fact]) for fact in facts]
    )
