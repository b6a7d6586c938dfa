"""Damaged streams: a result or an error of the tree, in bounded time, and nothing else.

More examples: ``PYTEST_ADDOPTS=--hypothesis-profile=deep``.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from app import pipeline
from app.deid.profile import BUILT_IN
from app.dicom import part10
from app.dicom.source import MemorySource, Source
from app.dicom.tokens import Dataset, Limits, Tokens
from app.errors import GatewayError
from app.vault.pseudonyms import Pseudonyms
from tests.dicom.building import Outlined, Stream
from tests.dicom.damage import Damage, damages
from tests.dicom.oracle import pydicom_outline, read_with_pydicom, tokens_outline
from tests.dicom.reading import file_source
from tests.dicom.rewriting import Lengths, rewrite
from tests.dicom.strategies import streams

EXAMPLES = settings().max_examples
LIMITS = Limits(
    max_header_bytes=1 << 20, max_elements=5000, max_depth=16, max_converted_bytes=4 << 20
)
CONTEXT = pipeline.Context("DEMO", BUILT_IN["basic"], Pseudonyms(b"k" * 32, "DEMO"), LIMITS)
MAX_SECONDS = 2.0


@contextmanager
def bounded_time() -> Iterator[None]:
    begin = time.process_time()
    yield
    assert time.process_time() - begin < MAX_SECONDS


def tokens_or_refusal(source: Source) -> Tokens | GatewayError:
    try:
        return part10.read(source, LIMITS)
    except GatewayError as error:
        return error


def assert_spans_lie_inside(dataset: Dataset, begin: int, end: int) -> None:
    position = begin
    for index in range(len(dataset.keys)):
        start, stop = dataset.span(index)
        value_start, value_stop = dataset.value_span(index)
        assert position <= start <= value_start <= value_stop == stop <= end
        position = stop
        items = dataset.sequences.get(index)
        for item in items.datasets if items else ():
            assert value_start <= item.begin <= item.after <= stop
            assert_spans_lie_inside(item, item.begin + 8, item.stop)


def outcome(result: Tokens | GatewayError) -> dict[object, Outlined] | str:
    return result.code if isinstance(result, GatewayError) else tokens_outline(result)


@settings(max_examples=2 * EXAMPLES)
@given(streams(), damages())
def test_a_damaged_stream_is_tokenised_or_refused(stream: Stream, damage: Damage):
    data = damage(stream.encode())

    with bounded_time():
        result = tokens_or_refusal(MemorySource(data))

    if isinstance(result, Tokens):
        assert_spans_lie_inside(result.root, 0, len(result.buffer))
        for lengths in Lengths:
            assert rewrite(result, lengths)


@settings(max_examples=EXAMPLES)
@given(streams(), damages(), st.integers(132, 600))
def test_a_damaged_file_is_judged_as_the_same_bytes_in_memory(
    stream: Stream, damage: Damage, window: int
):
    data = damage(stream.encode())

    with file_source(data) as source, patch.object(part10, "_FIRST_WINDOW", window):
        from_file = outcome(tokens_or_refusal(source))

    assert from_file == outcome(tokens_or_refusal(MemorySource(data)))


@settings(max_examples=3 * EXAMPLES)
@given(streams(damageable=True), damages())
def test_a_damaged_instance_is_refused_or_comes_out_readable(stream: Stream, damage: Damage):
    data = damage(stream.encode())

    with bounded_time():
        try:
            result = pipeline.deidentify(MemorySource(data), CONTEXT)
        except GatewayError:
            return
        written = b"".join(result.chunks())

    assert len(written) == result.size
    assert part10.read(MemorySource(written), Limits()).anomalies == []
    assert pydicom_outline(read_with_pydicom(written))


@given(streams(damageable=True))
def test_a_whole_instance_comes_out_readable(stream: Stream):
    written = b"".join(pipeline.deidentify(MemorySource(stream.encode()), CONTEXT).chunks())

    assert pydicom_outline(read_with_pydicom(written))
