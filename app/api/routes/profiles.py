"""``/profiles``: which profiles there are, what they say, and what they do to one object.

The routes that take an object are plain ASGI endpoints, as uploads are; their description for the
OpenAPI document is in ``app.api.profile_openapi``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Final, TypedDict

from fastapi import APIRouter, Path, Request, Response
from starlette.types import Receive, Scope, Send

from app import errors, pipeline
from app.access import scopes
from app.access.principals import Principal
from app.api.dependencies import (
    ANY,
    Services,
    authorise,
    chosen_organization,
    chosen_profile,
    described,
    request_id_of,
    require_role,
    services_of,
)
from app.api.instance_intake import Head, check_size, read_head, receive_instance
from app.api.openapi import problem_responses
from app.api.places import Places
from app.api.profile_schemas import MethodCode, ProfileContent, ProfileList, ProfileSummary
from app.api.queries import require_declared
from app.api.sending import send_from_thread
from app.api.spool import Body, in_thread
from app.audit.events import Action, AuditEvent
from app.deid.linting import weaknesses
from app.deid.profile import Profile
from app.deid.profile_writing import profile_content
from app.pipeline import explaining
from app.pipeline.explaining import Explanations
from app.pipeline.reporting import comparison_json, explanation_json

NAME: Final = "anonymize"  # of the role and the scope
#: Explanations at once; each holds the header of its object twice until it is sent.
MAX_CONCURRENT: Final = 4
MAX_WAITING: Final = 32
_YES_OR_NO: Final = {"true": True, "false": False}

router = APIRouter()


@router.get(
    "/profiles",
    summary="List the confidentiality profiles",
    responses=problem_responses(400, 401, 403, 503),
)
async def list_profiles(request: Request, response: Response) -> ProfileList:
    """Answer the profiles that the caller may choose. Needs the scope `anonymize`."""
    services, principal = await _admitted(request.scope)
    response.headers["Cache-Control"] = "no-store"
    return ProfileList(
        profiles=[
            ProfileSummary(**_summary(profile, principal))
            for profile in services.contexts.profiles()
            if _may_choose(principal, profile.name)
        ]
    )


@router.get(
    "/profiles/{name}",
    summary="Show a confidentiality profile",
    responses=problem_responses(400, 401, 403, 404, 503),
)
async def show_profile(
    request: Request, response: Response, name: Annotated[str, Path(examples=["basic"])]
) -> ProfileContent:
    """Answer what a profile says. Needs the scope `anonymize` and the right to choose it."""
    services, principal = await _admitted(request.scope)
    try:
        chosen = chosen_profile(principal, name)
    except errors.NotAuthorised as denied:
        event = AuditEvent(action=Action.EXPLAIN, request_id=request_id_of(request.scope))
        await services.vault.audit(described(event, principal, outcome=denied.code))
        raise
    profile = services.contexts.get(principal.organization, chosen).profile
    response.headers["Cache-Control"] = "no-store"
    return ProfileContent(
        **_summary(profile, principal),
        method_codes=[
            MethodCode(value=value, scheme="DCM", meaning=meaning)
            for value, meaning in profile.method_codes
        ],
        weaker_rules=[str(weak) for weak in weaknesses(profile.options, profile.overrides)],
        content=profile_content(profile),
    )


async def _admitted(scope: Scope) -> tuple[Services, Principal]:
    services = services_of(scope)
    require_role(services, NAME)
    event = AuditEvent(action=Action.EXPLAIN, request_id=request_id_of(scope))
    principal = await authorise(services, scope, needed=NAME, event=event)
    require_declared(scope)
    return services, principal


def _may_choose(principal: Principal, name: str) -> bool:
    return name in {principal.profile, *principal.profiles} or ANY in principal.profiles


class _Summary(TypedDict):
    name: str
    version: str
    description: str
    options: list[str]
    is_default: bool


def _summary(profile: Profile, principal: Principal) -> _Summary:
    return {
        "name": profile.name,
        "version": profile.version,
        "description": profile.description,
        "options": list(profile.options),
        "is_default": profile.name == principal.profile,
    }


class _Asked(ABC):
    """What takes one object and tells about it; subclasses say what."""

    path: str
    parameters: frozenset[str]

    def __init__(self) -> None:
        self._places = Places(MAX_CONCURRENT, MAX_WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = services_of(scope)
        require_role(services, NAME)
        event = AuditEvent(action=Action.EXPLAIN, request_id=request_id_of(scope))
        principal = await authorise(services, scope, needed=NAME, event=event)
        head = read_head(scope, self.parameters)
        with_values = _flag(head, "values")
        try:
            names = self._chosen(scope, head, principal)
            _check_values(principal, with_values=with_values)
        except errors.NotAuthorised as denied:
            await services.vault.audit(described(event, principal, outcome=denied.code))
            raise
        check_size(head, services)
        actor = pipeline.Actor(principal.name, principal.api_key_id, event.request_id)
        contexts = [services.contexts.get(*name) for name in names]
        async with self._places:
            with Body(services.limits, services.spool_dir, services.executor) as body:
                await receive_instance(receive, body, head, services)
                found = await explaining.run(
                    await body.source(),
                    contexts,
                    vault=services.vault,
                    actor=actor,
                    offload=partial(in_thread, services.executor),
                    with_values=with_values,
                )
                await self._answer(send, receive, services, found, with_values=with_values)

    async def _answer(
        self,
        send: Send,
        receive: Receive,
        services: Services,
        found: Explanations,
        *,
        with_values: bool,
    ) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        pieces = self._pieces(found, with_values=with_values)
        await send_from_thread(send, receive, pieces, services)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @abstractmethod
    def _chosen(self, scope: Scope, head: Head, principal: Principal) -> Sequence[tuple[str, str]]:
        """Return organisation and name of each profile that is asked about."""

    @abstractmethod
    def _pieces(self, found: Explanations, *, with_values: bool) -> Iterator[bytes]:
        """Yield the answer."""


class ExplainObject(_Asked):
    """Answers ``POST /profiles/{name}/explain``."""

    path: str = "/profiles/{name}/explain"
    parameters: frozenset[str] = frozenset({"organization", "values"})

    def _chosen(self, scope: Scope, head: Head, principal: Principal) -> Sequence[tuple[str, str]]:
        organization = chosen_organization(principal, head.parameters.get("organization"))
        return [(organization, chosen_profile(principal, scope["path_params"]["name"]))]

    def _pieces(self, found: Explanations, *, with_values: bool) -> Iterator[bytes]:
        return explanation_json(found[0], values=with_values)


class CompareProfiles(_Asked):
    """Answers ``POST /profiles/compare``."""

    path: str = "/profiles/compare"
    parameters: frozenset[str] = frozenset({"organization", "left", "right"})

    def _chosen(self, scope: Scope, head: Head, principal: Principal) -> Sequence[tuple[str, str]]:
        del scope
        organization = chosen_organization(principal, head.parameters.get("organization"))
        names = [head.parameters.get(side) for side in ("left", "right")]
        if not all(names):
            raise errors.InvalidRequest("Name two profiles, as left and right")
        return [(organization, chosen_profile(principal, name)) for name in names]

    def _pieces(self, found: Explanations, *, with_values: bool) -> Iterator[bytes]:
        del with_values
        return comparison_json(*found)


def _flag(head: Head, name: str) -> bool:
    text = head.parameters.get(name, "false")
    if text not in _YES_OR_NO:
        raise errors.InvalidRequest(f"{name} is true or false")
    return _YES_OR_NO[text]


def _check_values(principal: Principal, *, with_values: bool) -> None:
    """Refuse values to those who may not find a patient.

    Raises:
        errors.NotAuthorised: the caller may not.
    """
    if with_values and scopes.Scope.REIDENTIFY not in principal.scopes:
        raise errors.NotAuthorised("Values need the scope 'reidentify' as well")
