"""How large frames are before they are packed."""

import pytest

from app.dicom.frame_sizes import FrameSize
from app.errors import MalformedDicom, UndecidableElement


@pytest.mark.parametrize(
    ("size", "segments", "segment_bytes", "frame_bytes"),
    [
        (FrameSize(9, 1, 1), 1, 2, 2),
        (FrameSize(16, 1, 8), 1, 16, 16),
        (FrameSize(16, 3, 16), 6, 16, 96),
        (FrameSize(16, 1, 64), 8, 16, 128),
    ],
)
def test_a_frame_has_so_many_bytes(
    size: FrameSize, segments: int, segment_bytes: int, frame_bytes: int
) -> None:
    assert (size.segments, size.segment_bytes) == (segments, segment_bytes)
    assert size.native_bytes(1000) == frame_bytes


def test_subsampled_colour_is_told_by_its_length() -> None:
    size = FrameSize(16, 3, 8, may_be_subsampled=True)

    assert [size.native_bytes(held) for held in (32, 47, 48, 60)] == [32, 32, 48, 48]
    with pytest.raises(MalformedDicom):
        size.native_bytes(31)


@pytest.mark.parametrize("size", [FrameSize(0, 1, 8), FrameSize(4, 0, 8), FrameSize(4, 1, 0)])
def test_a_size_that_is_not_told_is_not_guessed(size: FrameSize) -> None:
    with pytest.raises(UndecidableElement):
        size.native_bytes(8)


@pytest.mark.parametrize(
    "size", [FrameSize(0, 1, 8), FrameSize(4, 0, 8), FrameSize(4, 1, 0), FrameSize(4, 1, 12)]
)
def test_rle_needs_whole_bytes(size: FrameSize) -> None:
    with pytest.raises(UndecidableElement):
        _ = size.segment_bytes
