"""Pictures for tests: headers of images as their devices write them."""

from dataclasses import replace
from typing import Any

from app.pixels.model import Picture

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT = Picture(
    sop_class=STORAGE + "2",
    transfer_syntax="1.2.840.10008.1.2.1",
    modality="CT",
    rows=512,
    columns=512,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    photometric="MONOCHROME2",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    manufacturer="ACME",
    model="Slicer 64",
)
US = Picture(
    sop_class=STORAGE + "6.1",
    transfer_syntax="1.2.840.10008.1.2.1",
    modality="US",
    rows=600,
    columns=800,
    samples=3,
    photometric="RGB",
    image_type=("ORIGINAL", "PRIMARY", "", "0001"),
    manufacturer="ACME",
    model="Echo 9",
)
SLIDE = Picture(
    sop_class=STORAGE + "77.1.6",
    transfer_syntax="1.2.840.10008.1.2.4.50",
    modality="SM",
    rows=256,
    columns=256,
    frames=40,
    samples=3,
    photometric="YBR_FULL_422",
    image_type=("DERIVED", "PRIMARY", "VOLUME", "NONE"),
    attributes=(("label_in_image", "NO"),),
)
SEGMENTS = replace(
    CT,
    sop_class=STORAGE + "66.4",
    modality="SEG",
    bits_allocated=1,
    bits_stored=1,
    high_bit=0,
    image_type=("DERIVED", "PRIMARY"),
)


def picture(base: Picture = CT, **changes: Any) -> Picture:
    """Return one of those with other values."""
    return replace(base, **changes)
