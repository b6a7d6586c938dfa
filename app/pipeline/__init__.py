"""read → plan → resolve → apply → verify → write: the one path of a SOP Instance.

Every entrance (upload endpoint, command line, batches) calls the functions here.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.audit.events import Action, AuditEvent
from app.dicom import part10
from app.dicom.source import Source
from app.errors import GatewayError, PixelsNeedReview, Quarantined
from app.pipeline.instance import Instance
from app.pipeline.pixel_work import Sender, settle
from app.pipeline.results import Context, Deidentified
from app.pipeline.side_work import Request, Wanted, Work
from app.pixels.rules import RuleSet
from app.pixels.rulings import SourceKind

if TYPE_CHECKING:
    from app.vault.service import Vault

__all__ = [
    "Actor",
    "Context",
    "Deidentified",
    "Meanwhile",
    "Offload",
    "deidentified",
    "deidentify",
    "run",
]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, for the audit.

    Attributes:
        name: of the API key, or ``cli:<operating system user>``.
        api_key_id: the key that must still be valid when the audit row is committed.
        request_id: correlates log, answer and audit.
        kind: how its objects come, for whoever reviews those that are held back.
    """

    name: str
    api_key_id: str | None = None
    request_id: str | None = None
    kind: SourceKind = SourceKind.STREAM

    def sender(self) -> Sender:
        """Return whom an object belongs to that is held back."""
        return Sender(self.name, self.api_key_id, self.request_id, self.kind)


def deidentify(source: Source, context: Context) -> Deidentified:
    """Take one SOP Instance through read, plan, resolve, apply and verify, all in this thread.

    Raises:
        InvalidInput: the object cannot be worked with.
        Refused: policy or verification forbids passing it on; so it is where its pixels have to be
            looked at, which takes ``deidentified``.
    """
    try:
        return _deidentify(source, context)
    except Wanted:
        raise PixelsNeedReview("The pixels have to be looked at, which was not asked for") from None


def _deidentify(
    source: Source, context: Context, rules: RuleSet | None = None, work: Work | None = None
) -> Deidentified:
    """Take one SOP Instance through the steps.

    Raises:
        Wanted: something has to be done first; the steps are then taken again, with that work.
    """
    tokens = part10.read(source, context.limits)
    instance = Instance(tokens, context, rules, work)
    instance.admit()
    return instance.deidentified()


Offload = Callable[[Callable[[], Deidentified]], Awaitable[Deidentified]]
Meanwhile = Callable[[], AbstractAsyncContextManager[None]]


async def _at_once(work: Callable[[], Deidentified]) -> Deidentified:
    return work()


async def deidentified(
    source: Source,
    context: Context,
    *,
    sender: Sender | None = None,
    offload: Offload | None = None,
    meanwhile: Meanwhile = nullcontext,
) -> Deidentified:
    """De-identify one SOP Instance, its pixels looked at where the profile asks; store nothing.

    Args:
        source: the instance; must stay open until the result is written.
        context: whose pseudonyms, which profile.
        sender: whom it is held back for; None where nothing is held, as in an explanation.
        offload: runs the work elsewhere, such as in a thread; None runs it at once.
        meanwhile: entered while child processes or people are waited for.

    Raises:
        GatewayError: as ``deidentify`` and ``pixel_work.settle``.
    """
    do = offload or _at_once
    parts = context.pixels
    if not context.profile.cleans_pixels or parts is None:
        return await do(lambda: deidentify(source, context))
    rules = await parts.rules(context.organization)
    request: Request | None = None
    try:
        return await do(lambda: _deidentify(source, context, rules))
    except Wanted as wanted:
        request = wanted.request
    async with meanwhile():
        work = await settle(request, source, context, sender)
    return await do(lambda: _deidentify(source, context, rules, work))


async def run(
    source: Source,
    context: Context,
    *,
    vault: "Vault",
    actor: Actor,
    offload: Offload | None = None,
    meanwhile: Meanwhile = nullcontext,
) -> Deidentified:
    """De-identify one SOP Instance and make its mapping durable before any byte can leave.

    A refusal is audited as well.

    Args:
        source: the instance; must stay open until the result is written.
        context: whose pseudonyms, which profile.
        vault: where the mapping and the audit row go.
        actor: who asks.
        offload: runs the work elsewhere, such as in a thread; None runs it at once.
        meanwhile: as for ``deidentified``.

    Raises:
        GatewayError: as ``deidentify``; DatabaseUnavailable or NotAuthenticated from the vault.
    """
    try:
        result = await deidentified(
            source, context, sender=actor.sender(), offload=offload, meanwhile=meanwhile
        )
    except GatewayError as error:
        await record_refusal(error, context, vault=vault, actor=actor)
        raise
    await _record(result, context, vault=vault, actor=actor)
    return result


async def _record(result: Deidentified, context: Context, *, vault: "Vault", actor: Actor) -> None:
    """Make the mapping and the audit row of a de-identified instance durable."""
    replacements = result.replacements
    await vault.record(
        organization=context.organization,
        domain=context.domain,
        originals=result.originals,
        replacements=replacements,
        event=AuditEvent(
            action=Action.ANONYMIZE,
            organization=context.organization,
            actor=actor.name,
            api_key_id=actor.api_key_id,
            profile=context.profile.name,
            profile_version=context.profile.version,
            cloud_study_id=replacements.cloud_study_id,
            sop_instance_uid=replacements.sop_instance_uid,
            request_id=actor.request_id,
            detail=_decided(result.work),
        ),
    )


async def record_refusal(
    error: GatewayError, context: Context, *, vault: "Vault", actor: Actor
) -> None:
    """Audit that an instance was refused: the code and the place, nothing of the instance.

    ``run`` does so for what it refuses; a fault that nobody foresaw is told by whoever catches it.

    Raises:
        DatabaseUnavailable: the row is not known to be durable.
    """
    await vault.audit(
        AuditEvent(
            action=Action.ANONYMIZE,
            outcome=error.code,
            organization=context.organization,
            actor=actor.name,
            api_key_id=actor.api_key_id,
            profile=context.profile.name,
            profile_version=context.profile.version,
            request_id=actor.request_id,
            detail=_refused(error),
        )
    )


def _decided(work: Work | None) -> dict[str, str | int]:
    """Return what was decided about pixels that did not simply pass."""
    if work is None or work.decision is None:
        return {}
    detail: dict[str, str | int] = {"quarantine": work.quarantine_id} if work.quarantine_id else {}
    if work.masked is not None and work.decision.marks:
        detail |= {"masks": len(work.decision.marks), "mask-rules": work.rules_version}
    return detail


def _refused(error: GatewayError) -> dict[str, str | int]:
    """Return where a refusal is, or where the object waits."""
    detail: dict[str, str | int] = {"path": error.path} if error.path else {}
    if isinstance(error, Quarantined):
        detail["quarantine"] = error.quarantine_id
    return detail
