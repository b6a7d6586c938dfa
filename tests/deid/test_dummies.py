"""Dummies are valid for their VR, constant, and two of a kind differ."""

import struct

import pytest

from app.deid.rules.documents import notice
from app.deid.rules.dummies import dummy_items, dummy_values
from app.deid.standard import ROWS, dictionary_vr
from app.dicom.elements import VRS
from app.dicom.tokens import Dataset, Limits
from app.dicom.walker import Walker, items_in

DUMMY_SEQUENCES = [
    tag for tag, row in ROWS.items() if dictionary_vr(tag) == "SQ" and "D" in row.basic
]


@pytest.mark.parametrize("vr", sorted(VRS - {"SQ", "UI"}))
def test_two_different_dummies_of_even_length_exist_for_every_vr(vr: str) -> None:
    first, second = dummy_values(0x00189999, vr)

    assert first != second
    assert not len(first) % 2
    assert not len(second) % 2


def tags_of(dataset: Dataset) -> list[int]:
    return [(key & 0xFFFF) << 16 | key >> 16 & 0xFFFF for key in dataset.keys]


def every_dataset(dataset: Dataset) -> list[Dataset]:
    inner = [item for items in dataset.sequences.values() for item in items.datasets]
    return [dataset, *(found for item in inner for found in every_dataset(item))]


@pytest.mark.parametrize("tag", DUMMY_SEQUENCES, ids=lambda tag: f"{tag:08X}")
def test_a_dummy_sequence_holds_one_item_whose_elements_ascend(tag: int) -> None:
    data = dummy_items(tag, explicit=True)
    item = Dataset(explicit=True)
    Walker(data, Limits()).walk(item, 8, len(data), depth=1)

    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert item.keys
    assert all(tags_of(part) == sorted(tags_of(part)) for part in every_dataset(item))


@pytest.mark.parametrize("tag", DUMMY_SEQUENCES, ids=lambda tag: f"{tag:08X}")
def test_a_dummy_sequence_can_be_written_in_implicit_vr(tag: int) -> None:
    data = dummy_items(tag, explicit=False)

    items = items_in(data, 0, len(data), Limits())

    assert items is not None
    assert len(items.datasets) == 1


@pytest.mark.parametrize(
    ("mime_type", "beginning"),
    [
        ("application/pdf", b"%PDF-1.4"),
        ("text/XML", b"<?xml"),
        ("model/obj", b"# "),
        ("image/unheard-of", b"This document"),
    ],
)
def test_a_document_is_replaced_by_a_notice_of_its_own_type(
    mime_type: str, beginning: bytes
) -> None:
    document = notice(mime_type)

    assert document.startswith(beginning)
    assert not len(document) % 2
