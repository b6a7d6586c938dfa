"""Query parameters as they came: each once, and as text. Pure."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

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
