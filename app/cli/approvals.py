"""``deid-gateway approvals``: four eyes before anybody is re-identified."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from app import bootstrap, telemetry
from app.audit.repository import AuditTrail
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, with_settings
from app.cli.reidentify import asked_of, event_of, reidentifying, request_id, with_question
from app.vault.disclosure import safeguards
from app.vault.disclosure.approvals import Approval, Decision, State
from app.vault.disclosure.asking import Asked
from app.vault.disclosure.safeguards import Safeguards
from app.vault.disclosure.service import Disclosure
from app.vault.disclosure.transactions import Recorder


@click.group()
def approvals() -> None:
    """Ask a second person before a patient is looked up; approve or deny; say who must."""


@approvals.command()
@with_question
@click.option(
    "--worklist",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="File with one cloud study id per line; - reads them from standard input.",
)
@with_settings
def request(
    settings: Settings, *, worklist: Path | None, organization: str | None, **stated: str | None
) -> None:
    """Ask a second person; prints the request. Nothing is opened."""
    chosen = reidentifying(settings)
    wanted = asked_of(stated, worklist, chosen.reidentify_batch_max)
    asked = replace(Asked(event_of(organization or settings.organization)), **wanted)

    async def ask() -> Approval:
        async with bootstrap.opened(chosen) as gateway:
            return await gateway.disclosure.request(asked)

    _print(asyncio.run(ask()))


@approvals.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="These alone.")
@click.option("--organization", help="Whose requests (DEID_ORGANIZATION).")
@with_settings
def list_requests(settings: Settings, *, state: str | None, organization: str | None) -> None:
    """List requests, the newest first; they hold pseudonyms alone."""
    chosen = organization or settings.organization
    wanted = None if state is None else State(state)

    async def fetch(disclosure: Disclosure) -> list[Approval]:
        return await disclosure.requests(chosen, caller=None, state=wanted)

    for one in _deciding(settings, fetch):
        click.echo(
            f"{one.request_id}  {one.state:8}  {telemetry.rfc3339(one.requested_at)}  "
            f"{one.purpose.code:8}  {len(one.questions):3}  {one.actor}  {one.purpose.reference}"
        )


@approvals.command()
@click.argument("named", metavar="REQUEST_ID")
@click.option("--organization", help="Whose request (DEID_ORGANIZATION).")
@with_settings
def show(settings: Settings, named: str, *, organization: str | None) -> None:
    """Show one request as JSON."""
    chosen = organization or settings.organization

    async def fetch(disclosure: Disclosure) -> Approval:
        return await disclosure.request_of(chosen, request_id(named), caller=None)

    _print(_deciding(settings, fetch))


@approvals.command()
@click.argument("named", metavar="REQUEST_ID")
@click.option("--organization", help="Whose request (DEID_ORGANIZATION).")
@with_settings
def approve(settings: Settings, named: str, *, organization: str | None) -> None:
    """Approve the request of somebody else; the answer can be had once, within minutes."""
    _decide(settings, named, organization, Decision.APPROVED)


@approvals.command()
@click.argument("named", metavar="REQUEST_ID")
@click.option("--organization", help="Whose request (DEID_ORGANIZATION).")
@with_settings
def deny(settings: Settings, named: str, *, organization: str | None) -> None:
    """Deny a request for good."""
    _decide(settings, named, organization, Decision.DENIED)


@approvals.command()
@click.option("--organization", required=True, help="Whose safeguards.")
@click.option("--require/--no-require", default=None, help="Whether a second person approves.")
@click.option(
    "--break-glass/--no-break-glass", default=None, help="Whether emergencies need nobody."
)
@click.option(
    "--per-hour", help="Most looks of one caller in an hour; 'default' for the gateway's."
)
@click.option("--per-day", help="Most looks of one caller in a day; 'default' for the gateway's.")
@with_settings
def policy(
    settings: Settings,
    *,
    organization: str,
    require: bool | None,
    break_glass: bool | None,
    per_hour: str | None,
    per_day: str | None,
) -> None:
    """Show or change what an organisation asks for; as the owner of the tables."""
    changes: dict[str, bool | int | None] = {}
    if require is not None:
        changes["needs_approval"] = require
    if break_glass is not None:
        changes["allows_break_glass"] = break_glass
    for name, text in (("per_hour", per_hour), ("per_day", per_day)):
        if text is not None:
            changes[name] = _bound(text)
    event = event_of(organization)

    async def work(held: Administration) -> Safeguards:
        recorder = Recorder(held.database, AuditTrail)
        if not changes:
            return await safeguards.shown(recorder, organization)
        return await safeguards.change(recorder, event, **changes)

    found = administer(settings, work)
    click.echo(
        f"{organization}: approval {'required' if found.needs_approval else 'not required'}, "
        f"break-glass {'allowed' if found.allows_break_glass else 'not allowed'}, "
        f"per hour {_shown(found.per_hour)}, per day {_shown(found.per_day)}"
    )


def _decide(settings: Settings, named: str, organization: str | None, decision: Decision) -> None:
    chosen = organization or settings.organization

    async def work(disclosure: Disclosure) -> Approval:
        return await disclosure.decide(event_of(chosen), request_id(named), decision)

    _print(_deciding(settings, work))


def _deciding(settings: Settings, work: Callable[[Disclosure], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what the work returns
    """Do what needs neither private key nor pseudonyms."""

    async def with_database(held: Administration) -> Any:  # noqa: ANN401 - the same
        return await work(bootstrap.disclosure_of(settings, held.database))

    return administer(settings, with_database)


def _bound(text: str) -> int | None:
    if text == "default":
        return None
    if not text.isdecimal() or int(text) > 1_000_000:
        raise click.BadParameter("a number from 0 to 1000000, or 'default'")
    return int(text)


def _shown(bound: int | None) -> str:
    return "default" if bound is None else str(bound)


def _print(one: Approval) -> None:
    shown = {
        "request_id": str(one.request_id),
        "state": str(one.state),
        "items": [question.given for question in one.questions],
        "purpose": one.purpose.code,
        "reference": one.purpose.reference,
        "reason": one.purpose.reason or None,
        "requested_by": one.actor,
        "requested_at": telemetry.rfc3339(one.requested_at),
        "expires_at": telemetry.rfc3339(one.expires_at),
        "decided_by": one.decided_by,
        "valid_until": None if one.valid_until is None else telemetry.rfc3339(one.valid_until),
    }
    click.echo(json.dumps(shown, indent=2))
