"""What a result may hold under a rulebook: element by element, for the last wall.

Says nothing of how a result comes about; it reads the tables by itself.
"""

from dataclasses import dataclass
from functools import lru_cache

from app.deid.allowing import WRITTEN, Allowance, allowance
from app.deid.attributes import ENCAPSULATED_DOCUMENT, TIMEZONE
from app.deid.deciding import DATE_VRS, names_class
from app.deid.deciding_content import TEXT_VALUE, UID_VALUE
from app.deid.options import Option
from app.deid.overlays import TYPES, is_overlay
from app.deid.overrides import Deed
from app.deid.private import Declarations, SafeList, judged, spelling
from app.deid.rulebook import Dates, Rulebook
from app.deid.rules.documents import notices
from app.deid.rules.dummies import dummy_values
from app.deid.rules.identifiers import identifying_kind
from app.deid.standard import REQUIRED_SOMEWHERE, ROWS, Action, can_be, dictionary_vr, uid_role
from app.dicom.elements import CHARSET_VRS, LONG_VRS, VRS, tag_text
from app.errors import MalformedDicom, ResidualIdentifier

_LONG = frozenset(LONG_VRS)
_MAX_CLASSES = 16_384
_OVERLAY_TYPE = 0x0040
_REPLACING = frozenset({Deed.DUMMY, Deed.EMPTY, Deed.REPLACE})
_DUMMIES = {
    vr: frozenset(v.rstrip(b"\0 ") for v in dummy_values(0, vr)) | {b""}
    for vr in ("DA", "DT", "PN", "TM")
}


@dataclass(frozen=True, slots=True)
class ElementClass:
    """What is known of all elements with one tag and VR.

    Attributes:
        header: bytes before the value; 8 or 12.
        is_long: whether the length has four bytes.
        is_sequence: whether items follow.
        explicit: whether headers inside carry a VR.
        vr: as the file or the dictionary says.
        allowed: the only values that may stand there, if they are limited.
        temporal: DA, DT or TM where any date or time may stand, SH for a time zone; or empty.
        retained: whether an option retains the value by name, so that its own is no residue.
        keeps_uid: whether original UIDs may stand there.
    """

    header: int
    is_long: bool
    is_sequence: bool
    explicit: bool
    vr: bytes
    allowed: frozenset[bytes] | None
    temporal: str
    retained: bool
    keeps_uid: bool


# Where no override holds that is for one path only.
_ELSEWHERE = (0,)


