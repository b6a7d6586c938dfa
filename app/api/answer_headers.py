"""Headers that stand in every answer, refusals and answers of the bare protocol included."""

from collections.abc import Iterable
from typing import Final, TypeAlias

Header: TypeAlias = tuple[bytes, bytes]

# Answers are data for programs. Where a browser shows one all the same, it runs nothing, loads
# nothing, frames nothing, keeps nothing and tells nobody where it was.
SECURITY: Final[tuple[Header, ...]] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
NO_STORE: Final[Header] = (b"cache-control", b"no-store")
TLS_ONLY: Final[Header] = (b"strict-transport-security", b"max-age=31536000")


def secured(headers: Iterable[Header], *, is_tls: bool) -> list[Header]:
    """Return the headers of an answer with those that every answer has.

    Args:
        headers: of the answer; those of its own stay, such as a cache-control and the content
            security policy of a page that is made for browsers.
        is_tls: whether the answer goes over TLS, and the next request must as well.
    """
    whole = list(headers)
    own = {name for name, _ in whole}
    whole += [header for header in (*SECURITY, NO_STORE) if header[0] not in own]
    if is_tls:
        whole.append(TLS_ONLY)
    return whole
