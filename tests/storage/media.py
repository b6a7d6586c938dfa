"""Media with a DICOMDIR: one written by pydicom, and directories of any content by hand."""

import warnings
from pathlib import Path

from pydicom.fileset import FileSet

from app.samples import write_sample_study
from tests.dicom.building import Element, Stream, padded, sequence

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


def write_medium(directory: Path) -> list[str]:
    """Let pydicom write the sample study with its DICOMDIR; return the names of its instances."""
    files = FileSet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in write_sample_study(directory.with_name(f"{directory.name} loose")):
            files.add(path)
        files.write(directory)
    files._stage["t"].cleanup()  # it would warn that its temporary directory is left
    found = [path for path in directory.rglob("*") if path.is_file() and path.name != "DICOMDIR"]
    return sorted(str(path.relative_to(directory)) for path in found)


def record(*file_id: str, in_use: bytes = b"\xff\xff") -> tuple[Element, ...]:
    """Make one directory record."""
    value = "\\".join(file_id).encode("latin-1")
    return (
        Element(0x00041400, "UL", bytes(4)),
        Element(0x00041410, "US", in_use),
        Element(0x00041430, "CS", b"IMAGE "),
        Element(0x00041500, "CS", value + b" " * (len(value) % 2)),
    )


def dicomdir(*records: tuple[Element, ...], undefined: bool = False) -> bytes:
    """Make a DICOMDIR with these records."""
    return Stream(
        (
            Element(0x00041130, "CS", b"PLANTED "),
            Element(0x00041200, "UL", bytes(4)),
            sequence(0x00041220, *records, undefined=undefined),
        ),
        more_meta=(Element(0x00020002, "UI", padded(MEDIA_STORAGE_DIRECTORY)),),
    ).encode()
