"""Images of 4 by 4 bytes, native and compressed, made by hand."""

import struct

from tests.dicom.building import Element

IMAGE = (
    Element(0x00280002, "US", b"\1\0"),
    Element(0x00280008, "IS", b"1 "),
    Element(0x00280010, "US", b"\4\0"),
    Element(0x00280011, "US", b"\4\0"),
    Element(0x00280100, "US", b"\x08\0"),
)
#: Start, a segment with text, frame header, scan header, entropy-coded data, end.
JPEG_FRAME = (
    b"\xff\xd8\xff\xe1\x00\x0aQuillonb\xff\xc0\x00\x0b\x08\0\4\0\4\1\1\x11\0"
    b"\xff\xda\x00\x08\1\1\0\0\x3f\0\x12\x34\xff\0\x56\xff\xd9"
)
#: Header of one segment, a literal run of 15, a replicate run of 1, padding.
RLE_FRAME = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x0e" + bytes(range(15)) + b"\0\x0f"
