"""Dates as people write them, from DA and DT values.

Modified dates come with their option; the Basic Profile removes dates or writes dummies.
"""

import datetime as dt
import re
from collections.abc import Iterator
from itertools import islice

from app.deid.rules.identifiers import folded

_KNOWN_DUMMIES = frozenset({"00000000", "19000101", "19000102", "99991231", "99999999"})
# English, German, French, Spanish, Italian, Portuguese, Dutch; short forms are beginnings.
_MONTHS = tuple(
    line.split()
    for line in (
        "january januar jänner janvier enero gennaio janeiro januari",
        "february februar février febrero febbraio fevereiro februari",
        "march märz mars marzo março maart",
        "april avril abril aprile",
        "may mai mayo maggio maio mei",
        "june juni juin junio giugno junho",
        "july juli juillet julio luglio julho",
        "august août agosto augustus",
        "september septembre septiembre settembre setembro",
        "october oktober octobre octubre ottobre outubro",
        "november novembre noviembre novembro",
        "december dezember décembre diciembre dicembre dezembro",
    )
)


# Polish, Czech, Slovak, Russian, Ukrainian, Turkish, Hungarian, Romanian, Croatian, Scandinavian,
# Finnish and Greek, as they stand behind a day.
_FOREIGN_MONTHS = tuple(
    line.split()
    for line in (
        "stycznia ledna januára января січня ocak január ianuarie siječnja tammikuuta ιανουαρίου",
        "lutego února februára февраля лютого "
        "\u015fubat február februarie veljače helmikuuta φεβρουαρίου",
        "marca března марта березня mart március martie ožujka mars marts maaliskuuta μαρτίου",
        "kwietnia dubna apríla апреля квітня nisan április aprilie travnja huhtikuuta απριλίου",
        "maja května mája мая травня may\u0131s május svibnja maj toukokuuta μαΐου",
        "czerwca června júna июня червня haziran június iunie lipnja kesäkuuta ιουνίου",
        "lipca července júla июля липня temmuz július iulie srpnja heinäkuuta ιουλίου",
        "sierpnia srpna augusta августа серпня "
        "ağustos augusztus kolovoza augusti elokuuta αυγούστου",
        "września září septembra сентября вересня "
        "eylül szeptember septembrie rujna syyskuuta σεπτεμβρίου",
        "października října októbra октября жовтня "
        "ekim október octombrie listopada lokakuuta οκτωβρίου",
        "listopada listopadu novembra ноября листопада "
        "kas\u0131m noiembrie studenoga marraskuuta νοεμβρίου",
        "grudnia prosince decembra декабря грудня "
        "aral\u0131k decembrie prosinca joulukuuta δεκεμβρίου",
    )
)
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_BUDDHIST = 543  # years that Thailand counts more
# Eras of Japan: first day, and the year before their first.
_ERAS = (
    (dt.date(2019, 5, 1), 2018, "\u4ee4\u548c"),
    (dt.date(1989, 1, 8), 1988, "\u5e73\u6210"),
    (dt.date(1926, 12, 25), 1925, "\u662d\u548c"),
    (dt.date(1912, 7, 30), 1911, "\u5927\u6b63"),
)


def day_of(value: str) -> dt.date | None:
    """Return the calendar day of a DA or DT value; None for dummies and what is no date."""
    digits = value.strip()[:8]
    if digits in _KNOWN_DUMMIES or len(digits) < 8 or not digits.isdigit():
        return None
    try:
        return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def numeric_forms(day: dt.date) -> Iterator[str]:
    """Yield a day in figures: as DICOM has it, and with the usual delimiters in any order."""
    y, m, d = _figures(day)
    yield y + m + d
    for separator in "-./":
        yield separator.join((y, m, d))
        yield separator.join((d, m, y))
        yield separator.join((m, d, y))


def _figures(day: dt.date) -> tuple[str, str, str]:
    """Return year, month and day in figures: many times as fast as by format codes."""
    return f"{day.year:04}", f"{day.month:02}", f"{day.day:02}"


def short_days(day: dt.date) -> set[str]:
    """Return a day in six figures, in any order: they count only by themselves, and in text."""
    y, m, d = _figures(day)
    return {d + m + y[2:], y[2:] + m + d, m + d + y[2:]}


