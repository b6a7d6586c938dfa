"""What became of every element of an instance, and why: the plan beside what was written.

The plan says what is done and by which rule; the result is read from the written data set, so that
neither can tell what did not happen. No value is told unless it is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.deid.deciding import Effect
from app.deid.explaining_kinds import NOTHING, UNCHANGED, is_shown, kind_made
from app.deid.explaining_rules import Rule, Rules
from app.deid.explaining_walk import NOTHING_WRITTEN, Met, Part, Walk, insertion
from app.deid.planning import Place, Plan
from app.deid.private import View
from app.deid.standard import Action, keyword
from app.dicom.elements import path_text
from app.dicom.tokens import Dataset

# Behind every element that an instance can hold.
_INSERTED: Final = 1 << 32
# Sequences that are written anew as a whole: what is in their place has nothing to do with items.
_REBUILT: Final = frozenset({Effect.DUMMY, Effect.MARKER, Effect.NOTICE})


class Result(StrEnum):
    """What became of an element."""

    KEPT = "kept"
    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """What became of one element, or of one part of a file that is no element.

    Attributes:
        order: where it stands; lines about one instance under two profiles meet by it.
        path: ``(0040,A730)[3].(0040,A160)``, or the name of a part that is no element.
        keyword: of a standard attribute.
        creator: of a private element, where vendors publish it.
        vr: as the file says.
        effect: what was done.
        action: the letter of the table.
        result: what became of it.
        rule: what decided.
        old, new: what stood there and what stands there, in kinds.
        old_value, new_value: the values, for those who may see them.
        fingerprint: tells written values apart, within one process.
    """

    order: tuple[int, ...]
    path: str
    keyword: str
    creator: str
    vr: str
    effect: Effect
    action: Action
    result: Result
    rule: Rule
    old: str = ""
    new: str = ""
    old_value: str | None = None
    new_value: str | None = None
    fingerprint: int = 0

    def name(self) -> dict[str, str]:
        """Return what names the element."""
        texts = {
            "path": self.path,
            "keyword": self.keyword,
            "creator": self.creator,
            "vr": self.vr,
        }
        return {name: text for name, text in texts.items() if text}

    def treatment(self, *, kinds: bool = True) -> dict[str, Any]:
        """Return what was done.

        Args:
            kinds: whether to tell what values were and are, in kinds.
        """
        members: dict[str, Any] = {
            "action": self.effect.value,
            "code": self.action.value,
            "result": self.result.value,
            "rule": self.rule.as_dict(),
        }
        if kinds:
            members |= {"old": self.old, "new": self.new}
        for name, value in (("old_value", self.old_value), ("new_value", self.new_value)):
            if value is not None:
                members[name] = value
        return members

    def differs(self, other: "Line") -> bool:
        """Say whether two profiles treat an element differently."""
        mine = (self.effect, self.result, self.new, self.fingerprint)
        return mine != (other.effect, other.result, other.new, other.fingerprint)


@dataclass(frozen=True, slots=True)
class _At:
    """Where the walk is: (sequence, item) pairs, and the numbers that lead there."""

    path: tuple[tuple[int, int], ...]
    order: tuple[int, ...]

    def inside(self, tag: int, index: int, item: int) -> "_At":
        """Return the place inside an item."""
        return _At((*self.path, (tag, item)), (*self.order, index, item))


class Explainer:
    """Walks an instance's plan beside what was written.

    Args:
        plan: that of the instance, carried out.
        root: what was written before the pixel value.
        tail: what was written behind it.
        values: whether lines hold values.
    """

    def __init__(self, plan: Plan, root: Part, tail: Part | None, *, values: bool = False) -> None:
        self._plan = plan
        self._root = root
        self._tail = tail or NOTHING_WRITTEN
        self._values = values
        self._rules = Rules(plan.profile, plan.place.rules)

    def root(self, order: int) -> Iterator[Line]:
        """Yield a line per element before the pixel value, depth first; then what is inserted.

        Args:
            order: where this part of the instance stands among the others.
        """
        plan = self._plan
        before = Part(plan.view.buffer, plan.root)
        walk = Walk(plan.place, before, plan.view, self._root, (b"", b""))
        yield from self._lines(walk, _At((), (order,)))

    def tail(self, order: int) -> Iterator[Line]:
        """Yield a line per element behind the pixel value; ``order`` as for ``root``."""
        plan = self._plan
        if plan.tail is None:
            return
        head = Part(plan.view.buffer, plan.root)
        charsets = (
            head.charset(head.places(), b""),
            self._root.charset(self._root.places(), b""),
        )
        place, view = plan.tail_place or plan.place, plan.tail_view
        walk = Walk(place, Part(view.buffer, plan.tail), view, self._tail, charsets)
        yield from self._lines(walk, _At((), (order,)))

    def _lines(self, walk: Walk, at: _At) -> Iterator[Line]:
        for index in range(len(walk.before.dataset.keys)):
            met = walk.meet(index)
            yield self._line(walk, index, met, at)
            if index in walk.before.dataset.sequences and met.decision.effect not in _REBUILT:
                yield from self._items(walk, index, met, at)
        for tag in walk.inserted():
            yield self._inserted(walk, tag, at)

    def _items(self, walk: Walk, index: int, met: Met, at: _At) -> Iterator[Line]:
        """Yield the lines of a sequence's items; those of one that went are gone as well."""
        is_entered = met.at is not None and met.decision.effect is Effect.ENTER
        written = walk.after.items(met.at) if is_entered and met.at is not None else None
        child = walk.place.child(met.tag, removed=not is_entered)
        for number, item in enumerate(walk.before.dataset.sequences[index].datasets):
            after = Part(walk.after.buffer, written[number]) if written else NOTHING_WRITTEN
            inside = _walk_inside(walk, child, item, after)
            yield from self._lines(inside, at.inside(met.tag, index, number))

    def _line(self, walk: Walk, index: int, met: Met, at: _At) -> Line:
        decision, vr = met.decision, walk.before.vr(index)
        path = tuple(sequence for sequence, _ in at.path)
        result = Result.REMOVED if met.at is None else Result.CHANGED
        new = NOTHING
        if met.is_kept:
            result, new = Result.KEPT, UNCHANGED
        elif met.at is not None:
            new = kind_made(decision.effect, walk.after.kind(met.at, walk.charsets[1]))
        return Line(
            order=(*at.order, index),
            path=path_text(at.path, met.tag),
            keyword=keyword(met.tag),
            creator=self._rules.creator(walk.creator(met.tag)),
            vr=vr,
            effect=decision.effect,
            action=decision.action,
            result=result,
            rule=self._rules.rule(decision.because, met.tag, vr, path),
            old=walk.before.kind(index, walk.charsets[0]),
            new=new,
            old_value=walk.before.text(index, walk.charsets[0]) if self._values else None,
            new_value=walk.value_after(met) if self._values else None,
            fingerprint=walk.fingerprint(met),
        )

    def _inserted(self, walk: Walk, tag: int, at: _At) -> Line:
        decision, written, index = insertion(walk.place, tag), walk.after, walk.found[tag]
        vr = written.judged_vr(index)
        is_told = self._values and is_shown(decision.effect, vr)
        return Line(
            order=(*at.order, _INSERTED, tag),
            path=path_text(at.path, tag),
            keyword=keyword(tag),
            creator="",
            vr=vr,
            effect=decision.effect,
            action=decision.action,
            result=Result.INSERTED,
            rule=self._rules.rule(decision.because, tag, vr, ()),
            old=NOTHING,
            new=kind_made(decision.effect, written.kind(index, walk.charsets[1])),
            new_value=written.text(index, walk.charsets[1]) if is_told else None,
            fingerprint=hash(written.value(index)),
        )


def _walk_inside(walk: Walk, place: Place, item: Dataset, after: Part) -> Walk:
    view: View = walk.view
    return Walk(place, Part(walk.before.buffer, item), view, after, walk.charsets)
