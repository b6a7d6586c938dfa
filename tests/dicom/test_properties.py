"""Random data sets: the tokens are what was built, however it was written and read.

More examples: ``PYTEST_ADDOPTS=--hypothesis-profile=deep``.
"""

import os
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from app.dicom import part10
from app.dicom.source import FileSource, MemorySource
from app.dicom.tokens import Limits
from tests.dicom.building import Stream, outline
from tests.dicom.oracle import (
    differences,
    pydicom_outline,
    read_with_pydicom,
    tokens_outline,
)
from tests.dicom.rewriting import Lengths, rewrite
from tests.dicom.strategies import streams

LIMITS = Limits()
EXAMPLES = settings().max_examples


@settings(max_examples=2 * EXAMPLES)
@given(streams())
def test_tokens_are_what_was_built(stream: Stream):
    tokens = part10.read(MemorySource(stream.encode()), LIMITS)

    assert differences(outline(stream.elements), tokens_outline(tokens)) == []


@given(streams())
def test_pydicom_reads_the_same_from_what_was_built(stream: Stream):
    data = stream.encode()

    theirs = pydicom_outline(read_with_pydicom(data, force=True))

    tokens = part10.read(MemorySource(data), LIMITS)
    assert differences(theirs, tokens_outline(tokens)) == []


@given(streams())
def test_tokens_written_back_in_every_length_style_are_what_was_built(stream: Stream):
    tokens = part10.read(MemorySource(stream.encode()), LIMITS)

    for lengths in Lengths:
        again = part10.read(MemorySource(rewrite(tokens, lengths)), LIMITS)
        assert differences(outline(stream.elements), tokens_outline(again)) == []


@given(streams(), st.integers(132, 600))
def test_a_file_read_through_a_growing_window_gives_the_same_tokens(stream: Stream, window: int):
    data = stream.encode()
    fd = os.memfd_create("instance")
    try:
        os.write(fd, data)
        with patch.object(part10, "_FIRST_WINDOW", window):
            tokens = part10.read(FileSource(fd), LIMITS)
        assert differences(outline(stream.elements), tokens_outline(tokens)) == []
    finally:
        os.close(fd)
