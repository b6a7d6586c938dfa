"""``deid-gateway quarantine``: what is held for people to look at, and what they decide."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from app import bootstrap, errors
from app.api.quarantine_access import held_id, rule_id
from app.api.quarantine_schemas import rule_shown, shown
from app.audit.events import AuditEvent
from app.cli.options import Settings, operating_system_user, with_settings
from app.pixels.model import Box, Mark, Rung
from app.pixels.rulings import Act
from app.quarantine.previews import Look, Style
from app.quarantine.records import Held, State, Wanted
from app.quarantine.remembering import Remembered, RuleState, WantedRules
from app.quarantine.review import Review
from app.settings.service import Role
from app.telemetry import rfc3339

_MARK: Final = re.compile(r"(\d{1,7}),(\d{1,7}),(\d{1,7}),(\d{1,7})(?:@(\d{1,9})-(\d{1,9}))?")
_named = click.argument("named", metavar="QUARANTINE_ID")
_rule_named = click.argument("named", metavar="RULE_ID")
_organization = click.option("--organization", help="Whose (DEID_ORGANIZATION).")
_marks = click.option(
    "--mark",
    "marks",
    multiple=True,
    metavar="LEFT,TOP,RIGHT,BOTTOM[@FIRST-LAST]",
    help="A rectangle to overwrite, in some frames (from 0) or in all; as often as needed.",
)
_proposed = click.option("--proposed", is_flag=True, help="The marks that were proposed as well.")


@click.group()
def quarantine() -> None:
    """Look at what is held, and decide about it. The audit records it."""


@quarantine.command("list")
@click.option(
    "--state",
    type=click.Choice([state.value for state in State]),
    default=State.HELD.value,
    show_default=True,
    help="Those in this state.",
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Most of them."
)
@_organization
@with_settings
def list_held(settings: Settings, *, state: str, limit: int, organization: str | None) -> None:
    """List what is held, the newest first; nothing in it identifies anybody."""
    asking = _Asking.of(settings, organization)

    async def fetch(review: Review) -> list[Held]:
        return await review.listed(asking.organization, Wanted(State(state), limit=limit))

    for held in asking.done(fetch):
        shape = held.shape
        codes = " ".join(dict.fromkeys(reason.code for reason in held.decision.reasons))
        click.echo(
            f"{held.object_id}  {held.state:8}  {rfc3339(held.held_at)}  {shape['modality']:2}  "
            f"{shape['columns']}x{shape['rows']}x{shape['frames']}  {held.decision.risk:7}  {codes}"
        )


@quarantine.command()
@_named
@_organization
@with_settings
def show(settings: Settings, *, named: str, organization: str | None) -> None:
    """Show all but the image of one held object as JSON."""
    asking = _Asking.of(settings, organization)
    _print(asking.done(lambda review: review.show(asking.event, held_id(named))))


@quarantine.command()
@_named
@click.option(
    "--png",
    "target",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="New file to write, for its owner alone. It shows a patient: remove it afterwards.",
)
@click.option("--frame", type=click.IntRange(0), default=0, help="Which frame, from 0.")
@click.option(
    "--marks",
    type=click.Choice([style.value for style in Style]),
    default=Style.DRAW.value,
    show_default=True,
    help="Proposed marks outlined, filled as they would be, or left out.",
)
@click.option("--max-edge", type=click.IntRange(16), default=4096, help="Longest edge in pixels.")
@_organization
@with_settings
def preview(  # noqa: PLR0913 - what is to be seen, and where it goes
    settings: Settings,
    *,
    named: str,
    target: Path,
    frame: int,
    marks: str,
    max_edge: int,
    organization: str | None,
) -> None:
    """Write one frame of a held object as PNG."""
    asking, look = _Asking.of(settings, organization), Look(frame, Style(marks), max_edge)
    if target.exists():
        raise errors.AlreadyExists("There is a file of that name already")
    png = asking.done(lambda review: review.preview(asking.event, held_id(named), look))
    _write(target, png)


@quarantine.command()
@_named
@_organization
@with_settings
def release(settings: Settings, *, named: str, organization: str | None) -> None:
    """Let the pixels pass as they are; not of an object that you sent."""
    asking = _Asking.of(settings, organization)
    _print(asking.done(lambda review: review.decide(asking.event, held_id(named), Act.RELEASE)))


@quarantine.command()
@_named
@_organization
@with_settings
def reject(settings: Settings, *, named: str, organization: str | None) -> None:
    """Let nothing of it leave, now and whenever the same bytes come."""
    asking = _Asking.of(settings, organization)
    _print(asking.done(lambda review: review.decide(asking.event, held_id(named), Act.REJECT)))


@quarantine.command()
@_named
@_marks
@_proposed
@_organization
@with_settings
def mask(
    settings: Settings,
    *,
    named: str,
    marks: tuple[str, ...],
    proposed: bool,
    organization: str | None,
) -> None:
    """Let marks be overwritten; not of an object that you sent."""
    asking, given = _Asking.of(settings, organization), [_mark(text) for text in marks]

    async def work(review: Review) -> Held:
        chosen = await _chosen(review, asking, named, given, proposed=proposed)
        return await review.decide(asking.event, held_id(named), Act.MASK, chosen)

    _print(asking.done(work))


@quarantine.command()
@_named
@_marks
@_proposed
@_organization
@with_settings
def remember(
    settings: Settings,
    *,
    named: str,
    marks: tuple[str, ...],
    proposed: bool,
    organization: str | None,
) -> None:
    """Mask, and propose the marks as a rule for the device; prints the rule."""
    asking, given = _Asking.of(settings, organization), [_mark(text) for text in marks]

    async def work(review: Review) -> Remembered:
        chosen = await _chosen(review, asking, named, given, proposed=proposed)
        every = [Mark(mark.box, mark.rung) for mark in chosen]
        return (await review.remember(asking.event, held_id(named), every))[1]

    click.echo(rule_shown(asking.done(work)).model_dump_json(indent=2))


@quarantine.command()
@click.option(
    "--state", type=click.Choice([state.value for state in RuleState]), help="These alone."
)
@_organization
@with_settings
def rules(settings: Settings, *, state: str | None, organization: str | None) -> None:
    """List remembered rules, the newest first, one JSON object per line."""
    asking = _Asking.of(settings, organization)
    wanted = WantedRules(None if state is None else RuleState(state), limit=1000)
    for one in asking.done(lambda review: review.rules(asking.organization, wanted)):
        click.echo(rule_shown(one).model_dump_json())


@quarantine.command("approve-rule")
@_rule_named
@_organization
@with_settings
def approve_rule(settings: Settings, *, named: str, organization: str | None) -> None:
    """Let the rule of somebody else hold from now on."""
    _decide_rule(settings, named, organization, RuleState.APPROVED)


@quarantine.command("deny-rule")
@_rule_named
@_organization
@with_settings
def deny_rule(settings: Settings, *, named: str, organization: str | None) -> None:
    """Let a proposed rule hold never."""
    _decide_rule(settings, named, organization, RuleState.DENIED)


@quarantine.command("revoke-rule")
@_rule_named
@_organization
@with_settings
def revoke_rule(settings: Settings, *, named: str, organization: str | None) -> None:
    """Let an approved rule hold no longer."""
    _decide_rule(settings, named, organization, RuleState.REVOKED)


@dataclass(frozen=True, slots=True)
class _Asking:
    """Who asks for which organisation, with the settings of a process that reviews."""

    settings: Settings
    organization: str

    @classmethod
    def of(cls, settings: Settings, organization: str | None) -> "_Asking":
        chosen = settings.model_copy(update={"roles": frozenset({Role.REVIEW})})
        return cls(chosen, organization or settings.organization)

    @property
    def event(self) -> AuditEvent:
        actor = f"cli:{operating_system_user()}"
        return AuditEvent(action="", organization=self.organization, actor=actor)

    def done(self, work: Callable[[Review], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what the work returns
        async def run() -> Any:  # noqa: ANN401 - the same
            async with bootstrap.opened(self.settings) as gateway:
                if gateway.review is None:
                    raise errors.KeyUnavailable("There is no review key here")
                return await work(gateway.review)

        return asyncio.run(run())


async def _chosen(
    review: Review, asking: _Asking, named: str, given: list[Mark], *, proposed: bool
) -> list[Mark]:
    if not proposed:
        return given
    held = await review.show(asking.event, held_id(named))
    return [*held.decision.marks, *given]


def _decide_rule(
    settings: Settings, named: str, organization: str | None, state: RuleState
) -> None:
    asking = _Asking.of(settings, organization)
    identity: UUID = rule_id(named)
    decided = asking.done(lambda review: review.decide_rule(asking.event, identity, state))
    click.echo(rule_shown(decided).model_dump_json(indent=2))


def _mark(text: str) -> Mark:
    found = _MARK.fullmatch(text)
    if found is None:
        raise click.BadParameter("a mark is LEFT,TOP,RIGHT,BOTTOM or LEFT,TOP,RIGHT,BOTTOM@0-9")
    left, top, right, bottom = (int(number) for number in found.groups()[:4])
    frames = None if found[5] is None else (int(found[5]), int(found[6]))
    return Mark(Box(left, top, right, bottom), Rung.REVIEW, frames=frames)


def _print(held: Held) -> None:
    click.echo(shown(held).model_dump_json(indent=2))


def _write(target: Path, png: bytes) -> None:
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(png)
    except OSError as error:
        raise errors.StorageUnavailable(f"The file cannot be written ({error.strerror})") from None
