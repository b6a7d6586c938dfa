"""What goes into a data set in the place of originals, and what was met while doing it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.deid.planning import Remark
from app.deid.rules.identifiers import Identifier, Kind, is_replacement
from app.dicom.text import decode


@dataclass(frozen=True, slots=True, repr=False)
class Substitutes:
    """What is written in the place of originals.

    Attributes:
        identity: tag → text of the four identity attributes.
        uid: keyed replacement of one UID.
        method: text appended to De-identification Method, at most 64 characters.
        codes: CID 7050 code values and meanings.
        declared_charset: Specific Character Set for an instance that came without; or empty.
        offset_tables: tag → value of the Extended Offset Table's elements, if frames changed.
    """

    identity: Mapping[int, str]
    uid: Callable[[str], str]
    method: str
    codes: tuple[tuple[str, str], ...]
    declared_charset: str = ""
    offset_tables: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class Findings:
    """What was met on the way: hidden from ``repr``.

    Attributes:
        values: kind, bytes and character set of each identifying value, in order.
        uids: original UIDs that were mapped.
        warnings: codes and places.
    """

    values: list[tuple[Kind, bytes, bytes]] = field(default_factory=list)
    uids: set[str] = field(default_factory=set)
    warnings: list[Remark] = field(default_factory=list)

    def identifiers(self) -> frozenset[Identifier]:
        """Return the identifying values as text."""
        return frozenset(
            Identifier(kind, decode(raw, charset).strip("\0 "))
            for kind, raw, charset in self.values
            if not is_replacement(decode(raw, charset))
        )
