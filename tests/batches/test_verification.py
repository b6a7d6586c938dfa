"""A published batch is checked against its manifest: what is whole passes, what is not is found."""

import asyncio
import errno
import hashlib
import io
import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches import manifest_reader, verifying
from app.batches.imaging_study import IMAGING_STUDY_NAME
from app.batches.manifest import MANIFEST_NAME
from app.batches.manifest_reader import Listed, ManifestReader, NotAManifest
from app.batches.manifest_schema import SCHEMA
from app.batches.shelves import MAX_DEPTH, DirectoryShelf, Fault, Finding
from app.batches.verifying import SignatureState, Verification, verify
from app.errors import StorageUnavailable
from app.vault.signing import PublicKeys
from tests.batches.published import (
    BATCH,
    HEADER,
    SIGNER,
    STRANGER,
    STUDIES,
    change,
    content_of,
    entries,
    entry,
    manifest_of,
    name_of,
    publish,
    resource_name,
    written,
)

KEYS = SIGNER.public_keys()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FIRST = name_of(entry(1))
RESOURCE = resource_name(STUDIES[0])


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    return publish(tmp_path / "batch")


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A batch that has a FHIR resource for each study."""
    return publish(tmp_path / "described", fhir=True)


def checked(directory: Path, keys: PublicKeys | None = KEYS, jobs: int = 3) -> Verification:
    with DirectoryShelf(directory) as shelf:
        return asyncio.run(verify(shelf, keys, jobs=jobs))


def read(text: bytes) -> tuple[list[Listed], ManifestReader]:
    reader = ManifestReader(io.BytesIO(text))
    return list(reader.listed()), reader


# What is whole


def test_a_batch_as_it_was_published_is_complete_and_authentic(batch: Path) -> None:
    outcome = checked(batch)

    assert outcome.is_complete
    assert outcome.signature is SignatureState.VALID
    assert outcome.checked_files == 5
    assert outcome.checked_bytes == sum(one.size for one in entries())


def test_progress_adds_up_to_the_whole(batch: Path) -> None:
    steps: list[tuple[int, int]] = []
    with DirectoryShelf(batch) as shelf:
        asyncio.run(verify(shelf, KEYS, jobs=1, advance=lambda *step: steps.append(step)))

    assert [sum(step[place] for step in steps) for place in (0, 1)] == [
        5,
        sum(one.size for one in entries()),
    ]


def test_a_batch_without_objects_is_complete(tmp_path: Path) -> None:
    (tmp_path / "batch").mkdir()

    assert checked(publish(tmp_path / "batch", [])).is_complete


def test_a_batch_with_fhir_resources_is_complete_and_authentic(described: Path) -> None:
    outcome = checked(described)

    assert outcome.is_complete
    assert outcome.signature is SignatureState.VALID
    assert outcome.unknown == 0


def test_fhir_resources_are_not_counted_as_objects(described: Path) -> None:
    outcome = checked(described)

    assert outcome.checked_files == 5
    assert outcome.checked_bytes == sum(one.size for one in entries())


def test_a_file_that_is_no_dicom_object_is_counted_and_no_obstacle(batch: Path) -> None:
    (batch / "Thumbs.db").write_bytes(bytes(500))
    (batch / "empty").write_bytes(b"")

    outcome = checked(batch)

    assert outcome.is_complete
    assert outcome.unknown == 2


def test_a_directory_named_for_its_batch_is_fine(tmp_path: Path) -> None:
    assert checked(publish(tmp_path / str(BATCH))).is_complete


def test_many_objects_are_compared_by_several_readers(tmp_path: Path) -> None:
    batch = publish(tmp_path, [entry(number) for number in range(1000, 1300)])
    (batch / name_of(entry(1150))).unlink()

    outcome = checked(batch, jobs=4)

    assert outcome.checked_files == 300
    assert outcome.findings == [Finding(Fault.MISSING, name_of(entry(1150)))]


# Objects


def remove(path: Path) -> None:
    path.unlink()


def remove_series(path: Path) -> None:
    for one in path.parent.iterdir():
        one.unlink()
    path.parent.rmdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def link_series(path: Path) -> None:
    path.parent.rename(path.parents[3] / "elsewhere")
    path.parent.symlink_to(path.parents[3] / "elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (remove, Fault.MISSING),
        (cut, Fault.WRONG_SIZE),
        (extend, Fault.WRONG_SIZE),
        (flip, Fault.WRONG_HASH),
        (link, Fault.UNREADABLE),
        (pipe, Fault.UNREADABLE),
        (directory, Fault.UNREADABLE),
    ],
)
def test_an_object_that_is_not_as_listed_is_found(
    batch: Path, tamper: Callable[[Path], None], fault: Fault
) -> None:
    tamper(batch / FIRST)

    outcome = checked(batch)

    assert not outcome.is_complete
    assert outcome.findings == [Finding(fault, FIRST)]
    assert outcome.faults == {fault: 1}
    assert outcome.signature is SignatureState.VALID


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (remove, Fault.MISSING),
        (cut, Fault.WRONG_SIZE),
        (extend, Fault.WRONG_SIZE),
        (flip, Fault.WRONG_HASH),
        (pipe, Fault.UNREADABLE),
        (directory, Fault.UNREADABLE),
    ],
)
def test_a_fhir_resource_that_is_not_as_listed_is_found(
    described: Path, tamper: Callable[[Path], None], fault: Fault
) -> None:
    tamper(described / RESOURCE)

    outcome = checked(described)

    assert not outcome.is_complete
    assert outcome.findings == [Finding(fault, RESOURCE)]
    assert outcome.signature is SignatureState.VALID


def test_a_series_that_is_gone_is_found(batch: Path) -> None:
    remove_series(batch / FIRST)

    assert checked(batch).faults == {Fault.MISSING: 2}


def test_a_series_that_is_a_link_is_not_followed(batch: Path) -> None:
    link_series(batch / FIRST)

    assert not checked(batch).is_complete


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Let the system refuse to open files of a name; root cannot be kept out by rights."""
    opened = os.open

    def deny(name: str, number: int) -> None:
        def refuse(path: Any, *given: Any, **named: Any) -> int:
            if str(path).endswith(name):
                raise OSError(number, os.strerror(number))
            return opened(path, *given, **named)

        monkeypatch.setattr(os, "open", refuse)

    return deny


