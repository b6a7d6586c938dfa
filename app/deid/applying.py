"""Carry out a plan: runs of kept bytes untouched, changed elements encoded anew, lengths right.

Collects on the way what identifies somebody in this instance, for cleaning and for verifying.
"""

import struct
from typing import Any

from app.deid.collecting import collect, entered_items
from app.deid.element_writing import NO_CLEANERS, SPECIAL, Cleaners, ElementWriter
from app.deid.instructions import Op, ShapePlan, UidMode
from app.deid.marking import code_item
from app.deid.planning import Place, Remark
from app.deid.private import View
from app.deid.standard import dictionary_vr
from app.deid.substitutes import Substitutes
from app.dicom.elements import encode_element, encode_item, encode_text, key_tag, tag_text
from app.dicom.tokens import Dataset
from app.errors import LimitExceeded

_PACK = struct.Struct("<Q").pack
_U32 = struct.Struct("<I").pack
_ITEM = b"\xfe\xff\x00\xe0"
_UNDEFINED_LENGTH = b"\xff\xff\xff\xff"
_DELIMITED_ITEM = _ITEM + _UNDEFINED_LENGTH
_ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
_SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
# Members of an enumeration cost a look-up each time; the inner loop has them at hand.
_KEEP, _BYTES, _MAP_UID, _ENTER, _DUMMY = Op.KEEP, Op.BYTES, Op.MAP_UID, Op.ENTER, Op.DUMMY
_IDENTITY, _REGISTERED, _MORE_CODES = Op.IDENTITY, UidMode.REGISTERED, Op.MORE_CODES


