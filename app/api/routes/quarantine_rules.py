"""``/quarantine/rules``: mask rules that reviewers remembered, and the second person's word."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from app.api.batch_answers import next_page
from app.api.openapi import problem_responses
from app.api.quarantine_access import NO_STORE, Admission, admission, rule_id
from app.api.quarantine_schemas import RULE_EXAMPLE, RuleList, RuleRepresentation, rule_shown
from app.api.routes.quarantine import MAX_PAGE, Whose
from app.quarantine.remembering import RuleState, WantedRules
from app.quarantine.review import DECIDE_RULE

PATH: Final = "/quarantine/rules"
LIST: Final = "mask-rule-list"

router = APIRouter()

_Named = Annotated[str, Path(alias="rule_id", examples=[RULE_EXAMPLE])]


@router.get(
    PATH,
    summary="List remembered mask rules",
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def show_all(
    entered: Annotated[Admission, Depends(admission(LIST))],
    response: Response,
    organization: Whose = None,
    state: Annotated[RuleState | None, Query(description="Those in this state alone.")] = None,
    before: Annotated[str | None, Query(description="Those before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> RuleList:
    """List the newest first. Needs the scope `review`."""
    reviewer = await entered.reviewer(organization)

    def read() -> WantedRules:
        return WantedRules(state, None if before is None else rule_id(before), limit)

    wanted = await reviewer.read(LIST, read)
    found = await reviewer.review.rules(reviewer.organization, wanted)
    response.headers.update(NO_STORE)
    following = None
    if len(found) == limit:
        following = next_page(
            PATH, organization=organization, state=state, limit=limit, before=found[-1].rule_id
        )
    return RuleList(rules=[rule_shown(one) for one in found], next=following)


@router.post(
    PATH + "/{rule_id}/approve",
    summary="Approve a mask rule",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def approve(
    entered: Annotated[Admission, Depends(admission(DECIDE_RULE[RuleState.APPROVED]))],
    response: Response,
    named: _Named,
    organization: Whose = None,
) -> RuleRepresentation:
    """Let the rule of another person hold from now on. Needs the scope `review`.

    Nobody approves a rule of one's own. Every process knows it after some seconds.
    """
    return await _decided(entered, response, named, organization, RuleState.APPROVED)


@router.post(
    PATH + "/{rule_id}/deny",
    summary="Deny a mask rule",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def deny(
    entered: Annotated[Admission, Depends(admission(DECIDE_RULE[RuleState.DENIED]))],
    response: Response,
    named: _Named,
    organization: Whose = None,
) -> RuleRepresentation:
    """Let it hold never. Needs the scope `review`; whoever proposed it may do so too."""
    return await _decided(entered, response, named, organization, RuleState.DENIED)


@router.post(
    PATH + "/{rule_id}/revoke",
    summary="Revoke a mask rule",
    responses=problem_responses(400, 401, 403, 404, 409, 503),
)
async def revoke(
    entered: Annotated[Admission, Depends(admission(DECIDE_RULE[RuleState.REVOKED]))],
    response: Response,
    named: _Named,
    organization: Whose = None,
) -> RuleRepresentation:
    """Let an approved rule hold no longer. Needs the scope `review`."""
    return await _decided(entered, response, named, organization, RuleState.REVOKED)


async def _decided(
    entered: Admission,
    response: Response,
    named: str,
    organization: str | None,
    state: RuleState,
) -> RuleRepresentation:
    reviewer = await entered.reviewer(organization)
    rule = await reviewer.read(DECIDE_RULE[state], lambda: rule_id(named))
    decided = await reviewer.review.decide_rule(reviewer.event, rule, state)
    response.headers.update(NO_STORE)
    return rule_shown(decided)
