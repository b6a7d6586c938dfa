"""Frames in every format, made by the encoders of others."""

import struct

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg
from pydicom.pixels.encoders.native import _encode_segment


def encode_rle(values, image):
    """Encode with pydicom's parts, without its checks of which images have RLE."""
    size = image.bits_allocated // 8
    planes = values.reshape(image.rows, image.columns, image.samples, 1).view("u1")
    segments = [
        bytes(_encode_segment(planes[:, :, sample, byte].tobytes(), image.columns))
        for sample in range(image.samples)
        for byte in reversed(range(size))
    ]
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def encode_lossless(values, image):
    space = "RGB" if image.samples > 1 else None
    data = imagecodecs.jpeg8_encode(
        _codes(values, image),
        lossless=True,
        predictor=1 if image.transfer_syntax.endswith("70") else 6,
        bitspersample=image.bits_stored,
        colorspace=space,
        outcolorspace=space,
    )
    return _numbered(data) if image.photometric == "YBR_FULL" else data


def _numbered(data):
    """Call the components 1, 2 and 3 and drop what says that they are red, green and blue."""
    start = data.index(b"\xff\xee")
    data = bytearray(data[:start] + data[start + 16 :])
    for marker, first, step in ((b"\xff\xc3", 10, 3), (b"\xff\xda", 5, 2)):
        place = data.index(marker) + first
        data[place], data[place + step], data[place + 2 * step] = 1, 2, 3
    return bytes(data)


def encode_ls(values, image, near=0):
    codes = _codes(values, image).tobytes()
    size = (image.rows, image.columns, image.samples, image.bits_stored)
    mode = 2 if image.samples > 1 else 0
    return bytes(jpeg_ls.encode_buffer(codes, *size, near, mode))


def encode_near(values, image):
    return encode_ls(values, image, 3)


def _codes(values, image):
    """Return unsigned codes as wide as the values are stored."""
    codes = values.astype(np.int64) & ((1 << image.bits_stored) - 1)
    return codes.astype("u1" if image.bits_stored <= 8 else "<u2")


def encode_j2k(values, image, **more):
    space = 1 if image.photometric in {"YBR_RCT", "YBR_ICT"} else 0
    return openjpeg.utils.encode_array(values, image.bits_stored, space, **more)


def encode_j2k_lossy(values, image):
    return encode_j2k(values, image, compression_ratios=[8])


def encode_ht(values, image):
    return imagecodecs.htj2k_encode(values, reversible=True, rgb=image.photometric == "YBR_RCT")


def encode_ht_lossy(values, _image):
    return imagecodecs.htj2k_encode(values, level=0.002, reversible=False)


def encode_xl(values, image):
    return imagecodecs.jpegxl_encode(values, lossless=True, bitspersample=image.bits_stored)


def encode_xl_lossy(values, image):
    return imagecodecs.jpegxl_encode(values, level=90, bitspersample=image.bits_stored)


def even(data):
    return bytes(data) + b"\0" * (len(data) % 2)