def test_an_object_without_rights_is_found(batch: Path, deny: Callable[[str, int], None]) -> None:
    deny("2.25.3001.dcm", errno.EACCES)

    assert checked(batch).findings == [Finding(Fault.UNREADABLE, FIRST)]


@pytest.mark.parametrize("name", [FIRST, "readme"])
def test_a_lack_of_descriptors_is_not_taken_for_a_fault_of_an_object(
    batch: Path, deny: Callable[[str, int], None], name: str
) -> None:
    (batch / "readme").write_text("text")
    deny(Path(name).name, errno.EMFILE)

    with pytest.raises(StorageUnavailable):
        checked(batch)


def test_a_file_that_cannot_be_looked_into_may_be_a_dicom_object(
    batch: Path, deny: Callable[[str, int], None]
) -> None:
    (batch / "readme").write_text("text")
    deny("readme", errno.EACCES)

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, "readme")]


def test_a_directory_that_cannot_be_listed_is_found(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("2.25.2000"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    assert checked(batch).findings == [Finding(Fault.UNREADABLE, f"{STUDIES[0]}/2.25.2000")]


def test_findings_are_counted_beyond_those_that_are_kept(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "MAX_FINDINGS", 1)
    remove_series(batch / FIRST)

    outcome = checked(batch)

    assert len(outcome.findings) == 1
    assert outcome.faults[Fault.MISSING] == 2


# What is not listed


@pytest.mark.parametrize(
    "name",
    [
        "extra.dcm",
        "EXTRA.DCM",
        "IM0001",
        f"{STUDIES[0]}/2.25.2000/2.25.9.dcm",
        f"{STUDIES[0]}/.2.25.3001.dcm.part",
        "deep/er/IM0001",
    ],
)
def test_a_dicom_object_that_is_not_listed_is_found(batch: Path, name: str) -> None:
    (batch / name).parent.mkdir(parents=True, exist_ok=True)
    (batch / name).write_bytes(content_of(99))

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, name)]


