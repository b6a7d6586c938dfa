"""One data set beside what was written of it: where each element is now, and whether it changed."""

from dataclasses import dataclass
from typing import Final

from app.deid.attributes import (
    CHARACTER_SET,
    DOCUMENT_LENGTH,
    MANUFACTURER,
    OFFSET_TABLES,
    TIMEZONE,
)
from app.deid.collecting import entered_items
from app.deid.deciding import DATE_VRS, Decision, Effect
from app.deid.explaining_kinds import (
    is_same,
    is_shown,
    judged_vr,
    kind_of,
    kind_of_items,
    shown,
)
from app.deid.planning import Place
from app.deid.private import View, creators_of
from app.deid.standard import Action, dictionary_vr
from app.dicom.elements import key_tag, key_vr
from app.dicom.tokens import Dataset


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """A data set and what its spans point into.

    Attributes:
        buffer: the bytes.
        dataset: the spans.
    """

    buffer: bytes
    dataset: Dataset

    def tag(self, index: int) -> int:
        """Return the tag of an element."""
        return key_tag(self.dataset.keys[index])

    def vr(self, index: int) -> str:
        """Return the VR of an element as it is encoded."""
        return key_vr(self.dataset.keys[index] >> 32)

    def judged_vr(self, index: int) -> str:
        """Return the VR of an element, the dictionary's where it is encoded as UN."""
        return judged_vr(self.tag(index), self.vr(index))

    def value(self, index: int) -> bytes:
        """Return the value of an element."""
        start, stop = self.dataset.value_span(index)
        return self.buffer[start:stop]

    def has_items(self, index: int) -> bool:
        """Say whether an element is a sequence."""
        return index in self.dataset.sequences or self.judged_vr(index) == "SQ"

    def items(self, index: int) -> list[Dataset] | None:
        """Return the items of a sequence; None where it has none that can be read."""
        items = entered_items(self.buffer, self.dataset, index)
        return items.datasets if items else None

    def kind(self, index: int, charset: bytes) -> str:
        """Say what an element is."""
        if self.has_items(index):
            items = self.dataset.sequences.get(index)
            return kind_of_items(len(items.datasets) if items else None)
        return kind_of(self.judged_vr(index), self.value(index), charset)

    def text(self, index: int, charset: bytes) -> str | None:
        """Return a value for those who may see it; None for sequences."""
        if self.has_items(index):
            return None
        return shown(self.judged_vr(index), self.value(index), charset)

    def places(self) -> dict[int, int]:
        """Return tag → index; of equal tags the last, as it is written."""
        return {key_tag(key): index for index, key in enumerate(self.dataset.keys)}

    def charset(self, places: dict[int, int], outer: bytes) -> bytes:
        """Return Specific Character Set in force."""
        index = places.get(CHARACTER_SET)
        return outer if index is None else self.value(index)


NOTHING_WRITTEN: Final = Part(b"", Dataset(explicit=True))


@dataclass(frozen=True, slots=True)
class Met:
    """One element on the way.

    Attributes:
        tag: of the element.
        decision: the plan's; where carrying it out came to something else, what that was.
        at: where it stands in the output; None where it does not.
        is_kept: whether it is there as it was, but for padding.
    """

    tag: int
    decision: Decision
    at: int | None
    is_kept: bool


