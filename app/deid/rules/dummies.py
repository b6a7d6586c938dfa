"""Dummy values by VR: valid, constant, ASCII, and different from what they replace.

Source: PS3.15 2026d, E.1.1 (action D) and Table E.1-1a; PS3.5 2026d, 6.2.
"""

from functools import lru_cache

from app.deid.standard import dummy_cs_term, keyword
from app.dicom.elements import encode_element, encode_item, encode_text, pad

_TEXTS: dict[str, tuple[str, str]] = {
    "AE": ("REMOVED", "REDACTED"),
    "AS": ("000Y", "001Y"),
    "DA": ("19000101", "19000102"),
    "DS": ("0", "1"),
    "DT": ("19000101000000", "19000102000000"),
    "IS": ("0", "1"),
    "PN": ("REMOVED^", "REDACTED^"),
    "TM": ("000000", "000001"),
    "UR": ("urn:oid:2.25.0", "urn:oid:2.25.1"),
}
_TEXTS |= dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), ("REMOVED", "REDACTED"))
_WIDTHS = {
    **dict.fromkeys(("OB", "OW", "SS", "UN", "US"), 2),
    **dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_TIMEZONE = 0x00080201


def dummy_values(tag: int, vr: str) -> tuple[bytes, bytes]:
    """Return two different dummy values of even length for an attribute that is no sequence."""
    if tag == _TIMEZONE:
        return b"+0000 ", b"+0100 "
    if vr == "CS":
        first = dummy_cs_term(tag)
        return pad(first.encode(), vr), pad(dummy_cs_term(tag, original=first).encode(), vr)
    if vr in _TEXTS:
        first, second = _TEXTS[vr]
        return pad(first.encode(), vr), pad(second.encode(), vr)
    width = _WIDTHS[vr]
    return bytes(width), b"\1" + bytes(width - 1)


def _code(value: str, scheme: str, meaning: str, *, explicit: bool) -> bytes:
    return encode_item(
        encode_text(0x00080100, "SH", value, explicit=explicit)
        + encode_text(0x00080102, "SH", scheme, explicit=explicit)
        + encode_text(0x00080104, "LO", meaning, explicit=explicit)
    )


def _sequence(tag: int, *items: bytes, explicit: bool) -> bytes:
    return encode_element(tag, "SQ", b"".join(items), explicit=explicit)


def _removed_code(*, explicit: bool) -> bytes:
    return _code("REMOVED", "99DEID", "Removed", explicit=explicit)


def _text(tag: int, vr: str, *, explicit: bool) -> bytes:
    return encode_element(tag, vr, dummy_values(tag, vr)[0], explicit=explicit)


@lru_cache(maxsize=64)
def dummy_items(tag: int, *, explicit: bool) -> bytes:  # noqa: C901, PLR0911 - a table
    """Return one valid item, item tag included, for a sequence that is to be replaced.

    Action D on a sequence means one item that is valid in itself, not an empty sequence.
    """
    e = explicit
    match tag:
        case 0x0040A730:  # Content Sequence: one text item. Source: PS3.3 2026d, C.17.3.
            concept = _sequence(
                0x0040A043, _code("121106", "DCM", "Comment", explicit=e), explicit=e
            )
            return encode_item(
                encode_text(0x0040A010, "CS", "CONTAINS", explicit=e)
                + encode_text(0x0040A040, "CS", "TEXT", explicit=e)
                + concept
                + _text(0x0040A160, "UT", explicit=e)
            )
        case 0x0040A073:  # Verifying Observer Sequence. Source: PS3.3 2026d, C.17.2.
            return encode_item(
                _text(0x0040A027, "LO", explicit=e)
                + _text(0x0040A030, "DT", explicit=e)
                + _text(0x0040A075, "PN", explicit=e)
                + _sequence(0x0040A088, explicit=e)
            )
        case 0x00700001:  # Graphic Annotation Sequence: one point. Source: PS3.3 2026d, C.10.5.
            point = encode_item(
                encode_text(0x00700005, "CS", "PIXEL", explicit=e)
                + encode_element(0x00700020, "US", b"\2\0", explicit=e)
                + encode_element(0x00700021, "US", b"\1\0", explicit=e)
                + encode_element(0x00700022, "FL", bytes(8), explicit=e)
                + encode_text(0x00700023, "CS", "POINT", explicit=e)
            )
            return encode_item(
                encode_text(0x00700002, "CS", "LAYER", explicit=e)
                + _sequence(0x00700009, point, explicit=e)
            )
        case 0x00081111:  # Referenced Performed Procedure Step Sequence: MPPS SOP Class.
            return encode_item(
                encode_text(0x00081150, "UI", "1.2.840.10008.3.1.2.3.3", explicit=e)
                + encode_text(0x00081155, "UI", "2.25.0", explicit=e)
            )
        case 0x00081072:  # Operator Identification Sequence.
            person = _sequence(0x00401101, _removed_code(explicit=e), explicit=e)
            return encode_item(_text(0x00080080, "LO", explicit=e) + person)
        case 0x0040B020:  # Waveform Annotation Sequence.
            return encode_item(
                encode_element(0x0040A0B0, "US", b"\1\0\1\0", explicit=e)
                + _text(0x00700006, "ST", explicit=e)
            )
        case 0x00340001:  # Flow Identifier Sequence.
            return encode_item(encode_element(0x00340002, "OB", b"\0\0", explicit=e))
        case 0x0018100A:  # UDI Sequence.
            return encode_item(_text(0x00181009, "UT", explicit=e))
    if keyword(tag).endswith("CodeSequence"):
        return _removed_code(explicit=explicit)
    return encode_item(b"")