def test_a_file_named_as_dicom_is_one_whatever_it_holds(batch: Path) -> None:
    (batch / "text.dcm").write_text("text")

    assert checked(batch).faults == {Fault.UNEXPECTED: 1}


def test_a_link_that_is_not_listed_is_found(batch: Path) -> None:
    (batch / "link").symlink_to(batch / FIRST)
    (batch / "directory").symlink_to(batch / STUDIES[0])

    assert checked(batch).faults == {Fault.UNEXPECTED: 2}


def test_a_pipe_that_is_not_listed_is_found_and_not_opened(batch: Path) -> None:
    os.mkfifo(batch / "pipe")

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, "pipe")]


def test_directories_too_deep_to_be_looked_into_are_found(batch: Path) -> None:
    (batch / "/".join("d" * (MAX_DEPTH + 1))).mkdir(parents=True)

    assert checked(batch).faults == {Fault.UNEXPECTED: 1}


def test_a_name_that_is_no_text_is_reported(batch: Path) -> None:
    (Path(os.fsdecode(os.fsencode(batch) + b"/\xff.dcm"))).write_bytes(b"")

    assert checked(batch).findings == [Finding(Fault.UNEXPECTED, "\udcff.dcm")]


@pytest.mark.parametrize(
    "name",
    [
        RESOURCE,
        RESOURCE.replace(IMAGING_STUDY_NAME, "ImagingStudy.JSON"),
        f"{STUDIES[0]}/2.25.2000/{IMAGING_STUDY_NAME}",
        f"other/{IMAGING_STUDY_NAME}",
        IMAGING_STUDY_NAME,
    ],
)
def test_a_fhir_resource_that_is_not_listed_is_found(batch: Path, name: str) -> None:
    (batch / name).parent.mkdir(exist_ok=True)
    (batch / name).write_text("{}")

    outcome = checked(batch)

    assert outcome.findings == [Finding(Fault.UNEXPECTED, name)]
    assert outcome.unknown == 0


def test_a_file_of_another_batch_is_found(batch: Path) -> None:
    publish(batch / "inner")

    assert checked(batch).faults == {Fault.UNEXPECTED: 5}


# The signature


def resigned(content: dict[str, Any], **given: str) -> dict[str, Any]:
    return {**content, "signature": {**content["signature"], **given}}


def test_without_keys_the_signature_is_not_checked(batch: Path) -> None:
    outcome = checked(batch, None)

    assert outcome.signature is SignatureState.UNCHECKED
    assert outcome.is_complete
    assert not outcome.is_authentic


def test_a_manifest_of_another_gateway_is_not_authentic(batch: Path) -> None:
    (batch / MANIFEST_NAME).write_bytes(written(entries(), signer=STRANGER))

    assert checked(batch).signature is SignatureState.UNKNOWN_KEY


def test_a_key_id_that_was_swapped_does_not_verify(batch: Path) -> None:
    stranger_says = resigned(json.loads(written(entries(), signer=STRANGER)), key_id=SIGNER.key_id)
    change(batch, stranger_says)

    assert checked(batch).signature is SignatureState.INVALID


