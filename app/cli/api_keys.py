"""``deid-gateway api-keys``: the API keys of callers."""

import click

from app import bootstrap
from app.access.api_keys import ApiKeyRecord
from app.access.scopes import Scope
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, operating_system_user, with_settings


@click.group("api-keys")
def api_keys() -> None:
    """Make, list and revoke the API keys of callers."""


@api_keys.command()
@click.argument("name")
@click.option("--organization", required=True, help="Organisation that the key belongs to.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([member.value for member in Scope]),
    help="What the key may do; may be given several times.",
)
@click.option("--profile", default="", help="Profile that the key uses; else its organisation's.")
@click.option("--allow-profile", multiple=True, help="Profile that a call may name; '*' is any.")
@click.option("--allow-organization", multiple=True, help="Organisation a call may act for.")
@with_settings
def create(  # noqa: PLR0913 - click hands every option over by itself
    settings: Settings,
    name: str,
    *,
    organization: str,
    scopes: tuple[str, ...],
    profile: str,
    allow_profile: tuple[str, ...],
    allow_organization: tuple[str, ...],
) -> None:
    """Make an API key. Its token is printed once and kept nowhere."""
    _require_profiles(settings, {profile, *allow_profile} - {"", "*"})

    async def make(held: Administration) -> tuple[ApiKeyRecord, str]:
        return await held.api_keys.create(
            name=name,
            organization=organization,
            scopes=scopes,
            profile=profile,
            profiles=allow_profile,
            organizations=allow_organization,
            actor=f"cli:{operating_system_user()}",
        )

    record, token = administer(settings, make)
    click.echo(f"Made the API key {record.id} ({record.name}) of {record.organization}.", err=True)
    click.echo("Its token, which cannot be shown again:", err=True)
    click.echo(token)


@api_keys.command("list")
@click.option("--organization", help="Show the keys of this organisation alone.")
@with_settings
def list_keys(settings: Settings, *, organization: str | None) -> None:
    """List API keys; their tokens are not known any more."""

    async def fetch(held: Administration) -> list[ApiKeyRecord]:
        if organization is not None:
            await held.organizations.require(organization)
        return await held.api_keys.list(organization)

    for record in administer(settings, fetch):
        state = f"revoked {record.revoked_at:%Y-%m-%d}" if record.revoked_at else "valid"
        click.echo(
            f"{record.id}  {record.organization:24}  {state:18}  "
            f"{','.join(sorted(record.scopes)):42}  {record.name}"
        )


@api_keys.command()
@click.argument("key_id")
@with_settings
def revoke(settings: Settings, key_id: str) -> None:
    """Revoke an API key for ever."""

    async def end(held: Administration) -> ApiKeyRecord:
        return await held.api_keys.revoke(key_id, actor=f"cli:{operating_system_user()}")

    record = administer(settings, end)
    click.echo(f"Revoked the API key {record.id} ({record.name}) of {record.organization}.")


def _require_profiles(settings: Settings, names: set[str]) -> None:
    known = bootstrap.profiles_of(settings)
    for name in names:
        known.get(name)
