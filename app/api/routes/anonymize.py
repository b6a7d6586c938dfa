"""``POST /anonymize-stream``: one SOP Instance in, its de-identified form out.

A plain ASGI endpoint: the framework's request parsing costs more than the whole pipeline here.
Its description for the OpenAPI document is in ``app.api.openapi``.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.types import Receive, Scope, Send

from app import errors, pipeline, telemetry
from app.access.principals import Principal
from app.api.dependencies import (
    Services,
    authorise,
    chosen_organization,
    chosen_profile,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.instance_intake import MEDIA_TYPE, Head, check_size, read_head, receive_instance
from app.api.places import Place, Places
from app.api.reports import content_type, new_boundary, related, wants_report
from app.api.sending import gathered, send_from_thread, while_there
from app.api.spool import Body, in_thread
from app.api.uses import note_use
from app.audit.events import SUCCESS, Action, AuditEvent
from app.deid.planning import Remark
from app.dicom.source import Source
from app.pipeline.explaining import Explanation, explained
from app.pipeline.reporting import report_json

NAME: Final = "anonymize"  # of the role, the scope and the action alike
CHUNK_BYTES: Final = 1 << 20
WARNINGS_BYTES: Final = 2048
# Objects whose pixels are worked on at once, and those that wait for that.
SLOW_AT_ONCE: Final = 32
SLOW_WAITING: Final = 32
PARAMETERS: Final = frozenset({"organization", "profile"})


class AnonymizeStream:
    """Answers ``POST /anonymize-stream``."""

    path: Final = "/anonymize-stream"

    def __init__(self, places: Places) -> None:
        self._places = places
        # Images that are read or masked take seconds: they do not stand in the way of others.
        self._slow = Places(SLOW_AT_ONCE, SLOW_WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = services_of(scope)
        require_role(services, NAME)
        event = AuditEvent(action=Action.ANONYMIZE, request_id=request_id_of(scope))
        principal = await authorise(services, scope, needed=NAME, event=event)
        head = read_head(scope, PARAMETERS)
        context = await _context(services, principal, head, event)
        note_use(scope, _use(event, principal, context))
        actor = pipeline.Actor(principal.name, principal.api_key_id, event.request_id)
        check_size(head, services)
        async with self._places.place() as place:
            with Body(services.limits, services.spool_dir, services.executor) as body:
                await receive_instance(receive, body, head, services)
                source = await body.source()
                meanwhile = partial(self._meanwhile, place, receive)
                done = await _deidentify(services, body, source, context, actor, meanwhile)
                if head.accept and wants_report(head.accept):
                    explanation = await _explained(services, source, context, done)
                    await _answer_with_report(send, receive, explanation, services)
                else:
                    await _answer(send, receive, done, services, threaded=body.is_spooled)

    @asynccontextmanager
    async def _meanwhile(self, place: Place, receive: Receive) -> AsyncIterator[None]:
        """Leave a place to others, and stop if there is nobody any more who waits."""
        async with place.left(self._slow), while_there(receive):
            yield


def warnings_header(warnings: Iterable[Remark]) -> str:
    """List codes and element paths, ``code path, …``, cut at a bound with the rest counted."""
    entries = [str(warning) for warning in warnings]
    text = ", ".join(entries)
    if len(text) <= WARNINGS_BYTES:
        return text
    kept: list[str] = []
    room = WARNINGS_BYTES - len(f", more={len(entries)}")
    for entry in entries:
        room -= len(entry) + 2
        if room < 0:
            break
        kept.append(entry)
    return ", ".join([*kept, f"more={len(entries) - len(kept)}"])


async def _context(
    services: Services, principal: Principal, head: Head, event: AuditEvent
) -> pipeline.Context:
    try:
        organization = chosen_organization(principal, head.parameters.get("organization"))
        profile = chosen_profile(principal, head.parameters.get("profile"), organization)
        await services.quotas.admit_object(organization)
    except (errors.NotAuthorised, errors.QuotaExceeded) as denied:
        if not isinstance(denied, errors.QuotaExceeded) or denied.is_first:
            await services.vault.audit(described(event, principal, outcome=denied.code))
        raise
    return services.contexts.get(organization, profile)


def _use(event: AuditEvent, principal: Principal, context: pipeline.Context) -> AuditEvent:
    return replace(
        described(event, principal, outcome=SUCCESS),
        organization=context.organization,
        profile=context.profile.name,
        profile_version=context.profile.version,
    )


async def _deidentify(
    services: Services,
    body: Body,
    source: Source,
    context: pipeline.Context,
    actor: pipeline.Actor,
    meanwhile: pipeline.Meanwhile,
) -> pipeline.Deidentified:
    """Run the pipeline: small bodies at once, as a thread would cost more than the work itself."""
    offload = None
    if body.size > services.limits.inline_bytes:
        offload = partial(in_thread, services.executor)
    return await pipeline.run(
        source,
        context,
        vault=services.vault,
        actor=actor,
        offload=offload,
        meanwhile=meanwhile,
    )


async def _explained(
    services: Services, source: Source, context: pipeline.Context, done: pipeline.Deidentified
) -> Explanation:
    return await in_thread(services.executor, partial(explained, source, context, done))


async def _answer_with_report(
    send: Send, receive: Receive, explanation: Explanation, services: Services
) -> None:
    done, boundary = explanation.done, new_boundary()
    alone = {b"content-type", b"content-length", b"content-disposition"}
    headers = [(name, value) for name, value in _headers(done) if name not in alone]
    headers.append((b"content-type", content_type(boundary)))
    pieces = related(
        boundary,
        name=done.replacements.cloud_study_id,
        size=done.size,
        chunks=done.chunks(CHUNK_BYTES),
        report=report_json(explanation),
    )
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send_from_thread(send, receive, gathered(pieces), services)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    services.metrics.sent.inc(done.size)


async def _answer(
    send: Send, receive: Receive, done: pipeline.Deidentified, services: Services, *, threaded: bool
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _headers(done)})
    chunks = gathered(done.chunks(CHUNK_BYTES))
    if threaded:
        await send_from_thread(send, receive, chunks, services)
    else:
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    services.metrics.sent.inc(done.size)


def _headers(done: pipeline.Deidentified) -> list[tuple[bytes, bytes]]:
    study = done.replacements.cloud_study_id
    profile = done.plan.profile
    headers = [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % done.size),
        (b"content-disposition", f'attachment; filename="{study}.dcm"'.encode()),
        (b"cache-control", b"no-store"),
        (b"x-cloud-study-id", study.encode()),
        (b"x-processed-at", telemetry.rfc3339(telemetry.utc_now()).encode()),
        (b"x-deid-profile", f"{profile.name};version={profile.version}".encode()),
    ]
    if done.warnings:
        headers.append((b"x-deid-warnings", warnings_header(done.warnings).encode("ascii")))
    return headers