def test_a_key_id_of_another_trusted_gateway_does_not_verify(batch: Path) -> None:
    both = PublicKeys.from_jwks(
        json.dumps({"keys": [SIGNER.public_jwk(), STRANGER.public_jwk()]}).encode()
    )
    change(batch, resigned(manifest_of(batch), key_id=STRANGER.key_id))

    assert checked(batch, both).signature is SignatureState.INVALID


@pytest.mark.parametrize("place", [0, 42, 85])
def test_a_changed_signature_does_not_verify(batch: Path, place: int) -> None:
    value = manifest_of(batch)["signature"]["value"]
    other = "B" if value[place] != "B" else "C"
    change(batch, resigned(manifest_of(batch), value=value[:place] + other + value[place + 1 :]))

    assert checked(batch).signature is SignatureState.INVALID


def test_the_signature_of_another_batch_does_not_verify(batch: Path) -> None:
    other = json.loads(written(entries(), header=replace(HEADER, revision=2)))
    change(batch, {**manifest_of(batch), "signature": other["signature"]})

    assert checked(batch).signature is SignatureState.INVALID


def first_instance(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["studies"][0]["series"][0]["instances"][0]
    return found


def with_other_size(content: dict[str, Any]) -> None:
    first_instance(content)["size"] += 1
    content["totals"]["bytes"] += 1


def with_other_hash(content: dict[str, Any]) -> None:
    first_instance(content)["sha256"] = hashlib.sha256(b"other").hexdigest()


def with_other_class(content: dict[str, Any]) -> None:
    first_instance(content)["sop_class_uid"] += "1"


def without_an_instance(content: dict[str, Any]) -> None:
    taken = content["studies"][0]["series"][0]["instances"].pop()
    content["studies"][0]["image_count"] -= 1
    content["total_images"] -= 1
    content["totals"]["instances"] -= 1
    content["totals"]["bytes"] -= taken["size"]


def with_instances_in_another_order(content: dict[str, Any]) -> None:
    content["studies"][0]["series"][0]["instances"].reverse()


def with_studies_in_another_order(content: dict[str, Any]) -> None:
    content["studies"].reverse()


def with_other_modality(content: dict[str, Any]) -> None:
    content["studies"][0]["series"][0]["modality"] = "MR"


def with_other_study_uid(content: dict[str, Any]) -> None:
    content["studies"][0]["study_instance_uid"] += "1"


@pytest.mark.parametrize(
    "tamper",
    [
        with_other_size,
        with_other_hash,
        with_other_class,
        without_an_instance,
        with_instances_in_another_order,
        with_studies_in_another_order,
        with_other_modality,
        with_other_study_uid,
        lambda content: content.update(priority="ROUTINE"),
        lambda content: content.update(organization="SOUTH"),
        lambda content: content.update(submitted_at="2026-03-01T09:30:00.251Z"),
        lambda content: content.update(revision=2),
        lambda content: content.update(batch_id="6f1c2e5a-1111-4222-8333-944444444445"),
        lambda content: content["profile"].update(name="other"),
    ],
    ids=range(14),
)
def test_whatever_is_changed_in_a_manifest_its_signature_ends(
    batch: Path, tamper: Callable[[dict[str, Any]], None]
) -> None:
    content = manifest_of(batch)
    tamper(content)
    change(batch, content)

    outcome = checked(batch)

    assert outcome.problem == ""  # so that it was the signature that found it
    assert outcome.signature is SignatureState.INVALID


@pytest.mark.parametrize(
    "resource",
    [None, {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}],
    ids=["taken out", "another one"],
)
def test_another_fhir_resource_in_a_manifest_ends_its_signature(
    described: Path, resource: dict[str, Any] | None
) -> None:
    content = manifest_of(described)
    content["studies"][0]["imaging_study"] = resource
    change(described, content)

    outcome = checked(described)

    assert outcome.problem == ""
    assert outcome.signature is SignatureState.INVALID


# Other forms of the same content


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "form",
    [
        lambda content: json.dumps(content, indent=4),
        lambda content: json.dumps(content, indent="\t\t\t", separators=(" ,", " : ")),
        lambda content: json.dumps(reordered(content)),
        lambda content: json.dumps(reordered(content), indent=2),
        lambda content: json.dumps(content).replace("STAT", "\\u0053TAT").replace("/", "\\/"),
        lambda content: json.dumps(content).replace('"revision": 1', '"revision": 1.0'),
        lambda content: json.dumps(content).replace('"revision": 1', '"revision": 10E-1'),
        lambda content: "\r\n" + json.dumps(content) + "\n \t",
        lambda content: json.dumps(content, separators=(f",{' ' * 5_000}", ":")),
    ],
    ids=range(9),
)
def test_the_signature_survives_another_form(
    batch: Path, form: Callable[[dict[str, Any]], str]
) -> None:
    (batch / MANIFEST_NAME).write_text(form(manifest_of(batch)))

    outcome = checked(batch)

    assert outcome.is_complete
    assert outcome.signature is SignatureState.VALID


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


