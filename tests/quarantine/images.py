"""One grey image as an object, and what its header says."""

from dataclasses import replace

from tests import builders
from tests.quarantine.ward import PICTURE

ROWS, COLUMNS = 48, 64
PLAIN = [column * 4 for column in range(COLUMNS)]
GREY = replace(
    PICTURE,
    rows=ROWS,
    columns=COLUMNS,
    frames=1,
    manufacturer="",
    model="",
    window=(127.5, 255.0),
)


def _object() -> bytes:
    dataset = builders.ct(builders.Identity())
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(PLAIN) * ROWS
    dataset["PixelData"].VR = "OB"
    return builders.part10(dataset)


SHOWN = _object()
