"""What is written: preamble and File Meta anew, then data set and pixels in their order."""

from app import __version__
from app.deid.attributes import PIXEL_DATA
from app.deid.planning import Remark
from app.dicom import part10
from app.dicom.elements import encode_element, encode_text, key_tag, key_vr, tag_text
from app.dicom.frame_sizes import FrameSize
from app.dicom.frames import CleanFrames, Lent, Range, Segment, clean_frames
from app.dicom.tokens import PixelValue
from app.errors import UndecidableElement
from app.pipeline.embedded_overlays import overlay_bits, refuse_in_frames, without_bits
from app.pipeline.masked_frames import masked_frames
from app.pipeline.root import RootValues
from app.pipeline.side_work import Masked

# Our own arc: a UUID of this project under 2.25 (PS3.5 2026d, B.2).
IMPLEMENTATION_CLASS_UID = "2.25.297861250519478283184932114850462341120"
IMPLEMENTATION_VERSION = f"DEIDGATEWAY_{__version__}"[:16]
_ROWS, _COLUMNS, _FRAMES = 0x00280010, 0x00280011, 0x00280008
_SAMPLES, _BITS = 0x00280002, 0x00280100
_PHOTOMETRIC = 0x00280004
_PREAMBLE = bytes(128) + b"DICM"


