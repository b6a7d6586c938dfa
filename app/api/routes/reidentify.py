"""``GET /reidentify`` and ``POST /reidentify/batch``: from pseudonyms back to the patient."""

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response

from app import errors
from app.access.scopes import Scope
from app.api.dependencies import require_role, services_of
from app.api.openapi import problem_responses
from app.api.queries import require_declared
from app.api.reidentify_access import (
    NO_STORE,
    admitted,
    body_of,
    parsed,
    question_of,
    questions_of,
    recorded,
    request_id,
    stated_purpose,
    told,
)
from app.api.reidentify_schemas import (
    BatchAnswer,
    BatchBody,
    BatchItem,
    LookParameters,
    PurposeHeaders,
    Reidentification,
    json_body,
)
from app.api.uses import note_use
from app.vault.disclosure.asking import SUCCESS, Answer, Asked, begun
from app.vault.disclosure.questions import NAMES

NAME: Final = "reidentify"  # of the role and the scope alike

router = APIRouter()


@router.get(
    "/reidentify",
    summary="Find the patient behind pseudonyms",
    responses=problem_responses(400, 401, 403, 404, 409, 422, 429, 503),
)
async def reidentify(
    request: Request,
    response: Response,
    parameters: Annotated[LookParameters, Query()],
    headers: Annotated[PurposeHeaders, Header()],
) -> Reidentification:
    """Answer the original identifiers. Needs the scope `reidentify`.

    Ask by one or several pseudonyms: where they do not belong to one patient and one study nothing
    is answered. A purpose of use (a code of HL7) and a reference are mandatory. Every request is
    counted, and recorded in the audit before it is answered, refused ones as well.
    """
    require_role(services_of(request.scope), NAME)
    services, _, asked = await admitted(request, Scope.REIDENTIFY)

    def read() -> Asked:
        require_declared(request.scope)
        return _look(asked, parameters, headers)

    wanted = await recorded(services, asked, read)
    note_use(request.scope, begun(wanted))
    [answer] = await services.disclosure.answer(wanted)
    if answer.found is None:
        raise errors.PseudonymNotFound
    if wanted.purpose is not None and wanted.purpose.is_break_glass:
        services.metrics.break_glass.inc()
    response.headers.update(NO_STORE)
    return told(answer.found)


@router.post(
    "/reidentify/batch",
    summary="Find the patients of a worklist",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=json_body(BatchBody, "The worklist."),
)
async def reidentify_batch(request: Request, response: Response) -> BatchAnswer:
    """Answer every question of a worklist. Needs the scope `reidentify-batch`.

    Each question is counted and recorded like a request of its own; what is wrong with one of them
    is told beside it. Something that is not well-formed refuses them all.
    """
    require_role(services_of(request.scope), NAME)
    services, _, asked = await admitted(request, Scope.REIDENTIFY_BATCH)
    await recorded(services, asked, lambda: require_declared(request.scope))
    body = await body_of(request)
    most = services.disclosure.limits.max_batch
    wanted = await recorded(services, asked, lambda: _worklist(asked, body, most))
    note_use(request.scope, begun(wanted))
    answers = await services.disclosure.answer(wanted)
    response.headers.update(NO_STORE)
    return BatchAnswer(items=[_item(number, one) for number, one in enumerate(answers, start=1)])


def _look(asked: Asked, parameters: LookParameters, headers: PurposeHeaders) -> Asked:
    if parameters.approval is not None:
        others = parameters.model_dump(exclude={"approval"}, exclude_none=True)
        if others:
            raise errors.InvalidRequest("An approval stands for everything; leave out the rest")
        return replace(asked, approval=request_id(parameters.approval))
    if not any(getattr(parameters, name) for name in NAMES):
        raise errors.InvalidRequest(f"Ask by one or several of {', '.join(NAMES)}")
    purpose = stated_purpose(parameters, headers)
    return replace(asked, purpose=purpose, questions=(question_of(parameters),))


def _worklist(asked: Asked, body: bytes, most: int) -> Asked:
    given = parsed(BatchBody, body)
    asked = replace(asked, is_batch=True)
    if given.approval is not None:
        if given.model_dump(exclude={"approval"}, exclude_none=True):
            raise errors.InvalidRequest("An approval stands for everything; leave out the rest")
        return replace(asked, approval=request_id(given.approval))
    purpose = stated_purpose(given)
    return replace(asked, purpose=purpose, questions=questions_of(given.items or [], most))


def _item(number: int, answer: Answer) -> BatchItem:
    refusal = answer.refusal
    return BatchItem(
        number=number,
        asked=answer.question.given,
        outcome=SUCCESS if refusal is None else refusal.code,
        detail=None if refusal is None else refusal.detail,
        identity=None if answer.found is None else told(answer.found),
    )
