"""Places, organisations and ids as they are searched for in text: what is particular of them.

A department may be called *Radiology*, and the id of a study may be *CHEST*: the word alone says
nothing of anybody, and stays.
"""

import re
from collections.abc import Iterator

from app.deid.rules.common_words import DEPARTMENTS, DEVICES, ORGANISATIONS, ROOMS
from app.deid.rules.identifiers import MIN_ID, folded, id_core, words
from app.deid.rules.vocabulary import TERMS

_WORDS = DEVICES | ORGANISATIONS | DEPARTMENTS | {term.lower() for term in TERMS}
_COMPONENTS = re.compile(r"[,;^|\r\n]+")
# What stands before an address to say of what kind it is.
_SCHEME = re.compile(r"\A(?:mailto|e-?mail|tel|fax|sip|https?)\s?:/{0,2}\s?", re.IGNORECASE)
_MIN_FIGURES, _MANY = 3, 5


def phrases(text: str) -> Iterator[str]:
    """Yield what is searched for of the names and addresses in an attribute.

    Each value as a whole, and those of its components that have several words: a street, a
    postcode with its town.
    """
    for value in text.split("\\"):
        whole = value.strip()
        if _is_particular(whole):
            yield whole
        for part in (_SCHEME.sub("", part.strip()) for part in _COMPONENTS.split(value)):
            if part != whole and len(words(part)) > 1 and _is_particular(part):
                yield part


# Words that stand in the place of ids, beside those of places.
_NO_IDS = frozenset(
    "contrast detector exam examination flat image none panel plate protocol routine standard "  # noqa: SIM905
    "study test".split()
)


def ids(text: str) -> Iterator[str]:
    """Yield what is searched for of the ids in an attribute: not those that are mere words."""
    for value in text.split("\\"):
        parts = words(folded(value))
        if not all(part.isalpha() and (part in _WORDS or part in _NO_IDS) for part in parts):
            yield value


def _is_particular(text: str) -> bool:
    """Say whether a phrase is more than words that stand in many texts."""
    if len(id_core(text)) < MIN_ID:
        return False
    parts = words(folded(text))
    organisation = len(parts) > 1 and not ORGANISATIONS.isdisjoint(parts)
    return (
        (organisation and DEVICES.isdisjoint(parts))
        or len(parts) >= _MANY
        or any(_says_who(part, parts) for part in parts)
    )


def _says_who(word: str, parts: list[str]) -> bool:
    if word.isalpha():
        return word not in _WORDS
    # Figures: the number of a room, not that of the second device.
    return len(word) >= _MIN_FIGURES or (not word.isdigit() and not ROOMS.isdisjoint(parts))
