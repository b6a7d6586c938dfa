"""``deid-gateway reidentify``: the way back, on the machine that holds the private key."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from app import bootstrap, errors
from app.audit.events import Action, AuditEvent
from app.cli.options import Settings, operating_system_user, with_settings
from app.settings.service import Role
from app.telemetry import rfc3339
from app.vault.disclosure.asking import SUCCESS, Answer, Asked, begun
from app.vault.disclosure.purposes import PURPOSES, Purpose
from app.vault.disclosure.questions import NAMES, Question
from app.vault.mapping import Reidentified


def with_question(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what is asked and why."""
    for option in (
        click.option("--organization", help="Organisation to ask for (DEID_ORGANIZATION)."),
        click.option("--reason", help="Why, in words; emergencies need one. Kept in the audit."),
        click.option("--reference", help="Ticket or order. Kept in the audit."),
        click.option("--purpose", help=f"Purpose of use: {', '.join(PURPOSES)}."),
        click.option("--accession-number", help="As it stands in the objects."),
        click.option("--sop-instance-uid", help="As it stands in the objects."),
        click.option("--series-uid", help="As it stands in the objects."),
        click.option("--study-uid", help="As it stands in the objects."),
        click.option("--patient-id", help="Patient ID as it stands in the objects."),
        click.argument("cloud_study_id", required=False),
    ):
        command = option(command)
    return command


@click.command()
@with_question
@click.option("--approval", help="A request that was approved; it stands for everything else.")
@click.option(
    "--worklist",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="File with one cloud study id per line; - reads them from standard input.",
)
@with_settings
def reidentify(
    settings: Settings,
    *,
    approval: str | None,
    worklist: Path | None,
    organization: str | None,
    **stated: str | None,
) -> None:
    """Print the original identifiers of a study or patient as JSON. The audit records it."""
    chosen = reidentifying(settings)
    asked = Asked(event_of(organization or settings.organization))
    if approval is not None:
        if any(stated.values()) or worklist is not None:
            raise errors.InvalidRequest("An approval stands for everything; leave out the rest")
        asked = replace(asked, approval=request_id(approval), is_batch=True)
    else:
        asked = replace(asked, **asked_of(stated, worklist, chosen.reidentify_batch_max))
    asyncio.run(_answer(chosen, asked))


def reidentifying(settings: Settings) -> Settings:
    """Return the settings of a process that re-identifies."""
    return settings.model_copy(update={"roles": frozenset({Role.REIDENTIFY})})


def event_of(organization: str) -> AuditEvent:
    """Return who asks and for which organisation, for the audit."""
    return AuditEvent(
        action=Action.REIDENTIFY,
        organization=organization,
        actor=f"cli:{operating_system_user()}",
    )


def asked_of(stated: dict[str, str | None], worklist: Path | None, most: int) -> dict[str, Any]:
    """Return what is asked and why.

    Raises:
        errors.InvalidInput: it is not fit.
    """
    purpose = Purpose.stated(stated["purpose"], stated["reference"], stated["reason"])
    typed = {name: stated[name] for name in NAMES}
    if worklist is None:
        return {"purpose": purpose, "questions": (Question.stated(typed),)}
    if any(typed.values()):
        raise errors.InvalidRequest("Name one study, or a worklist")
    with click.open_file(str(worklist), encoding="utf-8", errors="replace") as lines:
        ids = [line.strip() for line in lines if line.strip()]
    if not 0 < len(ids) <= most:
        raise errors.InvalidRequest(f"A worklist has 1 to {most} lines")
    questions = [_numbered(number, text) for number, text in enumerate(ids, start=1)]
    return {"purpose": purpose, "questions": tuple(questions), "is_batch": True}


def request_id(text: str) -> UUID:
    """Read the id of a request for approval.

    Raises:
        errors.ApprovalNotFound: it cannot be one.
    """
    try:
        return UUID(text)
    except ValueError:
        raise errors.ApprovalNotFound from None


def described(found: Reidentified) -> dict[str, Any]:
    """Return what was found under the names that the HTTP interface uses."""
    return {
        "cloud_study_id": found.cloud_study_id,
        **_identity(found),
        "original_series_uid": found.series_uid,
        "original_sop_instance_uid": found.sop_instance_uid,
        "other_identities": [_identity(other) for other in found.others],
    }


def _identity(found: Reidentified) -> dict[str, Any]:
    return {
        "original_patient_id": found.patient_id,
        "original_issuer_of_patient_id": found.issuer_of_patient_id,
        "original_study_uid": found.study_uid,
        "original_accession_number": found.accession_number,
        "first_seen_at": rfc3339(found.first_seen_at),
    }


def _numbered(number: int, text: str) -> Question:
    try:
        return Question.stated({"cloud_study_id": text})
    except errors.InvalidInput as error:
        raise type(error)(f"Line {number}: {error.detail}") from None


def _show(answers: tuple[Answer, ...], *, is_list: bool) -> None:
    if not is_list:
        [answer] = answers
        if answer.refusal is not None:
            raise answer.refusal
        shown: Any = None if answer.found is None else described(answer.found)
    else:
        shown = [
            {
                "asked": answer.question.given,
                "outcome": SUCCESS if answer.refusal is None else answer.refusal.code,
                "identity": None if answer.found is None else described(answer.found),
            }
            for answer in answers
        ]
    click.echo(json.dumps(shown, indent=2))


async def _answer(settings: Settings, asked: Asked) -> None:
    async with bootstrap.opened(settings) as gateway:
        try:
            answers = await gateway.disclosure.answer(asked)
        except errors.GatewayError:
            raise  # audited where it is decided
        except Exception:
            await gateway.vault.audit(replace(begun(asked), outcome=errors.GatewayError.code))
            raise
        _show(answers, is_list=asked.is_batch and (asked.approval is None or len(answers) > 1))
        with suppress(errors.DatabaseUnavailable):  # then a process that serves tells it
            await gateway.disclosure.notices.deliver()
