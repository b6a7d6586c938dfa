"""The manifest as it is written: canonical, signed, by its schema, in constant memory."""

import gc
import hashlib
import io
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batches import manifest
from app.batches.imaging_study import imaging_study
from app.batches.manifest import ManifestWriter, header_of, signed_message
from app.batches.manifest_schema import INSTANCE, MANIFEST, SCHEMA, SERIES, STUDY, canonical
from app.batches.records import Batch, ManifestEntry
from app.batches.states import BatchState, OnError, Priority
from app.vault.signing import from_base64url
from tests.batches.published import (
    BATCH,
    CT_STORAGE,
    HEADER,
    SIGNER,
    STUDIES,
    entries,
    entry,
    name_of,
    studies_of,
    written,
)

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read(listed: list[ManifestEntry], *, fhir: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(written(listed, fhir=fhir))
    return content


# Content


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("fhir", [False, True], ids=["plain", "with FHIR"])
def test_a_manifest_is_valid_by_the_published_schema(fhir: bool) -> None:
    VALIDATOR.validate(read(entries(), fhir=fhir))


def test_a_manifest_says_which_batch_it_is() -> None:
    content = read(entries())

    assert {
        key: content[key] for key in MANIFEST.patterns if key not in {"signature", "totals"}
    } == {
        "version": "1.0",
        "batch_id": str(BATCH),
        "organization": "NORTH",
        "priority": "STAT",
        "submitted_at": "2026-03-01T09:30:00.250Z",
        "revision": 1,
        "profile": {"name": "basic", "version": "0123456789ab"},
        "total_studies": 2,
        "total_images": 5,
    }


def test_totals_are_those_of_what_is_listed() -> None:
    listed = entries()

    assert read(listed)["totals"] == {
        "studies": 2,
        "series": 4,
        "instances": 5,
        "bytes": sum(one.size for one in listed),
    }


def test_studies_list_their_series_and_these_their_instances() -> None:
    first, second = read(entries())["studies"]

    assert [first["cloud_study_id"], second["cloud_study_id"]] == list(STUDIES)
    assert [first["study_instance_uid"], second["study_instance_uid"]] == ["2.25.1000", "2.25.1001"]
    assert [first["image_count"], second["image_count"]] == [3, 2]
    assert [
        (series["series_instance_uid"], series["modality"], len(series["instances"]))
        for series in first["series"] + second["series"]
    ] == [("2.25.2000", "CT", 2), ("2.25.2001", "SEG", 1), ("", "", 1), ("2.25.2002", "MR", 1)]


def test_an_instance_is_listed_with_its_file_size_and_hash() -> None:
    one = entry(1)

    assert read([one])["studies"][0]["series"][0]["instances"] == [
        {
            "sop_instance_uid": "2.25.3001",
            "sop_class_uid": CT_STORAGE,
            "file": name_of(one),
            "size": one.size,
            "sha256": one.sha256.hex(),
        }
    ]


def test_a_study_is_listed_with_the_size_and_hash_of_its_fhir_resource() -> None:
    resources = [imaging_study(HEADER, study) for study in studies_of(entries())]

    assert [study["imaging_study"] for study in read(entries(), fhir=True)["studies"]] == [
        {"size": len(resource), "sha256": hashlib.sha256(resource).hexdigest()}
        for resource in resources
    ]


def test_a_study_without_a_fhir_resource_says_so() -> None:
    assert [study["imaging_study"] for study in read(entries())["studies"]] == [None, None]


def test_fhir_resources_are_no_part_of_the_totals() -> None:
    plain, described = read(entries()), read(entries(), fhir=True)

    for member in ("totals", "total_studies", "total_images"):
        assert described[member] == plain[member]


def test_an_object_without_a_series_lies_in_a_directory_that_says_so() -> None:
    listed = read([entry(1, series_uid="")])["studies"][0]["series"][0]["instances"][0]

    assert listed["file"] == f"{STUDIES[0]}/no-series/2.25.3001.dcm"


def test_a_batch_of_which_nothing_was_published_has_a_manifest_too() -> None:
    content = read([])

    VALIDATOR.validate(content)
    assert content["studies"] == []


@pytest.mark.parametrize(
    "modality", ["ct", "CT\\MR", "DOE^JOHN", "A" * 17, 'X"', "É", " CT", "A  B"]
)
def test_a_modality_that_is_no_code_is_left_out(modality: str) -> None:
    content = read([entry(1, modality=modality)])

    VALIDATOR.validate(content)
    assert content["studies"][0]["series"][0]["modality"] == ""


def test_the_next_manifest_of_a_batch_has_the_next_revision() -> None:
    batch = Batch(
        **dict.fromkeys(
            (
                *("total_files", "total_bytes", "succeeded_files", "duplicate_files"),
                *("ignored_files", "refused_files", "failed_files", "published_files"),
                *("bytes_in", "bytes_out", "version"),
            ),
            0,
        ),
        **dict.fromkeys(
            ("started_at", "finished_at", "manifest_path", "staging_directory", "code", "detail")
        ),
        batch_id=BATCH,
        organization="NORTH",
        state=BatchState.PUBLISHING,
        priority=Priority.STAT,
        on_error=OnError.SKIP,
        profile="basic",
        profile_version="0123456789ab",
        destination="staging",
        submitted_at=HEADER.submitted_at,
        is_scanned=True,
        revision=0,
    )

    assert header_of(batch) == HEADER
    assert header_of(replace(batch, revision=1)) == replace(HEADER, revision=2)


# Form and signature


@pytest.mark.parametrize("fhir", [False, True], ids=["plain", "with FHIR"])
def test_a_manifest_is_canonical_json_as_a_whole(fhir: bool) -> None:
    text = written(entries(), fhir=fhir)

    assert rfc8785.dumps(json.loads(text)) == text


@pytest.mark.parametrize("fhir", [False, True], ids=["plain", "with FHIR"])
def test_the_same_batch_has_the_same_manifest_byte_for_byte(fhir: bool) -> None:
    assert written(entries(), fhir=fhir) == written(entries(), fhir=fhir)


def test_objects_may_come_in_portions() -> None:
    file = io.BytesIO()
    writer = ManifestWriter(file, HEADER, SIGNER)
    for one in entries():
        writer.add([one])
    writer.finish()

    assert file.getvalue() == written(entries())


def test_the_signature_is_over_the_canonical_manifest_without_it() -> None:
    content = read(entries())

    signature = content.pop("signature")

    digest = hashlib.sha256(rfc8785.dumps(content)).digest()
    assert signature["algorithm"] == "Ed25519"
    assert SIGNER.public_keys().verify(
        signature["key_id"], signed_message(digest), from_base64url(signature["value"])
    )


def test_what_is_signed_cannot_be_taken_for_another_message() -> None:
    assert signed_message(b"digest") == b"deid-gateway manifest v1\ndigest"


# What is refused


@pytest.mark.parametrize(
    "listed",
    [
        [entry(2), entry(1)],
        [entry(1), entry(1)],
        [entry(1, series_uid="2.25.2001"), entry(2)],
        [entry(1, cloud_study_id=STUDIES[1]), entry(2)],
    ],
    ids=["instances", "twice", "series", "studies"],
)
def test_objects_out_of_order_are_refused(listed: list[ManifestEntry]) -> None:
    with pytest.raises(ValueError, match="in order and once"):
        written(listed)


@pytest.mark.parametrize(
    "given_values",
    [
        {"cloud_study_id": "../../etc"},
        {"cloud_study_id": "7qm2x-9thv4-cbk8"},
        {"study_uid": "PLANTED"},
        {"series_uid": "2.25.1/.."},
        {"series_uid": "."},
        {"sop_instance_uid": "2.25.1\n"},
        {"sop_instance_uid": "2." * 32 + "1"},
        {"sop_class_uid": ""},
        {"size": -1},
        {"sha256": b"short"},
    ],
    ids=str,
)
def test_an_object_that_does_not_fit_the_schema_is_refused_without_its_values(
    given_values: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="does not fit the schema") as refused:
        written([entry(1, **given_values)])

    assert "PLANTED" not in str(refused.value)


@pytest.mark.parametrize(
    "header",
    [
        {"organization": "NORTH/.."},
        {"profile": "Basic Profile"},
        {"profile_version": ""},
        {"revision": -1},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_the_schema_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="does not fit the schema"):
        written([], header=replace(HEADER, **header))


def attached(listed: list[ManifestEntry], **resource: Any) -> None:
    with ManifestWriter(io.BytesIO(), HEADER, SIGNER) as writer:
        writer.add(listed)
        writer.attach(**resource)
        writer.finish()


@pytest.mark.parametrize(
    "resource",
    [
        {"size": -1, "sha256": bytes(32)},
        {"size": 10**15, "sha256": bytes(32)},
        {"size": 1, "sha256": b"short"},
    ],
    ids=["below nothing", "too large", "no hash"],
)
def test_a_fhir_resource_that_does_not_fit_the_schema_is_refused(resource: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="imaging_study does not fit the schema"):
        attached([entry(1)], **resource)


def test_a_fhir_resource_before_the_objects_of_its_study_is_refused() -> None:
    with pytest.raises(ValueError, match="after the objects"):
        attached([], size=1, sha256=bytes(32))


def many(count: int) -> Iterator[ManifestEntry]:
    one = entry(1)
    return (replace(one, sop_instance_uid=f"2.25.{10**6 + number}") for number in range(count))


def give_up(file: BinaryIO, spool: Path) -> None:
    with ManifestWriter(file, HEADER, SIGNER, spool=spool) as writer:
        writer.add(many(100))
        writer.add(many(1))


def test_a_manifest_that_is_given_up_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_SPOOL_BYTES", 1000)

    with pytest.raises(ValueError, match="in order"):
        give_up(io.BytesIO(), tmp_path)

    gc.collect()  # what was left open would complain now
    assert list(tmp_path.iterdir()) == []


def test_the_memory_does_not_grow_with_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_SPOOL_BYTES", 1 << 16)
    monkeypatch.setattr(manifest, "_COPY_BYTES", 1 << 16)
    with (tmp_path / "file").open("wb") as file:
        writer = ManifestWriter(file, HEADER, SIGNER, spool=tmp_path)
        tracemalloc.start()
        try:
            writer.add(many(10_000))
            writer.finish()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert (tmp_path / "file").stat().st_size > 2_000_000
    assert peak < 500_000


# The schema and the patterns made of it; canonical JSON

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_text_is_that_of_the_standard(value: object) -> None:
    assert canonical(value).encode() == rfc8785.dumps(value)


@given(VALUES)
def test_canonical_text_is_that_of_any_other_writing_of_it(value: object) -> None:
    assert canonical(json.loads(json.dumps(value, indent=1))) == canonical(value)


LEAVES = [
    *(
        (shape.patterns[key], schema["properties"][key])
        for shape, schema in (
            (MANIFEST, SCHEMA),
            (STUDY, SCHEMA["$defs"]["study"]),
            (SERIES, SCHEMA["$defs"]["series"]),
        )
        for key in shape.patterns
    ),
    (INSTANCE, SCHEMA["$defs"]["instance"]),
]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "$defs": SCHEMA["$defs"]}


def near(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema allows, and values that it just does not."""
    if "$ref" in schema:
        return near(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return st.one_of([near(one) for one in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from([*schema.get("enum", [schema.get("const")]), "2.0", "stat", 2])
    if schema["type"] == "string":
        fitting = st.from_regex(schema["pattern"], fullmatch=True)
        return (
            fitting
            | fitting.map(lambda text: text * 3)
            | fitting.map(lambda text: f" {text}")
            | TEXTS
        )
    if schema["type"] == "integer":
        return st.integers(-1, 10**15 + 1) | st.booleans() | st.integers().map(str)
    members = {key: near(value) for key, value in schema["properties"].items()}
    return st.fixed_dictionaries(members) | st.fixed_dictionaries({}, optional=members)


@pytest.mark.parametrize(("pattern", "schema"), LEAVES, ids=range(len(LEAVES)))
@settings(max_examples=40)
@given(data=st.data())
def test_the_program_allows_what_the_published_schema_allows(pattern, schema, data) -> None:
    value = data.draw(near(schema))

    allowed = jsonschema.Draft202012Validator(resolved(schema)).is_valid(value)

    assert bool(pattern.fullmatch(canonical(value))) is allowed


# The reference page

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "manifest.md").read_text("utf-8")


def block(language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_the_example_of_the_reference_is_valid_by_the_schema() -> None:
    example = json.loads(block("json"))
    signature = read([])["signature"]

    VALIDATOR.validate({**example, "signature": signature})


@pytest.mark.parametrize(("organization", "code"), [("NORTH", 0), ("SOUTH", 1)])
def test_the_recipe_of_the_reference_checks_a_signature(
    tmp_path: Path, organization: str, code: int
) -> None:
    content = read(entries()) | {"organization": organization}
    (tmp_path / "manifest.json").write_text(json.dumps(content, indent=2))
    (tmp_path / "hospital.jwks").write_text(json.dumps({"keys": [SIGNER.public_jwk()]}))

    done = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, check=False
    )

    assert done.returncode == code
    assert (b"InvalidSignature" in done.stderr) is bool(code)
