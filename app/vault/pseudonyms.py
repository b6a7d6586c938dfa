"""How a pseudonym is made: keyed and pure. No I/O, clock, randomness or log.

Every pseudonym is HMAC-SHA-256 under a key of its own purpose, derived from the organisation's
root, so that equal inputs give equal pseudonyms for ever and nobody without the key can test a
guess. Storing them and finding the way back is in `service`.
"""

import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from app.errors import InvalidRequest, MistypedCloudStudyId

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MAX_OFFSET_DAYS: Final = 5 * 365

_STUDY_SYMBOLS: Final = 13
_PATIENT_SYMBOLS: Final = 11
_MAX_TYPED: Final = 64
_SYMBOL_VALUES: Final = {symbol: value for value, symbol in enumerate(ALPHABET)}
_AS_TYPED: Final = str.maketrans(
    dict.fromkeys("- \t\u00a0\u2010\u2011\u2012\u2013\u2212")
    | {"O": "0", "I": "1", "L": "1", "o": "0", "i": "1", "l": "1"}
)
# Within a longer text, such as a Patient ID that begins with the organisation.
_STUDY_WITHIN: Final = re.compile(
    rf"(?<![0-9A-Z])[{ALPHABET}]{{5}}-[{ALPHABET}]{{5}}-[{ALPHABET}]{{4}}(?![0-9A-Z])"
)
_PATIENT_WITHIN: Final = re.compile(rf"(?<![0-9A-Z])P[{ALPHABET}]{{12}}(?![0-9A-Z])")
# RFC 9562, 5.8: the value of a 2.25 UID is a UUID; version 8 leaves 122 bits to the digest.
# The fixed bits also mean that the number is never 0: it has 24 to 39 digits.
_UUID_FIELDS: Final = ~((0xF << 76) | (0x3 << 62)) & ((1 << 128) - 1)
_UUID_VERSION: Final = (0x8 << 76) | (0x2 << 62)


class Pseudonyms:
    """The pseudonyms of one organisation.

    Args:
        root_key: the organisation's root, 32 bytes (`GatewayKeys.organization_root`).
        organization: its id; enters every derived key, so that roots mixed up do not link.

    Raises:
        ValueError: the root is not 32 bytes.
    """

    __slots__ = ("_cloud_patient_id", "_cloud_study_id", "_keys", "_uid", "organization")

    def __init__(self, root_key: bytes, organization: str) -> None:
        if len(root_key) != 32:
            raise ValueError("an organisation's root key has 32 bytes")
        self.organization = organization
        self._keys = {
            purpose: _subkey(root_key, purpose, organization)
            for purpose in ("uid", "study", "patient", "offset", "lookup")
        }
        self._uid = lru_cache(maxsize=4096)(self._derive_uid)
        self._cloud_study_id = lru_cache(maxsize=1024)(self._derive_cloud_study_id)
        self._cloud_patient_id = lru_cache(maxsize=1024)(self._derive_cloud_patient_id)

    def __repr__(self) -> str:
        return f"Pseudonyms({self.organization!r})"

    def uid(self, original: str) -> str:
        """Replace a UID by value: ``2.25.`` and a UUID in decimal, at most 44 characters.

        Source: PS3.5 2026d, B.2; RFC 9562, 5.8 (version 8).

        Args:
            original: the UID without its padding; may be empty or malformed.
        """
        return self._uid(original)

    def cloud_study_id(self, study_uid: str) -> str:
        """Name a study: 13 symbols (65 bits) and a check symbol, such as ``7QM2X-9THV4-CBK8``."""
        return self._cloud_study_id(study_uid)

    def cloud_patient_id(self, subject: str) -> str:
        """Name a subject: ``P``, 11 symbols (55 bits) and a check symbol, without hyphens.

        Args:
            subject: the canonical text that stands for the person; opaque here.
        """
        return self._cloud_patient_id(subject)

    def date_offset_days(self, subject: str) -> int:
        """Days to shift a subject's dates by: never 0, at most `MAX_OFFSET_DAYS` either way."""
        steps = self._number("offset", subject) % (2 * MAX_OFFSET_DAYS)
        days = steps - MAX_OFFSET_DAYS
        return days if days < 0 else days + 1

    def lookup(self, kind: str, value: str) -> bytes:
        """Hash a value for a look-up column, 32 bytes; equal values of other kinds differ."""
        return self._digest("lookup", f"{len(kind)}:{kind}{value}")

    def _derive_uid(self, original: str) -> str:
        number = int.from_bytes(self._digest("uid", original)[:16], "big")
        return f"2.25.{number & _UUID_FIELDS | _UUID_VERSION}"

    def _derive_cloud_study_id(self, study_uid: str) -> str:
        symbols = _checked(self._number("study", study_uid), _STUDY_SYMBOLS)
        return _grouped(symbols)

    def _derive_cloud_patient_id(self, subject: str) -> str:
        return "P" + _checked(self._number("patient", subject), _PATIENT_SYMBOLS)

    def _number(self, purpose: str, value: str) -> int:
        return int.from_bytes(self._digest(purpose, value), "big")

    def _digest(self, purpose: str, value: str) -> bytes:
        return hmac.digest(self._keys[purpose], value.encode("utf-8", "surrogatepass"), "sha256")


