"""Single elements as they are written: UIDs, dates, texts, markers, and what replaces documents."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from app.deid.attributes import CHARACTER_SET, TEMPORAL_INFORMATION
from app.deid.instructions import Op, ShapePlan, UidMode
from app.deid.marking import method_codes_element, method_element
from app.deid.planning import Remark
from app.deid.private import View
from app.deid.rules.bulk import longest
from app.deid.rules.colour import without_text
from app.deid.rules.documents import notice
from app.deid.rules.numbers import is_number
from app.deid.rules.temporal import is_temporal, is_timezone, shifted
from app.deid.rules.text import TextCleaner, only_known
from app.deid.rules.vocabulary import is_unit
from app.deid.standard import dictionary_vr, is_uid, uid_kind, well_known_uid
from app.deid.substitutes import Findings, Substitutes
from app.deid.terms import only_terms
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
from app.dicom.tokens import Dataset

_U32 = struct.Struct("<I").pack
_MAX_SHORT_TEXT = 1024  # ST. Source: PS3.5 2026d, 6.2
_MIME_TYPE = 0x00420012
_CLEANED_VRS = CHARSET_VRS | {"AE", "AS", "CS", "DS", "IS", "TM", "UN"}
# Defined terms, and what is met in their place. Source: PS3.3 2026d, C.12.1.1.2.
_CHARSET_TERM = re.compile(
    rb" *(?:(?:ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?|ISO[ _-]8859[ _-]|ISO[ _-]646[ _-]?)[0-9]{1,3}"
    rb"|GB ?18030|GB ?2312|GBK|UTF[ _-]?8|latin[_-]?1|ascii)? *",
    re.IGNORECASE,
)
_UID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*)){2,}")
# What an earlier de-identification said of the dates, in the order of what it took away.
_TEMPORAL_TERMS = (b"UNMODIFIED", b"MODIFIED", b"REMOVED")


@dataclass(frozen=True, slots=True, repr=False)
class Cleaners:
    """What goes through text.

    Attributes:
        kept: for every kept text; None leaves it as it is.
        retained: the same for attributes that an option retains by name.
        described: for text that an option cleans instead of removing it.
    """

    kept: TextCleaner | None = None
    retained: TextCleaner | None = None
    described: TextCleaner | None = None


NO_CLEANERS = Cleaners()


class ElementWriter:
    """Writes single elements of one data set.

    Args:
        view: the instance; its buffer is what the spans point into.
        substitutes: replacements.
        cleaners: what goes through text.
        charset: Specific Character Set in force before the data set's own.
    """

    def __init__(
        self,
        view: View,
        substitutes: Substitutes,
        cleaners: Cleaners = NO_CLEANERS,
        charset: bytes = b"",
    ) -> None:
        self.view = view
        self.buffer = view.buffer
        self.substitutes = substitutes
        self.cleaners = cleaners
        self.cleaner = cleaners.kept
        self.charset = charset
        self.findings = Findings()
        self.document_bytes = 0
        self._uid_values: dict[bytes, bytes] = {}

    def _value(self, dataset: Dataset, index: int) -> bytes:
        starts, following = dataset.starts, index + 1
        stop = starts[following] if following < len(starts) else dataset.stop
        is_long = dataset.explicit and dataset.keys[index] >> 32 in LONG_CODES
        return self.buffer[starts[index] + (12 if is_long else 8) : stop]

    def _element(self, dataset: Dataset, index: int) -> bytes:
        start, stop = dataset.span(index)
        return self.buffer[start:stop]

    def _map_uids(self, raw: bytes, mode: UidMode) -> bytes:
        """Return the replacement of a UI value, each of several by itself."""
        texts = raw.decode("ascii", "replace").split("\\")
        value = pad("\\".join(self._map_uid(t.strip("\0 "), mode) for t in texts).encode(), "UI")
        if mode is UidMode.REGISTERED:
            self._uid_values[raw] = value
        return value

    def _map_uid(self, uid: str, mode: UidMode) -> str:
        if mode is UidMode.RETAINED and is_uid(uid):
            return uid
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

    def _date(
        self, dataset: Dataset, _plan: ShapePlan, index: int, vr: str, moves: bool, dummy: bytes
    ) -> bytes:
        """Return a date or time as it was or moved; what is none becomes a dummy.

        Operands: index, VR, whether it moves, element with a dummy.
        """
        raw = self._value(dataset, index)
        if moves:
            value = shifted(raw, vr, self.substitutes.offset_days)
            if value is not None:
                self.findings.written.add(value)
                tag = key_tag(dataset.keys[index])
                return encode_element(tag, vr, pad(value, vr), explicit=dataset.explicit)
        elif is_timezone(raw) if vr == "SH" else is_temporal(raw, vr):
            return self._element(dataset, index)
        tag = key_tag(dataset.keys[index])
        self.findings.warnings.append(Remark("date-unreadable-replaced", tag_text(tag)))
        return dummy

    def _number(
        self, dataset: Dataset, plan: ShapePlan, index: int, vr: str, nothing: bytes
    ) -> bytes:
        """Return a number as it was; what is none goes. Operands: index, VR, an empty element."""
        if is_number(self._value(dataset, index), vr):
            cleaner = self.cleaners.retained if index in plan.named else self.cleaner
            return self._cleaned_element(dataset, plan, index, cleaner)
        tag = key_tag(dataset.keys[index])
        self.findings.warnings.append(Remark("number-unreadable-emptied", tag_text(tag)))
        return nothing

    def _bulk(
        self, dataset: Dataset, _plan: ShapePlan, index: int, measures: tuple[int, ...]
    ) -> bytes:
        """Return samples or entries without what lies behind the last one. Operands: indices."""
        tag, value = key_tag(dataset.keys[index]), self._value(dataset, index)
        found = [self._value(dataset, measure) for measure in measures]
        most = longest(tag, found, len(value))
        if most is None or len(value) <= most:
            return self._element(dataset, index)
        self.findings.warnings.append(Remark("surplus-removed", tag_text(tag)))
        vr = key_vr(dataset.keys[index] >> 32) if dataset.explicit else "OW"
        return encode_element(tag, vr, value[:most], explicit=dataset.explicit)

    def _colour(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        """Return an ICC profile without its texts; what is none is emptied. Operand: index."""
        tag, value = key_tag(dataset.keys[index]), without_text(self._value(dataset, index))
        if value is None:
            self.findings.warnings.append(Remark("icc-profile-unreadable-emptied", tag_text(tag)))
        return encode_element(tag, "OB", pad(value or b"", "OB"), explicit=dataset.explicit)

    def _term(self, dataset: Dataset, plan: ShapePlan, index: int, nothing: bytes) -> bytes:
        """Return a code string that holds terms only. Operands: index, value for none."""
        tag, vr = key_tag(dataset.keys[index]), key_vr(dataset.keys[index] >> 32)
        text = self._value(dataset, index).decode("latin-1").rstrip("\0 ")
        terms = only_terms(text, tag)
        if terms == text:
            return self._cleaned_element(dataset, plan, index, self.cleaner)
        self.findings.warnings.append(Remark("term-unknown-removed", tag_text(tag)))
        value = terms.encode() if terms.strip("\\ ") else nothing
        if self.cleaner is not None:
            value = self.cleaner.clean(value.decode(), vr="CS").encode()
        written = vr if dataset.explicit else dictionary_vr(tag) or "CS"
        return encode_element(tag, written, pad(value, "CS"), explicit=dataset.explicit)

    def _clean(
        self,
        dataset: Dataset,
        _plan: ShapePlan,
        index: int,
        vr: str,
        nothing: bytes,
        known: frozenset[str] | None,
    ) -> bytes:
        """Return a text without what identifies.

        Operands: index, VR, value for an empty text, the only words that may stay.
        """
        cleaner = self.cleaners.described
        raw = self._value(dataset, index)
        text = decode(raw, self.charset).rstrip("\0 ")
        cleaned = text if cleaner is None else cleaner.clean(text, vr=vr)
        if known is not None:
            cleaned = only_known(cleaned, known)
        if cleaner is not None and cleaned == text:
            return self._element(dataset, index)
        tag = key_tag(dataset.keys[index])
        self.findings.warnings.append(Remark("text-cleaned", tag_text(tag)))
        value = pad(encode(cleaned, self.charset), vr) if cleaner and cleaned else nothing
        return encode_element(tag, vr, value, explicit=dataset.explicit)

    def _pseudonym(self, dataset: Dataset, _plan: ShapePlan, index: int) -> bytes:
        """Return AE titles, each replaced by its pseudonym."""
        texts = self._value(dataset, index).decode("ascii", "replace").split("\\")
        made = "\\".join(self.substitutes.pseudonym(text.strip("\0 ")) for text in texts).encode()
        self.findings.written.add(made)
        tag = key_tag(dataset.keys[index])
        return encode_element(tag, "AE", pad(made, "AE"), explicit=dataset.explicit)

    def _temporal(self, dataset: Dataset, _plan: ShapePlan, index: int, ours: str) -> bytes:
        """Return (0028,0303): what was removed or modified before stays so. Operands: index, term.

        Source: PS3.15 2026d, E.3.6.
        """
        before = b"" if index < 0 else self._value(dataset, index).strip(b"\0 ")
        terms = [term for term in (before, ours.encode()) if term in _TEMPORAL_TERMS]
        term = max(terms, key=_TEMPORAL_TERMS.index).decode()
        return encode_text(TEMPORAL_INFORMATION, "CS", term, explicit=dataset.explicit)

    def _cleaned_element(
        self, dataset: Dataset, plan: ShapePlan, index: int, cleaner: TextCleaner | None
    ) -> bytes:
        """Return a kept element without identifying values in its text."""
        start, stop = dataset.span(index)
        element = self.buffer[start:stop]
        key = dataset.keys[index]
        tag, vr = key_tag(key), key_vr(key >> 32)
        if vr not in _CLEANED_VRS or cleaner is None:
            return element
        known = plan.private.get(index, dictionary_vr(tag)) if vr == "UN" else vr
        if known not in _CLEANED_VRS:
            return element
        charset = self.charset if known in CHARSET_VRS else b""
        text = decode(self._value(dataset, index), charset).rstrip("\0 ")
        cleaned = cleaner.clean(text, vr=known)
        if cleaned == text or is_unit(tag, text):
            return element
        self.findings.warnings.append(Remark("kept-text-cleaned", tag_text(tag)))
        value = pad(encode(cleaned or "REMOVED", charset), vr)
        return encode_element(tag, vr, value, explicit=dataset.explicit)

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
        """Return the Extended Offset Table; of frames that are not compressed there is none."""
        tag = key_tag(dataset.keys[index])
        table = self.substitutes.offset_tables.get(tag)
        if table == b"":
            self.findings.warnings.append(Remark("surplus-removed", tag_text(tag)))
            return b""
        table = table or self._value(dataset, index)
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

    def _fact(self, dataset: Dataset, _plan: ShapePlan, tag: int, index: int) -> bytes:
        """Return what is true of the pixels, behind what came where both are. Operands: as is."""
        fact = self.substitutes.facts[tag]
        value = fact.value
        if fact.joint is not None and index >= 0:
            before = decode(self._value(dataset, index), self.charset).strip("\0 ")
            cleaner = self.cleaners.described if fact.is_described else self.cleaner
            if cleaner is not None and before:
                before = cleaner.clean(before, vr=fact.vr)
            both = fact.joint.join(filter(None, (encode(before, self.charset), value)))
            value = both if len(both) <= _MAX_SHORT_TEXT or fact.vr != "ST" else value
        return encode_element(tag, fact.vr, pad(value, fact.vr), explicit=dataset.explicit)

    def _derived(
        self, dataset: Dataset, _plan: ShapePlan, index: int, has_allow_list: bool
    ) -> bytes:
        """Return an image type that says that pixels changed. Source: PS3.3 2026d, C.7.6.1.1.2.

        Operands: index, whether terms only may stay.
        """
        tag = key_tag(dataset.keys[index])
        text = self._value(dataset, index).decode("latin-1").rstrip("\0 ")
        if has_allow_list:
            text = only_terms(text, tag)
        if self.cleaner is not None:
            text = self.cleaner.clean(text, vr="CS")
        value = "\\".join(["DERIVED", *text.split("\\")[1:]]) if text else ""
        raw = pad(value.encode("latin-1", "replace"), "CS")
        return encode_element(tag, "CS", raw, explicit=dataset.explicit)

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


#: Instruction → what carries it out; operands as its method says.
SPECIAL: dict[Op, Callable[..., bytes]] = {
    Op.CHARACTER_SET: ElementWriter._charset,  # noqa: SLF001 - its own methods
    Op.CLEAN: ElementWriter._clean,  # noqa: SLF001
    Op.DATE: ElementWriter._date,  # noqa: SLF001
    Op.DERIVED: ElementWriter._derived,  # noqa: SLF001
    Op.FACT: ElementWriter._fact,  # noqa: SLF001
    Op.DOCUMENT_LENGTH: ElementWriter._document_length,  # noqa: SLF001
    Op.METHOD: ElementWriter._method,  # noqa: SLF001
    Op.METHOD_CODES: ElementWriter._method_codes,  # noqa: SLF001
    Op.NOTICE: ElementWriter._notice,  # noqa: SLF001
    Op.OFFSET_TABLE: ElementWriter._offset_table,  # noqa: SLF001
    Op.PSEUDONYM: ElementWriter._pseudonym,  # noqa: SLF001
    Op.TEMPORAL: ElementWriter._temporal,  # noqa: SLF001
    Op.NUMBER: ElementWriter._number,  # noqa: SLF001
    Op.BULK: ElementWriter._bulk,  # noqa: SLF001
    Op.COLOUR: ElementWriter._colour,  # noqa: SLF001
    Op.TERM: ElementWriter._term,  # noqa: SLF001
}
