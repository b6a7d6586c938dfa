"""Carry out a plan: runs of kept bytes untouched, changed elements encoded anew, lengths right.

Collects on the way what identifies somebody in this instance, for cleaning and for verifying.
"""

import re
import struct

from app.deid.attributes import CHARACTER_SET
from app.deid.compiling import Op, ShapePlan, UidMode
from app.deid.marking import method_codes_element, method_element
from app.deid.planning import Place, Remark
from app.deid.rules.documents import notice
from app.deid.rules.text import TextCleaner
from app.deid.standard import dictionary_vr, uid_kind, well_known_uid
from app.deid.substitutes import Findings, Substitutes
from app.dicom.elements import (
    CHARSET_VRS,
    LONG_CODES,
    encode_element,
    encode_text,
    key_tag,
    key_vr,
    pad,
    tag_text,
)
from app.dicom.text import decode, encode
from app.dicom.tokens import Dataset, Limits
from app.dicom.walker import items_in
from app.errors import LimitExceeded

_PACK = struct.Struct("<Q").pack
_U32 = struct.Struct("<I").pack
_ITEM = b"\xfe\xff\x00\xe0"
_UNDEFINED_LENGTH = b"\xff\xff\xff\xff"
_DELIMITED_ITEM = _ITEM + _UNDEFINED_LENGTH
_ITEM_END = b"\xfe\xff\x0d\xe0" + bytes(4)
_SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)
_MIME_TYPE = 0x00420012
_CLEANED_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DS", "IS", "TM", "UN"}
_BINARY_VRS = frozenset({"OB", "OW", "UN"})
# Defined terms, and what is met in their place. Source: PS3.3 2026d, C.12.1.1.2.
_CHARSET_TERM = re.compile(
    rb" *(?:(?:ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?|ISO[ _-]8859[ _-]|ISO[ _-]646[ _-]?)[0-9]{1,3}"
    rb"|GB ?18030|GB ?2312|GBK|UTF[ _-]?8|latin[_-]?1|ascii)? *",
    re.IGNORECASE,
)
_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){2,}")
# Members of an enumeration cost a look-up each time; the inner loop has them at hand.
_KEEP, _BYTES, _MAP_UID, _ENTER, _DUMMY = Op.KEEP, Op.BYTES, Op.MAP_UID, Op.ENTER, Op.DUMMY
_IDENTITY, _REGISTERED = Op.IDENTITY, UidMode.REGISTERED
# For items inside values that go: they are only looked into for what identifies.
_LIMITS = Limits()


