"""Batches over HTTP: handed in, watched, listed, cancelled, tried again, deleted."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from app.api import batch_openapi
from app.api.batch_access import (
    Permitted,
    acting_for,
    changed,
    event_of,
    found_batch,
    located,
    permission,
    permitted,
)
from app.api.batch_answers import accepted, answer, item_fields, next_page, page, shown
from app.api.batch_schemas import (
    BATCH_EXAMPLE,
    BatchItems,
    BatchList,
    BatchRepresentation,
    SigningKeys,
)
from app.api.batch_watching import EventStream
from app.api.dependencies import services_of
from app.api.openapi import problem_responses
from app.batches.records import Batch
from app.batches.service import CANCEL, DELETE, DELETE_OBJECTS, RETRY
from app.batches.states import ENDED, BatchState, ItemState

READ: Final = "batch-read"
MAX_PAGE: Final = 1000
MAX_NUMBER: Final = 2**62

router = APIRouter()

BatchId = Annotated[
    str,
    Path(description="As `batch_id` and `Location` say it.", examples=[BATCH_EXAMPLE]),
]


class _Parameters(BaseModel):
    """Query parameters; a misspelt one must not silently mean something else."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ListParameters(_Parameters):
    """Which batches."""

    organization: str | None = Field(
        None, description="List this organisation's batches; the key must allow it."
    )
    state: BatchState | None = Field(None, description="Only batches in this state.")
    before: UUID | None = Field(None, description="Only batches older than this one.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="Most batches of one page.")


class ItemParameters(_Parameters):
    """Which files."""

    state: ItemState | None = Field(None, description="Only files in this state.")
    after: int = Field(-1, ge=-1, le=MAX_NUMBER, description="Only files behind this number.")
    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Most files of one page.")


class DeleteParameters(_Parameters):
    """What else goes."""

    objects: bool = Field(False, description="Remove the published objects as well.")


async def _may_delete(request: Request) -> Permitted:
    """Find out who asks; a denial is recorded as what was asked for, where that can be read."""
    try:
        asked = DeleteParameters.model_validate(dict(request.query_params))
    except ValidationError:
        asked = DeleteParameters(objects=False)
    return await permitted(request.scope, DELETE_OBJECTS if asked.objects else DELETE)


Reader = Annotated[Permitted, Depends(permission(READ))]
Deleter = Annotated[Permitted, Depends(_may_delete)]


@router.get(
    "/batches",
    summary="List batches",
    response_model=BatchList,
    responses={**batch_openapi.LINKED, **problem_responses(400, 401, 403, 404, 503)},
)
async def list_batches(
    request: Request, reader: Reader, asked: Annotated[ListParameters, Query()]
) -> Response:
    """Answer the batches of an organisation, the newest first. Needs the scope `batch`."""
    services, principal = reader
    organization = await acting_for(request.scope, services, principal, asked.organization, READ)
    if asked.before is not None:  # a page behind a batch that is gone would look like the last one
        await services.batches.get(organization, asked.before)
    found = await services.batches.list(
        organization, state=asked.state, before=asked.before, limit=asked.limit + 1
    )
    batches = found[: asked.limit]
    following = None
    if len(found) > asked.limit:
        following = next_page(
            "/batches",
            organization=asked.organization,
            state=asked.state,
            limit=asked.limit,
            before=batches[-1].batch_id,
        )
    return page("batches", [shown(batch) for batch in batches], following)


@router.get(
    "/batches/{batch_id}",
    summary="How a batch stands",
    response_model=BatchRepresentation,
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def get_batch(request: Request, batch_id: BatchId) -> Response:
    """Answer counts, rate, estimated end and problems by code. Needs the scope `batch`."""
    services, principal = await permitted(request.scope, READ)
    return answer(shown(await found_batch(services, principal, batch_id)))


@router.get(
    "/batches/{batch_id}/items",
    summary="What became of each file",
    response_model=BatchItems,
    responses={**batch_openapi.LINKED, **problem_responses(400, 401, 403, 404, 503)},
)
async def list_items(
    reader: Reader, batch_id: BatchId, asked: Annotated[ItemParameters, Query()]
) -> Response:
    """Answer the files of a batch by number, without their names. Needs the scope `batch`."""
    services, principal = reader
    batch = await found_batch(services, principal, batch_id)
    found = await services.batches.items(
        batch.organization,
        batch.batch_id,
        state=asked.state,
        after=asked.after,
        limit=asked.limit + 1,
    )
    items = found[: asked.limit]
    following = None
    if len(found) > asked.limit:
        following = next_page(
            f"/batches/{batch.batch_id}/items",
            state=asked.state,
            limit=asked.limit,
            after=items[-1].seq,
        )
    return page("items", [item_fields(item) for item in items], following)


@router.get(
    "/batches/{batch_id}/events",
    summary="Watch a batch",
    response_class=Response,
    responses={**batch_openapi.EVENTS, **problem_responses(400, 401, 403, 404, 503)},
)
async def watch(
    request: Request,
    batch_id: BatchId,
    last_event_id: Annotated[
        str | None, Header(description="Version that the caller has seen; browsers send it.")
    ] = None,
) -> Response:
    """Answer server-sent events until the batch has ended. Needs the scope `batch`."""
    services, principal = await permitted(request.scope, READ)
    batch = await found_batch(services, principal, batch_id)
    seen = _number(last_event_id or "")
    if batch.state in ENDED and seen == batch.version:
        return Response(status_code=204)  # tells a browser not to come back

    async def now() -> Batch:
        return await services.batches.get(batch.organization, batch.batch_id)

    async def check() -> None:
        await permitted(request.scope, READ)

    return EventStream(batch, seen=seen, now=now, check=check, watchers=services.watchers)


@router.post(
    "/batches/{batch_id}/cancel",
    summary="Cancel a batch",
    response_model=BatchRepresentation,
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def cancel(request: Request, batch_id: BatchId) -> Response:
    """End a batch. Nothing of it is published any more, and what went out is removed again.

    What an earlier manifest lists stays. Needs the scope `batch`.
    """
    services, principal = await permitted(request.scope, CANCEL)
    batch = await changed(request.scope, services, principal, batch_id, services.batches.cancel)
    return answer(shown(batch))


@router.post(
    "/batches/{batch_id}/retry",
    summary="Try again what did not succeed",
    status_code=202,
    response_model=BatchRepresentation,
    responses={
        202: batch_openapi.ACCEPTED,
        **problem_responses(400, 401, 403, 404, 409, 503),
    },
)
async def retry(request: Request, batch_id: BatchId) -> Response:
    """Work on refused and failed files again, and on nothing else. Needs the scope `batch`."""
    services, principal = await permitted(request.scope, RETRY)
    batch = await changed(request.scope, services, principal, batch_id, services.batches.retry)
    return accepted(batch)


@router.delete(
    "/batches/{batch_id}",
    summary="Forget a batch",
    status_code=204,
    response_class=Response,
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def delete(
    request: Request,
    deleter: Deleter,
    batch_id: BatchId,
    asked: Annotated[DeleteParameters, Query()],
) -> Response:
    """Remove the record of a batch that has ended, and what is staged of it.

    Published objects stay unless `objects=true` is given. Needs the scope `batch`.
    """
    services, principal = deleter
    organization, identity = await located(services, principal, batch_id)
    event = event_of(request.scope, principal)
    await services.batches.delete(organization, identity, event, objects=asked.objects)
    return Response(status_code=204)


@router.get(
    "/signing-keys",
    summary="Keys that manifests and callbacks are checked with",
    response_model=SigningKeys,
)
async def signing_keys(request: Request) -> Response:
    """Answer the gateway's public keys as a JSON Web Key Set. No API key is needed.

    The key in use comes first; keys that signed before stay in the set.
    """
    keys = services_of(request.scope).signer.public_jwks()
    return answer({"keys": keys}, headers={"Cache-Control": "max-age=300"})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