class Expectation:
    """Classifies the elements of results under one rulebook, at one place.

    Args:
        rules: the rulebook.
        path: tags of the enclosing sequences, outermost first.
    """

    __slots__ = ("_gone", "_inside", "_path", "_rules", "has_paths", "known")

    def __init__(self, rules: Rulebook, path: tuple[int, ...] = ()) -> None:
        self._rules = rules
        self._path = path
        self._inside: dict[int, Expectation] = {}
        #: Whether it matters where an element stands.
        self.has_paths = bool(rules.paths)
        gone = frozenset(tag for tag, row in ROWS.items() if row.basic == "X")
        self._gone = gone - REQUIRED_SOMEWHERE - rules.cells.keys()
        #: What was classified already, by key; looked at before ``of`` is called.
        self.known: dict[int, ElementClass] = {}

    def inside(self, tag: int) -> "Expectation":
        """Return what is expected in the items of a sequence here."""
        if self._path == _ELSEWHERE:
            return self
        found = self._inside.get(tag)
        if found is None:
            path = (*self._path, tag)
            leads_on = any(one[: len(path)] == path for one in self._rules.paths)
            found = self._inside[tag] = Expectation(self._rules, path if leads_on else _ELSEWHERE)
        return found

    @property
    def safe_private(self) -> SafeList | None:
        """Private elements that may stay; None where all go."""
        return self._rules.safe_private

    def of(self, key: int) -> ElementClass:
        """Classify the elements of one key (no VR bits: implicit).

        Raises:
            ResidualIdentifier: no result may hold such an element.
            MalformedDicom: there is no such VR.
        """
        if len(self.known) >= _MAX_CLASSES:
            self.known.clear()
        found = self.known[key] = self._classified(key)
        return found

    def _classified(self, key: int) -> ElementClass:
        tag = (key & 0xFFFF) << 16 | key >> 16 & 0xFFFF
        if self._must_go(tag):
            raise ResidualIdentifier("An element that must go is in the result", path=tag_text(tag))
        known = (dictionary_vr(tag) or "UN")[:2]
        explicit = bool(key >> 32)
        vr = (key >> 32).to_bytes(2, "little").decode("latin-1") if explicit else known
        if vr not in VRS:
            raise MalformedDicom
        is_long = vr in _LONG
        temporal = self._temporal(tag, vr)
        keeps_uid = known == "UI" and self._keeps_uid(tag)
        is_kept = self._is_kept(tag, vr)
        return ElementClass(
            header=12 if explicit and is_long else 8,
            is_long=is_long,
            is_sequence=vr == "SQ" or (vr == "UN" and known == "SQ"),
            explicit=explicit and vr == "SQ",
            vr=vr.encode(),
            allowed=None if temporal or is_kept else self._allowed(tag, vr),
            temporal=temporal,
            retained=self._is_named(tag, vr)
            or (is_kept and self._is_retained(tag) and bool(identifying_kind(tag, vr))),
            keeps_uid=keeps_uid,
        )

    def _must_go(self, tag: int) -> bool:
        group = tag >> 16
        if group & 1 or group < 8 or not tag & 0xFFFF:
            return True
        if tag in self._rules.written:
            return False
        if deeds := self._deeds(tag):
            return deeds == {Deed.REMOVE} and tag in self._gone
        if is_overlay(tag):
            return not self._rules.keeps_overlays
        if self._rules.has_allow_list and allowance(tag) is Allowance.NOTHING:
            return tag not in self._rules.inserted
        return tag in self._gone or 0x5000 <= group <= 0x501E

    def _deeds(self, tag: int) -> frozenset[Deed]:
        """Return what the override does that decides here, if one does."""
        known = dictionary_vr(tag)
        override = self._rules.override(tag, known, self._path) if known else None
        return frozenset({override.deed} if override else ())

    def _temporal(self, tag: int, vr: str) -> str:
        """Return the VR whose every value is right for an element; empty where none is."""
        cell, deeds = self._rules.cells.get(tag), self._deeds(tag)
        if tag == TIMEZONE:
            return "SH" if cell or deeds else ""
        known = dictionary_vr(tag) or ""
        if known not in DATE_VRS or not can_be(vr, known):
            return ""
        if Deed.KEEP in deeds:
            dates = Dates.UNMODIFIED
        elif Deed.CLEAN in deeds:
            dates = self._rules.dates
        elif cell is None:
            dates = Dates.REMOVED if tag in ROWS else self._rules.dates
        else:
            dates = Dates.UNMODIFIED if cell.action is Action.KEEP else self._rules.dates
        if dates is Dates.UNMODIFIED or (dates is Dates.MODIFIED and known == "TM"):
            return known
        return ""

    def _keeps_uid(self, tag: int) -> bool:
        if tag in self._rules.cells or Deed.KEEP in self._deeds(tag):
            return True
        if tag == UID_VALUE and self._rules.cleans_content:
            return not self._rules.options.isdisjoint({Option.DEVICE_IDENTITY, Option.UIDS})
        return (
            self._rules.keeps_uids
            and tag not in ROWS
            and (uid_role(tag) != "keep" or names_class(tag))
        )

    def _is_kept(self, tag: int, vr: str) -> bool:
        """Say whether an option lets the value stay, as it is or cleaned."""
        known = dictionary_vr(tag)
        if known is None or known in DATE_VRS or not can_be(vr, known):
            return False
        if self._is_retained(tag):
            return True
        cell = self._rules.cells.get(tag)
        is_cleaned = cell is not None or Deed.CLEAN in self._deeds(tag)
        return is_cleaned and (vr in CHARSET_VRS or known == "CS")

    def _is_named(self, tag: int, vr: str) -> bool:
        """Say whether it is the text of a content item: cleaned, a dummy, or retained by name."""
        return tag == TEXT_VALUE and vr in CHARSET_VRS and self._rules.cleans_content

    def _is_retained(self, tag: int) -> bool:
        cell = self._rules.cells.get(tag)
        return Deed.KEEP in self._deeds(tag) or (cell is not None and cell.action is Action.KEEP)

    def _is_replaced(self, tag: int) -> bool:
        """Say whether an override or the allow-list leaves an attribute but not its value."""
        if deeds := self._deeds(tag):
            return deeds <= _REPLACING
        return self._rules.has_allow_list and allowance(tag) in {Allowance.EMPTY, Allowance.DUMMY}

    def _allowed(self, tag: int, vr: str) -> frozenset[bytes] | None:
        """Return the only values that a result may hold, or None where any may stand."""
        if tag in self._rules.written:
            return None
        if is_overlay(tag) and tag & 0xFFFF == _OVERLAY_TYPE:
            return TYPES if self._rules.cleans_pixels else frozenset({b"R"})
        if vr not in {"SQ", "UI"} and self._is_replaced(tag):
            values = {v.rstrip(b"\0 ") for v in dummy_values(tag, vr)}
            return frozenset(values | {b"", WRITTEN.get(tag, b"")})
        if tag not in ROWS or vr in {"SQ", "UI"}:
            return _DUMMIES.get(vr)
        if tag == ENCAPSULATED_DOCUMENT:
            return frozenset(text.rstrip(b"\0 ") for text in notices()) | {b""}
        return frozenset(v.rstrip(b"\0 ") for v in dummy_values(tag, vr)) | {b""}


