"""Frames as every transfer syntax stores them that can be written here.

The encoders are imagecodecs and CharLS' own wrapper. A format is a transfer syntax
with one way to hold samples; ``FORMATS`` lists them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import imagecodecs
import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
Samples = NDArray[Any]  # (rows, columns) or (rows, columns, 3), as stored
Encode = Callable[[Samples, "Format"], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """A transfer syntax and how samples are held in it.

    Attributes:
        encode: one frame to one code stream; None for native pixel data.
        is_lossy: whether what is decoded may differ from what was encoded.
    """

    name: str
    syntax: str
    encode: Encode | None = None
    photometric: str = "MONOCHROME2"
    allocated: int = 8
    stored: int = 8
    is_signed: bool = False
    planar: int = 0
    is_lossy: bool = False

    @property
    def samples(self) -> int:
        """Number of samples of a pixel."""
        return 1 if self.photometric.startswith(("MONO", "PALETTE")) else 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a sample, little endian."""
        size = max(self.allocated, 8) // 8
        return np.dtype(f"<{'i' if self.is_signed else 'u'}{size}")


def to_samples(frame: NDArray[np.float64], form: Format) -> Samples:
    """Turn a frame of light, (rows, columns, 1 or 3) from 0 to 1, into stored samples.

    Colours of JPEG and JPEG 2000 stay red, green and blue here: their encoders convert.
    """
    top = 2**form.stored - 1
    whole = np.round(frame * top)
    if form.samples == 1:
        grey = whole[:, :, 0]
        if form.photometric in ("MONOCHROME1", "PALETTE COLOR"):  # the palette is a ramp downwards
            grey = top - grey
        return (grey - (top + 1) // 2 if form.is_signed else grey).astype(form.dtype)
    colours = np.broadcast_to(whole, (*whole.shape[:2], 3)).astype(form.dtype)
    if form.photometric.startswith("YBR_FULL") and (form.encode in (None, _rle)):
        colours = np.asarray(convert_color_space(colours, "RGB", "YBR_FULL"))
        if form.photometric == "YBR_FULL_422":  # two pixels share their colour
            colours[:, 1::2, 1:] = colours[:, ::2, 1:]
    return np.ascontiguousarray(colours)


def put_pixels(
    dataset: Dataset, frames: Sequence[Samples], form: Format, *, split: int = 1
) -> None:
    """Describe and store the frames.

    Args:
        split: pieces that each code stream is cut into.
    """
    first = frames[0]
    dataset.SamplesPerPixel = form.samples
    dataset.PhotometricInterpretation = form.photometric
    if form.samples > 1:
        dataset.PlanarConfiguration = form.planar
    dataset.Rows, dataset.Columns = first.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored = form.allocated, form.stored
    dataset.HighBit = form.stored - 1
    dataset.PixelRepresentation = int(form.is_signed)
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    if form.photometric == "PALETTE COLOR":
        _put_palette(dataset, form)
    if form.encode is None:
        dataset.PixelData = _native(frames, form)
        dataset["PixelData"].VR = "OW" if form.allocated > 8 else "OB"
        return
    streams = [form.encode(frame, form) for frame in frames]
    dataset.PixelData = encapsulate(streams, fragments_per_frame=split)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if form.is_lossy:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "8"
        dataset.LossyImageCompressionMethod = _METHODS.get(form.syntax, "ISO_10918_1")


_METHODS: dict[str, str] = {
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}


def _put_palette(dataset: Dataset, form: Format) -> None:
    ramp = np.linspace(65535, 0, 2**form.stored).round().astype("<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(
            dataset, f"{colour}PaletteColorLookupTableDescriptor", [2**form.stored % 65536, 0, 16]
        )
        setattr(dataset, f"{colour}PaletteColorLookupTableData", ramp)


def _native(frames: Sequence[Samples], form: Format) -> bytes:
    if form.allocated == 1:
        bits = np.concatenate([frame.ravel() for frame in frames])
        return _even(np.packbits(bits, bitorder="little").tobytes())
    order: Literal["<", ">"] = ">" if form.syntax == ExplicitVRBigEndian else "<"
    return _even(b"".join(_native_frame(frame, form, order) for frame in frames))


def _native_frame(frame: Samples, form: Format, order: Literal["<", ">"]) -> bytes:
    if form.photometric == "YBR_FULL_422":
        pairs = frame.reshape(-1, 2, 3)
        return np.stack(
            [pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], 1
        ).tobytes()
    planes = frame.transpose(2, 0, 1) if form.planar else frame
    return planes.astype(form.dtype.newbyteorder(order)).tobytes()


def _even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)


