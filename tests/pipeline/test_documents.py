"""Encapsulated documents are cleaned where a profile asks for it, through the one path."""

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from app.deid.profile import Profile, profile_from_text
from app.deid.rules.documents import notice
from app.dicom.source import MemorySource
from app.errors import PixelsNeedReview, PixelWorkFailed
from app.pipeline import Context, Deidentified, deidentified, deidentify
from app.pipeline.side_work import PixelParts, Workers
from app.pixels.children import Children
from app.pixels.rules_loading import load_rules
from app.vault.pseudonyms import Pseudonyms
from tests.builders import (
    SENTENCES,
    Identity,
    encapsulated_cda,
    encapsulated_pdf,
    part10,
    sentence,
)
from tests.pixels.documents.making import Paper, everything_in, texts
from tests.pixels.documents.test_cda import DOCUMENT
from tests.pixels.documents.test_models import MTL, OBJ, binary_stl

WHO = Identity()
STL, OBJ_CLASS, MTL_CLASS = (f"1.2.840.10008.5.1.4.1.1.104.{n}" for n in (3, 4, 5))
FAMILY = WHO.family


def profile(documents: str = "clean") -> Profile:
    return profile_from_text(
        f"name: site\noptions: [basic, clean-pixel-data]\npixels: {{documents: {documents}}}\n"
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[Children]:
    with Children(size=1) as made:
        yield made


def context(workers: Workers, using: Profile | None = None) -> Context:
    rules = load_rules()

    async def of(_organization: str) -> Any:
        return rules

    parts = PixelParts(
        workers=workers,
        readers=None,
        rules=of,
        quarantine=None,
        scratch=lambda _size: os.memfd_create("test", os.MFD_CLOEXEC),
    )
    pseudonyms = Pseudonyms(bytes(range(32)), "DEMO")
    return Context("DEMO", using or profile(), pseudonyms, pixels=parts)


async def done(dataset: Dataset, using: Context, syntax: str | None = None) -> Deidentified:
    data = part10(dataset) if syntax is None else part10(dataset, syntax)
    return await deidentified(MemorySource(data), using)


def read(result: Deidentified) -> Dataset:
    return dcmread(io.BytesIO(b"".join(result.chunks())))


def warnings(result: Deidentified) -> set[str]:
    return {warning.code for warning in result.warnings}


def report() -> Dataset:
    dataset = encapsulated_pdf(WHO)
    dataset.EncapsulatedDocument = Paper(
        f"Patient: {WHO.given} {WHO.family}", f"ID {WHO.patient_id}", "Normal liver."
    ).data()
    dataset.EncapsulatedDocumentLength = len(dataset.EncapsulatedDocument)
    dataset.BurnedInAnnotation = "YES"
    return dataset


def model(sop_class: str, mime_type: str, data: bytes) -> Dataset:
    dataset = report()
    dataset.SOPClassUID = sop_class
    dataset.MIMETypeOfEncapsulatedDocument = mime_type
    dataset.EncapsulatedDocument = data
    return dataset


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
async def test_a_pdf_is_cleaned_and_its_facts_are_right(pool: Children, syntax: str | None) -> None:
    result = await done(report(), context(pool), syntax)

    written = read(result)
    assert "Normal liver" in texts(written.EncapsulatedDocument)
    assert FAMILY.encode().lower() not in everything_in(written.EncapsulatedDocument).lower()
    assert written.EncapsulatedDocumentLength == len(written.EncapsulatedDocument)
    assert written.BurnedInAnnotation == "NO"
    assert "113101" in [code.CodeValue for code in written.DeidentificationMethodCodeSequence]
    assert "document-cleaned" in warnings(result)
    assert "document-replaced" not in warnings(result)


async def test_a_clinical_document_is_cleaned(pool: Children) -> None:
    dataset = encapsulated_cda(WHO)
    dataset.EncapsulatedDocument = DOCUMENT.replace("Vandermeer", FAMILY).encode()

    written = read(await done(dataset, context(pool)))

    assert b"Nodule of 8 mm" in written.EncapsulatedDocument
    assert FAMILY.encode() not in written.EncapsulatedDocument


async def test_the_names_of_materials_are_the_same_in_all_documents_of_a_study(
    pool: Children,
) -> None:
    obj = read(await done(model(OBJ_CLASS, "model/obj", OBJ), context(pool)))
    mtl = read(await done(model(MTL_CLASS, "model/mtl", MTL), context(pool)))

    used = next(x for x in obj.EncapsulatedDocument.split(b"\n") if x.startswith(b"usemtl"))
    made = next(x for x in mtl.EncapsulatedDocument.split(b"\n") if x.startswith(b"newmtl"))
    assert used.split()[1] == made.split()[1]


async def test_an_stl_keeps_its_triangles(pool: Children) -> None:
    written = read(await done(model(STL, "model/stl", binary_stl()), context(pool)))

    assert written.EncapsulatedDocument[84:96] == binary_stl()[84:96]
    assert written.EncapsulatedDocument[:80] == bytes(80)


@pytest.mark.parametrize(
    ("mime_type", "data"),
    [
        ("application/pdf", b"%PDF-1.4 broken"),
        ("application/pdf", b"<html>no pdf</html>"),
        ("text/xml", b"<ClinicalDocument/>"),
        ("model/stl", b"%PDF-1.4 "),
        ("image/png", b"\x89PNG"),
    ],
    ids=["broken", "html", "xml", "contradictory", "unheard-of"],
)
async def test_what_cannot_be_cleaned_is_replaced(
    pool: Children, mime_type: str, data: bytes
) -> None:
    dataset = model(report().SOPClassUID, mime_type, data)

    result = await done(dataset, context(pool))

    assert read(result).EncapsulatedDocument == notice(mime_type)
    assert "document-replaced" in warnings(result)


async def test_documents_are_replaced_unless_the_profile_says_clean(pool: Children) -> None:
    result = await done(report(), context(pool, profile("replace")))

    assert read(result).EncapsulatedDocument == notice("application/pdf")


def test_without_child_processes_an_instance_with_a_document_to_clean_is_refused() -> None:
    with pytest.raises(PixelsNeedReview):
        deidentify(
            MemorySource(part10(report())),
            Context("DEMO", profile(), Pseudonyms(bytes(range(32)), "DEMO")),
        )


class Bad:
    """A child that was taken over by the document it opened."""

    def __init__(self, answer: dict[str, Any] | None, data: bytes = b"") -> None:
        self.answer = answer
        self.data = data

    async def ask(
        self, task: dict[str, Any], fds: Sequence[int] = (), timeout_s: float = 60.0
    ) -> dict[str, Any]:
        assert task["kind"] == "document"
        assert timeout_s > task["budget_s"]
        if self.answer is None:
            raise PixelWorkFailed("crashed")
        os.write(fds[1], self.data)
        return self.answer


CLEANED = {"outcome": "cleaned", "reason": "", "findings": [], "pages": 1}


@pytest.mark.parametrize(
    "workers",
    [
        Bad(CLEANED, b"%PDF-1.4 " + FAMILY.encode() + b" "),
        Bad(CLEANED, b"\0" * 200 + WHO.patient_id.encode() + b"\0" * 200),
        Bad(CLEANED, b""),
        Bad(CLEANED, b"odd"),
        Bad(CLEANED | {"findings": [FAMILY]}, b"even"),
        Bad({"outcome": "replaced", "reason": FAMILY}),
        Bad({}),
        Bad(None),
    ],
    ids=["name", "id-in-bytes", "nothing", "odd", "finding", "reason", "no-answer", "crash"],
)
async def test_what_a_child_says_of_a_document_is_not_taken_on_trust(workers: Workers) -> None:
    result = await done(report(), context(workers))

    assert read(result).EncapsulatedDocument == notice("application/pdf")
    assert result.work is not None
    assert FAMILY not in str(result.work.record())


@pytest.mark.parametrize("family", ["Page", "Length", "Font"])
async def test_somebody_may_be_called_like_a_word_of_the_format(
    pool: Children, family: str
) -> None:
    dataset = report()
    dataset.PatientName = f"{family}^Zebedee"
    dataset.EncapsulatedDocument = Paper(f"Seen: {family}, Zebedee", "Normal liver.").data()

    written = read(await done(dataset, context(pool)))

    assert texts(written.EncapsulatedDocument).split() == ["Seen:", "Normal", "liver."]


async def test_somebody_may_be_called_like_an_element_of_a_clinical_document(
    pool: Children,
) -> None:
    dataset = encapsulated_cda(WHO)
    dataset.PatientName = "Section^Title"
    dataset.EncapsulatedDocument = DOCUMENT.replace("Kensington", "Section").encode()

    written = read(await done(dataset, context(pool)))

    assert b"Nodule of 8 mm" in written.EncapsulatedDocument
    assert b"of Section" not in written.EncapsulatedDocument


def everything_said() -> list[str]:
    """Return what people write about a patient, in every way that the builders know."""
    return [f"{sentence(name, WHO)} normal liver" for name in SENTENCES]


async def test_whatever_people_write_about_the_patient_is_gone_from_a_pdf(pool: Children) -> None:
    dataset = report()
    dataset.ReferringPhysicianName, dataset.OperatorsName = WHO.referring, WHO.operator
    dataset.EncapsulatedDocument = Paper(*everything_said()).data()

    document = read(await done(dataset, context(pool))).EncapsulatedDocument

    assert texts(document).count("normal liver") == len(SENTENCES)
    inside = everything_in(document).decode("latin-1").casefold()
    assert [text for text in WHO.texts if text.casefold() in inside] == []


async def test_whatever_people_write_about_the_patient_is_gone_from_a_cda(pool: Children) -> None:
    dataset = encapsulated_cda(WHO)
    dataset.ReferringPhysicianName, dataset.OperatorsName = WHO.referring, WHO.operator
    said = "".join(f"<paragraph>{line}</paragraph>" for line in everything_said())
    dataset.EncapsulatedDocument = DOCUMENT.replace("<linkHtml", f"{said}<linkHtml").encode()

    document = read(await done(dataset, context(pool))).EncapsulatedDocument.decode()

    assert document.count("normal liver") == len(SENTENCES)
    assert [text for text in WHO.texts if text.casefold() in document.casefold()] == []
