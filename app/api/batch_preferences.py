"""What a caller prefers and how a request is told from its repetition: two headers, read. Pure.

Source: RFC 7240 (Prefer); the Idempotency-Key header field as the IETF's draft has it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from app import errors

MAX_WAIT_S: Final = 60
MAX_KEY_CHARACTERS: Final = 255

# A preference ends at a comma that stands outside of quotes; its parameters follow semicolons.
_PART: Final = re.compile(r'((?:[^,"]|"(?:[^"\\]|\\.)*")+)')
_PREFERENCE: Final = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?:\"([^\"\\]*)\"|([^\s;\",]*)))?\s*(?:;.*)?"
)
_SECONDS: Final = re.compile(r"[0-9]{1,18}")
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What of the header ``Prefer`` is followed.

    Attributes:
        wait_s: how long the caller waits for the end, at most `MAX_WAIT_S`; None for not at all.
        is_async: the caller wants to be answered before the end.
    """

    wait_s: int | None = None
    is_async: bool = False

    def applied(self, *, has_ended: bool) -> str | None:
        """Return the value of ``Preference-Applied``, where there is one."""
        names = [] if self.wait_s is None else [f"wait={self.wait_s}"]
        if self.is_async and not has_ended:
            names.append("respond-async")
        return ", ".join(names) or None


def preferences(values: Iterable[str]) -> Preferences:
    """Read every ``Prefer`` header; what is not understood is passed over, as it must be."""
    found: dict[str, str] = {}
    for name, value in _preferences(values):
        found.setdefault(name, value)  # of a preference stated twice, the first one counts
    wait = found.get("wait", "")
    wait_s = min(int(wait), MAX_WAIT_S) if _SECONDS.fullmatch(wait) else None
    return Preferences(wait_s, "respond-async" in found)


def idempotency_key(values: Iterable[str]) -> str | None:
    """Return the key that a request bears, if it bears one.

    Raises:
        errors.InvalidRequest: it is given twice, empty, too long or not plain.
    """
    keys = list(values)
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise errors.InvalidRequest(
            f"The Idempotency-Key must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters"
        )
    return keys[0]


def _preferences(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        for part in _PART.findall(value):
            match = _PREFERENCE.fullmatch(part)
            if match:
                yield match[1].lower(), match[2] or match[3] or ""