def written_forms(day: dt.date) -> Iterator[str]:
    """Yield a day as people write it: with short years, bare figures and names of months."""
    yield from numeric_forms(day)
    y, m, d = _figures(day)
    yield from (d + m + y, m + d + y)
    for mm, dd in dict.fromkeys(((m, d), (str(day.month), str(day.day)))):
        for separator in ("-", ".", "/", " ", ". "):
            yield separator.join((y, mm, dd))
            yield separator.join((y[2:], mm, dd))
            for yy in (y, y[2:]):
                yield separator.join((dd, mm, yy))
                yield separator.join((mm, dd, yy))
    yield from _foreign_forms(day)
    nth = _ordinal(day.day)
    for month in month_names(day):
        for dd in dict.fromkeys((d, str(day.day))):
            for first, second in ((" ", " "), ("-", "-"), (". ", " "), ("", "")):
                yield f"{dd}{first}{month}{second}{y}"
            yield from (f"{month} {dd}, {y}", f"{month} {dd} {y}", f"{month}-{dd}-{y}")
            yield from (f"{dd}-{month}-{y[2:]}", f"{month}-{dd}-{y[2:]}")
        yield from (f"{nth} {month} {y}", f"{nth} of {month} {y}", f"{month} {nth}, {y}")


def _foreign_forms(day: dt.date) -> Iterator[str]:
    """Yield a day with Roman numbers, *de*, a Buddhist year, and in more languages.

    Only what is ASCII: in other text every word is looked at, whatever the search says.
    """
    y, m, d = _figures(day)
    months = [f"de {month} de" for month in _MONTHS[day.month - 1]]
    months += [_ROMAN[day.month - 1], *_FOREIGN_MONTHS[day.month - 1]]
    ascii_months = list(filter(str.isascii, months))
    for mm, dd in dict.fromkeys(((m, d), (str(day.month), str(day.day)))):
        yield from (f"{dd} {month} {y}" for month in ascii_months)
        yield f"{dd}/{mm}/{day.year + _BUDDHIST}"


def _years(day: dt.date) -> list[str]:
    """Return a day's year, also as Japan counts it."""
    eras = (f"{era}{day.year - before}" for first, before, era in _ERAS if day >= first)
    return [f"{day.year:04}", *islice(eras, 1)]


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 != 1 else 0, "th")
    return f"{number}{suffix}"


def all_month_names() -> Iterator[str]:
    """Yield the names and short forms of every month."""
    for names in _MONTHS:
        for name in names:
            yield from (name, name[:3])


def month_names(day: dt.date) -> list[str]:
    """Return the names and short forms of the day's month."""
    names = _MONTHS[day.month - 1]
    return list(dict.fromkeys([*names, *(name[:3] for name in names)]))


def date_pattern(day: dt.date) -> str:
    """Return a regular expression for folded text in which the day is written in any way."""
    year, month, date = _figures(day)
    y = f"(?:{year}|{year[2:]}|{day.year + _BUDDHIST})"
    m, d = f"0?{day.month}", f"0?{day.day}"
    name = "(?:" + "|".join(map(re.escape, _folded_names(day))) + r")\.?"
    foreign = "|".join(map(folded, _FOREIGN_MONTHS[day.month - 1]))
    # st nd rd th, and of de del di: sets of letters compile in half the time of lists of words.
    nth = f"{d}(?:[snrt][tdh])?"
    any_gap = r"[\W_]*"
    # Between figures a colon tells a time, but for a whole year.
    gap, link = r"[^a-z0-9:]{1,3}", r"[\W_]*(?:[od][fei]l?)?[\W_]*"
    ways = (
        rf"{year}{month}{date}(?:\d\d){{0,3}}|{date}{month}{year}|{month}{date}{year}",
        f"{y}{gap}{m}{gap}{d}|{d}{gap}{m}{gap}{y}|{m}{gap}{d}{gap}{y}",
        f"{year}:{month}:{date}|{date}:{month}:{year}|{month}:{date}:{year}",
        f"{nth}{link}{name}{link}{y}|{name}{any_gap}{nth}{gap}{y}|{y}{link}{name}{link}{nth}",
        f"{d}{gap}(?:{_ROMAN[day.month - 1]}|{foreign}){gap}{year}",
        rf"(?:{'|'.join(_years(day))})\s?[\u5e74\ub144]\W{{0,3}}0?{day.month}\s?[\u6708\uc6d4]\W{{0,3}}{d}\s?[\u65e5\uc77c]",
    )
    return rf"(?<!\d)(?:{'|'.join(ways)})(?!\d)"


def _folded_names(day: dt.date) -> list[str]:
    return sorted({folded(name) for name in month_names(day)}, key=lambda n: (-len(n), n))
