"""What happens to each element, and why: spans and a profile make a plan.

A decision depends on tag, VR, place, IOD and profile, never on a value. So the plan of a data set
is compiled once per *shape* (the sequence of its keys) and met again for every instance of a
series and every item of a sequence.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any

from app.deid.profile import Profile
from app.deid.rules.dummies import dummy_items, dummy_values
from app.deid.rules.text import Kind, identifying_kind
from app.deid.standard import (
    EDITION,
    Action,
    dictionary_vr,
    keyword,
    may_hold_well_known_uid,
    required_type,
    resolve_compound,
    table_row,
    uid_role,
)
from app.dicom.elements import (
    TEXT_VRS,
    encode_element,
    encode_text,
    key_tag,
    key_vr,
    path_text,
    tag_text,
)
from app.dicom.part10 import Dataset

PATIENT_NAME = 0x00100010
PATIENT_ID = 0x00100020
ACCESSION_NUMBER = 0x00080050
INSTITUTION_NAME = 0x00080080
IDENTITY_TAGS = frozenset({PATIENT_NAME, PATIENT_ID, ACCESSION_NUMBER, INSTITUTION_NAME})
PATIENT_IDENTITY_REMOVED = 0x00120062
METHOD = 0x00120063
METHOD_CODES = 0x00120064
TEMPORAL_INFORMATION = 0x00280303
MARKER_TAGS = frozenset({PATIENT_IDENTITY_REMOVED, METHOD, METHOD_CODES, TEMPORAL_INFORMATION})
ENCAPSULATED_DOCUMENT = 0x00420011
DOCUMENT_LENGTH = 0x00420015
CHARACTER_SET = 0x00080005
PIXEL_DATA = 0x7FE00010
# Extended Offset Table and its lengths: written anew when frames change their size.
OFFSET_TABLES = frozenset({0x7FE00001, 0x7FE00002})

# What the table does not list and its VR does not give away, yet identifies or locates.
_UNLISTED = {
    0x00100033: "the birth date in another calendar",
    0x00100034: "the death date in another calendar",
    0x00102295: "a registration number",
    0x00181003: "a device identifier",
    0x00181803: "a network address",
}
# Tags that the Type tables require at the root of these IODs only. Source: PS3.3 2026d, A.1.4.
_REQUIRED_IN = {0x00080201: frozenset({"inventory"})}
_BULK_VRS = frozenset(
    {"AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SS", "SV", "UL", "US", "UV"}
)


class Effect(StrEnum):
    """What is done to one element; the table's letter stands beside it in the step."""

    KEEP = "keep"
    ENTER = "enter"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    MAP_UID = "map-uid"
    IDENTITY = "identity"
    NOTICE = "notice"
    MARKER = "marker"


class Op(IntEnum):
    """Instructions that ``applying`` carries out; operands are described there."""

    KEEP = 0
    BYTES = 1
    DUMMY = 2
    MAP_UID = 3
    ENTER = 4
    IDENTITY = 5
    NOTICE = 6
    METHOD = 7
    METHOD_CODES = 8
    DOCUMENT_LENGTH = 9
    OFFSET_TABLE = 10


@dataclass(frozen=True, slots=True)
class Decision:
    """An effect, the letter of the table and the rule that decided it."""

    effect: Effect
    action: Action
    because: str
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan: an element, what happens to it, and why."""

    path: str
    tag: int
    keyword: str
    vr: str
    effect: Effect
    action: Action
    because: str

    def as_dict(self) -> dict[str, str]:
        """Return the step for a report."""
        return {
            "path": self.path,
            "keyword": self.keyword,
            "vr": self.vr,
            "effect": self.effect,
            "action": self.action,
            "because": self.because,
        }


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that the receiver should know: a code and a place, never a value."""

    code: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.path}".rstrip()


