"""Mask rules that reviewers proposed, and what a second person decides about them."""

import datetime as dt
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.responses import Response

from app import errors, telemetry
from app.access.principals import Principal
from app.api.dependencies import chosen_organization
from app.api.review import words
from app.api.review.answering import shown
from app.api.review.objects import event_of, organization_of, review_of
from app.api.review.visits import Visit, form_of, redirected
from app.pixels.conditions import All, Test
from app.pixels.model import Box
from app.quarantine.remembering import Remembered, RuleState, WantedRules

RULES: Final = "/review/rules"
MAX_SHOWN: Final = 50
_STATES: Final = {"approve": RuleState.APPROVED, "deny": RuleState.DENIED}
_DONE: Final = {
    "approve": ("Approved. The rule holds within some seconds.", "good"),
    "deny": ("Refused. The rule masks nothing.", "good"),
    "faster": ("Somebody else decided about this rule meanwhile.", ""),
    "own": ("You proposed this rule: another person must approve it.", "bad"),
}


@dataclass(frozen=True, slots=True)
class RuleView:
    """One proposed rule in words."""

    id: str
    organization: str
    device: str
    shape: str
    age: str
    proposed_by: str
    is_own: bool
    columns: int
    rows: int
    masks: tuple[Box, ...]

    @property
    def address(self) -> str:
        """Where it is decided about."""
        return f"{RULES}/{self.organization}/{self.id}"


async def listed(visit: Visit) -> Response:
    """Show the rules of one organisation that wait for a second person."""
    asked = visit.request.query_params
    organization = chosen_organization(visit.who, asked.get("organization"))
    wanted = WantedRules(state=RuleState.PROPOSED, limit=MAX_SHOWN)
    found = await review_of(visit).rules(organization, wanted)
    message, tone = _DONE.get(asked.get("done", ""), ("", ""))
    now = telemetry.utc_now()
    return shown(
        visit,
        "rules",
        place="rules",
        rules=[of_rule(rule, visit.who, now) for rule in found],
        message=message,
        tone=tone,
        organization=organization,
        organizations=sorted(visit.who.every_organization),
    )


async def decide(visit: Visit) -> Response:
    """Approve a rule or refuse it."""
    fields = await form_of(visit)
    action, organization = fields.get("action", ""), organization_of(visit)
    if action not in _STATES:
        raise errors.InvalidRequest("The form names no decision")
    try:
        rule_id = UUID(visit.request.path_params["rule_id"])
        await review_of(visit).decide_rule(event_of(visit, ""), rule_id, _STATES[action])
    except ValueError:
        raise errors.MaskRuleNotFound from None
    except errors.AlreadyDecided:
        action = "faster"
    except errors.OwnRequest:
        action = "own"
    return redirected(f"{RULES}?organization={organization}&done={action}")


def of_rule(remembered: Remembered, who: Principal, now: dt.datetime) -> RuleView:
    """Put a rule into words."""
    asked = _tests(remembered)
    columns, rows = int(asked.get("columns") or 0), int(asked.get("rows") or 0)
    device = " ".join([asked[name] for name in ("manufacturer", "model") if asked.get(name)])
    return RuleView(
        id=str(remembered.rule_id),
        organization=remembered.organization,
        device=device or "A device without a name",
        shape=words.shape_text({**asked, "frames": 1}),
        age=words.age_text(remembered.proposed_at, now),
        proposed_by=remembered.proposed_by,
        is_own=who.caller == remembered.proposer
        or who.name.lower() == remembered.proposed_by.lower(),
        columns=columns,
        rows=rows,
        masks=tuple(one.box(columns, rows) for one in remembered.rule.mask),
    )


def _tests(remembered: Remembered) -> dict[str, str]:
    """Return what the rule asks of an image, by the attribute's name."""
    match = remembered.rule.match
    parts = match.parts if isinstance(match, All) else (match,)
    return {part.name: part.wanted[0] for part in parts if isinstance(part, Test)}
