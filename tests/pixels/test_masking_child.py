"""Masking where it really happens: in child processes, with bounds, frame by frame."""

import json
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import imagecodecs
import numpy as np
import pytest

from app.errors import PixelWorkFailed
from app.pixels.children import Children
from app.pixels.masking import mask
from app.pixels.model import Picture
from app.pixels.wire import picture_to_json
from tests.pixels.framing import JPEG, NATIVE, inside, mark, noise, outside, picture


@contextmanager
def _files(data: bytes) -> Iterator[tuple[int, int]]:
    source, output = os.memfd_create("source"), os.memfd_create("output")
    try:
        os.write(source, data)
        yield source, output
    finally:
        os.close(source)
        os.close(output)


def _task(image: Picture, size: int, frames: int = 1) -> dict[str, object]:
    return {
        "kind": "mask",
        "picture": picture_to_json(image),
        "frames": [[(number * size, size)] for number in range(frames)],
        "marks": [asdict(mark())],
    }


async def _refusal(pool: Children, task: dict[str, object], fds: list[int]) -> str:
    """Return why a task was not done; empty where it was."""
    try:
        return str((await pool.ask(task, fds, timeout_s=60)).get("error", ""))
    except PixelWorkFailed as failure:
        return failure.reason


async def test_a_child_writes_the_masked_frames_into_the_second_file() -> None:
    values = noise(12)
    image = picture(JPEG + "90", values, "MONOCHROME2", bits=12)
    data = bytes(imagecodecs.jpeg2k_encode(values, codecformat="J2K", bitspersample=12))
    data += b"\0" * (len(data) % 2)

    with Children(size=1) as pool, _files(data) as (source, output):
        answer = await pool.ask(_task(image, len(data)), [source, output])
        after = imagecodecs.jpeg2k_decode(os.pread(output, answer["lengths"][0], 0))

    np.testing.assert_array_equal(outside(after), outside(values))
    assert not inside(after).any()


async def test_a_frame_that_cannot_be_masked_is_an_error_with_a_code() -> None:
    values = noise(8)
    image = picture(JPEG + "50", values, "MONOCHROME2")

    with Children(size=1) as pool, _files(b"\xff\xd8 no image") as (source, output):
        answer = await pool.ask(_task(image, 11), [source, output])

    assert answer == {"error": "malformed-dicom", "reason": ""}


@pytest.mark.parametrize("syntax", ["90", "80", "57"])
async def test_a_frame_that_pretends_to_be_huge_ends_at_the_bound(syntax: str) -> None:
    values = noise(8)
    encoders = {
        "90": lambda: bytes(imagecodecs.jpeg2k_encode(values, codecformat="J2K")),
        "80": lambda: bytes(imagecodecs.jpegls_encode(values)),
        "57": lambda: bytes(imagecodecs.jpeg8_encode(values, lossless=True)),
    }
    data = bytearray(encoders[syntax]())
    place = {"90": 8, "80": data.find(b"\xff\xf7") + 5, "57": data.find(b"\xff\xc3") + 5}[syntax]
    size = b"\x00\x00\xff\xff\x00\x00\xff\xff" if syntax == "90" else b"\xff\xff\xff\xff"
    data[place : place + len(size)] = size
    data += b"\0" * (len(data) % 2)
    image = replace(picture(JPEG + syntax, values, "MONOCHROME2"), rows=65535, columns=65535)

    with Children(size=1, memory_bytes=512 << 20) as pool, _files(data) as (source, output):
        assert await _refusal(pool, _task(image, len(data)), [source, output])
        assert os.fstat(output).st_size == 0
        assert (await pool.ask({"kind": "ping"}))["pid"]


def test_memory_is_bounded_by_a_frame() -> None:
    frame = np.zeros((512, 512), "<u2")
    image = picture(NATIVE, frame, "MONOCHROME2", bits=12, frames=40)

    with _files(frame.tobytes() * 40) as (source, output):
        task = json.loads(json.dumps(_task(image, frame.nbytes, 40)))
        tracemalloc.start()
        try:
            mask(task, [source, output])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert os.fstat(output).st_size == 40 * frame.nbytes

    assert peak < 12 * frame.nbytes
