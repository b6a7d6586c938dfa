"""How large a frame is before it is packed, by what the instance says of its pixels."""

from dataclasses import dataclass

from app.errors import MalformedDicom, UndecidableElement

_BYTE = 8


@dataclass(frozen=True, slots=True)
class FrameSize:
    """The size of one frame.

    Attributes:
        pixels: rows times columns.
        samples: of a pixel.
        bits: that are allocated for a sample.
        may_be_subsampled: whether two pixels may share their colours.
    """

    pixels: int
    samples: int
    bits: int
    may_be_subsampled: bool = False

    @property
    def segment_bytes(self) -> int:
        """Bytes that each RLE segment unpacks to. Source: PS3.5 2026d, G.2.

        Raises:
            UndecidableElement: pixels are no whole bytes, or there are none.
        """
        if not self.pixels * self.samples * self.bits or (self.bits % _BYTE and self.bits != 1):
            raise UndecidableElement("The size of an RLE frame cannot be told")
        return -(-self.pixels * min(self.bits, _BYTE) // _BYTE)

    @property
    def segments(self) -> int:
        """RLE segments of a frame: one for each byte of a pixel."""
        return max(self.samples * self.bits // _BYTE, 1)

    def native_bytes(self, held: int) -> int:
        """Return how many of ``held`` bytes are pixels. Source: PS3.5 2026d, 8.1.1 and 8.2.

        Raises:
            MalformedDicom: there are too few.
            UndecidableElement: the instance does not say how many there should be.
        """
        whole = -(-self.pixels * self.samples * self.bits // _BYTE)
        if self.may_be_subsampled and held < whole:
            whole = -(-self.pixels * 2 * self.bits // _BYTE)
        if not whole:
            raise UndecidableElement("Pixel Data without Rows, Columns or Bits Allocated")
        if held < whole:
            raise MalformedDicom("A frame ends too early")
        return whole
