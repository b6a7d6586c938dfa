"""Specific Character Set: values to text and back.

pydicom's tables and ISO 2022 state machine do the work; its warnings quote values, so they are
kept from getting out.
"""

import re
import unicodedata
import warnings
from collections.abc import Sequence
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes, encode_string

_ESCAPE = b"\x1b"
# Delimiters that reset the code extension of ISO 2022. Source: PS3.5 2026d, 6.1.2.5.3.
_RESETS = set(map(ord, "\\^=\n\r\t\f"))
_ESCAPES = re.compile(rb"\x1b(?:\$[()]?|[(),\-./])[A-Z0-9]")

# Katakana of ISO-IR 13 is of half width; its codec in Python has the full width as well, as two
# bytes that the character set does not know. Source: PS3.3 2026d, C.12.1.1.2; PS3.5 2026d, H.
_JIS_X_0201 = "shift_jis"
_NO_KANJI = frozenset({_JIS_X_0201, "iso8859"})
_NARROW = {ord(unicodedata.normalize("NFKC", chr(code))): code for code in range(0xFF61, 0xFFA0)}


@lru_cache(maxsize=256)
def encodings_of(charset: bytes) -> tuple[str, ...]:
    """Return the Python codecs of a Specific Character Set value; unknown terms count as ASCII.

    Args:
        charset: the element's bytes, padding allowed; empty for the default repertoire.
    """
    terms = [term.strip() for term in charset.decode("ascii", "replace").rstrip("\0 ").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found: Sequence[str] = convert_encodings(terms)
        except (LookupError, ValueError):
            return ("iso8859",)
    return tuple(found) or ("iso8859",)


def decode(value: bytes, charset: bytes) -> str:
    """Return the text of a value; bytes that the character set does not allow are replaced."""
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    encodings = encodings_of(charset)
    if _ESCAPE not in value:
        return value.decode(encodings[0], "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode_bytes(value, encodings, _RESETS)


def encode(text: str, charset: bytes) -> bytes:
    """Return the bytes of ``text``; characters outside the character set become ``?``."""
    if text.isascii():
        return text.encode("ascii")
    encodings = encodings_of(charset)
    if _JIS_X_0201 in encodings and _NO_KANJI.issuperset(encodings):
        text = unicodedata.normalize("NFD", text).translate(_NARROW)
    if len(encodings) == 1:
        return text.encode(encodings[0], "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encode_string(text, encodings)


def encoded_core(text: str, charset: bytes) -> bytes:
    """Return the bytes of ``text`` without escape sequences at its ends, for searching."""
    return b"".join(_ESCAPES.split(encode(text, charset))[:2]) if text else b""