# What is no manifest


def test_a_directory_without_a_manifest_is_not_complete(batch: Path) -> None:
    (batch / MANIFEST_NAME).unlink()

    outcome = checked(batch)

    assert outcome.problem == "there is no manifest.json"
    assert not outcome.is_complete


def test_a_manifest_that_is_a_link_is_none(batch: Path, tmp_path: Path) -> None:
    (batch / MANIFEST_NAME).rename(tmp_path / "elsewhere")
    (batch / MANIFEST_NAME).symlink_to(tmp_path / "elsewhere")

    assert not checked(batch).is_complete


def test_a_manifest_that_is_a_pipe_is_none(batch: Path) -> None:
    (batch / MANIFEST_NAME).unlink()
    os.mkfifo(batch / MANIFEST_NAME)

    assert not checked(batch).is_complete


def test_a_manifest_that_is_a_directory_is_none(batch: Path) -> None:
    (batch / MANIFEST_NAME).unlink()
    (batch / MANIFEST_NAME).mkdir()

    assert checked(batch).problem == "there is no manifest.json"


def test_a_manifest_without_rights_is_no_outcome(
    batch: Path, deny: Callable[[str, int], None]
) -> None:
    deny(MANIFEST_NAME, errno.EACCES)

    with pytest.raises(StorageUnavailable):
        checked(batch)


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


@pytest.mark.parametrize(
    "file",
    [
        "../../../etc/passwd",
        "/etc/passwd",
        f"{STUDIES[0]}/../2.25.3001.dcm",
        f"{STUDIES[0]}/2.25.2000/../2.25.3001.dcm",
        f"{STUDIES[0]}//2.25.3001.dcm",
        f"./{FIRST}",
        f"/{FIRST}",
        f"{FIRST}/",
        f"{FIRST}\0",
        f"{FIRST}\n",
        FIRST.replace("/", "\\"),
        f"file:///{FIRST}",
        FIRST.replace("2.25.3001", "2.25.3002"),
        FIRST.replace("2.25.2000", "2.25.2001"),
        FIRST.replace("2.25.2000", "no-series"),
        FIRST.replace(STUDIES[0], STUDIES[1]),
        "",
    ],
)
def test_a_path_that_is_not_that_of_its_instance_is_refused(batch: Path, file: str) -> None:
    content = manifest_of(batch)
    first_instance(content)["file"] = file
    change(batch, content)

    outcome = checked(batch, None)

    assert outcome.problem.startswith("studies.0")
    assert outcome.checked_files == 0


@pytest.mark.parametrize(("series", "instance"), [(0, 0), (0, 1), (1, 0)])
def test_an_instance_that_lies_in_another_series_is_refused(
    batch: Path, series: int, instance: int
) -> None:
    content = manifest_of(batch)
    moved = content["studies"][0]["series"][series]["instances"][instance]
    moved["file"] = moved["file"].replace("2.25.200", "2.25.201")
    change(batch, content)

    assert "series" in checked(batch, None).problem