@dataclass(frozen=True, slots=True)
class ShapePlan:
    """The compiled plan of every data set with one shape at one place.

    Attributes:
        decisions: one per element, in stream order.
        ops: instructions in output order.
        changes: whether an instruction other than keeping and entering is among them.
        identifying: index and kind of elements whose values identify.
        removed_items: index and node of sequences that go but may hold identifying values.
        charset: index of Specific Character Set, or -1.
        places: tag → index, at the root only.
        warnings: codes and tags.
    """

    decisions: tuple[Decision, ...]
    ops: tuple[tuple[Any, ...], ...]
    changes: bool
    identifying: tuple[tuple[int, Kind], ...]
    removed_items: tuple[tuple[int, "Place"], ...]
    charset: int
    places: dict[int, int]
    warnings: tuple[tuple[str, int], ...]


class Place:
    """One place where data sets stand: the root, or the items of the sequences along a path.

    Holds what was decided there, so that nothing is decided twice.
    """

    __slots__ = ("_children", "_decisions", "_shapes", "ciod", "path", "profile", "removed", "tail")

    _MAX_SHAPES = 2048

    def __init__(
        self,
        profile: Profile,
        ciod: str | None,
        path: tuple[int, ...],
        *,
        removed: bool = False,
        tail: bool = False,
    ) -> None:
        self.profile = profile
        self.ciod = ciod
        self.path = path
        self.removed = removed
        self.tail = tail
        self._children: dict[int, Place] = {}
        self._decisions: dict[tuple[int, str], Decision] = {}
        self._shapes: dict[tuple[int, ...], ShapePlan] = {}

    def child(self, tag: int) -> "Place":
        """Return the place inside the items of a sequence here."""
        place = self._children.get(tag)
        if place is None:
            removed = self.removed or self.decide(tag, "SQ").effect is not Effect.ENTER
            if len(self._children) >= self._MAX_SHAPES:
                self._children.clear()
            place = Place(self.profile, self.ciod, (*self.path, tag), removed=removed)
            self._children[tag] = place
        return place

    def plan_of(self, dataset: Dataset) -> ShapePlan:
        """Return the compiled plan for a data set at this place."""
        shape = (dataset.explicit, *dataset.keys)
        plan = self._shapes.get(shape)
        if plan is None:
            if len(self._shapes) >= self._MAX_SHAPES:
                self._shapes.clear()
            plan = _compile(self, dataset)
            self._shapes[shape] = plan
        return plan

    def decide(self, tag: int, vr: str) -> Decision:
        """Return the decision for an element at this place."""
        key = (tag, vr)
        decision = self._decisions.get(key)
        if decision is None:
            if len(self._decisions) >= self._MAX_SHAPES:
                self._decisions.clear()
            decision = self._decisions[key] = self._decide(tag, vr)
        return decision

    def _decide(self, tag: int, vr: str) -> Decision:
        if self.removed:
            return _remove("its sequence is removed")
        group = tag >> 16
        if self.tail and tag <= PIXEL_DATA:
            return Decision(
                Effect.REMOVE,
                Action.REMOVE,
                "out of order behind Pixel Data",
                "out-of-order-element-removed",
            )
        if not self.path and tag in IDENTITY_TAGS:
            return Decision(Effect.IDENTITY, Action.DUMMY, "identity template of the profile")
        if not self.path and tag in MARKER_TAGS:
            return Decision(Effect.MARKER, Action.DUMMY, f"marker, PS3.15 {EDITION}, E.1.1")
        if not tag & 0xFFFF:
            return _remove("group length, retired")
        if not group & 1 and group < 0x0008:
            return _remove("group that does not belong to a data set")
        if 0x6000 <= group <= 0x601E:
            return _remove("Table E.1-1 (60XX,3000): X; an overlay goes with its data")
        row = table_row(tag)
        if row is not None:
            return self._by_table(tag, vr, row.basic)
        if tag in _UNLISTED:
            return _remove(f"not in Table E.1-1, but {_UNLISTED[tag]}")
        return self._by_dictionary(tag, vr)

    def _by_table(self, tag: int, vr: str, code: str) -> Decision:
        row = "private attributes" if tag & 0x10000 else tag_text(tag)
        action = resolve_compound(code, ciod=self.ciod, path=self.path, tag=tag)
        because = f"Table E.1-1 {row}: {code}" + (f", here {action}" if action != code else "")
        if action is Action.REMOVE:
            return self._table_removal(tag, because)
        if action is Action.EMPTY:
            return Decision(Effect.EMPTY, action, because)
        if action is Action.MAP_UID:
            effect = Effect.ENTER if dictionary_vr(tag) == "SQ" else Effect.MAP_UID
            if effect is Effect.ENTER and vr not in {"SQ", "UN"}:
                return _remove(because + "; not encoded as a sequence")
            return Decision(effect, action, because)
        if tag == ENCAPSULATED_DOCUMENT and not self.path:
            return Decision(Effect.NOTICE, action, because, "document-replaced")
        if dictionary_vr(tag) == "UI":
            return Decision(Effect.MAP_UID, action, because)
        return Decision(Effect.DUMMY, action, because)

    def _table_removal(self, tag: int, because: str) -> Decision:
        needed = None if tag & 0x10000 else required_type(path=self.path, tag=tag)
        if not self.path and tag in _REQUIRED_IN and self.ciod not in _REQUIRED_IN[tag]:
            needed = None
        if needed == "1":
            return Decision(
                Effect.DUMMY, Action.DUMMY, because + "; a dummy, Type 1 here", "dummy-on-type-1"
            )
        if needed == "2":
            return Decision(Effect.EMPTY, Action.EMPTY, because + "; emptied, Type 2 here")
        return Decision(Effect.REMOVE, Action.REMOVE, because)

    def _by_dictionary(self, tag: int, vr: str) -> Decision:
        """Decide what Table E.1-1 does not list, by VR."""
        known = dictionary_vr(tag)
        if known is None:
            return Decision(
                Effect.REMOVE, Action.REMOVE, "no dictionary knows it", "unknown-element-removed"
            )
        if (known == "SQ") != (vr == "SQ") and vr != "UN":
            return Decision(
                Effect.REMOVE, Action.REMOVE, "its VR contradicts the dictionary", "vr-contradicted"
            )
        if known == "SQ":
            return Decision(Effect.ENTER, Action.KEEP, "not in Table E.1-1: its items are judged")
        judged = {vr, known} if vr != "UN" else {known}
        outside = f"not in Table E.1-1: VR {known}"
        if "UI" in judged:
            if uid_role(tag) == "keep" and not tag_is_class(tag):
                return Decision(Effect.KEEP, Action.KEEP, f"{outside}, names no instance")
            return Decision(Effect.MAP_UID, Action.MAP_UID, f"{outside}, by value")
        if "PN" in judged:
            return Decision(Effect.DUMMY, Action.DUMMY, f"{outside}, a person")
        if judged & {"DA", "DT", "TM"}:
            return Decision(Effect.DUMMY, Action.DUMMY, f"{outside}, a date or time")
        if "UR" in judged:
            return Decision(Effect.DUMMY, Action.DUMMY, f"{outside}, an address")
        if vr != "UN" and (vr in TEXT_VRS) == (known[:2] in _BULK_VRS):
            return Decision(
                Effect.REMOVE, Action.REMOVE, "its VR contradicts the dictionary", "vr-contradicted"
            )
        return Decision(Effect.KEEP, Action.KEEP, f"{outside}, kept")


