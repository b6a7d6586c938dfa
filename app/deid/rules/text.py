"""Identifying values of one instance, and kept text cleaned of them.

Whatever a profile keeps, a kept text in which a value stands that identifies somebody in this very
instance is cleaned of it. Source: PS3.15 2026d, E.2 (the profile protects against identification
by any attribute), E.3.5.
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from app.deid.standard import ROWS, keyword
from app.dicom.elements import CHARSET_VRS


class Kind(StrEnum):
    """What an identifying value is, which decides how it is looked for."""

    NAME = "name"
    ID = "id"
    DATE = "date"
    PHRASE = "phrase"


@dataclass(frozen=True, slots=True, repr=False)
class Identifier:
    """One identifying value of the original: hidden from ``repr``."""

    kind: Kind
    text: str


_ID_WORDS = ("ID", "IDs", "Identifier", "Number", "Numbers", "Locator")
# Attributes whose whole value identifies somebody or some place when it stands in other text.
_PHRASES = frozenset(
    {
        0x00080054,  # Retrieve AE Title
        0x00080080,  # Institution Name
        0x00080081,  # Institution Address
        0x00080092,  # Referring Physician's Address
        0x00080094,  # Referring Physician's Telephone Numbers
        0x00081010,  # Station Name
        0x00100021,  # Issuer of Patient ID
        0x00100050,  # Patient's Insurance Plan Code
        0x00101040,  # Patient's Address
        0x00101050,  # Insurance Plan Identification
        0x00102150,  # Country of Residence
        0x00102152,  # Region of Residence
        0x00102154,  # Patient's Telephone Numbers
        0x00102155,  # Patient's Telecom Information
        0x00102299,  # Responsible Organization
        0x00400001,  # Scheduled Station AE Title
        0x00400010,  # Scheduled Station Name
        0x00400241,  # Performed Station AE Title
        0x00400242,  # Performed Station Name
        0x00401005,  # Requested Procedure Location
        0x00402008,  # Order Entered By
        0x00402010,  # Order Callback Phone Number
    }
)


@lru_cache(maxsize=8192)
def identifying_kind(tag: int, vr: str) -> Kind | None:
    """Say whether the value of an attribute identifies somebody, and how it is looked for."""
    if vr == "PN":
        return Kind.NAME
    if vr in {"DA", "DT"}:
        return Kind.DATE
    if tag in _PHRASES:
        return Kind.PHRASE
    row = ROWS.get(tag)
    if row is None or vr not in CHARSET_VRS or row.basic == "K":
        return None
    return Kind.ID if keyword(tag).endswith(_ID_WORDS) else None


# Parts of names that are titles or placeholders, not names.
_NO_NAMES = frozenset(
    "dr md prof mrs miss phd rn np rt the and von van der den del dos das "  # noqa: SIM905
    "anonymous anonymized anonymised anonymus anon unknown removed redacted none null".split()
)
_SEPARATORS = re.compile(r"[\s^=\\,;:._/()\[\]*\"'+-]+")
NUMERIC = re.compile(r"[-+0-9.eE]*")
_WORD = re.compile(r"[^\W_]+")
_KNOWN_DUMMY_DATES = frozenset({"00000000", "19000101", "19000102", "99991231", "99999999"})
_MIN_NAME = 3
MIN_ID = 4
# From this length on a value is looked for inside words too.
ANYWHERE = 5
# Whole CS values that are terms of the standard and may be somebody's name as well.
# Source: PS3.3 2026d (Modality, Image Type and others); PS3.16 2026d, Annex L (body parts).
TERMS = frozenset(
    "ABDOMEN ANKLE AORTA ARM BACK BODY BRAIN BREAST CHEST CLAVICLE COLON EAR ELBOW EYE "  # noqa: SIM905
    "FACE FEMUR FINGER FOOT FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW KIDNEY KNEE LEG "
    "LIVER LUNG NECK NOSE ORBIT PELVIS PROSTATE RIB SHOULDER SKULL SPINE STOMACH THIGH THORAX "
    "TOE WRIST ANGIO AXIAL CODE COMPOSITE DERIVED DIFFUSION DYNAMIC FLUOROSCOPY FUNCTIONAL GATED "
    "IMAGE LOCALIZER MIXED MULTI NORMAL NUM ORIGINAL OTHER PATIENT PERFUSION PRIMARY REPROJECTION "
    "SCOUT SECONDARY STATIC TEXT TOMO VOLUME WHOLE AR AU CR CT DOC DX ECG ES GM IO IVUS KO LEFT "
    "MG MR NM NONE OCT OP OT PR PT PX RF RG RIGHT RTDOSE RTIMAGE RTPLAN RTSTRUCT SC SEG SM SR US "
    "XA XC".split()
)


# What the gateway itself writes in the place of values: met again, it identifies nobody.
_REPLACEMENTS = frozenset({"removed", "redacted", "unknown"})


def is_replacement(text: str) -> bool:
    """Say whether a value is one of the dummy texts, from an earlier de-identification."""
    return text.strip("\0 ^").casefold() in _REPLACEMENTS


def name_parts(text: str) -> Iterator[str]:
    """Yield the searchable parts of a PN value: name components, and names of few letters joined.

    Source: PS3.5 2026d, 6.2.1 (component groups and components).
    """
    for person in text.split("\\"):
        for group in person.split("="):
            components = [c.strip() for c in group.split("^")]
            parts = [p for c in components[:3] for p in _SEPARATORS.split(c) if p]
            for part in parts:
                if _is_name(part):
                    yield part
            # Short names identify only together: "Ng Vi", "NgVi".
            if len(parts) > 1 and not any(map(_is_name, parts)):
                for pair in (parts[:2], parts[1::-1]):
                    yield " ".join(pair)
                    yield "".join(pair)


def _is_name(part: str) -> bool:
    if part.casefold() in _NO_NAMES or part.isdigit():
        return False
    return len(part) >= (2 if _is_wide(part) else _MIN_NAME)


def _is_wide(part: str) -> bool:
    """Say whether a text is written in ideographs or syllables, which carry more than letters."""
    return not part.isascii() and any(unicodedata.east_asian_width(c) in "WF" for c in part)


def counts_anywhere(part: str) -> bool:
    """Say whether a part of a name is looked for inside words too."""
    return len(part) >= ANYWHERE or _is_wide(part)


def digit_runs(text: str) -> list[str]:
    """Return the long numbers in an identifier: they identify without what stands around them."""
    return [run for run in re.findall(r"\d{6,}", text) if run != text.strip()]


_MONTHS = "January February March April May June July August September October November December"


def written_dates(value: str) -> Iterator[str]:
    """Yield the usual written forms of a DA or DT value; nothing for what is no date."""
    day = _day(value.strip()[:8])
    if day is None:
        return
    y, m, d = f"{day:%Y}", f"{day:%m}", f"{day:%d}"
    yield y + m + d
    yield from (d + m + y, m + d + y)
    for sep in "-./ ":
        for mm, dd in dict.fromkeys(((m, d), (m.lstrip("0"), d.lstrip("0")))):
            yield sep.join((y, mm, dd))
            for yy in (y, y[2:]):
                yield sep.join((dd, mm, yy))
                yield sep.join((mm, dd, yy))
    yield from _with_month_name(day)


def _day(digits: str) -> dt.date | None:
    if digits in _KNOWN_DUMMY_DATES or not digits.isdigit():
        return None
    try:
        return dt.datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007 - DA has no zone
    except ValueError:
        return None


def _with_month_name(day: dt.date) -> Iterator[str]:
    y, d = f"{day:%Y}", f"{day:%d}"
    month = _MONTHS.split()[day.month - 1]
    for name in {month, month[:3]}:
        for dd in dict.fromkeys((d, d.lstrip("0"))):
            for gap in (" ", "-", ". ", ""):
                yield f"{dd}{gap}{name}{gap}{y}"
            yield f"{name} {dd}, {y}"
            yield f"{name} {dd} {y}"


def id_core(text: str) -> str:
    """Return an identifier without punctuation, in lower case."""
    return "".join(_WORD.findall(text)).casefold()


def _id_pattern(text: str) -> str | None:
    core = [c for c in text if c.isalnum()]
    if len(core) < MIN_ID:
        return None
    pattern = r"[\W_]{0,2}".join(map(re.escape, core))
    return pattern if len(core) >= ANYWHERE + 1 else _bounded(pattern)


def _bounded(pattern: str) -> str:
    return rf"(?<![^\W_]){pattern}(?![^\W_])"


def _patterns(identifiers: Iterable[Identifier]) -> Iterator[str]:
    for identifier in identifiers:
        yield from _PATTERNS[identifier.kind](identifier.text)


def _name_patterns(text: str) -> Iterator[str]:
    for part in name_parts(text):
        escaped = r"\s+".join(map(re.escape, folded(part).split()))
        yield escaped if counts_anywhere(part) else _bounded(escaped)


def _date_patterns(text: str) -> Iterator[str]:
    for form in written_dates(text):
        yield rf"(?<!\d){re.escape(form.casefold())}(?!\d)"


def _id_patterns(text: str) -> Iterator[str]:
    for value in text.split("\\"):
        if (pattern := _id_pattern(folded(value))) is not None:
            yield pattern
        for run in digit_runs(value):
            yield rf"(?<!\d){run}(?!\d)"


def _phrase_patterns(text: str) -> Iterator[str]:
    for value in text.split("\\"):
        words = _WORD.findall(folded(value))
        if sum(map(len, words)) >= MIN_ID:
            yield _bounded(r"[\W_]+".join(map(re.escape, words)))


_PATTERNS = {
    Kind.NAME: _name_patterns,
    Kind.DATE: _date_patterns,
    Kind.ID: _id_patterns,
    Kind.PHRASE: _phrase_patterns,
}


def folded(text: str) -> str:
    """Return ``text`` in one case and without accents, character for character."""
    if text.isascii():
        return text.lower()
    characters = []
    for character in text:
        base = unicodedata.normalize("NFD", character)[0].lower()
        characters.append(base if len(base) == 1 else character)
    return "".join(characters)


_UID_RUN = re.compile(r"(?<![0-9.])[0-2](?:\.[0-9]+){3,}")


class TextCleaner:
    """Takes the identifying values of one instance out of kept text.

    Args:
        identifiers: the values.
        uids: original UIDs that the instance's plan maps.
    """

    def __init__(self, identifiers: Iterable[Identifier], uids: frozenset[str]) -> None:
        patterns = sorted(set(_patterns(identifiers)), key=lambda p: (-len(p), p))
        self._pattern = re.compile("|".join(patterns)) if patterns else None
        self._uids = uids

    def clean(self, text: str, *, vr: str) -> str:
        """Return ``text`` without identifying values; the same text where there is none.

        Args:
            text: the decoded value, all components of a multi-valued one.
            vr: decides what may stand in the place of what is taken out.
        """
        if vr in {"CS", "AE", "DS", "IS", "AS", "TM"}:
            return "\\".join(self._clean_term(term, vr) for term in text.split("\\"))
        cleaned = self._without_uids(self._without_matches(text, " "))
        if cleaned == text:
            return text
        return re.sub(r"[ \t]{2,}", " ", cleaned).strip()

    def _without_matches(self, text: str, replacement: str) -> str:
        if self._pattern is None:
            return text
        pieces: list[str] = []
        end = 0
        for match in self._pattern.finditer(folded(text)):
            pieces += (text[end : match.start()], replacement)
            end = match.end()
        return "".join([*pieces, text[end:]]) if pieces else text

    def _without_uids(self, text: str) -> str:
        return _UID_RUN.sub(
            lambda run: " " if _is_under(run.group(), self._uids) else run.group(), text
        )

    def _clean_term(self, term: str, vr: str) -> str:
        bare = term.strip()
        if vr == "CS" and bare in TERMS:
            return term
        if vr in {"DS", "IS"} and NUMERIC.fullmatch(bare):
            whole = self._pattern is not None and self._pattern.fullmatch(folded(bare))
            return "0" if whole and len(id_core(bare)) > ANYWHERE else term
        if self._without_matches(bare, " ") == bare:
            return term
        return {"AS": "000Y", "DS": "0", "IS": "0", "TM": "000000"}.get(vr, "REMOVED")


def _is_under(run: str, uids: frozenset[str]) -> bool:
    """Say whether a dotted number is one of the UIDs or continues one."""
    if run in uids:
        return True
    parts = run.split(".")
    return any(".".join(parts[:n]) in uids for n in range(5, len(parts)))
