"""A text read in other ways than it stands: escapes undone, gaps inside of words closed.

A name that is spaced out, broken at the end of a line, escaped as in an address of the web, written
backwards or in letters that look alike is the same name. Each reading remembers where its
characters stand, so that what is found in it can be taken out of the text.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.deid.rules.identifiers import WORD, composed, folded

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, repr=False)
class Reading:
    """A text in another reading.

    Attributes:
        text: as it is read.
        starts, stops: begin and end in the original of what each character was read from.
    """

    text: str
    starts: Sequence[int]
    stops: Sequence[int]

    def span(self, start: int, stop: int) -> Span:
        """Return where a part of the reading stands in the original."""
        return self.starts[start], self.stops[stop - 1]


# Letters that UTF-8 looks like where it is read as Latin-1, or as Windows has it.
_WINDOWS = (
    "\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018"
    "\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
)
_BEHIND = f"[\u0080-\u00bf{_WINDOWS}]"
# Escapes of addresses, of mail, of HTML and XML, of JSON and programs, and of RTF; tags that stand
# inside of words.
_ESCAPES = re.compile(
    r"(?P<percent>(?:%[0-9a-fA-F]{2})+)|(?P<quoted>(?:=[0-9A-F]{2})+)|(?P<soft>=\r?\n)"
    r"|(?P<tag></?(?:a|b|br|em|font|i|mark|small|span|strong|sub|sup|u|wbr)(?:\s[^<>]{0,80})?/?>)"
    r"|(?P<entity>&(?:amp;)?(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,8}[0-9]{0,2});)"
    r"|(?P<units>(?:\\u[0-9a-fA-F]{4})+)|(?P<bytes>(?:\\[x'][0-9a-fA-F]{2})+)"
    rf"|(?P<misread>(?:[\u00c2-\u00df]{_BEHIND}|[\u00e0-\u00ef]{_BEHIND}{{2}})+)"
)


def may_be_escaped(data: bytes) -> bool:
    """Say whether text in bytes holds what can be an escape: a quick look, wrong at times."""
    # Every object is asked: to look for these signs takes next to no time.
    may = b"%" in data or b"=" in data or b"&" in data or b"<" in data or b"\\u0" in data
    return may and _ESCAPES_IN_BYTES.search(data) is not None


_ESCAPES_IN_BYTES = re.compile(
    rb"%[0-9a-fA-F]{2}|=(?:[0-9A-F]{2}|\r?\n)|&[#a-zA-Z][0-9a-zA-Z]{1,9};|</?[a-z]|\\u[0-9a-fA-F]{4}"
)


def unescaped(text: str) -> Reading | None:
    """Return a text with its escapes undone; None where it has none."""
    if text.isascii() and not any(sign in text for sign in "%=&<\\"):
        return None
    if _ESCAPES.search(text) is None:
        return None
    letters: list[str] = []
    starts: list[int] = []
    stops: list[int] = []
    at = 0
    for found in _ESCAPES.finditer(text):
        kept = range(at, found.start())
        read = [one for one in _undone(found) if composed(one[0])]
        letters += (text[at : found.start()], *(letter for letter, _, _ in read))
        starts += (*kept, *(begin for _, begin, _ in read))
        stops += (*(place + 1 for place in kept), *(end for _, _, end in read))
        at = found.end()
    kept = range(at, len(text))
    return Reading(
        "".join([*letters, text[at:]]), [*starts, *kept], [*stops, *(i + 1 for i in kept)]
    )


def _undone(found: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the characters of an escape, with begin and end of what stands for each."""
    start, kind = found.start(), found.lastgroup
    if kind == "entity":
        whole = html.unescape(html.unescape(found.group()))
        yield from ((letter, start, found.end()) for letter in whole)
    elif kind == "units":
        raw = bytes.fromhex(found.group().replace("\\u", ""))
        for letter in raw.decode("utf-16-be", "replace"):
            width = 6 if ord(letter) <= _LAST_OF_ONE_UNIT else 12
            yield letter, start, start + width
            start += width
    elif kind == "misread":
        raw = b"".join(map(_as_byte, found.group()))
        yield from _of_bytes(raw, start, 1)
    elif kind not in {"soft", "tag"}:
        width = 4 if kind == "bytes" else 3
        raw = bytes(
            int(found.group()[i - 2 : i], 16) for i in range(width, found.end() - start + 1, width)
        )
        yield from _of_bytes(raw, start, width)


_LAST_OF_ONE_UNIT = 0xFFFF


def _as_byte(letter: str) -> bytes:
    return letter.encode("latin-1" if ord(letter) < _BYTES else "cp1252")


_BYTES = 0x100


def _of_bytes(raw: bytes, start: int, width: int) -> Iterator[tuple[str, int, int]]:
    """Yield the characters of bytes that stand there: UTF-8, or Latin-1 where they are none."""
    try:
        letters, codec = raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        letters, codec = raw.decode("latin-1"), "latin-1"
    for letter in letters:
        stop = start + width * len(letter.encode(codec))
        yield letter, start, stop
        start = stop