class Privates:
    """Classifies the private elements of one result: which may stand there depends on creators.

    Args:
        expected: of the rulebook.
        declared: what the instance declares of its blocks.
    """

    __slots__ = ("_creators", "_declared", "expected")

    def __init__(self, expected: Expectation, declared: Declarations) -> None:
        self.expected = expected
        self._declared = declared
        self._creators: dict[tuple[int, int], str] = {}

    def of(self, key: int, data: bytes, position: int, container: int) -> ElementClass:
        """Classify one private element.

        Args:
            key: tag, and VR where the data have it.
            data: the result.
            position: where the element begins.
            container: where the data set or item begins that it stands in.

        Raises:
            ResidualIdentifier: it must not be in the result.
        """
        safe = self.expected.safe_private
        group, element = key & 0xFFFF, key >> 16 & 0xFFFF
        tag = group << 16 | element
        if safe is None or not element or 0x6000 <= group <= 0x601E:
            raise ResidualIdentifier("An element that must go is in the result", path=tag_text(tag))
        if element < 0x1000:
            length = (
                int.from_bytes(data[position + 6 : position + 8], "little")
                if key >> 32
                else (int.from_bytes(data[position + 4 : position + 8], "little"))
            )
            text = data[position + 8 : position + 8 + length].decode("latin-1").strip()
            if not text or spelling(text, group, safe, self._declared) != text:
                raise ResidualIdentifier("A private creator was left", path=tag_text(tag))
            self._creators[container, group << 16 | element] = text
            return _private_class(key, "LO")
        creator = self._creators.get((container, group << 16 | element >> 8), "")
        verdict = creator and judged(creator, group, element & 0xFF, safe, self._declared)
        if not verdict:
            raise ResidualIdentifier("A private element was left", path=tag_text(tag))
        return _private_class(key, verdict.vr)


@lru_cache(maxsize=4096)
def _private_class(key: int, listed: str) -> ElementClass:
    explicit = bool(key >> 32)
    vr = (key >> 32).to_bytes(2, "little").decode("latin-1") if explicit else listed[:2] or "UN"
    if vr not in VRS:
        raise MalformedDicom
    is_long = vr in _LONG
    return ElementClass(
        header=12 if explicit and is_long else 8,
        is_long=is_long,
        is_sequence=vr == "SQ" or (vr == "UN" and listed == "SQ"),
        explicit=explicit and vr == "SQ",
        vr=vr.encode(),
        allowed=_DUMMIES.get(vr),
        temporal="",
        retained=False,
        keeps_uid=False,
    )


@lru_cache(maxsize=64)
def expectation_of(rules: Rulebook) -> Expectation:
    """Return the expectation for a rulebook, with what it has classified so far."""
    return Expectation(rules)
