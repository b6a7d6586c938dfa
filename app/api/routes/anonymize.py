"""``POST /anonymize-stream``: one SOP Instance in, its de-identified form out.

A plain ASGI endpoint: the framework's request parsing costs more than the whole pipeline here.
Its description for the OpenAPI document is in ``app.api.openapi``.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

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
from app.api.multipart import OVERHEAD_BYTES, boundary_of, receive_multipart
from app.api.spool import Body, Bytes, Disconnected, in_thread, receive_raw, too_large
from app.audit.events import Action, AuditEvent
from app.deid.planning import Remark

NAME: Final = "anonymize"  # of the role, the scope and the action alike
MEDIA_TYPE: Final = b"application/dicom"
RAW_MEDIA_TYPES: Final = frozenset({MEDIA_TYPE, b"application/octet-stream"})
MULTIPART: Final = b"multipart/form-data"
CHUNK_BYTES: Final = 1 << 20
GATHER_BYTES: Final = 64 << 10
WARNINGS_BYTES: Final = 2048
PARAMETERS: Final = frozenset({"organization", "profile"})


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of the request says."""

    media_type: bytes
    boundary: bytes
    declared_bytes: int
    organization: str | None
    profile: str | None


class AnonymizeStream:
    """Answers ``POST /anonymize-stream``."""

    path: Final = "/anonymize-stream"

    def __init__(self, max_concurrent_uploads: int) -> None:
        self._places = asyncio.Semaphore(max_concurrent_uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = services_of(scope)
        require_role(services, NAME)
        event = AuditEvent(action=Action.ANONYMIZE, request_id=request_id_of(scope))
        principal = await authorise(services, scope, needed=NAME, event=event)
        head = read_head(scope)
        context = await _context(services, principal, head, event)
        actor = pipeline.Actor(principal.name, principal.api_key_id, event.request_id)
        if head.declared_bytes > services.limits.max_bytes + OVERHEAD_BYTES:
            raise too_large(services.limits)
        async with self._places:
            with Body(services.limits, services.spool_dir, services.executor) as body:
                await _receive(receive, body, head, services)
                services.metrics.received.inc(body.size)
                done = await _deidentify(services, body, context, actor)
                await _answer(send, receive, done, services, threaded=body.is_spooled)


def read_head(scope: Scope) -> Head:
    """Read content type, length and parameters.

    Raises:
        errors.UnsupportedMediaType: the body is neither an object nor a form with one.
        errors.InvalidRequest: a parameter is unknown or given twice.
    """
    content_type, declared = b"", 0
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length":
            declared = int(value)
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise errors.UnsupportedMediaType("The body must not be compressed")
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type not in RAW_MEDIA_TYPES and media_type != MULTIPART:
        raise errors.UnsupportedMediaType(
            "Send application/dicom, or multipart/form-data with a part named 'file'"
        )
    boundary = boundary_of(content_type) if media_type == MULTIPART else b""
    parameters = _parameters(scope["query_string"])
    return Head(
        media_type, boundary, declared, parameters.get("organization"), parameters.get("profile")
    )


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


def _parameters(query: bytes) -> dict[str, str]:
    if not query:
        return {}
    pairs = parse_qsl(str(query, "latin-1"), keep_blank_values=True)
    parameters = dict(pairs)
    if len(parameters) != len(pairs) or not PARAMETERS.issuperset(parameters):
        raise errors.InvalidRequest(
            "The query parameters are organization and profile, each at most once"
        )
    return parameters


async def _context(
    services: Services, principal: Principal, head: Head, event: AuditEvent
) -> pipeline.Context:
    try:
        organization = chosen_organization(principal, head.organization)
        profile = chosen_profile(principal, head.profile)
    except errors.NotAuthorised as denied:
        await services.vault.audit(described(event, principal, outcome=denied.code))
        raise
    return services.contexts.get(organization, profile)


async def _receive(receive: Receive, body: Body, head: Head, services: Services) -> None:
    if head.media_type == MULTIPART:
        await receive_multipart(receive, body, services.limits, boundary=head.boundary)
    else:
        await receive_raw(receive, body, services.limits)
    if not body.size:
        raise errors.InvalidRequest("The body is empty")


async def _deidentify(
    services: Services, body: Body, context: pipeline.Context, actor: pipeline.Actor
) -> pipeline.Deidentified:
    """Run the pipeline: small bodies at once, as a thread would cost more than the work itself."""
    source, vault = await body.source(), services.vault
    offload = None
    if body.size > services.limits.inline_bytes:
        offload = partial(in_thread, services.executor)
    return await pipeline.run(source, context, vault=vault, actor=actor, offload=offload)


async def _answer(
    send: Send, receive: Receive, done: pipeline.Deidentified, services: Services, *, threaded: bool
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _headers(done)})
    chunks = gathered(done.chunks(CHUNK_BYTES))
    if threaded:
        await _send_from_thread(send, receive, chunks, services)
    else:
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    services.metrics.sent.inc(done.size)


def gathered(chunks: Iterable[Bytes]) -> Iterator[Bytes]:
    """Join runs of small chunks; large ones pass as they are."""
    small: list[Bytes] = []
    held = 0
    for chunk in chunks:
        if len(chunk) < GATHER_BYTES:
            small.append(chunk)
            held += len(chunk)
            if held < GATHER_BYTES:
                continue
        if small:
            yield b"".join(small)
            small, held = [], 0
        if len(chunk) >= GATHER_BYTES:
            yield chunk
    if small:
        yield b"".join(small)


async def _send_from_thread(
    send: Send, receive: Receive, chunks: Iterator[Bytes], services: Services
) -> None:
    """Stream from the spool; stop reading it when the caller goes away.

    Listening while sending is safe here: the body was taken whole, so the only message that can
    still come is the disconnect.
    """
    gone = asyncio.ensure_future(receive())
    try:
        while (chunk := await in_thread(services.executor, lambda: next(chunks, None))) is not None:
            if gone.done():
                raise Disconnected
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        gone.cancel()


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
