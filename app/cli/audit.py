"""``deid-gateway audit``: seal the audit, check it, read it, hand it on."""

import asyncio
from pathlib import Path
from typing import Any, Final

import click

from app import bootstrap, telemetry
from app.audit import checkpoints as files
from app.audit.events import Action
from app.audit.forwarding import Forwarded, Forwarder
from app.audit.reading import AuditReader, newest
from app.audit.sealing import Sealer
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.audit_output import (
    chosen_events,
    filtered,
    output,
    pieces,
    recorded,
    require_named,
    shown,
    told,
)
from app.cli.audit_report import check
from app.cli.options import Settings, with_settings
from app.errors import AuditReceiverUnavailable, Misconfigured
from app.settings.service import Role

_FORMATS: Final = ("fhir", "dicom", "jsonl")
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """Seal the audit, check it, read it, hand it on."""


@audit.command("verify")
@click.option("--organization", help="Check the chain of this organisation alone.")
@click.option(
    "--checkpoint",
    "kept",
    multiple=True,
    type=_FILE,
    help="File of checkpoints that was kept elsewhere; may be given several times.",
)
@click.option(
    "--keys",
    type=_FILE,
    help="Public keys of the gateway (JWKS; 'deid-gateway keys public'), for signatures.",
)
@click.option("--no-signature", is_flag=True, help="Trust the files of checkpoints as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@with_settings
def verify_chains(
    settings: Settings,
    *,
    organization: str | None,
    kept: tuple[Path, ...],
    keys: Path | None,
    no_signature: bool,
    as_json: bool,
) -> None:
    """Derive the hash chains from their rows again, against their checkpoints.

    Needs no key but public ones, and a database user that only reads. Exit code 0: every chain is
    intact. 1: one is broken. 2: it could not be checked.
    """
    if keys is not None and no_signature:
        raise click.UsageError("--keys and --no-signature contradict each other")
    if kept and keys is None and not no_signature:
        raise click.UsageError("give --keys to check who signed the files, or --no-signature")
    check(settings, organization=organization, kept=kept, keys=keys, as_json=as_json)


@audit.command()
@click.option("--organization", help="Write the checkpoint of this organisation alone.")
@click.option(
    "--out",
    type=_NEW_FILE,
    help="File to write; without it standard output.",
)
@with_settings
def checkpoint(settings: Settings, *, organization: str | None, out: Path | None) -> None:
    """Seal every chain now, and write the newest checkpoint of each.

    Keep the file where nobody of the gateway can change it. Needs the gateway's key.
    """
    chosen = settings.model_copy(update={"roles": frozenset({Role.AUDIT})})

    async def seal() -> bytes:
        async with bootstrap.opened(chosen) as gateway:
            if organization is not None:
                await gateway.organizations.require(organization)
            await Sealer(gateway.database, gateway.signer).seal(at_once=True)
            only = None if organization is None else [organization]
            return files.written(await newest(gateway.database, only))

    document = asyncio.run(seal())
    with output(out) as file:
        file.write(document)


@audit.command("list")
@filtered
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most events.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@with_settings
def list_events(settings: Settings, *, limit: int, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401
    """Print events, the newest first. The audit records it.

    Needs a database user with the rights of auditor.
    """
    organization, wanted = chosen_events(settings, chosen)

    async def read(held: Administration) -> None:
        await require_named(held, chosen)
        await recorded(held.database, Action.READ_AUDIT, organization, wanted, limit=limit)
        async for line in shown(
            AuditReader(held.database), organization, wanted, limit=limit, as_json=as_json
        ):
            click.echo(line)

    administer(settings, read)


@audit.command()
@click.option("--format", "form", type=click.Choice(_FORMATS), required=True, help="How.")
@click.option(
    "--out",
    type=_NEW_FILE,
    help="File to write; without it standard output.",
)
@filtered
@with_settings
def export(settings: Settings, *, form: str, out: Path | None, **chosen: Any) -> None:  # noqa: ANN401
    """Write events, the oldest first. The audit records it.

    fhir: a Bundle of AuditEvent resources (R4). dicom: DICOM audit messages, one per line. jsonl:
    what was hashed, with the hash, one row per line. Needs a database user with the rights of
    auditor.
    """
    organization, wanted = chosen_events(settings, chosen)

    async def write(held: Administration) -> None:
        await require_named(held, chosen)
        await recorded(held.database, Action.EXPORT_AUDIT, organization, wanted, format=form)
        with output(out) as file:
            async for piece in pieces(AuditReader(held.database), organization, wanted, form):
                file.write(piece)

    administer(settings, write)


@audit.command()
@click.option("--to", "address", help="Receiver, tls://host:6514 (DEID_AUDIT_SYSLOG).")
@click.option("--once", is_flag=True, help="End when the receiver is up to date.")
@with_settings
def forward(settings: Settings, *, address: str | None, once: bool) -> None:
    """Send DICOM audit messages to a syslog receiver over TLS, until told to stop.

    Goes on from where it, or any other process, was. Needs a database user with the rights of
    auditor. Exit code 1: the receiver did not take everything.
    """
    named = address or settings.audit_syslog
    if named is None:
        raise Misconfigured("name the audit receiver with --to or DEID_AUDIT_SYSLOG")
    receiver = bootstrap.audit_receiver(settings, named)

    if not once:
        telemetry.configure(settings.log_level)

    async def send(held: Administration) -> Forwarded | None:
        forwarder = Forwarder(held.database, receiver)
        if once:
            return await forwarder.forward()
        await forwarder.run(told())
        return Forwarded()

    done = administer(settings, send)
    if done is None:
        raise AuditReceiverUnavailable("Another process forwards to this receiver just now")
    if once:
        click.echo(f"{done.messages} messages sent, {done.repeated} of them again")
