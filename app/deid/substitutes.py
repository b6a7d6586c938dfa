"""What goes into a data set in the place of originals, and what was met while doing it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from app.deid.planning import Remark
from app.deid.rules.identifiers import Identifier, Kind, is_replacement
from app.deid.searching import Values
from app.dicom.text import decode


def no_pseudonym(original: str) -> str:
    """Replace a name by one constant, for profiles that keep no distinction between names."""
    return "REMOVED" if original else ""


@dataclass(frozen=True, slots=True, repr=False)
class Fact:
    """What the gateway states in one element.

    Attributes:
        vr: of the element.
        value: without padding; for a sequence of codes, a line each: code value, NUL, meaning.
        joint: what stands between the value that came and this one; None where that one goes.
        is_described: whether what came is text that is cleaned as descriptors are.
    """

    vr: str
    value: bytes
    joint: bytes | None = None
    is_described: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Substitutes:
    """What is written in the place of originals.

    Attributes:
        identity: tag → text of the four identity attributes.
        uid: keyed replacement of one UID.
        method: text appended to De-identification Method, at most 64 characters.
        codes: CID 7050 code values and meanings.
        declared_charset: Specific Character Set for an instance that came without; or empty.
        offset_tables: tag → value of the Extended Offset Table's elements, if frames changed;
            empty where no frames are compressed, and the element goes.
        offset_days: by how many days the subject's dates move.
        pseudonym: keyed replacement of one AE title, valid as such.
        facts: tag → what the gateway states of this object's pixels.
    """

    identity: Mapping[int, str]
    uid: Callable[[str], str]
    method: str
    codes: tuple[tuple[str, str], ...]
    declared_charset: str = ""
    offset_tables: Mapping[int, bytes] = field(default_factory=dict)
    offset_days: int = 0
    pseudonym: Callable[[str], str] = no_pseudonym
    facts: Mapping[int, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Originals:
    """What must not be in a result, and what may be there in its place.

    Attributes:
        values: identifying values (kind, bytes, character set).
        others: those of them that must not stand in an attribute that an option retains.
        uids: UIDs that were mapped.
        written: dates and pseudonyms that stand in the place of others, without padding.
    """

    values: Values
    others: Values
    uids: frozenset[str]
    written: frozenset[bytes] = frozenset()


@dataclass(slots=True, repr=False)
class Findings:
    """What was met on the way: hidden from ``repr``.

    Attributes:
        values: kind, bytes and character set of each identifying value, in order.
        retained: those of them whose attribute stays, by an option or a rule.
        uids: original UIDs that were mapped.
        written: dates and pseudonyms that were written, without padding.
        warnings: codes and places.
    """

    values: list[tuple[Kind, bytes, bytes]] = field(default_factory=list)
    retained: list[tuple[Kind, bytes, bytes]] = field(default_factory=list)
    uids: set[str] = field(default_factory=set)
    written: set[bytes] = field(default_factory=set)
    warnings: list[Remark] = field(default_factory=list)

    def identifiers(self) -> frozenset[Identifier]:
        """Return the identifying values as text."""
        return _identifiers(self.values)

    def others(self) -> tuple[tuple[Kind, bytes, bytes], ...]:
        """Return what must not stand in an attribute that stays.

        A place's name or a date stays where its attribute does, whatever else bore it; a number
        or a person's name only if nothing that goes bore it as well.
        """
        if not self.retained:
            return tuple(self.values)
        left = Counter(self.values)
        left.subtract(self.retained)
        free = {value for value in self.retained if value[0] in _OF_PLACES}
        return tuple(value for value, count in left.items() if count > 0 and value not in free)

    def originals(self) -> Originals:
        """Return what must not be in the result."""
        return Originals(
            tuple(self.values), self.others(), frozenset(self.uids), frozenset(self.written)
        )

    def other_identifiers(self) -> frozenset[Identifier]:
        """Return ``others`` as text."""
        return _identifiers(self.others())

    def add(self, more: "Findings") -> None:
        """Take over what was met in another part of the instance."""
        self.values += more.values
        self.retained += more.retained
        self.uids |= more.uids
        self.written |= more.written
        self.warnings += more.warnings


_OF_PLACES = frozenset({Kind.PHRASE, Kind.DATE})


def _identifiers(values: Iterable[tuple[Kind, bytes, bytes]]) -> frozenset[Identifier]:
    return frozenset(
        Identifier(kind, decode(raw, charset).strip("\0 "))
        for kind, raw, charset in values
        if not is_replacement(decode(raw, charset))
    )
