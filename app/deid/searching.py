"""The search for identifying values in bytes, compiled once for all instances of a patient.

Looks for names in parts, ids with and without punctuation, dates, phrases; in the declared
character set, UTF-8, UTF-16 and base64; in any case.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ahocorasick_rs import BytesAhoCorasick

from app.deid.rules.text import (
    ANYWHERE,
    MIN_ID,
    Identifier,
    Kind,
    counts_anywhere,
    digit_runs,
    folded,
    id_core,
    is_replacement,
    name_parts,
    written_dates,
)
from app.dicom.text import decode, encoded_core


@dataclass(frozen=True, slots=True, repr=False)
class Search:
    """The compiled search for the identifying values of one instance."""

    automaton: BytesAhoCorasick | None
    lengths: tuple[int, ...]
    bounded: tuple[bool, ...]

    def hits(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each place where an identifying value stands."""
        if self.automaton is None:
            return
        lowered = data.lower()
        for needle, start, stop in self.automaton.find_matches_as_indexes(
            lowered, overlapping=True
        ):
            if self.bounded[needle] and not _is_alone(lowered, start, stop):
                continue
            yield start, stop


# What people put between the characters of a number.
_PUNCTUATION = b" -./_,:^()"


def hits_punctuated(data: bytes, search: Search) -> bool:
    """Say whether a value may stand in the data with other punctuation than it came with."""
    return any(True for _ in search.hits(data.translate(None, _PUNCTUATION)))


def _is_alone(data: bytes, start: int, stop: int) -> bool:
    before, after = data[max(start - 1, 0) : start], data[stop : stop + 1]
    return not (before.isalnum() or after.isalnum())


@lru_cache(maxsize=512)
def compile_search(values: tuple[tuple[Kind, bytes, bytes], ...]) -> Search:
    """Compile the search for identifying values given as (kind, bytes, character set)."""
    needles: dict[bytes, bool] = {}
    for kind, raw, charset in values:
        identifier = Identifier(kind, decode(raw, charset).strip("\0 "))
        if is_replacement(identifier.text):
            continue
        for text, bounded in _forms(identifier):
            for needle in _encoded(text, charset):
                needles[needle] = needles.get(needle, True) and bounded
        for needle in _in_base64(identifier.text, charset):
            needles[needle] = False
    if not needles:
        return Search(None, (), ())
    return Search(
        automaton=BytesAhoCorasick(list(needles)),
        lengths=tuple(map(len, needles)),
        bounded=tuple(needles.values()),
    )


def _forms(identifier: Identifier) -> Iterator[tuple[str, bool]]:
    """Yield each text to be searched for, and whether it counts only between delimiters."""
    text = identifier.text
    if identifier.kind is Kind.NAME:
        for part in name_parts(text):
            yield part, not counts_anywhere(part)
    elif identifier.kind is Kind.DATE:
        for form in written_dates(text):
            yield form, True
    else:
        is_phrase = identifier.kind is Kind.PHRASE
        for value in filter(lambda v: len(id_core(v)) >= MIN_ID, text.split("\\")):
            bounded = is_phrase or len(id_core(value)) <= ANYWHERE
            yield value.strip(), bounded
            if not is_phrase:
                yield id_core(value), bounded
                yield from ((run, True) for run in digit_runs(value))


def _encoded(text: str, charset: bytes) -> set[bytes]:
    """Return the byte forms of a text: declared set, UTF-8 and UTF-16, in each case."""
    if text.isascii():
        return {text.lower().encode()}
    forms: set[bytes] = {folded(text).encode()} if folded(text).isascii() else set()
    for variant in {text, text.lower(), text.upper(), text.title()}:
        forms.add(encoded_core(variant, charset).lower())
        forms |= {variant.encode(codec).lower() for codec in ("utf-8", "utf-16-le", "utf-16-be")}
    return {form for form in forms if len(form) > 2 and b"?" not in form}


_MIN_FOR_BASE64 = 6


def _in_base64(text: str, charset: bytes) -> Iterator[bytes]:
    """Yield what base64 makes of a text at each of the three alignments, ends left out."""
    for value in (text, *re.split(r"[\\^=]", text)):
        for raw in {encoded_core(value, charset), value.encode(), value.encode("utf-16-le")}:
            if len(raw) < _MIN_FOR_BASE64:
                continue
            for shift in range(3):
                coded = base64.b64encode(bytes(shift) + raw).rstrip(b"=").lower()
                # The characters that also carry bits of the neighbours differ with them.
                first = (0, 2, 3)[shift]
                last = len(coded) - (1 if (shift + len(raw)) % 3 else 0)
                yield coded[first:last]
