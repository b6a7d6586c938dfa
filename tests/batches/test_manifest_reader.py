"""A manifest is read whatever its form, in constant memory, and nothing else is taken for one."""

import io
import json
import tracemalloc
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches import manifest_reader
from app.batches.manifest_reader import Listed, ManifestReader, NotAManifest
from app.batches.manifest_schema import SCHEMA
from tests.batches.published import entries, entry, reordered, written

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read(text: bytes) -> tuple[list[Listed], ManifestReader]:
    reader = ManifestReader(io.BytesIO(text))
    return list(reader.listed()), reader


def test_a_large_list_before_what_comes_first_waits_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manifest_reader, "_SPOOL_BYTES", 100)
    text = written(entries(), fhir=True)

    listed, reader = read(json.dumps(reordered(json.loads(text))).encode())

    assert reader.summary.digest == read(text)[1].summary.digest
    assert listed == read(text)[0]


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_digest_is_the_same_in_every_order_of_members(random: Any, indent: int) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(one) for one in value] if isinstance(value, list) else value

    text = written(entries(), fhir=True)

    other = json.dumps(shuffled(json.loads(text)), indent=indent or None).encode()

    assert read(other)[1].summary == read(text)[1].summary


def test_every_truncated_manifest_is_refused() -> None:
    text = written([entry(1)], fhir=True)

    for size in range(len(text)):
        with pytest.raises(NotAManifest):
            read(text[:size])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "manifest"),
        (b"[]", "manifest"),
        (b"null", "manifest"),
        (b"{}", "missing"),
        (b'\xef\xbb\xbf{"version":"1.0"}', "manifest"),
        (b'{"version":"1.0",}', "JSON"),
        (b'{"version":"2.0"}', "version: does not fit the schema"),
        (b'{"version":"1.0" "x"', ", should stand here"),
        (b'{"version":' + b"[" * 60_000, "version"),
        (b'{"version":"' + b"1" * 100_000 + b'"}', "version"),
        (b'{"version":' + b"1" * 5_000 + b"}", "version"),
        (b'{"version":NaN}', "version"),
        (b'{"version":"\xff"}', "UTF-8"),
        (b'{"planted-name":1}', "manifest: a member is not known"),
        (b'{"studies":[],"studies":[]}', "studies: stands there twice"),
        (b'{"version":"1.0","version":"1.0"}', "version: stands there twice"),
        (b'{"studies":[{}]}', "studies.0: cloud_study_id is missing"),
        (b'{"studies":{}}', "studies: \\[ should stand here"),
        (b'{"studies":[{"series":[{"instances":[{"size":1,"size":2}]}]}]}', "instances.0"),
        (b'{"profile":{"name":"a","name":"a","version":"b"}}', "profile"),
        (written([entry(1)]) + b"{}", "follows its end"),
        (written([entry(1)]).replace(b"STAT", b"\\ud800"), "priority"),
        (written([entry(1)]).replace(b'"size":', b'"size":-'), "instances.0"),
        (written([entry(1)]).replace(b'"size":', b'"size":0.5'), "instances.0"),
        (written([entry(1)]).replace(b'"revision":1', b'"revision":true'), "revision"),
        (written([entry(1)]).replace(b'"revision":1', b'"revision":1e400'), "revision"),
        (written([entry(1)]).replace(b'"imaging_study":null,', b""), "imaging_study is missing"),
        (written([entry(1)]).replace(b'study":null', b'study":false'), "studies.0.imaging_study"),
        (written([entry(1)]).replace(b'study":null', b'study":{}'), "studies.0.imaging_study"),
        (written([entry(1)]).replace(b'study":null', b'study":"planted"'), "imaging_study"),
    ],
    ids=range(30),
)
def test_what_is_no_manifest_is_refused_with_the_place(text: bytes, what: str) -> None:
    with pytest.raises(NotAManifest, match=what) as refused:
        read(text)

    assert "planted" not in str(refused.value)


MUTATIONS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from([b"", b'"', b"0", b"/", b"..", b"{", b"\\"])),
    min_size=1,
    max_size=3,
)


@given(MUTATIONS)
def test_no_damage_to_a_manifest_is_taken_for_the_manifest(mutations: Any) -> None:
    whole = written([entry(1)], fhir=True)
    text = bytearray(whole)
    for number, given_bytes in mutations:
        place = number % len(text)
        text[place : place + 1] = given_bytes
    try:
        _, reader = read(bytes(text))
    except NotAManifest:
        return

    assert VALIDATOR.is_valid(json.loads(text))
    if reader.summary.digest == read(whole)[1].summary.digest:
        assert json.loads(text) | {"signature": 0} == json.loads(whole) | {"signature": 0}


def test_a_manifest_is_read_in_constant_memory() -> None:
    one = entry(1)
    text = written(
        replace(one, sop_instance_uid=f"2.25.{10**6 + number}") for number in range(20_000)
    )
    reader = ManifestReader(io.BytesIO(text))
    tracemalloc.start()
    try:
        count = sum(1 for _ in reader.listed())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert count == 20_000
    assert len(text) > 4_000_000
    assert peak < 8_000_000