# --- Encoders ----------------------------------------------------------------------------------


def _plain(frame: Samples, form: Format) -> bytes:
    return _native_frame(frame, form, "<")


def _rle(frame: Samples, form: Format) -> bytes:
    """Return the RLE code stream: a header of offsets, one segment for each byte of a sample."""
    planes = frame.reshape(*frame.shape[:2], -1).transpose(2, 0, 1)
    parts: list[bytes] = []
    for plane in planes:
        raw = np.ascontiguousarray(plane.astype(form.dtype)).view(np.uint8)
        raw = raw.reshape(*plane.shape, form.dtype.itemsize)
        for number in reversed(range(form.dtype.itemsize)):  # most significant byte first
            rows = (imagecodecs.packbits_encode(row.tobytes()) for row in raw[:, :, number])
            parts.append(_even(b"".join(rows)))
    offsets, place = [], 64
    for part in parts:
        offsets.append(place)
        place += len(part)
    header = np.array([len(parts), *offsets, *[0] * (15 - len(parts))], dtype="<u4")
    return header.tobytes() + b"".join(parts)


def _jpeg(**options: Any) -> Encode:
    def encode(frame: Samples, form: Format) -> bytes:
        bits: dict[str, Any] = {} if form.stored == 8 else {"bitspersample": form.stored}
        unsigned = frame.view(frame.dtype.str.replace("i", "u"))
        return bytes(imagecodecs.jpeg8_encode(unsigned, **bits, **options))

    return encode


def _jpeg_ls(error: int = 0) -> Encode:
    def encode(frame: Samples, form: Format) -> bytes:
        unsigned = frame.view(frame.dtype.str.replace("i", "u"))
        mode = 2 if form.samples == 3 else None
        return bytes(jpeg_ls.encode_array(unsigned, error, mode))

    return encode


def _jpeg_2000(level: int = 0, **options: Any) -> Encode:
    def encode(frame: Samples, form: Format) -> bytes:
        stored: dict[str, Any] = (
            {} if form.stored == form.allocated else {"bitspersample": form.stored}
        )
        return bytes(
            imagecodecs.jpeg2k_encode(
                frame, level, codecformat="j2k", reversible=not level, **stored, **options
            )
        )

    return encode


def _high_throughput(level: float | None = None) -> Encode:
    def encode(frame: Samples, _form: Format) -> bytes:
        return bytes(imagecodecs.htj2k_encode(frame, level, reversible=level is None))

    return encode


def _formats() -> list[Format]:
    explicit = Format("explicit, 8 bit", ExplicitVRLittleEndian)
    made = [
        explicit,
        replace(explicit, name="implicit, 8 bit", syntax=ImplicitVRLittleEndian),
        replace(explicit, name="deflated, 8 bit", syntax=DeflatedExplicitVRLittleEndian),
        replace(explicit, name="big endian, 8 bit", syntax=ExplicitVRBigEndian),
        replace(_twelve(explicit), name="big endian, 12 bit", syntax=ExplicitVRBigEndian),
        replace(explicit, name="explicit, 1 bit", allocated=1, stored=1),
        _twelve(explicit, "explicit, 12 bit"),
        replace(_twelve(explicit, "explicit, 12 bit, signed"), is_signed=True),
        Format(
            "implicit, 16 bit, signed",
            ImplicitVRLittleEndian,
            allocated=16,
            stored=16,
            is_signed=True,
        ),
        replace(explicit, name="explicit, 32 bit", allocated=32, stored=32),
        replace(explicit, name="explicit, MONOCHROME1", photometric="MONOCHROME1"),
        replace(explicit, name="explicit, palette", photometric="PALETTE COLOR"),
        replace(explicit, name="explicit, RGB", photometric="RGB"),
        replace(explicit, name="explicit, RGB in planes", photometric="RGB", planar=1),
        replace(explicit, name="explicit, YBR_FULL", photometric="YBR_FULL"),
        replace(explicit, name="explicit, YBR_FULL_422", photometric="YBR_FULL_422"),
    ]
    wrapped = Format("encapsulated", ENCAPSULATED_UNCOMPRESSED, _plain)
    made += [wrapped, replace(wrapped, name="encapsulated, RGB", photometric="RGB")]
    return [*made, *_run_lengths(), *_jpegs(), *_wavelets()]


