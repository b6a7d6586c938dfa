"""Small streams in every form, to start the fuzzer from, and the words it should know.

python tests/fuzz/seeds.py DIRECTORY
"""

import sys
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.dicom.building import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IDENTITY,
    IMPLICIT_LE,
    JPEG_BASELINE,
    PIXEL_DATA,
    RLE,
    Element,
    Form,
    Stream,
    sequence,
)
from tests.dicom.images import IMAGE, JPEG_FRAME, RLE_FRAME
from tests.dicom.words import WORDS

CODE = (
    Element(0x00080100, "SH", b"T-1 "),
    Element(0x00080102, "SH", b"99X "),
    Element(0x00080104, "LO", b"Left"),
)
NATIVE = Element(PIXEL_DATA, "OW", bytes(range(16)))
JPEG = Element(PIXEL_DATA, "OB", fragments=(b"\0\0\0\0", JPEG_FRAME, b""))
RLE_PIXELS = Element(PIXEL_DATA, "OB", fragments=(b"", RLE_FRAME))
TEXTS = (
    Element(0x00080005, "CS", b"ISO_IR 192"),
    *IDENTITY,
    Element(0x00204000, "LT", b"Zebedee Quillonbury, PZ-7741-0093 "),
)
STRUCTURE = (
    *IDENTITY[:3],
    sequence(0x00081140, [Element(0x00081155, "UI", b"1.2.3\0")], undefined=True),
    sequence(0x00082112, CODE, [sequence(0x0040A170, CODE)]),
    Element(0x00090010, "LO", b"MAKER "),
    Element(0x00091001, "UN", b"\1\2\3\4"),
    *IDENTITY[3:],
    Element(0x00120063, "LO", b"before"),
    sequence(0x00400275, CODE, undefined=True),
    sequence(0x0040A730, [Element(0x0040A123, "PN", b"Grizzlewick^Ottoline")]),
)
WRAPPED = (
    *IDENTITY,
    replace(sequence(0x00400275, CODE, vr="UN"), undefined=True),
    sequence(0x00880200, [*IMAGE, JPEG]),
)
BEHIND = (Element(0x7FE11001, "OB", b"\1\2\3\4"), Element(0xFFFCFFFC, "OB", bytes(8)))


def seeds() -> dict[str, bytes]:
    """Return name → stream."""
    native = (*IMAGE, NATIVE)
    streams = {
        "text": Stream(TEXTS),
        "text-implicit": Stream(TEXTS, syntax=IMPLICIT_LE),
        "structure": Stream((*STRUCTURE, *native, *BEHIND)),
        "structure-implicit": Stream((*STRUCTURE, *native, *BEHIND), syntax=IMPLICIT_LE),
        "structure-big-endian": Stream((*STRUCTURE, *native), syntax=EXPLICIT_BE),
        "structure-deflated": Stream((*STRUCTURE, *native), syntax=DEFLATED_LE),
        "wrapped": Stream((*WRAPPED, *native)),
        "jpeg": Stream((*IDENTITY, *IMAGE, JPEG), syntax=JPEG_BASELINE),
        "rle": Stream((*IDENTITY, *IMAGE, RLE_PIXELS, *BEHIND), syntax=RLE),
        "bare": Stream(TEXTS, preamble=None, meta=False),
        "bare-implicit": Stream(TEXTS, syntax=IMPLICIT_LE, preamble=None, meta=False),
        "contradicted": Stream(TEXTS, syntax=EXPLICIT_LE, form=Form(explicit=False)),
        "padded": Stream((*IDENTITY, *native), trailing=bytes(100)),
    }
    return {name: stream.encode() for name, stream in streams.items()}


def write(directory: Path) -> None:
    """Write the seeds, one file each."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in seeds().items():
        (directory / name).write_bytes(data)


def write_words(path: Path) -> None:
    """Write the words as a libFuzzer dictionary."""
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    path.write_text("".join(f'"{line}"\n' for line in lines))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
