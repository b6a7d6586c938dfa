"""Query parameters as they came: each once, as text, and none that the route does not take."""

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Scope

from app import errors


def query_fields(query: bytes) -> Mapping[str, str]:
    """Read query parameters.

    Raises:
        errors.InvalidRequest: one comes twice, or they are not text.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except ValueError:
        raise errors.InvalidRequest("The query parameters are malformed") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise errors.InvalidRequest("A query parameter comes twice")
    return fields


def require_declared(scope: Scope) -> None:
    """Refuse query parameters that the route of a request does not take, and those that come twice.

    A misspelt one must not silently mean something else.

    Raises:
        errors.InvalidRequest: there is one, or they are not text.
    """
    known = sorted(_declared(scope["route"]))
    if not query_fields(scope["query_string"]).keys() <= set(known):
        listed = ", ".join(known) if known else "none"
        raise errors.InvalidRequest(f"There is an unknown parameter; known here: {listed}")


def _declared(route: APIRoute) -> Iterator[str]:
    for field in route.dependant.query_params:
        kind = field.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from kind.model_fields
        else:
            yield field.alias
