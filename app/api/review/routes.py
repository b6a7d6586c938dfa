"""``/review``: which address leads to which page."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app import errors
from app.api.review import objects, pages, rules, signing_in
from app.api.review.answering import Answer, public, signed_in

_OBJECT: Final = "/review/objects/{organization}/{object_id}"


async def static(request: Request) -> Response:
    """Return a file that pages load."""
    found = pages.static(request.path_params["version"], request.path_params["name"])
    if found is None:
        raise errors.NotFound("There is no such file")
    return found


_PAGES: Final[tuple[tuple[str, str, Answer], ...]] = (
    ("GET", "/review", signed_in(objects.listed)),
    ("GET", "/review/sign-in", public(signing_in.ask)),
    ("POST", "/review/sign-in", public(signing_in.sign_in)),
    ("POST", "/review/sign-out", signed_in(signing_in.sign_out)),
    ("GET", "/review/session", signed_in(signing_in.stay)),
    ("GET", "/review/static/{version}/{name}", static),
    ("GET", "/review/objects/{organization}/next", signed_in(objects.following)),
    ("GET", _OBJECT, signed_in(objects.one)),
    ("POST", _OBJECT, signed_in(objects.decide)),
    ("GET", f"{_OBJECT}/frames/{{number}}", signed_in(objects.frame)),
    ("GET", "/review/rules", signed_in(rules.listed)),
    ("POST", "/review/rules/{organization}/{rule_id}", signed_in(rules.decide)),
)

router = APIRouter()
for method, path, answer in _PAGES:
    router.add_api_route(path, answer, methods=[method], include_in_schema=False)
