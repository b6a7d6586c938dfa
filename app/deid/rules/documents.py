"""Notices that stand in the place of encapsulated documents.

A document cannot be cleaned by header rules; Table E.1-1 codes it D, so its bytes change whole.
Source: PS3.15 2026d, Table E.1-1 (0042,0011); PS3.3 2026d, C.24.2.
"""

from app.deid.attributes import ENCAPSULATED_DOCUMENT
from app.deid.rules.dummies import dummy_values

_TEXT = "This document was removed by de-identification."


def _pdf() -> bytes:
    """Return a one-page PDF with the notice."""
    drawing = f"BT /F1 14 Tf 72 720 Td ({_TEXT}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
        b"/Resources << /Font << /F1 4 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
    )
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n"
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start
    return bytes(out)


_CDA = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ClinicalDocument xmlns="urn:hl7-org:v3"><typeId root="2.16.840.1.113883.1.3" '
    'extension="POCD_HD000040"/><title>Removed</title><component><structuredBody><component>'
    f"<section><text>{_TEXT}</text></section></component></structuredBody></component>"
    "</ClinicalDocument>\n"
)
# A binary STL with no triangle: 80 bytes of header and a count of zero.
_STL = b"Removed".ljust(80) + bytes(4)
_NOTICES = {
    "application/pdf": _pdf(),
    "text/xml": _CDA.encode(),
    "application/xml": _CDA.encode(),
    "model/stl": _STL,
    "application/sla": _STL,
    "model/obj": f"# {_TEXT}\n".encode(),
    "model/mtl": f"# {_TEXT}\n".encode(),
}


def notice(mime_type: str) -> bytes:
    """Return a document of the same MIME type that only says that there was one.

    Args:
        mime_type: of MIME Type of Encapsulated Document (0042,0012), without padding.
    """
    document = _NOTICES.get(mime_type.lower(), _TEXT.encode())
    return document + b"\n" * (len(document) % 2) if mime_type != "model/stl" else document


def notices() -> frozenset[bytes]:
    """Return every notice, and what stands for a document inside an item."""
    kinds = (*_NOTICES, "text/plain")
    return frozenset(map(notice, kinds)) | frozenset(dummy_values(ENCAPSULATED_DOCUMENT, "OB"))
