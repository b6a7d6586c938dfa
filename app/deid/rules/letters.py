"""How a name may be written in the letters of others: umlauts, ligatures, Cyrillic and Greek.

A pattern that finds too much costs a word of kept text; one that finds too little, a name. What can
be read in several ways is an atomic group: a long name of equal letters takes as long as others.
"""

import re

from app.deid.rules.identifiers import folded

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
_EITHER = {
    "ae": "(?:ae?|æ)",
    "oe": "(?:oe?|œ)",
    "ue": "ue?",
    "aa": "(?>aa?)",
    "ss": "(?:ss|ß)",
    "dj": "dj?",
    "th": "(?:th|þ)",
}
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
        return _DIGRAPHS.sub(lambda found: _EITHER[found[0]], re.escape(word.lower()))
    pattern = "".join(_LETTERS.get(c.lower(), re.escape(folded(c))) for c in word)
    return _OTHER_ALPHABETS.sub(lambda found: _LATIN[found[0]], pattern)
