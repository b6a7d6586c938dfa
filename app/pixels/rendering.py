"""Frames as people and recognisers see them: 8-bit grey or RGB, and previews with marks.

Only child processes import this.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from app.dicom.codestreams import Codestream, codestream_of
from app.dicom.frames import ENCAPSULATED_NATIVE
from app.dicom.source import FileSource, write_all
from app.errors import InvalidRequest, MalformedDicom
from app.pixels.codecs import Frame, cleaned, decode
from app.pixels.model import Box, Mark, Palette, Picture
from app.pixels.wire import picture_from_json

Image = NDArray[np.uint8]
_MAX_EDGE: Final = 4096
_OUTLINE: Final = (255, 200, 0)
# Luminance and colour differences to RGB. Source: PS3.3 2026d, C.7.6.3.1.2.
_RED, _GREEN_B, _GREEN_R, _BLUE = 1.402, 0.344136, 0.714136, 1.772


def read_frame(fd: int, pieces: Sequence[Sequence[int]], picture: Picture, number: int) -> Frame:
    """Read and decode one frame.

    Args:
        fd: the source.
        pieces: offset and size of each of the frame's pieces.
        picture: what the header says.
        number: of the frame, from 0.

    Raises:
        MalformedDicom, UndecidableElement: it cannot be decoded.
    """
    source = FileSource(fd)
    data = b"".join(source.read(offset, size) for offset, size in pieces)
    kind = codestream_of(picture.transfer_syntax)
    if kind is Codestream.NATIVE:
        return decode(data, picture, bit=first_bit(picture, number))
    is_plain = kind in {Codestream.RLE, Codestream.DEFLATE}
    return decode(data if is_plain else cleaned(data, picture), picture)


def first_bit(picture: Picture, number: int) -> int:
    """Return where a native frame begins in its first byte; frames of single bits share bytes."""
    if picture.bits_allocated != 1 or picture.transfer_syntax == ENCAPSULATED_NATIVE:
        return 0
    return number * picture.rows * picture.columns % 8


def display(frame: Frame, picture: Picture) -> Image:
    """Return a frame as it is seen: (rows, columns) grey or (rows, columns, 3) RGB.

    Grey values go through the first window, or from the darkest to the brightest where there is
    none; MONOCHROME1 is inverted. Text is brighter or darker than what is around it either way.
    """
    if frame.is_subsampled:
        return _rgb_of_ybr(_full(frame.values).astype(np.float32), picture)
    if frame.values.ndim == 3:
        return _colour(frame, picture)
    codes = stored(frame, picture)
    if frame.photometric == "PALETTE COLOR" and picture.palette is not None:
        return _looked_up(codes, picture.palette)
    grey = _windowed(codes, picture)
    return 255 - grey if frame.photometric == "MONOCHROME1" else grey


def stored(frame: Frame, picture: Picture) -> NDArray[Any]:
    """Return values as signed numbers where they are signed, without unused bits."""
    if frame.bits == 1:
        return frame.values
    bits = min(picture.bits_stored, frame.bits)
    lowest = max(picture.high_bit - picture.bits_stored + 1, 0) if frame.header is None else 0
    codes = (frame.values.astype(np.int64) >> lowest) & ((1 << bits) - 1)
    if picture.signed:
        codes -= (codes >> (bits - 1)) << bits
    return codes


def _windowed(codes: NDArray[Any], picture: Picture) -> Image:
    low, high = float(codes.min()), float(codes.max())
    slope, intercept = picture.rescale
    if picture.window is not None and picture.window[1] > 0 and slope:
        centre, width = picture.window
        bounds = [(centre + side * width / 2 - intercept) / slope for side in (-1, 1)]
        # A window that shows nothing of the image was meant for something else.
        if min(bounds) < high and low < max(bounds):
            low, high = bounds
    scale = 255 / (high - low) if high != low else 0.0
    grey = (codes.astype(np.float32) - low) * scale
    shown: Image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return shown


def _colour(frame: Frame, picture: Picture) -> Image:
    bits = min(picture.bits_stored, frame.bits)
    values = frame.values[..., :3]
    if bits > 8:
        values = values >> (bits - 8)
    if frame.photometric.startswith("YBR_"):
        return _rgb_of_ybr(values.astype(np.float32), picture)
    return np.ascontiguousarray(values, dtype=np.uint8)


def _full(pairs: NDArray[Any]) -> NDArray[Any]:
    """Return luminance and differences of every pixel. Source: PS3.3 2026d, C.7.6.3.1.2."""
    rows, half, _ = pairs.shape
    full = np.empty((rows, half * 2, 3), pairs.dtype)
    full[:, :, 0] = pairs[:, :, :2].reshape(rows, half * 2)
    full[:, :, 1:] = np.repeat(pairs[:, :, 2:], 2, axis=1)
    return full


def _rgb_of_ybr(values: NDArray[np.float32], picture: Picture) -> Image:
    light, blue, red = values[..., 0], values[..., 1] - 128, values[..., 2] - 128
    if picture.photometric.startswith("YBR_PARTIAL"):
        light = (light - 16) * (255 / 219)
        blue, red = blue * (255 / 224), red * (255 / 224)
    rgb = np.stack(
        [light + _RED * red, light - _GREEN_B * blue - _GREEN_R * red, light + _BLUE * blue],
        axis=-1,
    )
    shown: Image = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return shown


def palette_table(palette: Palette) -> NDArray[np.uint16]:
    """Return a palette's entries, (entries, 3), as 16-bit numbers.

    Raises:
        MalformedDicom: its colours have fewer entries than it says.
    """
    colours: list[NDArray[np.uint16]] = []
    for data in (palette.red, palette.green, palette.blue):
        if len(data) >= palette.entries * 2:
            colours.append(np.frombuffer(data, "<u2", palette.entries).astype(np.uint16))
        elif len(data) >= palette.entries and palette.bits == 8:
            colours.append(np.frombuffer(data, "u1", palette.entries).astype(np.uint16))
        else:
            raise MalformedDicom("A palette has fewer entries than it says")
    return np.stack(colours, axis=-1)


def _looked_up(codes: NDArray[Any], palette: Palette) -> Image:
    table = palette_table(palette)
    is_wide = palette.bits > 8 or int(table.max()) > 255
    colours = (table // 256 if is_wide else table).astype(np.uint8)
    index = np.clip(codes.astype(np.int64) - palette.first, 0, palette.entries - 1)
    return np.ascontiguousarray(colours[index])


def smaller(image: Image, max_edge: int) -> tuple[Image, int]:
    """Return every n-th pixel so that no edge is longer than allowed, and n."""
    step = -(-max(image.shape[:2]) // max(max_edge, 1))
    return np.ascontiguousarray(image[::step, ::step]), step


def render(task: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Draw one frame as PNG: the child's side of the kind ``render``.

    Args:
        task: picture, frames and marks as for masking; ``frame`` from 0, ``max_edge`` in pixels,
            and ``style`` "outline" or "fill".
        fds: the source, and where the PNG goes.
    """
    picture = picture_from_json(task["picture"])
    number = int(task.get("frame", 0))
    if not 0 <= number < len(task["frames"]):
        raise InvalidRequest("There is no such frame")
    frame = read_frame(fds[0], task["frames"][number], picture, number)
    image, step = smaller(display(frame, picture), min(int(task.get("max_edge", 1024)), _MAX_EDGE))
    marks = [Mark.from_json(mark) for mark in task.get("marks", ())]
    boxes = [mark.box for mark in marks if covers(mark, number)]
    if task.get("style", "outline") == "fill":
        image = filled(image, boxes, step)
    else:
        image = outlined(image, boxes, step)
    os.ftruncate(fds[1], 0)
    png = imagecodecs.png_encode(image, 6)
    write_all(fds[1], bytes(png))
    rows, columns = image.shape[:2]
    return {"size": len(png), "rows": rows, "columns": columns, "step": step}


def covers(mark: Mark, number: int) -> bool:
    """Say whether a mark is meant for a frame."""
    return mark.frames is None or mark.frames[0] <= number <= mark.frames[1]


def _slices(box: Box, step: int) -> tuple[slice, slice]:
    return (
        slice(max(box.top, 0) // step, max(-(-box.bottom // step), 0)),
        slice(max(box.left, 0) // step, max(-(-box.right // step), 0)),
    )


def filled(image: Image, boxes: Sequence[Box], step: int = 1) -> Image:
    """Return the image with black boxes."""
    drawn = image.copy()
    for box in boxes:
        drawn[_slices(box, step)] = 0
    return drawn


def outlined(image: Image, boxes: Sequence[Box], step: int = 1) -> Image:
    """Return the image in colours with the edges of boxes drawn."""
    drawn = image.copy() if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    for box in boxes:
        part = drawn[_slices(box, step)]
        thick = max(1, min(2, min(part.shape[:2]) // 4))
        for edge in (part[:thick], part[-thick:], part[:, :thick], part[:, -thick:]):
            edge[:] = _OUTLINE
    return drawn