class Applier(ElementWriter):
    """Writes one data set; arguments as those of ``ElementWriter``."""

    def __init__(
        self,
        view: View,
        substitutes: Substitutes,
        cleaners: Cleaners = NO_CLEANERS,
        charset: bytes = b"",
    ) -> None:
        super().__init__(view, substitutes, cleaners, charset)
        self._out: list[bytes] = []

    def write(self, dataset: Dataset, place: Place) -> bytes:
        """Return the bytes of the de-identified data set.

        Raises:
            LimitExceeded: replacements make a value longer than its VR can hold.
        """
        try:
            unchanged = self._dataset(dataset, place) is None
        except struct.error:
            raise LimitExceeded("A value is too long to be replaced") from None
        if unchanged:
            return self.buffer[dataset.starts[0] : dataset.stop] if dataset.keys else b""
        return b"".join(self._out)

    def _dataset(self, dataset: Dataset, place: Place) -> int | None:
        """Append the data set's bytes to the output; None, and nothing appended, if unchanged."""
        plan = place.plan_of(dataset, self.view)
        if plan.is_inert and self.cleaner is None:
            return None
        outer_charset = self.charset
        if plan.charset >= 0:
            self.charset = self._value(dataset, plan.charset)
        if plan.identifying or plan.removed_items:
            collect(self.findings, self.view, dataset, plan, self.charset)
        if plan.warnings:
            self._warn(place, plan)
        mark = len(self._out)
        size, changed = self._run(dataset, plan, changed=plan.changes)
        self.charset = outer_charset
        if changed:
            return size
        del self._out[mark:]
        return None

    def _run(  # noqa: C901, PLR0912, PLR0915 - the inner loop
        self, dataset: Dataset, plan: ShapePlan, *, changed: bool
    ) -> tuple[int, bool]:
        buffer, out, starts, keys = self.buffer, self._out, dataset.starts, dataset.keys
        count, explicit = len(keys), dataset.explicit
        size = 0
        for op in plan.ops:
            code = op[0]
            if code is _KEEP:
                # Operands: first index, index behind the last.
                _, first, behind = op
                if self.cleaner is None:
                    part = buffer[
                        starts[first] : starts[behind] if behind < count else dataset.stop
                    ]
                else:
                    part = self._cleaned(dataset, plan, first, behind)
            elif code is _BYTES:
                # Operand: the encoded elements.
                part = op[1]
            elif code is _MAP_UID:
                # Operands: index, which values stay, key or 0.
                raw = self._value(dataset, op[1])
                value = self._uid_values.get(raw)
                if value is None or op[2] is not _REGISTERED:
                    value = self._map_uids(raw, op[2])
                if explicit and op[3]:
                    part = _PACK(op[3] | len(value) << 48) + value
                else:
                    part = encode_element(key_tag(keys[op[1]]), "UI", value, explicit=explicit)
            elif code is _ENTER:
                # Operands: index, place inside.
                grown = self._sequence(dataset, op[1], op[2])
                if grown is not None:
                    size += grown
                    changed = True
                    continue
                start, stop = dataset.span(op[1])
                part = buffer[start:stop]
            elif code is _DUMMY:
                # Operands: index, dummy value, element with it, element with the other dummy.
                same = self._value(dataset, op[1]).rstrip(b"\0 ") == op[2]
                part = op[4] if same else op[3]
            else:
                part = self._special(dataset, plan, op)
            out.append(part)
            size += len(part)
        return size, changed or self.cleaner is not None

    def _special(self, dataset: Dataset, plan: ShapePlan, op: tuple[Any, ...]) -> bytes:
        """Return an element that takes more than a line; operands as its method says."""
        code, operand = op[:2]
        if code is _IDENTITY:
            vr = dictionary_vr(operand) or "LO"
            text = self.substitutes.identity[operand]
            return encode_text(operand, vr, text, explicit=dataset.explicit)
        if code is _MORE_CODES:
            return self._more_codes(dataset, *op[1:])
        return SPECIAL[code](self, dataset, plan, *op[1:])

    def _more_codes(self, dataset: Dataset, tag: int, index: int, place: Place) -> bytes:
        """Return a sequence of codes with ours behind those that came.

        Args:
            dataset: where it stands.
            tag: of the sequence.
            index: -1 where none came.
            place: inside of it.
        """
        items = entered_items(self.buffer, dataset, index) if index >= 0 else None
        written: list[bytes] = []
        for item in items.datasets if items else ():
            inside = Applier(self.view, self.substitutes, self.cleaners, self.charset)
            written.append(encode_item(inside.write(item, place)))
            self.findings.add(inside.findings)
        for code in self.substitutes.facts[tag].value.decode("ascii").split("\n"):
            value, _, meaning = code.partition("\0")
            written.append(code_item(value, meaning, explicit=dataset.explicit))
        return encode_element(tag, "SQ", b"".join(written), explicit=dataset.explicit)

    def _sequence(  # noqa: PLR0915 - one loop
        self, dataset: Dataset, index: int, place: Place
    ) -> int | None:
        """Append a sequence with its items planned; None, and nothing appended, if unchanged."""
        items = dataset.sequences.get(index) or entered_items(self.buffer, dataset, index)
        if items is None:
            return self._unread(dataset, index)
        out, buffer = self._out, self.buffer
        mark = len(out)
        out.append(b"")
        size, behind = 0, -1
        for item in items.datasets:
            out.append(b"")
            slot = len(out) - 1
            length = self._dataset(item, place)
            if length is None:
                out.pop()
                continue
            # The unchanged items before this one go out in one piece.
            before = buffer[behind if behind >= 0 else items.datasets[0].begin : item.begin]
            if item.delimited:
                out[slot] = before + _DELIMITED_ITEM
                out.append(_ITEM_END)
                size += 8
            else:
                out[slot] = before + _ITEM + _U32(length)
            size += len(before) + 8 + length
            behind = item.after
        if behind < 0:
            del out[mark:]
            return None
        rest = buffer[behind : items.datasets[-1].after]
        out.append(rest)
        size += len(rest)
        header = self._header(dataset, index)
        if items.delimited:
            out[mark] = header + _UNDEFINED_LENGTH
            out.append(_SEQUENCE_END)
            size += 8
        else:
            out[mark] = header + _U32(size)
        return len(header) + 4 + size

    def _unread(self, dataset: Dataset, index: int) -> int | None:
        """Leave out a sequence whose items cannot be read; an empty one stays."""
        start, stop = dataset.value_span(index)
        if start == stop:
            return None
        tag = tag_text(key_tag(dataset.keys[index]))
        self.findings.warnings.append(Remark("unreadable-sequence-removed", tag))
        return 0

    def _header(self, dataset: Dataset, index: int) -> bytes:
        """Return a sequence's header up to its length; one written as UN is implicit and stays."""
        key = dataset.keys[index]
        return _PACK(key) if dataset.explicit else _U32(key & 0xFFFFFFFF)

    def _warn(self, place: Place, plan: ShapePlan) -> None:
        where = ".".join(map(tag_text, place.where.path))
        for code, tag in plan.warnings:
            path = f"{where}.{tag_text(tag)}" if where else tag_text(tag)
            self.findings.warnings.append(Remark(code, path))

    def _cleaned(self, dataset: Dataset, plan: ShapePlan, first: int, behind: int) -> bytes:
        retained = plan.named
        return b"".join(
            self._cleaned_element(
                dataset, plan, i, self.cleaners.retained if i in retained else self.cleaner
            )
            for i in range(first, behind)
        )