def _twelve(form: Format, name: str = "") -> Format:
    return replace(form, name=name or f"{form.name}, 12 bit", allocated=16, stored=12)


def _run_lengths() -> list[Format]:
    rle = Format("RLE, 8 bit", RLELossless, _rle)
    return [
        rle,
        _twelve(rle, "RLE, 12 bit"),
        replace(rle, name="RLE, palette", photometric="PALETTE COLOR"),
        replace(rle, name="RLE, RGB", photometric="RGB"),
        replace(rle, name="RLE, YBR_FULL", photometric="YBR_FULL"),
    ]


def _jpegs() -> list[Format]:
    baseline = Format("JPEG baseline", JPEGBaseline8Bit, _jpeg(level=90), is_lossy=True)
    lossless = Format("JPEG lossless", JPEGLossless, _jpeg(lossless=True, predictor=4))
    first = Format("JPEG lossless SV1", JPEGLosslessSV1, _jpeg(lossless=True, predictor=1))
    straight = _jpeg(lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB")
    unturned = _jpeg(level=90, colorspace="RGB", outcolorspace="RGB")
    charls = Format("JPEG-LS", JPEGLSLossless, _jpeg_ls())
    near = Format("JPEG-LS near-lossless", JPEGLSNearLossless, _jpeg_ls(2), is_lossy=True)
    colours = [
        replace(
            baseline,
            name=f"JPEG baseline, {ratio}",
            encode=_jpeg(level=90, subsampling=ratio),
            photometric="YBR_FULL" if ratio == "444" else "YBR_FULL_422",
        )
        for ratio in ("444", "422", "420")
    ]
    extended = Format(
        "JPEG extended, 12 bit",
        JPEGExtended12Bit,
        _jpeg(level=92),
        allocated=16,
        stored=12,
        is_lossy=True,
    )
    return [
        baseline,
        *colours,
        replace(baseline, name="JPEG baseline, RGB", encode=unturned, photometric="RGB"),
        extended,
        lossless,
        _twelve(lossless),
        first,
        _twelve(first),
        Format("JPEG lossless SV1, 16 bit", JPEGLosslessSV1, first.encode, allocated=16, stored=16),
        replace(first, name="JPEG lossless SV1, RGB", encode=straight, photometric="RGB"),
        charls,
        _twelve(charls),
        Format("JPEG-LS, 16 bit", JPEGLSLossless, charls.encode, allocated=16, stored=16),
        replace(charls, name="JPEG-LS, RGB", photometric="RGB"),
        near,
        _twelve(near),
    ]


def _wavelets() -> list[Format]:
    reversible = Format("JPEG 2000 lossless", JPEG2000Lossless, _jpeg_2000())
    lossy = Format("JPEG 2000", JPEG2000, _jpeg_2000(45), is_lossy=True)
    fast = Format("HTJ2K lossless", HTJ2KLossless, _high_throughput())
    fast_lossy = Format("HTJ2K", HTJ2K, _high_throughput(0.004), is_lossy=True)
    return [
        reversible,
        _twelve(reversible),
        Format(
            "JPEG 2000 lossless, 16 bit, signed",
            JPEG2000Lossless,
            reversible.encode,
            allocated=16,
            stored=16,
            is_signed=True,
        ),
        replace(reversible, name="JPEG 2000 lossless, YBR_RCT", photometric="YBR_RCT"),
        replace(
            reversible,
            name="JPEG 2000 lossless, RGB",
            encode=_jpeg_2000(mct=False),
            photometric="RGB",
        ),
        lossy,
        replace(lossy, name="JPEG 2000, YBR_ICT", photometric="YBR_ICT"),
        fast,
        Format("HTJ2K lossless, 16 bit", HTJ2KLossless, fast.encode, allocated=16, stored=16),
        replace(fast, name="HTJ2K lossless, YBR_RCT", photometric="YBR_RCT"),
        replace(fast, name="HTJ2K lossless RPCL", syntax=HTJ2KLosslessRPCL),
        fast_lossy,
        replace(fast_lossy, name="HTJ2K, YBR_ICT", photometric="YBR_ICT"),
    ]


#: Every format, by name.
FORMATS = {form.name: form for form in _formats()}
