"""Which rule decided about an element: the reason of a plan, sorted for programs.

The reason itself is the engine's own text; nothing of an instance stands in it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from pydicom._private_dict import private_dictionaries

from app.deid.options import title
from app.deid.profile import Profile
from app.deid.rulebook import Rulebook
from app.deid.standard import SAFE_PRIVATE, dictionary_vr


class RuleKind(StrEnum):
    """Where a rule comes from."""

    TABLE = "table-e1-1"
    CONTENT = "table-e3-4-1"
    SAFE_PRIVATE = "table-e3-10-1"
    DECLARED = "declared-safe"
    OVERRIDE = "profile-rule"
    SITE_PRIVATE = "profile-private"
    IDENTITY = "identity-template"
    MARKER = "marker"
    VR = "vr"
    UNLISTED = "unlisted-identifier"
    ALLOW_LIST = "allow-list"
    PIXELS = "clean-pixel-data"
    UNKNOWN = "unknown-element"
    ENCLOSING = "enclosing-sequence"
    STRUCTURE = "structure"
    WRITTEN = "written-anew"
    OTHER = "other"


# How the reasons of each kind begin; the first that fits decides.
_BEGINNINGS: Final = (
    ("Table E.1-1 ", RuleKind.TABLE),
    ("not in Table E.1-1, but ", RuleKind.UNLISTED),
    ("not in Table E.1-1, nor on the allow-list", RuleKind.ALLOW_LIST),
    ("not in Table E.1-1: on the allow-list", RuleKind.ALLOW_LIST),
    ("not in Table E.1-1", RuleKind.VR),
    ("Table E.3.4-1 ", RuleKind.CONTENT),
    ("not in Table E.3.4-1", RuleKind.CONTENT),
    ("Table E.3.10-1", RuleKind.SAFE_PRIVATE),
    ("creator of a private block", RuleKind.SAFE_PRIVATE),
    ("(0008,0300) declares", RuleKind.DECLARED),
    ("the profile's rule for ", RuleKind.OVERRIDE),
    ("the profile: ", RuleKind.SITE_PRIVATE),
    ("identity template", RuleKind.IDENTITY),
    ("Type 2 beside", RuleKind.IDENTITY),
    ("marker, ", RuleKind.MARKER),
    ("Clean Pixel Data: ", RuleKind.PIXELS),
    ("not on the allow-list", RuleKind.ALLOW_LIST),
    ("no dictionary knows it", RuleKind.UNKNOWN),
    ("its VR contradicts", RuleKind.UNKNOWN),
    ("its sequence is removed", RuleKind.ENCLOSING),
    ("duplicate", RuleKind.STRUCTURE),
    ("group", RuleKind.STRUCTURE),
    ("out of order", RuleKind.STRUCTURE),
    ("no element", RuleKind.STRUCTURE),
    ("written anew", RuleKind.WRITTEN),
    ("character set", RuleKind.WRITTEN),
)
_ROW: Final = re.compile(r"Table E\.1-1 (\([0-9A-FX]{4},[0-9A-FX]{4}\)|private attributes)")


@dataclass(frozen=True, slots=True)
class Rule:
    """What decided about one element.

    Attributes:
        kind: where the rule comes from.
        text: the rule in words.
        row: of Table E.1-1, where one decided.
        option: whose column of that row decided; empty for the Basic Profile's.
        number: of the profile's rule, from 1; 0 where none decided.
    """

    kind: RuleKind
    text: str
    row: str = ""
    option: str = ""
    number: int = 0

    def as_dict(self) -> dict[str, str | int]:
        """Return what is filled."""
        members = {
            "kind": self.kind.value,
            "text": self.text,
            "row": self.row,
            "option": self.option,
            "number": self.number,
        }
        return {name: value for name, value in members.items() if value}


@lru_cache(maxsize=4096)
def kind_of_rule(because: str) -> RuleKind:
    """Return where a rule comes from."""
    for beginning, kind in _BEGINNINGS:
        if because.startswith(beginning):
            return kind
    return RuleKind.OTHER


class Rules:
    """Names the rules of one profile on its way through one instance."""

    def __init__(self, profile: Profile, rulebook: Rulebook) -> None:
        self._profile = profile
        self._rulebook = rulebook
        safe = rulebook.safe_private
        own = {creator for creator, _, _ in safe.elements} if safe else set[str]()
        self._creators = _REGISTERED | own

    def creator(self, text: str) -> str:
        """Return a private creator that vendors publish or the profile names; else nothing.

        Any other text can be anything, a name as well.
        """
        return text if text in self._creators else ""

    def rule(self, because: str, tag: int, vr: str, path: tuple[int, ...]) -> Rule:
        """Return the rule behind the reason of a decision.

        Args:
            because: the reason.
            tag: of the element.
            vr: of the element.
            path: tags of the enclosing sequences, outermost first.
        """
        kind = kind_of_rule(because)
        if kind is RuleKind.OVERRIDE:
            return Rule(kind, because, number=self._number(tag, vr, path))
        if kind is not RuleKind.TABLE:
            return Rule(kind, because)
        row = _ROW.match(because)
        return Rule(kind, because, row[1] if row else "", self._option(because, tag))

    def _option(self, because: str, tag: int) -> str:
        cell = self._rulebook.cells.get(tag)
        return cell.option.value if cell and title(cell.option) in because else ""

    def _number(self, tag: int, vr: str, path: tuple[int, ...]) -> int:
        override = self._rulebook.override(tag, dictionary_vr(tag) or vr, path)
        return self._profile.overrides.index(override) + 1 if override else 0


_REGISTERED: Final = frozenset(
    {creator for creator, _, _ in SAFE_PRIVATE} | set(private_dictionaries)
)
