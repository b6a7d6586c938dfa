"""Compiles the instructions for every data set of one shape from the decisions about it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from app.deid.allowing import CODE_MEANING, CODE_TAGS, Allowance, allowance, is_required
from app.deid.attributes import (
    CHARACTER_SET,
    DERIVATION_CODES,
    DOCUMENT_LENGTH,
    ICC_PROFILE,
    IDENTITY_TAGS,
    IMAGE_TYPE,
    MANUFACTURER,
    METHOD,
    METHOD_CODES,
    OFFSET_TABLES,
    PATIENT_IDENTITY_REMOVED,
    REFERENCED_SERIES,
    TEMPORAL_INFORMATION,
    TIMEZONE,
)
from app.deid.deciding import (
    DATE_VRS,
    Decision,
    Effect,
    decide_overlay,
    decide_private,
    names_class,
)
from app.deid.deciding_content import TEXT_VALUE, decide_content
from app.deid.instructions import Op, ShapePlan, UidMode
from app.deid.private import Verdict
from app.deid.rulebook import Dates
from app.deid.rules.bulk import MEASURES
from app.deid.rules.dummies import dummy_items, dummy_values
from app.deid.rules.identifiers import Kind, identifying_kind
from app.deid.rules.numbers import NUMBER_VRS
from app.deid.standard import (
    Action,
    dictionary_vr,
    may_hold_well_known_uid,
    required_type,
    resolve_compound,
    table_row,
    uid_role,
)
from app.deid.structured import ContentRule
from app.deid.terms import RESCALE_TYPE
from app.dicom.elements import encode_element, encode_text, key_tag, key_vr
from app.dicom.tokens import Dataset

if TYPE_CHECKING:
    from app.deid.planning import Place


def _uid_mode(tag: int) -> UidMode:
    if names_class(tag) or may_hold_well_known_uid(tag):
        return UidMode.REGISTERED
    return UidMode.CODING if uid_role(tag) == "keep" else UidMode.ALL


def _kept_reference(decision: Decision) -> Decision:
    """Keep a reference to instances that the Common Instance Reference module lists.

    Table E.1-1 lets such a sequence stay with mapped UIDs where the IOD needs it (X/Z/U*): the
    module must not list what nothing refers to. Source: PS3.3 2026d, C.12.2.
    """
    if decision.effect is not Effect.REMOVE or "X/Z/U*" not in decision.because:
        return decision
    return Decision(
        Effect.ENTER, Action.MAP_UID, decision.because + "; kept, listed in (0008,1115)"
    )


_NONE_STAYS: Mapping[int, Verdict] = MappingProxyType({})


class Compiler:
    """Turns the decisions about one shape into instructions."""

    def __init__(
        self,
        place: "Place",
        dataset: Dataset,
        staying: Mapping[int, Verdict] = _NONE_STAYS,
        overlays: frozenset[int] = frozenset(),
        content: ContentRule | None = None,
    ) -> None:
        self.place = place
        self.explicit = dataset.explicit
        self.keys = dataset.keys
        self.tags = [key_tag(key) for key in dataset.keys]
        self.vrs = [key_vr(key >> 32) for key in dataset.keys]
        self.staying = staying
        self.decisions = [place.decide(t, v) for t, v in zip(self.tags, self.vrs, strict=True)]
        for index, verdict in staying.items():
            self.decisions[index] = decide_private(
                verdict, self.vrs[index], self.decisions[index], place.rules
            )
        for index, tag in enumerate(self.tags if overlays else ()):
            if tag >> 16 in overlays:
                self.decisions[index] = decide_overlay(
                    tag, self.decisions[index], place.where, place.rules
                )
        if content is not None:
            self.decisions = [
                decide_content(tag, decision, content, place.rules)
                for tag, decision in zip(self.tags, self.decisions, strict=True)
            ]
        self.content = content
        if REFERENCED_SERIES in self.tags and not place.where.removed:
            self.decisions = list(map(_kept_reference, self.decisions))
        self.ops: list[tuple[Any, ...]] = []
        self.warnings = [
            (d.warning, t) for d, t in zip(self.decisions, self.tags, strict=True) if d.warning
        ]
        where = place.where
        self.is_root = not (where.path or where.removed or where.tail)

    def replace_local_code(self) -> None:
        """Replace what the code of a scheme that is not public says."""
        because = "not on the allow-list: a code of a scheme that is not public"
        for index, tag in enumerate(self.tags):
            if tag in CODE_TAGS and self.decisions[index].effect in {Effect.KEEP, Effect.CLEAN}:
                self.decisions[index] = Decision(Effect.DUMMY, Action.DUMMY, because)

    def compiled(self) -> ShapePlan:
        """Return the compiled plan; instructions are in the order of tags."""
        if not self.place.where.removed:
            for tag, index in self._output_order():
                if index < 0:
                    self._insert(tag)
                else:
                    self._element(index)
        changes = not self._keeps_everything()
        identifying = tuple(self._identifying())
        retained = tuple(
            (i, kind) for i, kind in identifying if self.decisions[i].effect is Effect.KEEP
        )
        enters = any(op[0] == Op.ENTER for op in self.ops)
        return ShapePlan(
            decisions=tuple(self.decisions),
            ops=tuple(self.ops),
            changes=changes,
            is_inert=not (changes or enters or identifying or self.warnings),
            identifying=identifying,
            retained=retained,
            named=frozenset(self._named(retained)),
            removed_items=tuple(
                (i, self.place.child(self.tags[i], removed=True))
                for i, decision in enumerate(self.decisions)
                if decision.effect is not Effect.ENTER and self.vrs[i] in {"SQ", "UN"}
            ),
            charset=self.tags.index(CHARACTER_SET) if CHARACTER_SET in self.tags else -1,
            places={tag: i for i, tag in enumerate(self.tags)} if self.is_root else {},
            warnings=tuple(self.warnings),
            private={i: verdict.vr or self.vrs[i] for i, verdict in self.staying.items()},
        )

    def _named(self, retained: tuple[tuple[int, Kind], ...]) -> Iterator[int]:
        """Yield what an option retains by name: an attribute, or the text of a content item."""
        yield from (index for index, _ in retained)
        for index, tag in enumerate(self.tags if self.content else ()):
            if tag == TEXT_VALUE and self.decisions[index].effect is Effect.KEEP:
                yield index

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
            for tag in self.place.rules.inserted | {CHARACTER_SET}:
                present.setdefault(tag, -1)
        return sorted(present.items())

    def _duplicates(self) -> list[int]:
        return [tag for tag, count in Counter(self.tags).items() if count > 1]

    def _identifying(self) -> Iterator[tuple[int, Kind]]:
        for index, (tag, vr) in enumerate(zip(self.tags, self.vrs, strict=True)):
            known = dictionary_vr(tag)
            kind = identifying_kind(tag, known if vr == "UN" and known else vr)
            if tag == TEXT_VALUE and self.content is not None:
                kind = self.content.kind
            if kind is not None:
                yield index, kind

    def _insert(self, tag: int) -> None:
        if tag in IDENTITY_TAGS:
            self.ops.append((Op.IDENTITY, tag))
        elif tag == MANUFACTURER:
            self._bytes(encode_text(tag, "LO", "UNKNOWN", explicit=self.explicit))
        elif tag == CHARACTER_SET:
            self.ops.append((Op.CHARACTER_SET, -1))
        else:
            self._marker(tag, -1)

    def _marker(self, tag: int, index: int) -> None:
        """Write what tells of the de-identification. Source: PS3.15 2026d, E.1.1 and E.3.6."""
        dates = self.place.rules.dates
        if tag in self.place.rules.written:
            self._fact(tag, index)
        elif tag == METHOD:
            # What an earlier tool wrote there is free text.
            before = -1 if self.place.rules.has_allow_list else index
            self.ops.append((Op.METHOD, before))
        elif tag == METHOD_CODES:
            self.ops.append((Op.METHOD_CODES, index))
        elif tag == TEMPORAL_INFORMATION and dates is not Dates.REMOVED:
            self.ops.append((Op.TEMPORAL, index, dates.value))
        else:
            text = "YES" if tag == PATIENT_IDENTITY_REMOVED else dates.value
            self._bytes(encode_text(tag, "CS", text, explicit=self.explicit))

    def _fact(self, tag: int, index: int) -> None:
        """Write what is true of this object's pixels. Source: PS3.15 2026d, E.3.1."""
        if tag == DERIVATION_CODES:
            inside = self.place.child(tag, removed=False)
            self.ops.append((Op.MORE_CODES, tag, index, inside))
        elif tag == IMAGE_TYPE:
            self.ops.append((Op.DERIVED, index, self.place.rules.has_allow_list))
        else:
            self.ops.append((Op.FACT, tag, index))

    def _bytes(self, data: bytes) -> None:
        if self.ops and self.ops[-1][0] == Op.BYTES:
            data = self.ops.pop()[1] + data
        self.ops.append((Op.BYTES, data))

    def _element(self, index: int) -> None:  # noqa: C901 - one line per effect
        tag, vr = self.tags[index], self.vrs[index]
        match self.decisions[index].effect:
            case Effect.KEEP:
                self._keep(index)
            case Effect.ENTER:
                self.ops.append((Op.ENTER, index, self.place.child(tag, removed=False)))
            case Effect.EMPTY:
                self._bytes(
                    encode_element(tag, self._written_vr(index), b"", explicit=self.explicit)
                )
            case Effect.DUMMY:
                self._dummy(index)
            case Effect.MAP_UID:
                key = self.keys[index] if vr == "UI" else 0
                self.ops.append((Op.MAP_UID, index, _uid_mode(tag), key))
            case Effect.SHIFT:
                self._date(index, moves=True)
            case Effect.CLEAN:
                self._clean(index)
            case Effect.MARKER:
                self._marker(tag, index)
            case effect:
                self._rare(index, effect)

    def _rare(self, index: int, effect: Effect) -> None:
        """Write what few elements of an instance are."""
        tag = self.tags[index]
        match effect:
            case Effect.IDENTITY:
                self.ops.append((Op.IDENTITY, tag))
            case Effect.NOTICE:
                self.ops.append((Op.NOTICE, index))
            case Effect.PSEUDONYM:
                self.ops.append((Op.PSEUDONYM, index))
            case Effect.CREATOR:
                text = self.staying[index].creator
                self._bytes(encode_text(tag, "LO", text, explicit=self.explicit))
            case Effect.REPLACE:
                text, vr = self.decisions[index].value, self._written_vr(index)
                self._bytes(encode_text(tag, vr, text, explicit=self.explicit))

    def _keep(self, index: int) -> None:
        known = self._known_vr(index)
        if self.tags[index] == CHARACTER_SET:
            self.ops.append((Op.CHARACTER_SET, index))
        elif known in DATE_VRS or self.tags[index] == TIMEZONE:
            self._date(index, moves=False)
        elif known == "UI":
            key = self.keys[index] if self.vrs[index] == "UI" else 0
            self.ops.append((Op.MAP_UID, index, UidMode.RETAINED, key))
        elif self.tags[index] == DOCUMENT_LENGTH and self.is_root:
            self.ops.append((Op.DOCUMENT_LENGTH, index))
        elif self.tags[index] in OFFSET_TABLES and self.is_root:
            self.ops.append((Op.OFFSET_TABLE, index))
        elif op := self._looked_at(index, known):
            self.ops.append(op)
        elif self.ops and self.ops[-1][0] == Op.KEEP and self.ops[-1][2] == index:
            self.ops[-1] = (Op.KEEP, self.ops[-1][1], index + 1)
        else:
            self.ops.append((Op.KEEP, index, index + 1))

    def _looked_at(self, index: int, known: str) -> tuple[Any, ...] | None:
        """Return the instruction for a value that stays only if it is a number or not too long."""
        tag, rules = self.tags[index], self.place.rules
        if rules.has_allow_list and (op := self._listed(index, known)):
            return op
        if known in NUMBER_VRS:
            if rules.has_allow_list or index in self.staying or tag in rules.cells:
                nothing = encode_element(tag, self.vrs[index], b"", explicit=self.explicit)
                return Op.NUMBER, index, known, nothing
        elif tag in MEASURES and set(MEASURES[tag]) <= set(self.tags):
            return Op.BULK, index, tuple(map(self.tags.index, MEASURES[tag]))
        return None

    def _listed(self, index: int, known: str) -> tuple[Any, ...] | None:
        """Return the instruction for what the allow-list leaves whole, and may hold other text."""
        tag, rules, path = self.tags[index], self.place.rules, self.place.where.path
        if allowance(tag) is not Allowance.VALUE or rules.override(tag, known, path):
            return None
        if tag == ICC_PROFILE:
            return Op.COLOUR, index
        if known != "CS" and tag != RESCALE_TYPE:
            return None
        nothing = dummy_values(tag, known)[0] if is_required(tag) else b""
        return Op.TERM, index, b"US" if tag == RESCALE_TYPE else nothing

    def _known_vr(self, index: int) -> str:
        """Return what is known of an element's VR beside what the file says; or nothing."""
        verdict = self.staying.get(index)
        return verdict.vr if verdict else dictionary_vr(self.tags[index]) or ""

    def _date(self, index: int, *, moves: bool) -> None:
        tag, vr = self.tags[index], self._written_vr(index)
        dummy = encode_element(tag, vr, dummy_values(tag, vr)[0], explicit=self.explicit)
        self.ops.append((Op.DATE, index, vr, moves, dummy))

    def _clean(self, index: int) -> None:
        """Clean a text; where nothing is left of it, a dummy stands if the attribute needs one."""
        tag, vr = self.tags[index], self._written_vr(index)
        where = self.place.where
        row = table_row(tag)
        action = (
            resolve_compound(row.basic, ciod=where.ciod, path=where.path, tag=tag) if row else ""
        )
        needs_value = action == Action.DUMMY or required_type(path=where.path, tag=tag) == "1"
        needs_value = needs_value or tag in {TEXT_VALUE, CODE_MEANING}
        nothing = dummy_values(tag, vr)[0] if needs_value else b""
        known = self.place.rules.vocabulary.get(tag)
        self.ops.append((Op.CLEAN, index, vr, nothing, known))

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
        """Return the VR of a new value: the dictionary's, where the file's is no help."""
        vr, known = self.vrs[index], dictionary_vr(self.tags[index])
        if known is None or known[:2] == vr or vr in known:
            return vr
        return known[:2]