_LETTER = r"[^\W\d_]"
# What may stand inside of a name that is one word: a hyphen, at the end of a line or not. Both
# patterns begin with their sign and look back from it: so a text without one costs next to nothing.
_HYPHEN = re.compile(rf"[-\u2010\u2011](?<={_LETTER}.)(?:[ \t]*\r?\n[ \t]*)?(?={_LETTER})")
# Between two halves of a word: a sign, the end of a line, spaces that do not break.
_SIGNS = r"._*|~\u00b7\u00a0\u2000-\u200a\u202f\u205f\u3000"
_APOSTROPHES = "'`\u00b4\u2018\u2019"
_JOINT = re.compile(
    rf"[-\u2010\u2011\r\n{_SIGNS}{_APOSTROPHES}](?:(?<={_LETTER}{{2}}[{_SIGNS}])"
    rf"|(?<={_LETTER}[{_APOSTROPHES}])|(?<={_LETTER}{{2}}[\r\n])[\r\n]*[ \t]*"
    rf"|(?<={_LETTER}{{2}}[-\u2010\u2011])[ \t]*\r?\n[ \t]*)(?={_LETTER}{{2}})"
)
# The space behind the beginning of a name: Mc Donald, van den Berg.
_PREFIX = re.compile(
    r"(?<![^\W_])(?:[Mm][Cc]|MAC|[Mm]ac|[Ff]itz|FITZ|[Vv]an|VAN|[Vv]on|VON)(?P<gap> )"
)
# These are words as well: only before a name with a capital of its own.
_ARTICLE = re.compile(
    r"(?<![^\W_])(?:[Dd](?:e[rn]?|i|el|ella|os|u|a)|[Ll][ea]|[TtVv]er|[Ee]l|[Aa]l|[Aa]bu|[IB]bn|[Bb]in)"
    rf"(?P<gap> )(?=[^\W\d_a-z]{_LETTER}*[a-z])"
)


def without_hyphens(plain: str) -> Reading | None:
    """Return a folded text without the hyphens inside of its words; None where it has none."""
    return _closed(plain, (found.span() for found in _HYPHEN.finditer(plain)))


def without_joints(text: str, plain: str) -> Reading | None:
    """Return a folded text without what parts the halves of words; None where there is nothing.

    Args:
        text: as it was written.
        plain: the same, folded.
    """
    gaps = {found.span() for found in _JOINT.finditer(text)}
    gaps |= {found.span("gap") for form in (_PREFIX, _ARTICLE) for found in form.finditer(text)}
    return _closed(plain, sorted(gaps))


def _closed(plain: str, gaps: Iterable[Span]) -> Reading | None:
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for start, stop in gaps:
        pieces.append(plain[at:start])
        places += range(at, start)
        at = stop
    if not at:
        return None
    places += range(at, len(plain))
    return Reading("".join([*pieces, plain[at:]]), places, [place + 1 for place in places])


# Letters one by one, with the same gap between all of them.
_SPACED = re.compile(
    r"(?<![^\W_])[^\W_](?P<gap>[\W_]{1,3})[^\W_](?:(?P=gap)[^\W_](?![^\W_]))*(?![^\W_])"
)


def spaced_out(plain: str) -> Iterator[Reading]:
    """Yield the words of a folded text that are written letter by letter, each as one."""
    for found in _SPACED.finditer(plain):
        places = range(found.start(), found.end(), 1 + len(found["gap"]))
        yield Reading("".join(plain[i] for i in places), places, [i + 1 for i in places])


# Letters of Cyrillic, Greek and Armenian that look like Latin ones, as capitals and as small ones.
_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u04cf\u0475"
    "\u043a\u043c\u0442\u0432\u043d\u0433\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422"
    "\u0425\u0405\u0406\u0408\u0423\u050c\u051a\u051c\u04ae\u04c0"
    "\u03b1\u03bd\u03bf\u03c1\u03b9\u03ba\u03c4\u03c5\u03c7\u03b3\u03b7\u03c9\u03f2\u03f3\u0391\u0392"
    "\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u0585\u057d\u0570",
    "aeopcyxijsdqwhlvkmtbhrABEKMHOPCTXSIJYGQWYIavopiktuxynwcjABEZHIKMNOPTYXouh",
)
_MIN_ALIKE, _MIN_REVERSED = 5, 6


def look(text: str) -> str:
    """Return a text as it looks, character for character: as the Latin letters it resembles."""
    return folded(text.translate(_ALIKE))


def reversible(name: str) -> bool:
    """Say whether a name is long enough to be looked for backwards."""
    return len(name) >= _MIN_REVERSED


def resembling(text: str, plain: str, looks: frozenset[str]) -> Iterator[Span]:
    """Yield the words of a text that look like a name, or are one backwards.

    Args:
        text: as it was written.
        plain: the same, folded.
        looks: names as ``look`` gives them, and those that are ``reversible`` backwards.
    """
    seen = plain if text.isascii() else look(text)
    for found in WORD.finditer(seen):
        if found.group() in looks:
            start, stop = found.span()
            if _is_disguised(text[start:stop], plain[start:stop], found.group()):
                yield start, stop


def _is_disguised(word: str, plain: str, seen: str) -> bool:
    """Say whether a word is more than it seems: a short one may be a word of another language."""
    if seen == plain:
        return True
    return reversible(seen) or len(word) >= _MIN_ALIKE or any(map(str.isascii, word))