class Walk:
    """One data set, what the plan says of it, and where its elements stand in the output.

    Args:
        place: where the data set stands.
        before: the original.
        view: the instance, as rules about private elements saw it.
        after: what was written.
        charsets: Specific Character Set of the enclosing data set, before and after.
    """

    def __init__(
        self, place: Place, before: Part, view: View, after: Part, charsets: tuple[bytes, bytes]
    ) -> None:
        self.place = place
        self.before = before
        self.after = after
        self.view = view
        self.last = before.places()
        self.found = after.places()
        self._decisions = place.plan_of(before.dataset, view).decisions
        self._creators = {block: text for _, block, text in creators_of(before.dataset, view)}
        self.charsets = (
            before.charset(self.last, charsets[0]),
            after.charset(self.found, charsets[1]),
        )

    def inserted(self) -> list[int]:
        """Return the tags that the original had not."""
        return sorted(self.found.keys() - self.last.keys())

    def creator(self, tag: int) -> str:
        """Return the text of the creator of a private element's block."""
        element = tag & 0xFFFF
        block = element >> 8 if element >= 0x1000 else element
        return self._creators.get(tag >> 16 << 16 | block, "") if tag >> 16 & 1 else ""

    def meet(self, index: int) -> Met:
        """Return what became of an element."""
        planned, tag = self._decisions[index], self.before.tag(index)
        if self.last[tag] != index and planned.effect is not Effect.REMOVE:
            return Met(
                tag, _removal("duplicate: of equal elements the last one stays"), None, False
            )
        at = self.found.get(tag) if self.last[tag] == index else None
        if at is None:
            if planned.effect is not Effect.REMOVE:
                planned = _removal(f"{planned.because}; {_loss(tag, planned.effect)}")
            return Met(tag, planned, None, False)
        is_kept = _is_same(self.before, index, self.after, at)
        if planned.effect is Effect.KEEP and not is_kept:
            planned = _adapted(tag, self.before.judged_vr(index), planned)
        return Met(tag, planned, at, is_kept)

    def value_after(self, met: Met) -> str | None:
        """Return what stands there now, for those who may see it; no pseudonym is told."""
        if met.at is None:
            return None
        is_told = met.is_kept or is_shown(met.decision.effect, self.after.judged_vr(met.at))
        return self.after.text(met.at, self.charsets[1]) if is_told else None

    def fingerprint(self, met: Met) -> int:
        """Return what tells written values apart; that of a judged sequence is its items'."""
        if met.at is None or met.decision.effect is Effect.ENTER:
            return 0
        return hash(self.after.value(met.at))


def insertion(place: Place, tag: int) -> Decision:
    """Return the decision about an element that the original had not."""
    if tag == CHARACTER_SET:
        return Decision(Effect.MARKER, Action.DUMMY, "character set of kept text; inserted")
    if tag == MANUFACTURER:
        because = "Type 2 beside Institution Name; inserted"
        return Decision(Effect.DUMMY, Action.DUMMY, because)
    decided = place.decide(tag, dictionary_vr(tag) or "LO")
    return Decision(decided.effect, decided.action, f"{decided.because}; inserted")


def _removal(because: str) -> Decision:
    return Decision(Effect.REMOVE, Action.REMOVE, because)


def _loss(tag: int, effect: Effect) -> str:
    """Say why an element that the plan does not remove is not in the output."""
    if tag == CHARACTER_SET:
        return "it names no character set of the standard"
    if effect is Effect.MARKER:
        return "the profile claims no code"
    return "its items cannot be read"


def _adapted(tag: int, vr: str, planned: Decision) -> Decision:
    """Return what came of keeping an element that could not stay as it was."""
    because = planned.because
    if tag in OFFSET_TABLES or tag in {DOCUMENT_LENGTH, CHARACTER_SET}:
        return Decision(Effect.REPLACE, Action.DUMMY, f"{because}; written anew to fit")
    if vr == "UI":
        return Decision(Effect.MAP_UID, Action.MAP_UID, f"{because}; what is no UID is mapped")
    if vr in DATE_VRS or tag == TIMEZONE:
        return Decision(Effect.DUMMY, Action.DUMMY, f"{because}; what is no date is replaced")
    return Decision(Effect.CLEAN, Action.CLEAN, f"{because}; identifying text taken out")


def _is_same(before: Part, index: int, after: Part, at: int) -> bool:
    """Say whether two elements hold the same but for padding and how lengths are written."""
    ours, theirs = before.value(index), after.value(at)
    if ours == theirs:
        return True
    if not before.has_items(index):
        return is_same(before.judged_vr(index), ours, theirs)
    items, written = before.items(index), after.items(at)
    if items is None or written is None or len(items) != len(written):
        return not items and not written
    return all(
        _is_same_dataset(Part(before.buffer, one), Part(after.buffer, two))
        for one, two in zip(items, written, strict=True)
    )


def _is_same_dataset(before: Part, after: Part) -> bool:
    count = len(before.dataset.keys)
    if list(map(key_tag, before.dataset.keys)) != list(map(key_tag, after.dataset.keys)):
        return False
    return all(_is_same(before, index, after, index) for index in range(count))