class Layout:
    """Lays out one result.

    Args:
        root: values of the instance.
        sop_class: its SOP Class UID.
        warnings: takes what the receiver should know of the pixels.
    """

    def __init__(self, root: RootValues, sop_class: str, warnings: list[Remark]) -> None:
        self.root = root
        self.tokens = root.tokens
        self.sop_class = sop_class
        self.warnings = warnings

    def frames(self, masked: Masked | None) -> CleanFrames | None:
        """Return encapsulated frames without what is no pixel; None for native pixels.

        Args:
            masked: those that take the place of the ones that came.
        """
        pixels = self.tokens.pixels
        if pixels is None or pixels.length is not None:
            return None
        if masked is not None:
            return masked_frames(
                masked,
                self.tokens.transfer_syntax,
                has_table=any(size for _, size in pixels.fragments[:1]),
                frame_size=self._frame_size(),
            )
        refuse_in_frames(self.root, self.sop_class)
        frames = clean_frames(
            self.tokens.source,
            pixels,
            self.tokens.transfer_syntax,
            frame_count=self.root.integer(_FRAMES) if self.root.raw(_FRAMES).strip(b"\0 ") else 1,
            frame_size=self._frame_size(),
        )
        if frames is not None and frames.segments is not None:
            self.warnings.append(Remark("frame-metadata-removed", tag_text(PIXEL_DATA)))
        return frames

    def _frame_size(self) -> FrameSize:
        """Return what the instance says of a frame's pixels."""
        return FrameSize(
            pixels=self.root.number(_ROWS) * self.root.number(_COLUMNS),
            samples=self.root.number(_SAMPLES) or 1,
            bits=self.root.number(_BITS),
            may_be_subsampled=self.root.text(_PHOTOMETRIC) == "YBR_FULL_422",
        )

    def segments(
        self,
        sop_instance_uid: str,
        header: bytes,
        tail: bytes,
        frames: CleanFrames | None,
        masked: Masked | None = None,
    ) -> list[Segment]:
        """Return the object piece by piece.

        Args:
            sop_instance_uid: of the result.
            header: the data set before the pixel value.
            tail: the data set behind it.
            frames: what is written in the place of compressed frames.
            masked: what is written in the place of native ones.
        """
        pixels = self.tokens.pixels
        segments: list[Segment] = [self._meta(sop_instance_uid) + header]
        if pixels is not None:
            segments += self._pixel_segments(pixels, frames, masked)
        if tail:
            segments.append(tail)
        return segments

    def _pixel_segments(
        self, pixels: PixelValue, frames: CleanFrames | None, masked: Masked | None
    ) -> list[Segment]:
        """Return the pixel element, without what its value holds beside frames or pixels."""
        source = self.tokens.source
        if frames is not None and frames.segments is not None:
            header = source.read(pixels.start, pixels.value - pixels.start)
            return [header, *frames.segments]
        if masked is not None:
            return self._native(pixels, Lent(masked.source, 0, masked.size))
        surplus = self._surplus(pixels)
        bits = overlay_bits(self.root, self.sop_class) if pixels.length is not None else 0
        if pixels.length is None or not (surplus or bits or pixels.length % 2):
            return [Range(pixels.start, pixels.stop - pixels.start)]
        if surplus:
            self.warnings.append(Remark("pixel-surplus-removed", tag_text(PIXEL_DATA)))
        value = Range(pixels.value, pixels.length - surplus)
        if not bits:
            return self._native(pixels, value)
        self.warnings.append(Remark("embedded-overlay-removed", tag_text(PIXEL_DATA)))
        return self._native(pixels, without_bits(self.root, value, bits, self.root.number(_BITS)))

    def _native(self, pixels: PixelValue, value: Range | Lent) -> list[Segment]:
        """Return a native pixel element of even length."""
        header = encode_element(
            key_tag(pixels.key),
            key_vr(pixels.key >> 32),
            b"",
            explicit=self.tokens.root.explicit,
        )
        padding = [b"\0"] if value.size % 2 else []
        length = (value.size + len(padding)).to_bytes(4, "little")
        return [header[:-4] + length, value, *padding]

    def _surplus(self, pixels: PixelValue) -> int:
        """Return how many bytes of a native value lie behind the last pixel and its padding.

        Source: PS3.5 2026d, 8.1.1 and 8.2.
        """
        if pixels.length is None:
            return 0
        bits = self.root.number(_ROWS) * self.root.number(_COLUMNS) * self.root.number(_BITS)
        if not bits:
            raise UndecidableElement("Pixel Data without Rows, Columns or Bits Allocated")
        samples = self.root.number(_SAMPLES) or 1
        bits *= self.root.integer(_FRAMES) or 1
        expected = -(-bits * samples // 8)
        # Said to be subsampled, yet as long as if it were not: no pixel is cut off.
        if self.root.text(_PHOTOMETRIC) == "YBR_FULL_422" and pixels.length < expected:
            expected = -(-bits * 2 // 8)
        surplus = pixels.length - expected - expected % 2
        if surplus > 0 and not self.root.integer(_FRAMES) and self.root.raw(_FRAMES).strip(b"\0 "):
            raise UndecidableElement("This is no number of frames", path=tag_text(_FRAMES))
        return max(surplus, 0)

    def _meta(self, sop_instance_uid: str) -> bytes:
        """Return preamble and File Meta Information, all new. Source: PS3.10 2026d, 7.1."""
        elements = (
            encode_element(0x00020001, "OB", b"\0\1", explicit=True)
            + encode_text(0x00020002, "UI", self.sop_class, explicit=True)
            + encode_text(0x00020003, "UI", sop_instance_uid, explicit=True)
            + encode_text(0x00020010, "UI", self._syntax(), explicit=True)
            + encode_text(0x00020012, "UI", IMPLEMENTATION_CLASS_UID, explicit=True)
            + encode_text(0x00020013, "SH", IMPLEMENTATION_VERSION, explicit=True)
        )
        length = encode_element(
            0x00020000, "UL", len(elements).to_bytes(4, "little"), explicit=True
        )
        return _PREAMBLE + length + elements

    def _syntax(self) -> str:
        """Return the transfer syntax as the data set is really encoded."""
        syntax, explicit = self.tokens.transfer_syntax, self.tokens.root.explicit
        if syntax == part10.IMPLICIT_LE and explicit:
            return part10.EXPLICIT_LE
        if syntax == part10.EXPLICIT_LE and not explicit:
            return part10.IMPLICIT_LE
        return syntax
