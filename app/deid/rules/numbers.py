"""Numbers that are written as text (AS, DS, IS): whether a value is one.

A sentence in the place of a number would pass where only numbers may stay. Source: PS3.5 2026d,
6.2.
"""

import re

_DECIMAL = rb"[+-]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
# Hand-written values bear their unit: an age in years without the letter, a weight with it.
_PATTERNS = {
    "AS": re.compile(rb"[0-9]{1,3} ?[DWMYdwmy]?"),
    "DS": re.compile(_DECIMAL + rb" ?(?:kg|lb|cm|m|mm|%)?"),
    "IS": re.compile(_DECIMAL),
}
#: The VRs of such values.
NUMBER_VRS = frozenset(_PATTERNS)


def is_number(value: bytes, vr: str) -> bool:
    """Say whether every value of an element is a number of its VR or empty."""
    parts = (part.strip(b"\0 ") for part in value.split(b"\\"))
    return all(not part or _PATTERNS[vr].fullmatch(part) is not None for part in parts)