def test_a_study_of_no_series_is_refused(batch: Path) -> None:
    content = json.loads(written([]))
    content["studies"] = [{**manifest_of(batch)["studies"][0], "series": [], "image_count": 0}]
    content["total_studies"] = content["totals"]["studies"] = 1
    change(batch, content)

    assert "lists no series" in checked(batch, None).problem


def test_a_series_of_no_instance_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    content["studies"][0]["series"][0]["instances"] = []
    change(batch, content)

    assert "lists no instance" in checked(batch, None).problem


def test_a_series_that_moved_to_another_study_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    moved = content["studies"][0]["series"].pop()
    content["studies"][1]["series"].append(moved)
    content["studies"][0]["image_count"] -= 1
    content["studies"][1]["image_count"] += 1
    change(batch, content)

    assert "another study" in checked(batch, None).problem


@pytest.mark.parametrize(
    "tamper",
    [
        lambda content: content["studies"][0].update(image_count=4),
        lambda content: content.update(total_images=4),
        lambda content: content.update(total_studies=1),
        lambda content: content["totals"].update(bytes=0),
        lambda content: content["totals"].update(series=3),
        lambda content: content["studies"][0]["series"][0].update(instances=[]),
        lambda content: content["studies"][0].update(series=[]),
        lambda content: content["studies"].pop(),
    ],
    ids=range(8),
)
def test_counts_that_do_not_fit_are_refused(
    batch: Path, tamper: Callable[[dict[str, Any]], None]
) -> None:
    content = manifest_of(batch)
    tamper(content)
    change(batch, content)

    assert checked(batch, None).problem


def test_an_object_that_is_listed_twice_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    instances = content["studies"][0]["series"][0]["instances"]
    instances.append(instances[0])
    content["studies"][0]["image_count"] += 1
    content["total_images"] += 1
    content["totals"]["instances"] += 1
    content["totals"]["bytes"] += instances[0]["size"]
    change(batch, content)

    assert "listed twice" in checked(batch, None).problem


def test_a_study_that_is_listed_twice_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    whole = content["studies"][0]
    content["studies"].append({**whole, "series": [whole["series"].pop()], "image_count": 1})
    whole["image_count"] -= 1
    content["total_studies"] += 1
    content["totals"]["studies"] += 1
    change(batch, content)

    assert "listed twice" in checked(batch, None).problem


def test_a_study_that_is_listed_twice_in_a_row_is_refused(batch: Path) -> None:
    content = manifest_of(batch)
    whole = content["studies"][0]
    content["studies"].insert(1, {**whole, "series": [whole["series"].pop()], "image_count": 1})
    whole["image_count"] -= 1
    content["total_studies"] += 1
    content["totals"]["studies"] += 1
    change(batch, content)

    assert "listed twice" in checked(batch, None).problem


def test_the_manifest_of_another_batch_is_refused(tmp_path: Path) -> None:
    batch = publish(tmp_path / "6f1c2e5a-1111-4222-8333-000000000000")

    assert "another batch" in checked(batch).problem


def test_a_manifest_that_changes_while_objects_are_compared_is_refused(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = DirectoryShelf(batch)
    signature_state = verifying._signature_state

    def change_then(*given: Any) -> SignatureState:
        with (batch / MANIFEST_NAME).open("r+b") as file:
            file.write(written(entries(), header=replace(HEADER, revision=2)))
        return signature_state(*given)

    monkeypatch.setattr(verifying, "_signature_state", change_then)
    with shelf:
        outcome = asyncio.run(verify(shelf, KEYS, jobs=2))

    assert "changed" in outcome.problem
    assert not outcome.is_complete


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


# Memory


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


def test_a_place_that_cannot_be_listed_does_not_pass(
    batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(DirectoryShelf, "_walk", fail)

    with pytest.raises(StorageUnavailable):
        checked(batch)
