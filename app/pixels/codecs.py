"""One frame to stored values and back, losslessly, in the format it came in.

Only child processes import this: a hostile frame may crash or exhaust whoever decodes it. Values
are the codes of the codestream, never converted, so that what is not overwritten comes out as it
went in. JPEG frames that lose when they are encoded are not encoded here; see ``codecs_blocks``.
"""

import zlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.dicom.codestreams import Codestream, codestream_of, metadata_edits
from app.dicom.edits import Edit
from app.dicom.frame_sizes import FrameSize
from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs_headers import Header, header_of
from app.pixels.codecs_rle import decode_rle, encode_rle
from app.pixels.codecs_streams import ENCODERS, decode_stream
from app.pixels.model import Picture

Values = NDArray[Any]
_NUMBERS: Final = {8: "u1", 16: "<u2", 32: "<u4", 64: "<u8"}


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """One decoded frame.

    Attributes:
        values: (rows, columns) or (rows, columns, samples); subsampled native colour is
            (rows, columns / 2, 4): two luminances and the two colours that they share.
        bits: of one code.
        photometric: what the values mean, which is RGB where the decoder undid a transform.
        header: of the codestream; None for native pixels and RLE.
        is_subsampled: whether ``values`` is in pairs of pixels.
    """

    values: Values
    bits: int
    photometric: str
    header: Header | None = None
    is_subsampled: bool = False


def cleaned(data: bytes, picture: Picture) -> bytes:
    """Return a compressed frame without its metadata, of even length."""
    size = FrameSize(
        pixels=picture.rows * picture.columns,
        samples=picture.samples,
        bits=picture.bits_allocated,
        may_be_subsampled=picture.photometric == "YBR_FULL_422",
    )
    edits = metadata_edits(data, picture.transfer_syntax, size)
    return _edited(data, edits)


def even(data: bytes) -> bytes:
    """Return the data with a padding byte where they need one."""
    return data + b"\0" * (len(data) % 2)


def _edited(data: bytes, edits: list[Edit]) -> bytes:
    if not edits:
        return data
    parts, position = [], 0
    for edit in edits:
        parts += [data[position : edit.start], edit.replacement]
        position = edit.end
    return b"".join([*parts, data[position:]])


def decode(data: bytes, picture: Picture, *, bit: int = 0) -> Frame:
    """Decode one frame.

    Args:
        data: the whole frame; what ``cleaned`` returned where it is a codestream.
        picture: what the header says of it.
        bit: where the frame begins in its first byte, for one bit a pixel.

    Raises:
        MalformedDicom: the frame is damaged, or is not what the header says.
        UndecidableElement: the format cannot be decoded.
    """
    _sound(picture)
    kind = codestream_of(picture.transfer_syntax)
    if kind is Codestream.NATIVE:
        return native(data, picture, bit=bit)
    if kind is Codestream.RLE:
        return Frame(_rle(data, picture), picture.bits_allocated, picture.photometric)
    if kind is Codestream.DEFLATE:
        return native(_inflated(data, picture), picture, bit=0)
    header = header_of(data)
    header.agree(picture)
    values, photometric = decode_stream(data, header, picture)
    _agree(values, picture)
    return Frame(values, header.bits or _width(values, picture), photometric, header)


def _rle(data: bytes, picture: Picture) -> Values:
    """Decode RLE; what lies behind the segments' data is looked for where it disturbs."""
    try:
        return decode_rle(data, picture)
    except MalformedDicom:
        return decode_rle(cleaned(data, picture), picture)


def encode(frame: Frame, picture: Picture) -> bytes:
    """Encode a frame's values as the frame was; of even length, without metadata.

    Raises:
        UndecidableElement: they cannot be encoded so without a loss.
    """
    kind = codestream_of(picture.transfer_syntax)
    if kind is Codestream.NATIVE:
        return native_bytes(frame, picture)
    if kind is Codestream.RLE:
        return encode_rle(frame.values, picture)
    if kind is Codestream.DEFLATE:
        return even(_deflated(native_bytes(frame, picture)))
    if frame.header is None or frame.header.format not in ENCODERS:
        raise UndecidableElement("A frame of this kind cannot be encoded without a loss")
    data = ENCODERS[frame.header.format](frame.values, frame.header, picture)
    return cleaned(even(data), picture)


