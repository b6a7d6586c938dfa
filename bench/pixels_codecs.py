"""What a mask costs in every transfer syntax, beside plain decoding and encoding by one library."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from pydicom.encaps import generate_frames
from pydicom.filereader import dcmread
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from app.pixels.masking import mask
from app.pixels.model import Box, Mark, Rung
from app.pixels.rules import RuleSet
from app.pixels.rules_text import read_rules
from bench.pixels_path import Outcome, gateway, profile
from bench.pixels_tasks import Opened
from bench.report import Spread, Table
from tests.pixels.burning.cases import Case, Made, every_format, make
from tests.pixels.burning.encoding import Format
from tests.pixels.burning.judging import changed_outside, comparable

COLUMNS = (
    *("format", "mask, ms per frame", "decode + encode, ms", "ratio", "of the frame masked %"),
    "pixels changed outside",
)
ROWS, ACROSS, BANNER = 480, 640, 48  # blocks of every subsampling end where the banner does
_MARK = Mark(Box(0, 0, ACROSS, BANNER), Rung.MASK_RULE, "banner")
_RULES = """
format: 1
rules:
  - id: banner
    match: {{manufacturer: {{contains: Imaginary Devices}}}}
    mask: [{{top: 0, height: {height}}}]
    complete: true
"""
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    RLELossless: imagecodecs.dicomrle_decode,
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), imagecodecs.jpeg8_decode),
    **dict.fromkeys((JPEGLossless, JPEGLosslessSV1), imagecodecs.jpeg8_decode),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), imagecodecs.jpegls_decode),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), imagecodecs.jpeg2k_decode),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), imagecodecs.htj2k_decode),
}


def measure(*, rounds: int, scale: float) -> Table:
    """Mask a banner of a tenth of the image in every format; its frames one after the other."""
    frames = max(2, round(4 * scale))
    table = Table(
        f"Masks beside plain decoding and encoding: {frames} frames of {ACROSS} by {ROWS}",
        COLUMNS,
        key="pixels-codecs",
    )
    rules = RuleSet(read_rules(_RULES.format(height=BANNER)))
    with gateway(profile("mask"), readers=0, rules=rules) as path:
        for case in every_format(rows=ROWS, columns=ACROSS):
            made = make(replace(case, frames=frames, background="ultrasound", identifying=4))
            (result,) = path.take([made.data])
            if result.outcome is not Outcome.MASKED or result.data is None:
                table.add([case.form, result.outcome, "-", "-", "-", "-"], format=case.form)
                continue
            _add_row(table, made, _outside(made, result.data), rounds)
    table.notes += [
        "Mask: the child's task on all frames, decoding, overwriting, encoding and the check that "
        "decodes again. Plain: imagecodecs decodes and encodes the same frames in the same format; "
        "native and deflated pixels have no codec: their bytes are copied, and no ratio is given. "
        "Both in one process, in turns.",
        "JPEG baseline and extended are masked in their blocks: nothing is decoded to pixels.",
        "Changed outside: through the whole pipeline, decoded by another library. Of subsampled "
        "JPEG the luminance is compared, as decoders blend the colours of neighbours; the tests "
        "compare its blocks.",
    ]
    return table


def _outside(made: Made, data: bytes) -> int:
    before, after = comparable(made.data, data)
    allowed = np.zeros(before.shape[:3], np.bool_)
    allowed[:, :BANNER] = True
    compared = slice(0, 1) if made.case.form in SUBSAMPLED else slice(None)
    return changed_outside(before[..., compared], after[..., compared], allowed)


SUBSAMPLED = ("JPEG baseline, 422", "JPEG baseline, 420")


def _add_row(table: Table, made: Made, outside: int, rounds: int) -> None:
    masks, plains = [], []
    opened = Opened.of(made.data)
    task = opened.task("mask", [_MARK], lossy="refuse")
    frames = len(opened.frames)
    streams = _streams(made)
    for number in range(-1, rounds):
        plain = _timed(partial(_plainly, streams, made.case))
        with opened.descriptors() as fds:
            masking = _timed(partial(mask, task, fds))
        if number >= 0:
            masks.append(masking / frames)
            plains.append(plain / frames)
    masked, plain_ms = Spread.of(masks), Spread.of(plains)
    has_codec = made.case.format.syntax in _DECODERS
    ratio = Spread.of(one / other for one, other in zip(masks, plains, strict=True))
    table.add(
        [
            made.case.form,
            masked.text(2, 1e3),
            plain_ms.text(2, 1e3),
            ratio.text() if has_codec else "-",
            f"{100 * BANNER / ROWS:.0f}",
            str(outside),
        ],
        format=made.case.form,
        mask_ms=masked.median * 1e3,
        plain_ms=plain_ms.median * 1e3,
        ratio=ratio.median,
        changed_outside=outside,
    )


def _timed(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _streams(made: Made) -> list[bytes]:
    pixels = dcmread(io.BytesIO(made.data)).PixelData
    if made.case.format.syntax not in _DECODERS:
        return [pixels]
    return list(generate_frames(pixels, number_of_frames=made.case.frames))


def _plainly(streams: Sequence[bytes], case: Case) -> int:
    """Decode and encode every frame; return the length of all."""
    form = case.format
    decode = _DECODERS.get(form.syntax)
    if form.encode is None or decode is None:
        return sum(len(bytearray(one)) for one in streams)
    if form.syntax == RLELossless:
        return sum(len(form.encode(_run_lengths(one, case, form), form)) for one in streams)
    return sum(len(form.encode(_typed(decode(one), form), form)) for one in streams)


def _typed(values: Any, form: Format) -> Any:  # noqa: ANN401 - arrays
    return np.ascontiguousarray(values).astype(form.dtype, copy=False)


def _run_lengths(stream: bytes, case: Case, form: Format) -> Any:  # noqa: ANN401 - an array
    values = np.frombuffer(imagecodecs.dicomrle_decode(stream, form.dtype), form.dtype)
    planes = values.reshape(-1, case.rows, case.columns)
    return planes[0] if form.samples == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))
