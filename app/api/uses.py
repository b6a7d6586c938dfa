"""What a request does, as the audit says it where the request ends in a fault nobody foresaw.

Refusals are audited where they are decided. A fault comes from anywhere, so that its row is written
in one place, the outermost layer; routes tell what they are about once they know it.
"""

from dataclasses import replace
from typing import Final

from starlette.types import Scope

from app import errors, telemetry
from app.api import problems
from app.audit.events import AuditEvent
from app.vault.service import Vault

_USE: Final = "use"


def note_use(scope: Scope, event: AuditEvent) -> None:
    """Remember who does what; what is told later takes the place of what was told before.

    Args:
        scope: of the request.
        event: action and caller, and what of the request is known; its outcome is not read.
    """
    scope["state"][_USE] = event


async def audit_fault(scope: Scope, vault: Vault) -> problems.Problem:
    """Write the row of a request that failed; return what to answer.

    A request of which nobody knows yet who sent it has no row: it has done nothing.
    """
    event: AuditEvent | None = scope["state"].get(_USE)
    problem = problems.internal()
    if event is None:
        return problem
    try:
        await vault.audit(replace(event, outcome=problem.code))
    except errors.GatewayError as error:
        return problems.of_error(error)
    except Exception as error:  # noqa: BLE001 - part of the outermost handler
        kind, where = type(error).__name__, telemetry.place_of(error)
        telemetry.log().error("fault-not-audited", kind=kind, where=where)
        return problems.of_error(errors.DatabaseUnavailable())
    return problem
