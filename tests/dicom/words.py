"""Lengths, tags and delimiters that a reader must not trust."""

WORDS = (
    b"\xff\xff\xff\xff",
    b"\xfe\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0",
    b"\1\0\0\0",
    b"\0\0\1\0",
    b"\xff\xff",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff",
    b"\x08\0\x12\x21SQ\0\0\xff\xff\xff\xff",
    b"SQ",
    b"UN",
    b"\x02\0",
    b"\x08\0\x05\0CS\x14\0ISO 2022 IR 999\\UTF8",
)