def tag_is_class(tag: int) -> bool:
    """Say whether a UI attribute names SOP Classes or transfer syntaxes: kept when registered."""
    name = keyword(tag)
    return "SOPClass" in name or "TransferSyntax" in name


def _remove(because: str) -> Decision:
    return Decision(Effect.REMOVE, Action.REMOVE, because)


@lru_cache(maxsize=512)
def place_for(profile: Profile, ciod: str | None, *, tail: bool = False) -> Place:
    """Return the root place for a profile and an IOD; None where the IOD is not known.

    Args:
        tail: for what stands behind Pixel Data, where nothing is inserted.
    """
    return Place(profile, ciod, (), tail=tail)


def _compile(place: Place, dataset: Dataset) -> ShapePlan:
    compiler = _Compiler(place, dataset)
    compiler.run()
    return compiler.result()


class _Compiler:
    """Turns the decisions about one shape into instructions."""

    def __init__(self, place: Place, dataset: Dataset) -> None:
        self.place = place
        self.explicit = dataset.explicit
        self.keys = dataset.keys
        self.tags = [key_tag(key) for key in dataset.keys]
        self.vrs = [key_vr(key >> 32) for key in dataset.keys]
        self.decisions = [place.decide(t, v) for t, v in zip(self.tags, self.vrs, strict=True)]
        self.ops: list[tuple[Any, ...]] = []
        self.warnings = [
            (d.warning, t) for d, t in zip(self.decisions, self.tags, strict=True) if d.warning
        ]
        self.is_root = not place.path and not place.removed and not place.tail

    def run(self) -> None:
        """Compile the instructions in the order of tags."""
        if self.place.removed:
            return
        for tag, index in self._output_order():
            if index < 0:
                self._insert(tag)
            else:
                self._element(index)

    def result(self) -> ShapePlan:
        """Return the compiled plan."""
        return ShapePlan(
            decisions=tuple(self.decisions),
            ops=tuple(self.ops),
            changes=not self._keeps_everything(),
            identifying=tuple(self._identifying()),
            removed_items=tuple(
                (i, self.place.child(self.tags[i]))
                for i, decision in enumerate(self.decisions)
                if decision.effect is not Effect.ENTER and self.vrs[i] in {"SQ", "UN"}
            ),
            charset=self.tags.index(CHARACTER_SET) if CHARACTER_SET in self.tags else -1,
            places={tag: i for i, tag in enumerate(self.tags)} if self.is_root else {},
            warnings=tuple(self.warnings),
        )

    def _keeps_everything(self) -> bool:
        """Say whether the instructions keep or enter every element in its order."""
        following = 0
        for op in self.ops:
            if op[0] not in (Op.KEEP, Op.ENTER) or op[1] != following:
                return False
            following = op[2] if op[0] == Op.KEEP else following + 1
        return following == len(self.keys)

    def _output_order(self) -> list[tuple[int, int]]:
        """Return tag and index (-1: to be inserted), ascending, the last of equal tags only."""
        present = dict(zip(self.tags, range(len(self.tags)), strict=True))
        if len(present) != len(self.tags):
            self.warnings += [("duplicate-element-removed", t) for t in self._duplicates()]
        if self.is_root:
            for tag in IDENTITY_TAGS | MARKER_TAGS:
                present.setdefault(tag, -1)
        return sorted(present.items())

    def _duplicates(self) -> list[int]:
        return [tag for tag, count in Counter(self.tags).items() if count > 1]

    def _identifying(self) -> Iterator[tuple[int, Kind]]:
        for index, (tag, vr) in enumerate(zip(self.tags, self.vrs, strict=True)):
            known = dictionary_vr(tag)
            kind = identifying_kind(tag, known if vr == "UN" and known else vr)
            if kind is not None:
                yield index, kind

    def _insert(self, tag: int) -> None:
        if tag in IDENTITY_TAGS:
            self.ops.append((Op.IDENTITY, tag))
        elif tag == METHOD:
            self.ops.append((Op.METHOD, -1))
        elif tag == METHOD_CODES:
            self.ops.append((Op.METHOD_CODES, -1))
        else:
            self._marker(tag)

    def _marker(self, tag: int) -> None:
        # Source: PS3.15 2026d, E.1.1 and E.3.6: without a date option the value is REMOVED.
        text = "YES" if tag == PATIENT_IDENTITY_REMOVED else "REMOVED"
        self._bytes(encode_text(tag, "CS", text, explicit=self.explicit))

    def _bytes(self, data: bytes) -> None:
        if self.ops and self.ops[-1][0] == Op.BYTES:
            data = self.ops.pop()[1] + data
        self.ops.append((Op.BYTES, data))

    def _element(self, index: int) -> None:
        tag, vr = self.tags[index], self.vrs[index]
        match self.decisions[index].effect:
            case Effect.KEEP:
                self._keep(index)
            case Effect.ENTER:
                self.ops.append((Op.ENTER, index, self.place.child(tag)))
            case Effect.EMPTY:
                self._bytes(
                    encode_element(tag, self._written_vr(index), b"", explicit=self.explicit)
                )
            case Effect.DUMMY:
                self._dummy(index)
            case Effect.MAP_UID:
                always = not may_hold_well_known_uid(tag) and not tag_is_class(tag)
                self.ops.append((Op.MAP_UID, index, always, self.keys[index] if vr == "UI" else 0))
            case Effect.IDENTITY:
                self.ops.append((Op.IDENTITY, tag))
            case Effect.NOTICE:
                self.ops.append((Op.NOTICE, index))
            case Effect.MARKER if tag == METHOD:
                self.ops.append((Op.METHOD, index))
            case Effect.MARKER if tag == METHOD_CODES:
                self.ops.append((Op.METHOD_CODES, index))
            case Effect.MARKER:
                self._marker(tag)

    def _keep(self, index: int) -> None:
        if self.tags[index] == DOCUMENT_LENGTH and self.is_root:
            self.ops.append((Op.DOCUMENT_LENGTH, index))
        elif self.tags[index] in OFFSET_TABLES and self.is_root:
            self.ops.append((Op.OFFSET_TABLE, index))
        elif self.ops and self.ops[-1][0] == Op.KEEP and self.ops[-1][2] == index:
            self.ops[-1] = (Op.KEEP, self.ops[-1][1], index + 1)
        else:
            self.ops.append((Op.KEEP, index, index + 1))

    def _dummy(self, index: int) -> None:
        tag, vr = self.tags[index], self._written_vr(index)
        if vr == "SQ":
            items = dummy_items(tag, explicit=self.explicit)
            self._bytes(encode_element(tag, vr, items, explicit=self.explicit))
            return
        first, second = dummy_values(tag, vr)
        encoded = [encode_element(tag, vr, v, explicit=self.explicit) for v in (first, second)]
        self.ops.append((Op.DUMMY, index, first.rstrip(b"\0 "), *encoded))

    def _written_vr(self, index: int) -> str:
        """Return the VR to write a new value with: the dictionary's, where the file's is no help."""
        vr, known = self.vrs[index], dictionary_vr(self.tags[index])
        if known is None or known[:2] == vr or vr in known:
            return vr
        return known[:2]


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The frozen plan of one SOP Instance; explains itself without any value.

    Attributes:
        profile: what was asked for.
        ciod: the IOD whose Types decided compound codes, if it is known.
        root, tail: the spans that were planned.
        warnings: what the receiver should know.
    """

    profile: Profile
    ciod: str | None
    root: Dataset
    tail: Dataset | None
    place: Place
    warnings: tuple[Remark, ...]

    def steps(self) -> Iterator[Step]:
        """Yield one step per element, depth first, in stream order."""
        yield from _steps(self.place, self.root, ())
        if self.tail is not None:
            yield from _steps(place_for(self.profile, self.ciod, tail=True), self.tail, ())

    def report(self) -> dict[str, Any]:
        """Return the plan as JSON-able data."""
        steps = [step.as_dict() for step in self.steps()]
        return {
            "profile": self.profile.name,
            "profile_version": self.profile.version,
            "iod": self.ciod,
            "counts": dict(Counter(step["effect"] for step in steps)),
            "warnings": [str(warning) for warning in self.warnings],
            "steps": steps,
        }


def _steps(place: Place, dataset: Dataset, path: tuple[tuple[int, int], ...]) -> Iterator[Step]:
    plan = place.plan_of(dataset)
    for index, (key, decision) in enumerate(zip(dataset.keys, plan.decisions, strict=True)):
        tag = key_tag(key)
        yield Step(
            path=path_text(path, tag),
            tag=tag,
            keyword=keyword(tag),
            vr=key_vr(key >> 32),
            effect=decision.effect,
            action=decision.action,
            because=decision.because,
        )
        items = dataset.sequences.get(index)
        if items is not None:
            child = place.child(tag)
            for number, item in enumerate(items.datasets):
                yield from _steps(child, item, (*path, (tag, number)))
