"""Single values at the root of an instance, as the pipeline's own steps need them."""

import re

from app.deid.attributes import CHARACTER_SET
from app.dicom.text import decode
from app.dicom.tokens import Tokens

# An IS value; a sign and zeros behind a point are met as well.
_INTEGER = re.compile(rb"[\0 ]*\+?0*([0-9]{1,10})(?:\.0*)?[\0 ]*")


class RootValues:
    """Reads values of the root data set.

    Args:
        tokens: the instance.
        places: tag → index of its element.
    """

    __slots__ = ("charset", "places", "tokens")

    def __init__(self, tokens: Tokens, places: dict[int, int]) -> None:
        self.tokens = tokens
        self.places = places
        self.charset = self.raw(CHARACTER_SET)

    def raw(self, tag: int) -> bytes:
        """Return an element's bytes; empty where there is none."""
        index = self.places.get(tag)
        if index is None:
            return b""
        start, stop = self.tokens.root.value_span(index)
        return self.tokens.buffer[start:stop]

    def text(self, tag: int) -> str:
        """Return a text without padding; empty where there is none."""
        return decode(self.raw(tag), self.charset).strip("\0 ")

    def number(self, tag: int) -> int:
        """Return a US value; 0 where there is none."""
        return int.from_bytes(self.raw(tag)[:2], "little")

    def integer(self, tag: int) -> int:
        """Return an IS value; 0 where there is none, or no number."""
        number = _INTEGER.fullmatch(self.raw(tag))
        return int(number[1]) if number else 0
