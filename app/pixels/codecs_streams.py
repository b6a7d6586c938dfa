"""Values of the codestreams that other libraries decode, and their lossless encoding.

Each encoder keeps the precision, sign and colour transform of the frame that it replaces.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import jpeg_ls  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from app.errors import MalformedDicom, UndecidableElement
from app.pixels.codecs_headers import Format, Header, segments
from app.pixels.model import Picture

Values = NDArray[Any]
_TLM_SYNTAX: Final = "1.2.840.10008.1.2.4.202"
_FIRST_SELECTION: Final = "1.2.840.10008.1.2.4.70"


def decode_stream(data: bytes, header: Header, picture: Picture) -> tuple[Values, str]:
    """Decode a codestream; return its values and what they mean.

    Raises:
        MalformedDicom: it is damaged.
    """
    try:
        return _DECODERS[header.format](data, header, picture)
    except (RuntimeError, ValueError, IndexError):
        raise MalformedDicom("A compressed frame is damaged") from None


def _dct(data: bytes, header: Header, picture: Picture) -> tuple[Values, str]:
    if len(header.components) == 1:
        return imagecodecs.jpeg8_decode(data), picture.photometric
    space = "YCBCR" if is_transformed(header, picture) else "RGB"
    return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB"), "RGB"


def is_transformed(header: Header, picture: Picture) -> bool:
    """Say whether a colour JPEG holds luminance and colour differences.

    Adobe's segment says so, JFIF means it, and subsampling makes no sense without; else the
    header of the instance decides.
    """
    if len(header.components) != 3:
        return False
    if header.transform is not None:
        return header.transform == 1
    sampling = {(one.horizontal, one.vertical) for one in header.components}
    return header.has_jfif or len(sampling) > 1 or picture.photometric != "RGB"


def _lossless(data: bytes, header: Header, picture: Picture) -> tuple[Values, str]:
    """Decode twice: the first decoder only warns of damaged data, which nobody sees here."""
    space = "RGB" if len(header.components) > 1 else None
    values = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=space)
    if not np.array_equal(values, imagecodecs.jpegsof3_decode(data)):
        raise MalformedDicom("A compressed frame is damaged")
    return values, picture.photometric


def _ls(data: bytes, _header: Header, picture: Picture) -> tuple[Values, str]:
    return imagecodecs.jpegls_decode(data), picture.photometric


def _jpeg_2000(data: bytes, header: Header, picture: Picture) -> tuple[Values, str]:
    values = imagecodecs.jpeg2k_decode(data, numthreads=1)
    is_rgb = header.has_transform or picture.photometric in {"YBR_RCT", "YBR_ICT"}
    return values, "RGB" if is_rgb else picture.photometric


def _xl(data: bytes, _header: Header, picture: Picture) -> tuple[Values, str]:
    values = imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=1)
    return values, "RGB" if picture.samples == 3 else picture.photometric


_DECODERS: Final[dict[Format, Callable[[bytes, Header, Picture], tuple[Values, str]]]] = {
    Format.JPEG_DCT: _dct,
    Format.JPEG_LOSSLESS: _lossless,
    Format.JPEG_LS: _ls,
    Format.JPEG_2000: _jpeg_2000,
    Format.HTJ2K: _jpeg_2000,
    Format.JPEG_XL: _xl,
}


# --- Encoding -----------------------------------------------------------------------------------


def _encode_lossless(values: Values, header: Header, picture: Picture) -> bytes:
    predictor = 1 if picture.transfer_syntax == _FIRST_SELECTION else header.predictor
    space = "RGB" if picture.samples > 1 else None
    data = imagecodecs.jpeg8_encode(
        np.ascontiguousarray(values),
        lossless=True,
        predictor=predictor,
        bitspersample=header.bits,
        colorspace=space,
        outcolorspace=space,
    )
    return with_components(bytes(data), header)


def with_components(data: bytes, header: Header) -> bytes:
    """Return a JPEG whose components are called as they were, and that says no more of colours."""
    parts, last = [data[:2]], 2
    for marker, start, last in segments(data):
        segment = bytearray(data[start:last])
        if marker in {0xE0, 0xEE}:
            continue
        if marker == header.marker:
            for index, component in enumerate(header.components):
                segment[10 + 3 * index] = component.number
        elif marker == 0xDA:
            for index, component in enumerate(header.components):
                segment[5 + 2 * index] = component.number
        parts.append(bytes(segment))
    if header.transform is not None:
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes((header.transform,))
        parts.insert(1, adobe)
    return b"".join([*parts, data[last:]])


def _encode_ls(values: Values, header: Header, picture: Picture) -> bytes:
    order = np.moveaxis(values, -1, 0) if values.ndim == 3 and not header.interleave else values
    source = np.ascontiguousarray(order.astype("u1" if header.bits <= 8 else "<u2", copy=False))
    return bytes(
        jpeg_ls.encode_buffer(
            source.tobytes(),
            picture.rows,
            picture.columns,
            picture.samples,
            header.bits,
            interleave_mode=header.interleave if values.ndim == 3 else 0,
        )
    )


def _encode_jpeg_2000(values: Values, header: Header, _picture: Picture) -> bytes:
    smallest = min(values.shape[:2])
    data = imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(values),
        codecformat="J2K",
        reversible=True,
        bitspersample=header.bits,
        mct=header.has_transform,
        resolutions=max(min(5, int(math.log2(smallest))), 0) + 1,
        numthreads=1,
    )
    return bytes(data)


def _encode_high_throughput(values: Values, header: Header, picture: Picture) -> bytes:
    """Encode with the frame's own precision, though the encoder knows whole bytes only.

    It is given what the level shift leaves, as signed values, and the sizes it wrote are put
    right; decoders take the number of bit planes from the quantisation's exponents.
    Source: ISO/IEC 15444-1, annexes A.5.1, E.1 and G.1.
    """
    width = 8 if header.bits <= 8 else 16
    if header.bits > 16:
        raise UndecidableElement("High-Throughput JPEG 2000 of so many bits is not encoded")
    is_odd = header.bits != width
    if is_odd and not header.is_signed:
        values = values.astype(f"i{width // 4}") - (1 << (header.bits - 1))
    if is_odd:
        values = values.astype(f"i{width // 8}")
    needed = math.ceil(math.log2(max(max(values.shape[:2]) / 64, 1)))
    data = imagecodecs.htj2k_encode(
        np.ascontiguousarray(values),
        reversible=True,
        rgb=header.has_transform,
        resolutions=max(5, needed),
        tlm=picture.transfer_syntax == _TLM_SYNTAX,
    )
    if not is_odd:
        return bytes(data)
    depth = bytes((header.bits - 1 | (0x80 if header.is_signed else 0), 1, 1))
    (count,) = struct.unpack_from(">H", data, 40)
    return bytes(data[:42] + depth * count + data[42 + 3 * count :])


def _encode_xl(values: Values, _header: Header, picture: Picture) -> bytes:
    bits = picture.bits_stored
    if int(values.max()) >> bits:
        bits = values.dtype.itemsize * 8
    data = imagecodecs.jpegxl_encode(
        np.ascontiguousarray(values),
        lossless=True,
        bitspersample=bits,
        usecontainer=False,
        numthreads=1,
    )
    return bytes(data)


def _refusing(encoder: Callable[[Values, Header, Picture], bytes]) -> Callable[..., bytes]:
    def encode(values: Values, header: Header, picture: Picture) -> bytes:
        try:
            return encoder(values, header, picture)
        except (RuntimeError, ValueError, MalformedDicom):
            raise UndecidableElement("A frame cannot be encoded as it was") from None

    return encode


ENCODERS: Final[dict[Format, Callable[[Values, Header, Picture], bytes]]] = {
    Format.JPEG_LOSSLESS: _refusing(_encode_lossless),
    Format.JPEG_LS: _refusing(_encode_ls),
    Format.JPEG_2000: _refusing(_encode_jpeg_2000),
    Format.HTJ2K: _refusing(_encode_high_throughput),
    Format.JPEG_XL: _refusing(_encode_xl),
}
