"""``POST /batch-prepare``: a study directory, a prefix of an object store or an archive, taken."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive

from app import errors
from app.access.principals import Principal
from app.api import batch_openapi
from app.api.batch_access import NAME
from app.api.batch_answers import accepted
from app.api.batch_intake import (
    Terms,
    archive_name,
    asked_in_fields,
    asked_in_json,
    earlier_batches,
    new_batch,
    terms,
)
from app.api.batch_parts import BatchIntake
from app.api.batch_preferences import Preferences, idempotency_key, preferences
from app.api.batch_schemas import BatchRepresentation, BatchRequest
from app.api.batch_uploads import (
    FORM_OVERHEAD_BYTES,
    ArchiveForm,
    ArchiveUpload,
    receive_archive,
    receive_form,
    receive_text,
    too_large,
)
from app.api.batch_watching import until_ended, while_wanted
from app.api.dependencies import (
    Services,
    authorise,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.multipart import boundary_of
from app.api.openapi import problem_responses
from app.api.queries import query_fields
from app.audit.events import AuditEvent
from app.batches.records import Batch, NewBatch
from app.batches.service import SUBMIT
from app.batches.states import BatchState

JSON: Final = "application/json"
ZIP: Final = "application/zip"
FORM: Final = "multipart/form-data"
MAX_JSON_BYTES: Final = 64 << 10
# The workers have tidied an archive away, or will: one that comes again is not needed.
_NEEDS_NO_ARCHIVE: Final = frozenset({BatchState.SUCCEEDED, BatchState.CANCELLED})
_SPENT: Final = frozenset({errors.InvalidArchive.code, errors.ArchiveTooLarge.code})

router = APIRouter()


@router.post(
    "/batch-prepare",
    summary="Hand over a study directory or an archive",
    status_code=202,
    response_model=BatchRepresentation,
    responses={
        200: batch_openapi.ENDED,
        202: batch_openapi.ACCEPTED,
        **problem_responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra=batch_openapi.PREPARE,
)
async def prepare(request: Request) -> Response:
    """Take a batch; workers de-identify its files and publish them with a manifest.

    The files are named by `study_directory` or `source_url`, or sent as a ZIP archive: as the body
    itself with the parameters in the query, or as the part `archive` of a form with the parameters
    as fields before it. Needs the scope `batch`.
    """
    services = services_of(request.scope)
    require_role(services, NAME)
    intake = services.intake
    if intake is None:
        raise errors.RoleNotServed
    event = AuditEvent(action=SUBMIT, request_id=request_id_of(request.scope))
    principal = await authorise(services, request.scope, needed=NAME, event=event)
    preferred = preferences(request.headers.getlist("prefer"))
    key = idempotency_key(request.headers.getlist("idempotency-key"))
    batch = await _Preparation(request, services, intake, principal, event, key).taken()
    return accepted(await _waited(request, services, batch, preferred), preferred)


class _Preparation:
    """One request on its way to a batch."""

    def __init__(
        self,
        request: Request,
        services: Services,
        intake: BatchIntake,
        principal: Principal,
        event: AuditEvent,
        key: str | None,
    ) -> None:
        self._scope = request.scope
        self._receive: Receive = request.receive
        self._headers = request.headers
        self._query: bytes = request.scope["query_string"]
        self._services = services
        self._intake = intake
        self._principal = principal
        self._event = event
        self._key = key

    async def taken(self) -> Batch:
        """Take the batch; that it may not be taken is in the audit.

        Raises:
            errors.GatewayError: why it is not taken.
        """
        try:
            return await self._taken()
        except (errors.Denied, errors.NotFound, errors.Refused, errors.QuotaExceeded) as error:
            event = described(self._event, self._principal, outcome=error.code)
            await self._services.vault.audit(event)
            raise

    async def _taken(self) -> Batch:
        """Take the batch in the form that the content type names."""
        content_type = self._headers.get("content-type", "")
        media_type = content_type.partition(";")[0].strip().lower()
        if self._headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise errors.UnsupportedMediaType("The body must not be compressed")
        if media_type == JSON:
            return await self._described()
        if media_type not in {ZIP, FORM}:
            raise errors.UnsupportedMediaType(f"Send {JSON}, {ZIP} or {FORM}")
        overhead = FORM_OVERHEAD_BYTES if media_type == FORM else 0
        declared = self._headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._intake.max_archive_bytes + overhead:
            raise too_large(self._intake)
        if media_type == ZIP:
            return await self._sent_alone()
        return await self._sent_in_form(content_type)

    async def _described(self) -> Batch:
        """Take a batch whose files are named."""
        if self._query:
            raise errors.InvalidRequest("With JSON there are no query parameters")
        limits = self._services.limits
        body = await receive_text(self._receive, limits, max_bytes=MAX_JSON_BYTES)
        agreed = self._terms(asked_in_json(body), has_archive=False)
        await self._services.quotas.admit_batch(agreed.organization)
        try:
            new = await self._new(agreed, None)
        except errors.SourceNotAllowed:
            earlier = await self._earlier(agreed)
            if earlier is None:
                raise
            return earlier
        batch, _ = await self._services.batches.submit(new)
        return batch

    async def _earlier(self, agreed: Terms) -> Batch | None:
        """Return the batch that this request made when its directory was still there."""
        candidates = earlier_batches(
            self._intake,
            self._principal,
            agreed,
            idempotency_key=self._key,
            request_id=request_id_of(self._scope),
        )
        for new in candidates:
            batch = await self._services.batches.find(new)
            if batch is not None:
                return batch
        return None

    async def _sent_alone(self) -> Batch:
        """Take a batch whose archive is the body."""
        agreed = self._terms(asked_in_fields(query_fields(self._query)), has_archive=True)
        await self._services.quotas.admit_batch(agreed.organization)
        async with self._intake.places, self._upload() as upload:
            await receive_archive(self._receive, upload, self._services.limits)
            return await self._submitted(agreed, upload)

    async def _sent_in_form(self, content_type: str) -> Batch:
        """Take a batch whose archive is a part of a form."""
        if self._query:
            raise errors.InvalidRequest("With a form there are no query parameters")
        boundary = boundary_of(content_type.encode("latin-1"))

        def check(fields: Mapping[str, str]) -> None:
            self._terms(asked_in_fields(fields), has_archive=True)

        async with self._intake.places, self._upload() as upload:
            form = ArchiveForm(upload, boundary, check)
            await receive_form(self._receive, upload, form, self._services.limits)
            agreed = self._terms(asked_in_fields(form.fields), has_archive=True)
            await self._services.quotas.admit_batch(agreed.organization)
            return await self._submitted(agreed, upload)

    def _upload(self) -> ArchiveUpload:
        executor = self._services.executor
        return ArchiveUpload(self._intake, executor, is_hashed=self._key is not None)

    async def _submitted(self, agreed: Terms, upload: ArchiveUpload) -> Batch:
        """Hand the batch in; its archive is kept unless it is known that nobody needs it.

        Where it is not known whether the batch was taken, the archive stays: a repeated request may
        need it, and `Uploads.remove_unused` finds what belongs to no batch.
        """
        key = self._key
        await upload.finish(partial(archive_name, agreed, key) if key is not None else None)
        new = await self._new(agreed, upload.name)
        upload.is_kept = True
        try:
            batch, is_new = await self._services.batches.submit(new)
        except errors.DatabaseUnavailable:
            raise
        except errors.GatewayError:
            upload.is_kept = False
            raise
        is_spent = batch.state is BatchState.FAILED and batch.code in _SPENT
        if not is_new and (is_spent or batch.state in _NEEDS_NO_ARCHIVE):
            upload.is_kept = False
        return batch

    def _terms(self, asked: BatchRequest, *, has_archive: bool) -> Terms:
        return terms(self._services, self._intake, self._principal, asked, has_archive=has_archive)

    async def _new(self, agreed: Terms, archive: str | None) -> NewBatch:
        return await new_batch(
            self._intake,
            self._principal,
            agreed,
            archive=archive,
            idempotency_key=self._key,
            request_id=request_id_of(self._scope),
        )


async def _waited(
    request: Request, services: Services, batch: Batch, preferred: Preferences
) -> Batch:
    """Stay with the batch as long as the caller prefers, if there is a place for that."""
    if not preferred.wait_s:
        return batch

    async def next_version(version: int, timeout_s: float) -> Batch:
        return await services.batches.wait(
            batch.organization, batch.batch_id, version=version, timeout_s=timeout_s
        )

    try:
        with services.watchers.place():
            waiting = until_ended(batch, next_version, preferred.wait_s)
            return await while_wanted(request.scope, request.receive, waiting) or batch
    except errors.Unavailable:  # the batch is taken: the caller must learn its id
        return batch