def _sound(picture: Picture) -> None:
    """Refuse sizes and bits that contradict themselves. Source: PS3.5 2026d, 8.1.1."""
    has_pixels = min(picture.rows, picture.columns, picture.samples) > 0
    stored, highest = picture.bits_stored, picture.high_bit
    if not has_pixels or not 0 < stored <= highest + 1 <= picture.bits_allocated:
        raise MalformedDicom("The sizes or bits of the image contradict themselves")


def _agree(values: Values, picture: Picture) -> None:
    plane = (picture.rows, picture.columns)
    shape = plane if picture.samples == 1 else (*plane, picture.samples)
    if values.shape != shape:
        raise MalformedDicom("A frame is decoded to another size than the header says")


def _width(values: Values, picture: Picture) -> int:
    """Return the bits of a code where the codestream is not asked."""
    is_wider = int(values.max()) >> picture.bits_stored
    return values.dtype.itemsize * 8 if is_wider else picture.bits_stored


# --- Native pixels ------------------------------------------------------------------------------


def native(data: bytes, picture: Picture, *, bit: int = 0) -> Frame:
    """Read native pixels. Source: PS3.5 2026d, 8.1 and 8.2; PS3.3 2026d, C.7.6.3.1."""
    rows, columns, samples = picture.rows, picture.columns, picture.samples
    if picture.bits_allocated == 1:
        return _single_bits(data, picture, bit)
    if picture.bits_allocated not in _NUMBERS or len(data) * 8 % picture.bits_allocated:
        raise UndecidableElement("Pixels of this number of bits are not understood")
    # A frame that is encapsulated has a padding byte where its length is odd.
    is_padded = len(data) % 2 == 0 and len(data) - 1 == rows * columns * samples
    numbers = np.frombuffer(data[:-1] if is_padded else data, _NUMBERS[picture.bits_allocated])
    frame = Frame(numbers, picture.bits_allocated, picture.photometric)
    if numbers.size == rows * columns * 2 and samples == 3 and not columns % 2:
        pairs = numbers.reshape(rows, columns // 2, 4)
        return replace(frame, values=pairs, is_subsampled=True)
    if numbers.size != rows * columns * samples:
        raise MalformedDicom("A frame is longer or shorter than the header says")
    if samples == 1:
        return replace(frame, values=numbers.reshape(rows, columns))
    if picture.planar == 1:
        planes = numbers.reshape(samples, rows, columns)
        return replace(frame, values=np.moveaxis(planes, 0, -1))
    return replace(frame, values=numbers.reshape(rows, columns, samples))


def _single_bits(data: bytes, picture: Picture, bit: int) -> Frame:
    count = picture.rows * picture.columns
    bits = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[bit : bit + count]
    if picture.samples != 1 or bits.size != count:
        raise MalformedDicom("A frame is longer or shorter than the header says")
    return Frame(bits.reshape(picture.rows, picture.columns), 1, picture.photometric)


def native_bytes(frame: Frame, picture: Picture) -> bytes:
    """Return native pixels as bytes; of one bit a pixel from the first bit on."""
    values = frame.values
    if frame.bits == 1:
        return np.packbits(values, bitorder="little").tobytes()
    if picture.planar == 1 and picture.samples > 1 and not frame.is_subsampled:
        values = np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(values).tobytes()


def _inflated(data: bytes, picture: Picture) -> bytes:
    """Inflate one frame. Source: PS3.5 2026d, A.4.13 (Deflated Image Frame Compression)."""
    size = -(-picture.rows * picture.columns * picture.samples * picture.bits_allocated // 8)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        pixels = inflate.decompress(data, size + 2)
    except zlib.error:
        raise MalformedDicom("A deflated frame is damaged") from None
    return pixels[:size] if len(pixels) == size + size % 2 else pixels


def _deflated(pixels: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(pixels + b"\0" * (len(pixels) % 2)) + deflate.flush()
