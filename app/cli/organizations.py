"""``deid-gateway organizations``: whose pseudonyms, mapping and audit are kept apart."""

from dataclasses import replace

import click

from app import bootstrap
from app.access.principals import ANY_PROFILE, OrganizationPolicy
from app.access.repository import Organization
from app.bootstrap import Administration
from app.cli.administration import administer
from app.cli.options import Settings, operating_system_user, with_settings

UNBOUNDED = "none"
MAX_DIGITS = 9


class Quota(click.ParamType[int]):
    """A whole number, or the word for no bound."""

    name = f"NUMBER|{UNBOUNDED}"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read it; -1 stands for no bound until the policy is made."""
        text = str(value)
        if text == UNBOUNDED:
            return -1
        if not (text.isascii() and text.isdecimal()):
            self.fail(f"give a whole number or {UNBOUNDED}", param, ctx)
        if len(text) > MAX_DIGITS:
            self.fail(f"give a number of at most {MAX_DIGITS} digits or {UNBOUNDED}", param, ctx)
        return int(text)


@click.group()
def organizations() -> None:
    """Add and list organisations, and say what each may use."""


@organizations.command()
@click.argument("organization_id")
@click.option("--name", default="", help="Name for people; the id where none is given.")
@with_settings
def add(settings: Settings, organization_id: str, *, name: str) -> None:
    """Add an organisation. Its id enters its pseudonyms and is never changed."""

    async def create(held: Administration) -> None:
        actor = f"cli:{operating_system_user()}"
        await held.organizations.create(organization_id, name, actor=actor)

    administer(settings, create)
    click.echo(f"Added the organisation {organization_id}.")


@organizations.command("set")
@click.argument("organization_id")
@click.option("--profile", help="Profile where neither key nor call names one.")
@click.option(
    "--allow-profile",
    "profiles",
    multiple=True,
    help="Further profile that may be used; may be given several times, '*' is any.",
)
@click.option("--only-default-profile", is_flag=True, help="Allow no further profile.")
@click.option("--objects-per-day", type=Quota(), help="Most single instances of one UTC day.")
@click.option("--open-batches", type=Quota(), help="Most batches that have not ended.")
@with_settings
def change(  # noqa: PLR0913 - click hands every option over by itself
    settings: Settings,
    organization_id: str,
    *,
    profile: str | None,
    profiles: tuple[str, ...],
    only_default_profile: bool,
    objects_per_day: int | None,
    open_batches: int | None,
) -> None:
    """Say what an organisation may use; what is not given stays as it is."""
    if only_default_profile and profiles:
        raise click.UsageError("--only-default-profile and --allow-profile exclude each other")
    known = bootstrap.Profiles(settings.profiles_dir)
    for name in {*profiles, *filter(None, [profile])} - {ANY_PROFILE}:
        known.get(name)

    async def write(held: Administration) -> OrganizationPolicy:
        policy = await held.organizations.policy(organization_id)
        if profile:
            policy = replace(policy, profile=profile)
        if profiles or only_default_profile:
            policy = replace(policy, profiles=frozenset(profiles))
        if objects_per_day is not None:
            policy = replace(policy, objects_per_day=_bound(objects_per_day))
        if open_batches is not None:
            policy = replace(policy, open_batches=_bound(open_batches))
        actor = f"cli:{operating_system_user()}"
        await held.organizations.change(organization_id, policy, actor=actor)
        return policy

    click.echo(f"{organization_id}: {_shown(administer(settings, write))}")


@organizations.command("show")
@click.argument("organization_id")
@with_settings
def show(settings: Settings, organization_id: str) -> None:
    """Show what an organisation may use."""

    async def read(held: Administration) -> OrganizationPolicy:
        return await held.organizations.policy(organization_id)

    click.echo(f"{organization_id}: {_shown(administer(settings, read))}")


def _bound(quota: int) -> int | None:
    return None if quota < 0 else quota


def _shown(policy: OrganizationPolicy) -> str:
    others = " ".join(sorted(policy.profiles - {policy.profile})) or UNBOUNDED
    quotas = [
        UNBOUNDED if quota is None else str(quota)
        for quota in (policy.objects_per_day, policy.open_batches)
    ]
    return (
        f"profile {policy.profile}; others {others}; "
        f"objects per day {quotas[0]}; open batches {quotas[1]}"
    )


@organizations.command("list")
@with_settings
def list_organizations(settings: Settings) -> None:
    """List the organisations."""

    async def fetch(held: Administration) -> list[Organization]:
        return await held.organizations.list()

    for organization in administer(settings, fetch):
        click.echo(f"{organization.id:24}  {organization.name}")
