"""What identifies by its form alone: addresses of all kinds, numbers, dates, persons with titles.

For text that an option cleans instead of removing it. What the instance itself names is found by
``text``; here is what no other attribute of the instance names. Every repetition is bounded, so
that the time for a text grows with its length only. Source: PS3.15 2026d, E.3.5.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from app.deid.rules.dates import all_month_names
from app.deid.rules.identifiers import folded
from app.deid.standard import well_known_uid


def _alternatives(words: Iterator[str]) -> str:
    ordered = sorted(set(words), key=lambda word: (-len(word), word))
    return "(?:" + "|".join(map(re.escape, ordered)) + ")"


_MONTHS = sorted({folded(name) for name in all_month_names()})
_MONTH = _alternatives(iter(_MONTHS)) + r"(?![^\W\d_])\.?"
_PLAIN_SHORT = frozenset("jan feb apr jun jul aug sep nov dec".split())  # noqa: SIM905
# Names of months that are nothing else: not May, not the instrument called Oct.
_PLAIN_MONTH = (
    _alternatives(m for m in _MONTHS if len(m) > 3 or m in _PLAIN_SHORT) + r"(?![^\W\d_])\.?"
)
_ORDINAL = (
    r"(?:(?:twenty|thirty)[\s-]?)?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|"
    r"tenth|eleventh|twelfth|(?:thir|four|fif|six|seven|eigh|nine)teenth|twentieth|thirtieth"
)
_YEAR_IN_WORDS = (
    r"(?:nineteen|twenty|two\sthousand)(?:[\s-](?:and\s)?[a-z]{3,9}(?:[\s-][a-z]{3,5})?)?"
)
_YEAR = r"(?:(?:19|20)\d\d|\d\d)"
_LONG_YEAR = r"(?:19|20)\d\d"
_GAP = r"[\s.,/_-]{0,3}"
_OF = rf"{_GAP}(?:of|de|del|di)?{_GAP}"
_MONTH_NUMBER, _DAY_NUMBER = r"(?:1[0-2]|0?[1-9])", r"(?:3[01]|[12]\d|0?[1-9])"
_LABELS = (
    r"(?:mrn|m\.r\.n\.|ssn|nhs|nip|ipp|dni|nie|pesel|bsn|ahv|kvnr|pid|patid|uhid|hn|acc|accession|"
    r"pat(?:ient)?(?:en)?[\s._-]{0,2}(?:id|no|nr|number|nummer|num)|fall[\s._-]{0,2}(?:nr|nummer|id)?|"
    r"(?:case|order|record|insurance|policy|visit|episode)[\s._-]{0,2}(?:id|no|nr|number)?|"
    r"dossier|auftrag(?:snr|snummer)?|id|ref)"
)
# On folded text: one case, no accents, Western figures where a character has them.
_FORMS = (
    r"(?:https?|s?ftp|file|dicom|ldaps?|urn|mailto):(?://)?\S{1,2000}|\bwww\.\S{1,2000}",
    r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
    # Addresses of networks: IPv4, IPv6, hardware.
    r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])",
    r"(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}(?![\w:])",
    r"(?<!\w)(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?!\w)",
    # Dates: in figures with delimiters, run together, with names of months, with ideographs.
    rf"(?<![\d.])(?:19|20)?\d\d[-/.]{_MONTH_NUMBER}[-/.]{_DAY_NUMBER}(?![\d.])",
    rf"(?<![\d.]){_DAY_NUMBER}(?P<s1>[-/.])\s?{_MONTH_NUMBER}(?P=s1)\s?(?:19|20)?\d\d(?![\d.])",
    rf"(?<![\d.]){_MONTH_NUMBER}(?P<s2>[-/.]){_DAY_NUMBER}(?P=s2)(?:19|20)?\d\d(?![\d.])",
    r"(?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:3[01]|[12]\d|0[1-9])(?:\d{4}|\d{6})?(?!\d)",
    rf"(?<!\w)\d{{1,2}}(?:st|nd|rd|th)?{_OF}{_MONTH}{_OF}{_YEAR}(?!\w)",
    rf"\b{_MONTH}{_GAP}(?:\d{{1,2}}(?:st|nd|rd|th)?\s?,?\s?)?{_LONG_YEAR}(?!\w)",
    rf"(?<!\w)(?:{_ORDINAL})\s(?:of\s|day\sof\s)?{_MONTH}(?:[\s,]{{1,2}}(?:{_YEAR}(?!\w)|{_YEAR_IN_WORDS}))?",
    # Days without a year, and with the name of a month in a language that is not known here.
    rf"(?<![\w.])\d{{1,2}}(?:st|nd|rd|th|\.)?\s?(?:of\s)?{_PLAIN_MONTH}(?!\w)",
    rf"\b{_PLAIN_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?(?![\w.])",
    r"(?<![\w.])\d{1,2}\.?\s[^\W\d_]{3,14}\.?\s(?:19|20)\d\d(?!\w)",
    r"\d{1,4}\s?\u5e74\s?\d{1,2}\s?\u6708(?:\s?\d{1,2}\s?\u65e5)?",
    r"\d{4}\s?\ub144\s?\d{1,2}\s?\uc6d4(?:\s?\d{1,2}\s?\uc77c)?",
    # Telephone numbers: international, with an area code, in groups, behind a label.
    r"(?<![\w.])(?:\+|00)\d(?:[\s()./-]{0,2}\d){6,14}(?!\d)",
    r"(?<![\w.])\(?0\d{1,4}\)?[\s/-]\d{2,5}(?:[\s-]?\d{2,5}){1,3}(?!\d)",
    r"(?<![\w.])\(?\d{3}\)?[-.\s]\d{3}[-.\s]\d{4}(?!\d)",
    r"\b(?:tel|telefon|telephone|phone|ph|fax|mobil|mobile|cell|pager|handy)\b[\s.:#-]{0,4}"
    r"[\d+(][\d\s()./-]{2,24}\d",
    # Numbers of states and insurers by their layout: the United States and others, France, Italy,
    # the Nordic countries, Brazil.
    r"(?<!\d)\d{3}[ -]\d{2}[ -]\d{4}(?!\d)",
    r"(?<!\d)\d{3}[ -]\d{3}[ -]\d{3,4}(?!\d)",
    r"(?<!\d)[12]\s?\d\d\s?\d\d\s?\d[\dab]\s?\d{3}\s?\d{3}(?:\s?\d\d)?(?!\d)",
    r"(?<!\w)[a-z]{6}\d\d[a-z]\d\d[a-z]\d{3}[a-z](?!\w)",
    r"(?<!\d)\d{6}[-+]\d{3,4}[\da-z]?(?!\w)",
    r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d\d(?!\d)",
    # Numbers behind a label that says that they are somebody's.
    rf"\b{_LABELS}\b[\s.:#\u00b0=/_-]{{0,4}}(?=[\w./-]{{0,40}}\d)[\w./-]{{0,64}}\w",
    # Long numbers, with letters before them or not; measures have a point or fewer figures.
    r"(?<![\d.,])[a-z]{0,5}[-_]?\d{6,}(?!\.?\d)",
    r"(?<!\w)[a-z]{1,4}-?\d{2,4}-\d{3,}(?!\w)",
    r"(?<!\w)\d{2,}-\d{2,}-\d{2,}(?!\w)",
    # Streets with their numbers.
    r"(?<!\w)\d{1,5}[a-z]?,?\s(?:[\w'.-]{1,30}\s){1,3}(?:street|st|road|rd|avenue|ave|lane|ln|"
    r"drive|boulevard|blvd|court|square|sq|way)\b\.?",
    r"\b[\w-]{2,30}(?:strasse|stra\u00dfe|str\.|weg|platz|gasse|allee)\s?\d{1,4}\s?[a-z]?\b",
    r"\b(?:rue|via|calle|avenida|avenue|rua|plaza|piazza)\s(?:[\w'.-]{1,30},?\s){1,4}\d{1,4}\b",
)
# One by one: what two forms share goes with both.
_BY_FORM = tuple(map(re.compile, _FORMS))
# On the text as it is written: a capital tells a title from a modality or a unit.
_NAME = r"[^\W\d_][\w'\u2019-]{0,40}"
_CAPITAL = r"(?=[A-Z\u00c0-\u00de\u0370-\u03ff\u0410-\u042f])"
_BY_TITLE = re.compile(
    r"\b(?:(?:Dr|Prof|Mr|Mrs|Ms|Sr|Sra|Hr|Fr|Dott|Sig|Pr|DR|PROF|MRS)\.|"
    r"(?:Dr|Doctor|Prof|Professor|Mr|Mrs|Herrn?|Frau|Mme|Monsieur|Madame|Docteur|Dottor|Signor|"
    r"Se\u00f1or|Se\u00f1ora|Sister|[Nn]urse|Schwester)(?=\s))"
    r"\s{0,2}(?:(?:(?:Dr|Prof|med|dent|vet|Dipl|Ing|rer|nat|habil|h\.\s?c|Priv|Doz|PD)\b\.?)[\s-]{1,2}){0,5}"
    rf"(?:[A-Z]\.\s?){{0,3}}{_CAPITAL}{_NAME}(?:[\s-]{_CAPITAL}{_NAME}){{0,2}}"
)
_BY_LABEL = re.compile(
    r"\b(?i:(?:patient|pat|name|surname|first name|last name|nachname|vorname|nom|pr[e\u00e9]nom|"
    r"operator|technologist|tech|physician|radiologist|surgeon|doctor|doc|arzt|m[e\u00e9]decin|"
    r"(?:referred|requested|performed|reported|signed|asked|read|verified) by)\s?[:=]\s?|"
    r"(?:referred|requested|performed|reported|signed|verified) by\s)"
    rf"{_NAME}(?:(?:,\s|[\s^.-]){_CAPITAL}{_NAME}){{0,3}}"
)
# A degree behind a name.
_BY_DEGREE = re.compile(
    rf"(?<!\w){_CAPITAL}[^\W\d_](?=[\w'\u2019-]{{0,30}}[a-z]){_NAME},?\s(?:MD|M\.\s?D\.|PhD|Ph\.\s?D\.|FRCR|FACR|MBBS|MBChB)(?!\w)"
)
_UID = re.compile(r"(?<![\d.])\d{1,20}(?:\.\d{1,64}){4,30}")


# Descriptions are the same in every instance of a series.
_MAX_KEPT_LENGTH = 256


def found_by_form(text: str) -> tuple[tuple[int, int], ...]:
    """Return begin and end of what identifies by its form; spans may overlap.

    Args:
        text: composed, as ``identifiers.composed`` gives it.
    """
    return _kept(text) if len(text) <= _MAX_KEPT_LENGTH else _found(text)


@lru_cache(maxsize=1024)
def _kept(text: str) -> tuple[tuple[int, int], ...]:
    return _found(text)


def _found(text: str) -> tuple[tuple[int, int], ...]:
    plain = folded(text)
    matches = [match for form in _BY_FORM for match in form.finditer(plain)]
    for pattern in (_UID, _BY_TITLE, _BY_LABEL, _BY_DEGREE):
        matches += pattern.finditer(text)
    return tuple(match.span() for match in matches if not well_known_uid(match.group()))