class Applier:
    """Writes one data set.

    Args:
        buffer: what the spans point into.
        substitutes: replacements.
        cleaner: when given, every kept text goes through it.
        charset: Specific Character Set in force before the data set's own.
    """

    def __init__(
        self,
        buffer: bytes,
        substitutes: Substitutes,
        cleaner: TextCleaner | None = None,
        charset: bytes = b"",
    ) -> None:
        self.buffer = buffer
        self.substitutes = substitutes
        self.cleaner = cleaner
        self.charset = charset
        self.findings = Findings()
        self.document_bytes = 0
        self._out: list[bytes] = []
        self._uid_values: dict[bytes, bytes] = {}

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
        plan = place.plan_of(dataset)
        if plan.is_inert and self.cleaner is None:
            return None
        outer_charset = self.charset
        if plan.charset >= 0:
            self.charset = self._value(dataset, plan.charset)
        if plan.identifying or plan.removed_items:
            self._collect(dataset, plan)
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
                    part = self._cleaned(dataset, first, behind)
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

    def _special(self, dataset: Dataset, plan: ShapePlan, op: tuple[Op, int]) -> bytes:
        """Return an element of which a data set has one at most."""
        code, operand = op
        if code is _IDENTITY:
            vr = dictionary_vr(operand) or "LO"
            text = self.substitutes.identity[operand]
            return encode_text(operand, vr, text, explicit=dataset.explicit)
        return _SPECIAL[code](self, dataset, plan, operand)

    def _charset(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        """Return Specific Character Set: terms of the standard only, for the text is free."""
        declared = self.substitutes.declared_charset
        if index >= 0:
            terms = self._value(dataset, index).rstrip(b"\0 ").split(b"\\")
            if all(map(_CHARSET_TERM.fullmatch, terms)):
                start, stop = dataset.span(index)
                return self.buffer[start:stop]
            self.findings.warnings.append(
                Remark("character-set-unknown-removed", tag_text(CHARACTER_SET))
            )
        if not declared:
            return b""
        return encode_text(CHARACTER_SET, "CS", declared, explicit=dataset.explicit)

    def _offset_table(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        tag = key_tag(dataset.keys[index])
        table = self.substitutes.offset_tables.get(tag) or self._value(dataset, index)
        return encode_element(tag, "OV", table, explicit=dataset.explicit)

    def _notice(self, dataset: Dataset, plan: ShapePlan, index: int) -> bytes:
        mime = plan.places.get(_MIME_TYPE)
        kind = b"" if mime is None else self._value(dataset, mime).rstrip(b"\0 ")
        document = notice(kind.decode("ascii", "replace"))
        self.document_bytes = len(document)
        tag = key_tag(dataset.keys[index])
        return encode_element(tag, "OB", document, explicit=dataset.explicit)

    def _document_length(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        """Return the document's length; the element stands behind the document."""
        tag = key_tag(dataset.keys[index])
        return encode_element(tag, "UL", _U32(self.document_bytes), explicit=dataset.explicit)

    def _sequence(  # noqa: PLR0915 - one loop
        self, dataset: Dataset, index: int, place: Place
    ) -> int | None:
        """Append a sequence with its items planned; None, and nothing appended, if unchanged."""
        items = dataset.sequences.get(index)
        if items is None:
            return None
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

    def _header(self, dataset: Dataset, index: int) -> bytes:
        """Return a sequence's header up to its length; one written as UN is implicit and stays."""
        key = dataset.keys[index]
        return _PACK(key) if dataset.explicit else _U32(key & 0xFFFFFFFF)

    def _value(self, dataset: Dataset, index: int) -> bytes:
        starts, following = dataset.starts, index + 1
        stop = starts[following] if following < len(starts) else dataset.stop
        is_long = dataset.explicit and dataset.keys[index] >> 32 in LONG_CODES
        return self.buffer[starts[index] + (12 if is_long else 8) : stop]

    def _map_uids(self, raw: bytes, mode: UidMode) -> bytes:
        """Return the replacement of a UI value, each of several by itself."""
        texts = raw.decode("ascii", "replace").split("\\")
        value = pad("\\".join(self._map_uid(t.strip("\0 "), mode) for t in texts).encode(), "UI")
        if mode is _REGISTERED:
            self._uid_values[raw] = value
        return value

    def _map_uid(self, uid: str, mode: UidMode) -> str:
        if not uid or uid_kind(uid) or (mode is not UidMode.ALL and well_known_uid(uid)):
            return uid
        if mode is UidMode.CODING and self._names_coding_scheme(uid):
            return uid
        self.findings.uids.add(uid)
        return self.substitutes.uid(uid)

    def _names_coding_scheme(self, uid: str) -> bool:
        """Say whether a UID can be that of a coding scheme: well-formed, nobody's identifier."""
        if not _UID.fullmatch(uid):
            return False
        return self.cleaner is None or self.cleaner.clean(uid, vr="LO") == uid

    def _collect(self, dataset: Dataset, plan: ShapePlan) -> None:
        values, charset = self.findings.values, self.charset
        for index, kind in plan.identifying:
            raw = self._value(dataset, index)
            if raw:
                values.append((kind, raw, charset))
        for index, place in plan.removed_items:
            items = dataset.sequences.get(index)
            if items is None:
                items = items_in(self.buffer, *dataset.value_span(index), _LIMITS)
            if items is not None:
                for item in items.datasets:
                    self._collect(item, place.plan_of(item))

    def _warn(self, place: Place, plan: ShapePlan) -> None:
        where = ".".join(map(tag_text, place.where.path))
        for code, tag in plan.warnings:
            path = f"{where}.{tag_text(tag)}" if where else tag_text(tag)
            self.findings.warnings.append(Remark(code, path))

    def _cleaned(self, dataset: Dataset, first: int, behind: int) -> bytes:
        return b"".join(self._cleaned_element(dataset, i) for i in range(first, behind))

    def _cleaned_element(self, dataset: Dataset, index: int) -> bytes:
        """Return a kept element without identifying values in its text."""
        start, stop = dataset.span(index)
        element = self.buffer[start:stop]
        key = dataset.keys[index]
        tag, vr = key_tag(key), key_vr(key >> 32)
        if vr not in _CLEANED_VRS or self.cleaner is None:
            return element
        known = dictionary_vr(tag) if vr == "UN" else vr
        if known not in _CLEANED_VRS:
            return element
        charset = self.charset if known in CHARSET_VRS else b""
        text = decode(self._value(dataset, index), charset).rstrip("\0 ")
        cleaned = self.cleaner.clean(text, vr=known)
        if cleaned == text:
            return element
        self.findings.warnings.append(Remark("kept-text-cleaned", tag_text(tag)))
        value = pad(encode(cleaned or "REMOVED", charset), vr)
        return encode_element(tag, vr, value, explicit=dataset.explicit)

    def _method(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        """Return De-identification Method with our text appended."""
        before = b"" if index < 0 else self._value(dataset, index).rstrip(b"\0 ")
        if before and self.cleaner is not None:
            text = self.cleaner.clean(decode(before, self.charset), vr="LO")
            before = encode(text, self.charset)
        return method_element(before, self.substitutes.method, explicit=dataset.explicit)

    def _method_codes(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        """Return De-identification Method Code Sequence with our codes appended."""
        items = dataset.sequences.get(index) if index >= 0 else None
        return method_codes_element(
            self.buffer, items, self.substitutes.codes, explicit=dataset.explicit
        )


_SPECIAL = {
    Op.CHARACTER_SET: Applier._charset,  # noqa: SLF001 - its own methods
    Op.DOCUMENT_LENGTH: Applier._document_length,  # noqa: SLF001
    Op.METHOD: Applier._method,  # noqa: SLF001
    Op.METHOD_CODES: Applier._method_codes,  # noqa: SLF001
    Op.NOTICE: Applier._notice,  # noqa: SLF001
    Op.OFFSET_TABLE: Applier._offset_table,  # noqa: SLF001
}
