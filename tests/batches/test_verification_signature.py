"""Whatever is changed in a published manifest ends its signature, and another form does not."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.batches.manifest import MANIFEST_NAME
from app.batches.verifying import SignatureState
from app.vault.signing import PublicKeys
from tests.batches.published import (
    HEADER,
    SIGNER,
    STRANGER,
    change,
    checked,
    entries,
    first_instance,
    manifest_of,
    reordered,
    written,
)


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
