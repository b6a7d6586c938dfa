"""``deid-gateway audit``: whether the audit is whole."""

import click

from app.audit.repository import Verification, verify, verify_all
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, with_settings


@click.group()
def audit() -> None:
    """Check the audit."""


@audit.command("verify")
@click.option("--organization", help="Check the chain of this organisation alone.")
@with_settings
def verify_chains(settings: Settings, *, organization: str | None) -> None:
    """Derive the hash chains from their rows again; exit code 1 where one is broken."""

    async def derive(held: Administration) -> list[Verification]:
        if organization is not None:
            return [await verify(held.database, organization)]
        return [found async for found in verify_all(held.database)]

    found = administer(settings, derive)
    for one in found:
        click.echo(_line(one))
    if not all(one.is_intact for one in found):
        raise click.exceptions.Exit(1)


def _line(found: Verification) -> str:
    whose = found.organization or "the gateway itself"
    if found.is_intact:
        return f"{whose}: intact, {found.events} rows"
    return f"{whose}: BROKEN at row {found.broken_at} ({found.problem}), {found.events} rows before"