def parse_cloud_study_id(text: str) -> str:
    """Read a cloud study id as people type it and return its canonical form.

    Lower case, spaces, missing or typographic hyphens, O for 0 and I or L for 1 are understood.

    Raises:
        MistypedCloudStudyId: length, alphabet or check symbol do not fit.
    """
    if len(text) > _MAX_TYPED:
        raise MistypedCloudStudyId
    symbols = text.translate(_AS_TYPED)
    if not symbols.isascii() or len(symbols) != _STUDY_SYMBOLS + 1:
        raise MistypedCloudStudyId
    values = [_SYMBOL_VALUES.get(symbol) for symbol in symbols.upper()]
    known = [value for value in values if value is not None]
    if len(known) != len(values) or _check_value(known[:-1]) != known[-1]:
        raise MistypedCloudStudyId
    return _grouped(symbols.upper())


def cloud_study_ids_in(text: str) -> Sequence[str]:
    """Find well-formed cloud study ids within a text, in either case."""
    return [found for found in _STUDY_WITHIN.findall(text.upper()) if _has_check(found)]


def cloud_patient_ids_in(text: str) -> Sequence[str]:
    """Find well-formed cloud patient ids within a text, in either case."""
    return [found for found in _PATIENT_WITHIN.findall(text.upper()) if _has_check(found[1:])]


def _has_check(pseudonym: str) -> bool:
    values = [_SYMBOL_VALUES[symbol] for symbol in pseudonym.replace("-", "")]
    return _check_value(values[:-1]) == values[-1]


def parse_cloud_patient_id(text: str) -> str:
    """Read a cloud patient id and return its canonical form.

    Raises:
        InvalidRequest: length, alphabet or check symbol do not fit.
    """
    symbols = text.strip().upper()
    values = [_SYMBOL_VALUES.get(symbol) for symbol in symbols[1:]]
    known = [value for value in values if value is not None]
    is_whole = len(known) == len(values) == _PATIENT_SYMBOLS + 1
    if not is_whole or symbols[0] != "P" or _check_value(known[:-1]) != known[-1]:
        raise InvalidRequest("This is not a cloud patient id; check it for typing errors")
    return symbols


def _subkey(root_key: bytes, purpose: str, organization: str) -> bytes:
    info = f"deid-gateway pseudonyms v1 {purpose} {organization}".encode()
    return HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(root_key)


def _checked(number: int, count: int) -> str:
    values = [number >> (5 * place) & 31 for place in range(count)]
    values.append(_check_value(values))
    return "".join([ALPHABET[value] for value in values])


def _check_value(values: list[int]) -> int:
    """Weigh each symbol with another power of x in GF(32), x^5 + x^2 + 1.

    The weights are distinct and not 0 for up to 30 symbols, so one wrong symbol and any two
    symbols swapped always change the result; other errors pass with a chance of 1 in 32.
    """
    check = 0
    for value in values:
        check = (check ^ value) << 1
        if check & 32:
            check ^= 0b100101
    return check


def _grouped(symbols: str) -> str:
    return f"{symbols[:5]}-{symbols[5:10]}-{symbols[10:]}"
