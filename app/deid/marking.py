"""The attributes that tell how an instance was de-identified: method and codes."""

from collections.abc import Iterable, Iterator

from app.deid.attributes import METHOD, METHOD_CODES
from app.dicom.elements import encode_element, encode_item, encode_text, key_tag, pad
from app.dicom.text import encode
from app.dicom.tokens import Dataset, Items

_MAX_METHOD = 64
_CODE_VALUE, _CODING_SCHEME, _CODE_MEANING = 0x00080100, 0x00080102, 0x00080104
_CODE = ((_CODE_VALUE, "SH"), (_CODING_SCHEME, "SH"), (_CODE_MEANING, "LO"))


def method_element(before: bytes, method: str, *, explicit: bool) -> bytes:
    """Return De-identification Method: what an earlier tool left there, then our text.

    Source: PS3.3 2026d, C.7.1.1 (0012,0063); PS3.15 2026d, E.1.1.

    Args:
        before: the value that came, cleaned, without padding; may be empty.
        method: our text.
        explicit: whether element headers carry a VR.
    """
    ours = encode(method[:_MAX_METHOD], b"")
    texts = [text for text in before.split(b"\\") if text]
    value = b"\\".join(texts if ours in texts else [*texts, ours])
    return encode_element(METHOD, "LO", pad(value, "LO"), explicit=explicit)


def method_codes_element(
    buffer: bytes, items: Items | None, codes: Iterable[tuple[str, str]], *, explicit: bool
) -> bytes:
    """Return De-identification Method Code Sequence: codes of earlier tools, then ours, if any.

    Source: PS3.15 2026d, E.1.1; PS3.16, CID 7050.

    Args:
        buffer: what the items point into.
        items: those that came, if any.
        codes: our code values and meanings.
        explicit: whether element headers carry a VR.
    """
    ours = dict(codes)
    written = [] if items is None else list(_foreign(buffer, items, set(ours), explicit=explicit))
    for value, meaning in ours.items():
        code = {_CODE_VALUE: value, _CODING_SCHEME: "DCM", _CODE_MEANING: meaning[:64]}
        written.append(_item(code, explicit=explicit))
    if not written:
        return b""  # no code is claimed: the text tells what was done
    return encode_element(METHOD_CODES, "SQ", b"".join(written), explicit=explicit)


def code_item(value: str, meaning: str, *, explicit: bool) -> bytes:
    """Return an item with a code of DICOM's own scheme."""
    code = {_CODE_VALUE: value, _CODING_SCHEME: "DCM", _CODE_MEANING: meaning}
    return _item(code, explicit=explicit)


def _foreign(buffer: bytes, items: Items, ours: set[str], *, explicit: bool) -> Iterator[bytes]:
    """Yield the codes that an earlier de-identification left, ours left out."""
    for item in items.datasets:
        code = _texts(buffer, item)
        if code.get(_CODE_VALUE) not in ours and code.get(_CODING_SCHEME) == "DCM":
            yield _item(code, explicit=explicit)


def _texts(buffer: bytes, item: Dataset) -> dict[int, str]:
    texts = {}
    for index, key in enumerate(item.keys):
        start, stop = item.value_span(index)
        raw = buffer[start:stop].rstrip(b"\0 ")
        texts[key_tag(key)] = raw.decode("ascii", "replace").replace("\ufffd", "?")
    return texts


def _item(code: dict[int, str], *, explicit: bool) -> bytes:
    return encode_item(
        b"".join(encode_text(t, vr, code[t], explicit=explicit) for t, vr in _CODE if t in code)
    )
