"""Who is signed in: everything about it lies sealed in the browser's cookie.

The API key itself is in it, so that every request is checked as if the key had been sent: a key
that is revoked ends its sessions. The cookie goes to the pages of `/review` only; no other endpoint
listens to it. No process needs to know of the sessions of another one.
"""

import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.api.clients import SESSION_COOKIE, SESSION_PATH

IDLE_S: Final = 30 * 60
LONGEST_S: Final = 8 * 3600

_NONCE_BYTES: Final = 12
_CONTEXT: Final = b"deid-gateway review cookie v1"
_MAX_COOKIE: Final = 2048
_MAX_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """One browser's session.

    Attributes:
        id: random; never shown.
        csrf: what every form of this session carries.
        started_at: seconds since 1970.
        until: when it ends unless it is used before.
        token: the API key; empty before signing in.
    """

    id: str
    csrf: str = field(repr=False)
    started_at: int
    until: int
    token: str = field(default="", repr=False)

    def is_form_of(self, csrf: str) -> bool:
        """Tell whether a form was made for this session."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "surrogatepass"))


class Sessions:
    """Makes, seals and opens sessions.

    Args:
        key: 32 bytes, the same in every process that serves the pages.
        clock: seconds since 1970.
    """

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._cipher = AESGCM(key)
        self._clock = clock
        self._ended: dict[str, int] = {}

    def begun(self, token: str = "") -> Session:
        """Begin a session, with a key or for somebody who is to sign in yet."""
        now = int(self._clock())
        return Session(
            id=secrets.token_urlsafe(16),
            csrf=secrets.token_urlsafe(16),
            started_at=now,
            until=now + IDLE_S,
            token=token,
        )

    def renewed(self, session: Session) -> Session:
        """Return the session with its time begun anew, up to the longest that any may last."""
        until = min(int(self._clock()) + IDLE_S, session.started_at + LONGEST_S)
        return replace(session, until=until)

    def sealed(self, session: Session) -> str:
        """Return what the cookie holds."""
        content = [session.id, session.csrf, session.started_at, session.until, session.token]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(content).encode(), _CONTEXT)
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def opened(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None where it is not ours, is over or was signed out."""
        if len(cookie) > _MAX_COOKIE:
            return None
        try:
            sealed = base64.b64decode(cookie + "=" * (-len(cookie) % 4), b"-_", validate=True)
            nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            session = Session(*json.loads(self._cipher.decrypt(nonce, content, _CONTEXT)))
        except (binascii.Error, InvalidTag, ValueError):
            return None
        now = self._clock()
        is_over = now >= min(session.until, session.started_at + LONGEST_S)
        return None if is_over or session.id in self._ended else session

    def end(self, session: Session) -> None:
        """Let a session not come back in this process, however often its cookie was copied."""
        now = self._clock()
        for ended in [one for one, until in self._ended.items() if until <= now]:
            del self._ended[ended]
        if len(self._ended) >= _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[session.id] = session.started_at + LONGEST_S


def cookie_of(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the cookie that a request carries; None where there is none, or more than one."""
    lines = b";".join([value for name, value in headers if name == b"cookie"]).decode("latin-1")
    pairs = [part.strip().partition("=") for part in lines.split(";")]
    found = [value for name, _, value in pairs if name == SESSION_COOKIE]
    return found[0] if len(found) == 1 else None


def written(cookie: str, *, is_tls: bool, lasts_s: int = IDLE_S) -> str:
    """Return the header that gives the browser a cookie; with no seconds left it forgets it."""
    parts = [f"{SESSION_COOKIE}={cookie}", f"Path={SESSION_PATH}", f"Max-Age={lasts_s}", "HttpOnly"]
    return "; ".join([*parts, "SameSite=Strict", *(["Secure"] if is_tls else [])])
