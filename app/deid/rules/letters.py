"""How a name may be written in the letters of others: umlauts, ligatures, Cyrillic and Greek.

A pattern that finds too much costs a word of kept text; one that finds too little, a name. What can
be read in several ways is an atomic group: a long name of equal letters takes as long as others.
"""

import re
from collections.abc import Mapping

from app.deid.rules.identifiers import ANYWHERE, folded

# What is written for letters that others have not, and for two letters in their place.
_LETTERS = {
    "ä": "ae?",
    "ö": "oe?",
    "ü": "ue?",
    "ß": "(?:ss|ß)",
    "ø": "oe?",
    "å": "(?>aa?)",
    "đ": "dj?",
    "æ": "(?:æ|ae?)",
    "œ": "(?:œ|oe?)",
    "þ": "(?:þ|th)",
}
_DIGRAPHS = re.compile("[aou]e|aa|ss|dj|th")
_SIGNS = {"ae": "(?:ae|æ)", "oe": "(?:oe|œ)", "ss": "(?:ss|ß)", "th": "(?:th|þ)"}
_EITHER = _SIGNS | {
    "ae": "(?:ae?|æ)",
    "oe": "(?:oe?|œ)",
    "ue": "ue?",
    "aa": "(?>aa?)",
    "dj": "dj?",
}
# A vowel that had an umlaut before somebody's keyboard left it out.
_VOWELS = re.compile("[aou]e|aa|ss|dj|th|(?<![aeou])[aou](?!$)")
_BARE = {vowel: f"{vowel}e?" for vowel in "aou"}
# A name is not shortened to fewer letters: Doe to do, Haas to has.
_MIN_SHORTENED = 4
# Letters, folded, and how they are written in Latin ones: international, English, German, French.
_CYRILLIC = (
    "\u0430 a|\u0431 b|\u0432 v w ff f|\u0433 g h|\u0434 d|\u0435 ye je yo jo e o|\u0436 zh j z sh|"
    "\u0437 z s|\u0438\u0438 iy ij ii yi y i|\u0438 i y j|\u043a\u0441 ks x|\u043a k c|\u043b l|"
    "\u043c m|\u043d n|\u043e o a|\u043f p|\u0440 r|\u0441\u0441 ss s|\u0441 s|"
    "\u0442 t|\u0443 ou u y|\u0444 f ph|"
    "\u0445 kh ch h x|\u0446 ts tz c z|\u0447 tsch tch ch c|\u0448 sch sh ch s|"
    "\u0449 schtsch shch sch sh sc|\u044b y i|\u044d e|\u044e yu iu ju u|\u044f ya ia ja a|"
    "\u0454 ye ie je e|\u0456 yi i|\u0491 g"
)
_GREEK = (
    "\u03bf\u03c5 ou u|\u03bc\u03c0 mp b|\u03bd\u03c4 nt d|\u03b1 a|\u03b2 v b|\u03b3 g y|\u03b4 d|"
    "\u03b5 e|\u03b6 z|\u03b7 i e|\u03b8 th|\u03b9 i y|\u03ba k c|\u03bb l|\u03bc m|\u03bd n|"
    "\u03be x ks|\u03bf o|\u03c0 p|\u03c1 rh r|\u03c3 s|\u03c4 t|\u03c5 y u i|\u03c6 ph f|"
    "\u03c7 ch kh h x|\u03c8 ps|\u03c9 o"
)
_LATIN = {
    one[0]: f"(?>{'|'.join(one)})"
    for one in (line.split(" ") for line in f"{_CYRILLIC}|{_GREEK}".split("|"))
}
# The signs that make letters hard or soft are left out or written as an apostrophe.
_LATIN |= dict.fromkeys("\u044a\u044c", "[\u044a\u044c']?")
_OTHER_ALPHABETS = re.compile("|".join(sorted(_LATIN, key=len, reverse=True)))


def spellings(word: str) -> str:
    """Return a pattern, for folded text, of a word in all its spellings."""
    if word.isascii():
        return _latin_spellings(word.lower())
    pattern = "".join(_LETTERS.get(c.lower(), re.escape(folded(c))) for c in word)
    return _OTHER_ALPHABETS.sub(lambda found: _LATIN[found[0]], pattern)


def _latin_spellings(word: str) -> str:
    shortest = len(shortened(word))
    if shortest < _MIN_SHORTENED and shortest < len(word):
        return _written(word, _DIGRAPHS, _SIGNS)
    if shortest < ANYWHERE <= len(word):
        # What is too short to be looked for inside of words stands by itself.
        loose = _written(word, _DIGRAPHS, _EITHER)
        return rf"(?:{_written(word, _DIGRAPHS, _SIGNS)}|(?<![^\W_]){loose}(?![^\W_]))"
    if shortest < ANYWHERE:
        return _written(word, _DIGRAPHS, _EITHER)
    return _written(word, _VOWELS, _EITHER | _BARE)


def _written(word: str, letters: re.Pattern[str], ways: Mapping[str, str]) -> str:
    return letters.sub(lambda found: ways.get(found[0], found[0]), re.escape(word))


def shortened(word: str) -> str:
    """Return a word in small ASCII letters with one letter for two where one had an umlaut."""
    return _SHORTENED.sub(lambda found: found[0][0], word)


_SHORTENED = re.compile("[aou]e|aa|dj")
_BARE_VOWEL = re.compile("(?<![aeou])[aou](?!e|$)")


def latin_variants(word: str) -> set[str]:
    """Return a word in small ASCII letters with and without the letter that stands for an umlaut.

    For the quick search: a few of the many, with one umlaut or with all.
    """
    short = shortened(word)
    variants = {short} if len(short) >= _MIN_SHORTENED else set[str]()
    if len(short) >= ANYWHERE:
        variants.add(_BARE_VOWEL.sub(r"\g<0>e", short))
        variants |= {
            f"{short[: found.end()]}e{short[found.end() :]}"
            for found in _BARE_VOWEL.finditer(short)
        }
    return variants - {word}
