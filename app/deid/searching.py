"""The search for identifying values in bytes, compiled once for all instances of a patient.

Looks for names in parts, ids with and without punctuation, dates, phrases; in the declared
character set, UTF-8, UTF-16, base64 and hexadecimal; in any case.
"""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from ahocorasick_rs import BytesAhoCorasick, Implementation

from app.deid.rules.dates import day_of, numeric_forms, short_days, written_forms
from app.deid.rules.disguises import may_be_escaped, reversible
from app.deid.rules.identifiers import (
    ANYWHERE,
    MIN_ID,
    Identifier,
    Kind,
    composed,
    counts_anywhere,
    digit_runs,
    folded,
    id_core,
    is_replacement,
    name_parts,
)
from app.deid.rules.letters import latin_variants
from app.deid.rules.places import ids, phrases
from app.dicom.text import decode, encoded_core
from app.errors import LimitExceeded

Values = tuple[tuple[Kind, bytes, bytes], ...]


@dataclass(frozen=True, slots=True, repr=False)
class Search:
    """The compiled search for the identifying values of one instance.

    Attributes:
        automaton: finds the byte forms; None where there are none.
        bounded: per form, whether it counts only between delimiters.
        squeezed: finds what is left of the texts without anything but letters and digits.
        longest: length of the longest form.
        is_plain: whether every value is ASCII, so that ``squeezed`` sees all spellings.
    """

    automaton: BytesAhoCorasick | None
    bounded: tuple[bool, ...]
    squeezed: BytesAhoCorasick | None
    longest: int
    is_plain: bool

    def hits(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each place where an identifying value stands."""
        if self.automaton is None:
            return
        lowered = data.lower()
        for base, part in _windows(lowered, self.longest):
            for needle, begin, end in self.automaton.find_matches_as_indexes(
                part, overlapping=True
            ):
                start, stop = base + begin, base + end
                if self.bounded[needle] and not _is_alone(lowered, start, stop):
                    continue
                yield start, stop

    def suspects(self, text: bytes) -> bool:
        """Say whether a value may stand in a text in another spelling than it came with.

        A quick look that is wrong at times: who is suspected is read word by word.

        Args:
            text: ASCII; several with ``SEPARATOR`` between them.
        """
        if self.squeezed is None or not text:
            return False
        if not self.is_plain or _ESCAPE in text or may_be_escaped(text):
            return True
        dense = text.translate(_SQUEEZE, _DROPPED)
        windows = _windows(dense, self.longest)
        return any(self.squeezed.find_matches_as_indexes(part) for _, part in windows)


_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
#: What parts the texts that ``suspects`` is given.
SEPARATOR = b"\x1e"
_ESCAPE = b"\x1b"
_DROPPED = bytes(b for b in range(0x80) if b not in _LETTERS and b not in SEPARATOR)
_SQUEEZE = bytes(range(256)).lower()


_WINDOW = 64 * 1024


def _windows(data: bytes, overlap: int) -> Iterator[tuple[int, bytes]]:
    """Yield the data in overlapping parts, so that never many matches are held at a time."""
    if len(data) <= _WINDOW + overlap:
        yield 0, data
        return
    for start in range(0, len(data), _WINDOW):
        yield start, data[start : start + _WINDOW + overlap]


def _is_alone(data: bytes, start: int, stop: int) -> bool:
    before, after = data[max(start - 1, 0) : start], data[stop : stop + 1]
    return not (before.isalnum() or after.isalnum())


# A search over more than this is not kept for the next instance, nor built for speed.
_MAX_KEPT_BYTES = 8192
_MAX_VALUES = 20_000
# The beginning of a long value is enough to find it; names and ids have at most 64 characters.
_MAX_TEXT = 256


def compile_search(values: Values) -> Search:
    """Compile the search for identifying values given as (kind, bytes, character set).

    Raises:
        LimitExceeded: there are more values than one instance can sensibly hold.
    """
    if len(values) > _MAX_VALUES:
        raise LimitExceeded("There are more identifying values than the bound allows")
    if sum(len(raw) for _, raw, _ in values) > _MAX_KEPT_BYTES:
        return _compile(tuple(dict.fromkeys(values)))
    return _kept_search(values)


@lru_cache(maxsize=64)
def _kept_search(values: Values) -> Search:
    return _compile(values)


def _compile(values: Values) -> Search:
    needles: dict[bytes, bool] = {}
    squeezed: set[bytes] = set()
    is_plain = True
    for kind, raw, charset in values:
        identifier = Identifier(kind, _searched_text(kind, decode(raw, charset)))
        if is_replacement(identifier.text):
            continue
        is_plain = is_plain and identifier.text.isascii()
        for text, bounded in _FORMS[kind](identifier.text):
            squeezed.add(id_core(text).encode())
            for needle in _encoded(text, charset):
                needles[needle] = needles.get(needle, True) and bounded
        squeezed |= {text.encode() for text in _other_spellings(identifier)}
        for text in {identifier.text, *_base64_forms(identifier)}:
            needles |= dict.fromkeys(_coded(text, charset), False)
    suspicious = [
        s for s in squeezed if len(s) >= (_MIN_SQUEEZED_NUMBER if s.isdigit() else MIN_ID)
    ]
    return Search(
        automaton=_automaton(list(needles)),
        bounded=tuple(needles.values()),
        squeezed=_automaton(suspicious),
        longest=max(map(len, (*needles, *suspicious)), default=0),
        is_plain=is_plain,
    )


def _searched_text(kind: Kind, text: str) -> str:
    """Return the part of a value that is searched for: each of several values by its beginning."""
    if len(text) <= _MAX_TEXT:
        return composed(text).strip("\0 ")
    delimiter = "\\" if kind is not Kind.NAME else "="
    return delimiter.join(
        composed(part[:_MAX_TEXT]).strip("\0 ")
        for part in text.replace("\\", delimiter).split(delimiter)
    )


def _automaton(needles: list[bytes]) -> BytesAhoCorasick | None:
    if not needles:
        return None
    if sum(map(len, needles)) > 4 * _MAX_KEPT_BYTES:
        # Compiled in linear time; the others take seconds for long or many needles.
        return BytesAhoCorasick(needles, implementation=Implementation.NoncontiguousNFA)
    # As fast as what the library chooses by itself, in half the memory: many are kept.
    return BytesAhoCorasick(needles, implementation=Implementation.ContiguousNFA)


_MIN_SQUEEZED_NUMBER = 6
Form = tuple[str, bool]


def _name_forms(text: str) -> Iterator[Form]:
    for part in name_parts(text):
        bounded = not counts_anywhere("".join(part))
        for joint in (" ", "") if len(part) > 1 else ("",):
            yield joint.join(part), bounded


def _date_forms(text: str) -> Iterator[Form]:
    day = day_of(text)
    yield from ((form, True) for form in (numeric_forms(day) if day else ()))


def _birth_date_forms(text: str) -> Iterator[Form]:
    day = day_of(text)
    yield from ((form, True) for form in (written_forms(day) if day else ()))


def _id_forms(text: str) -> Iterator[Form]:
    for value in ids(text):
        core = id_core(value)
        if len(core) >= MIN_ID:
            yield value.strip(), len(core) <= ANYWHERE
            yield core, len(core) <= ANYWHERE
        yield from ((run, True) for run in digit_runs(folded(value)))


def _phrase_forms(text: str) -> Iterator[Form]:
    yield from ((value, True) for value in phrases(text))


_FORMS: dict[Kind, Callable[[str], Iterator[Form]]] = {
    Kind.NAME: _name_forms,
    Kind.DATE: _date_forms,
    Kind.BIRTH_DATE: _birth_date_forms,
    Kind.ID: _id_forms,
    Kind.PHRASE: _phrase_forms,
}


def _other_spellings(identifier: Identifier) -> Iterator[str]:
    """Yield, in small ASCII letters, what is found in text only, and word by word."""
    if identifier.kind is Kind.NAME:
        for word in ("".join(part).lower() for part in name_parts(identifier.text)):
            if word.isascii():
                yield from latin_variants(word)
                yield from (word[::-1],) if reversible(word) else ()
    elif identifier.kind in {Kind.DATE, Kind.BIRTH_DATE}:
        day = day_of(identifier.text)
        yield from short_days(day) if day else ()


def _base64_forms(identifier: Identifier) -> Iterator[str]:
    """Yield the forms in which a value is most likely to have been encoded."""
    if identifier.kind is Kind.ID:
        yield id_core(identifier.text).upper()
        yield id_core(identifier.text)
    elif identifier.kind is Kind.BIRTH_DATE and (day := day_of(identifier.text)):
        yield from numeric_forms(day)


def _encoded(text: str, charset: bytes) -> set[bytes]:
    """Return the byte forms of a text: declared set, UTF-8 and UTF-16, in each case."""
    if text.isascii():
        return {text.lower().encode()}
    forms: set[bytes] = {folded(text).encode()} if folded(text).isascii() else set()
    for variant in {text, text.lower(), text.upper(), text.title()}:
        forms.add(encoded_core(variant, charset).lower())
        forms |= {variant.encode(codec).lower() for codec in ("utf-8", "utf-16-le", "utf-16-be")}
    return {form for form in forms if len(form) > 2 and b"?" not in form}


_MIN_CODED = 6


def _coded(text: str, charset: bytes) -> Iterator[bytes]:
    """Yield a text in hexadecimal, and in base64 at each of the three alignments, ends left out."""
    for value in (text, *re.split(r"[\\^=]", text)):
        for raw in {encoded_core(value, charset), value.encode(), value.encode("utf-16-le")}:
            if len(raw) < _MIN_CODED:
                continue
            yield from (form.hex().encode() for form in {raw, raw.lower(), raw.upper()})
            for shift in range(3):
                coded = base64.b64encode(bytes(shift) + raw).rstrip(b"=").lower()
                # The characters that also carry bits of the neighbours differ with them.
                first = (0, 2, 3)[shift]
                last = len(coded) - (1 if (shift + len(raw)) % 3 else 0)
                yield coded[first:last]
