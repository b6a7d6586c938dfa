"""Retain Safe Private: what is listed stays under its registered creator, everything else goes."""

import io
import struct
from functools import lru_cache

import pytest
from pydicom import dcmread  # noqa: TID251 - the oracle, not the border
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from app.deid.options import Option
from app.deid.profile import Profile, profile_from_text, with_version
from app.deid.standard import SAFE_PRIVATE
from app.dicom.source import MemorySource
from app.errors import GatewayError
from app.pipeline import Context, deidentify
from app.vault.pseudonyms import Pseudonyms
from tests.builders import Identity, ct, everything, part10
from tests.canaries.search import found, searchable

WHO = Identity()
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
MR, DD1 = "SIEMENS MR HEADER", "Philips Imaging DD 001"
SEQUENCE = next(
    (creator, group, low)
    for (creator, group, low), vr in SAFE_PRIVATE.items()
    if vr == "SQ" and creator == DD1
)
UID = next(key for key, vr in SAFE_PRIVATE.items() if vr == "UI")


@lru_cache(maxsize=1)
def safe() -> Profile:
    return with_version(Profile("safe", (Option.BASIC, Option.SAFE_PRIVATE)))


def context(profile: Profile | None = None) -> Context:
    return Context("wobble", profile or safe(), Pseudonyms(bytes(range(32)), "wobble"))


def output(
    dataset: Dataset, syntax: str = ExplicitVRLittleEndian, profile: Profile | None = None
) -> bytes:
    data = part10(dataset, syntax)
    return b"".join(deidentify(MemorySource(data), context(profile)).chunks())


def result(
    dataset: Dataset, syntax: str = ExplicitVRLittleEndian, profile: Profile | None = None
) -> Dataset:
    return dcmread(io.BytesIO(output(dataset, syntax, profile)))


def privates(dataset: Dataset) -> dict[int, object]:
    return {int(e.tag): e.value for e in dataset if e.tag.is_private}


def plain(dataset: Dataset) -> Dataset:
    dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    dataset.add_new(0x0019100C, "IS", "1000")
    dataset.add_new(0x00191099, "LO", "ZQNOTLISTED")
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_listed_element_stays_with_its_creator_and_others_of_its_block_go(syntax: str) -> None:
    read = result(plain(ct(WHO)), syntax)

    assert list(privates(read)) == [0x00190010, 0x0019100C]
    assert read[0x00190010].value == MR
    assert read.DeidentificationMethodCodeSequence[1].CodeValue == "113111"


@pytest.mark.parametrize("block", [0x10, 0x11, 0x42, 0xFF])
def test_an_element_is_known_in_whatever_block_it_stands(block: int) -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00190000 | block, "LO", MR)
    dataset.add_new(0x00190000 | block << 8 | 0x0C, "IS", "1000")

    assert list(privates(result(dataset))) == [0x00190000 | block, 0x00190000 | block << 8 | 0x0C]


@pytest.mark.parametrize(
    "written", ["siemens mr header", " SIEMENS  MR HEADER ", "Siemens MR Header"]
)
def test_a_creator_is_written_as_it_is_registered(written: str) -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00190010, "LO", written)
    dataset.add_new(0x0019100C, "IS", "1000")

    assert b"SIEMENS MR HEADER" in output(dataset)


@pytest.mark.parametrize("creator", ["SIEMENS MR HEADER 2", "", f"SIEMENS {WHO.family}", "ACME"])
def test_a_creator_that_nobody_lists_goes_with_its_block(creator: str) -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00190010, "LO", creator)
    dataset.add_new(0x0019100C, "IS", "1000")

    assert privates(result(dataset)) == {}


def test_an_element_without_a_creator_goes() -> None:
    dataset = ct(WHO)
    dataset.add_new(0x0019100C, "IS", "1000")

    assert privates(result(dataset)) == {}


def test_a_creator_without_an_element_that_stays_goes() -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00190010, "LO", MR)

    assert privates(result(dataset)) == {}


def test_a_group_that_the_creator_is_not_listed_for_goes() -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00210010, "LO", MR)
    dataset.add_new(0x0021100C, "IS", "1000")

    assert privates(result(dataset)) == {}


@pytest.mark.parametrize("vr", ["PN", "DA", "SQ"])
def test_an_element_with_another_vr_than_listed_goes(vr: str) -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00190010, "LO", MR)
    value = Sequence([Dataset()]) if vr == "SQ" else "19990101"
    dataset.add_new(0x0019100C, vr, value)

    assert privates(result(dataset)) == {}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_of_a_listed_sequence_are_judged_one_by_one(syntax: str) -> None:
    creator, group, low = SEQUENCE
    item = Dataset()
    item.PatientName = "ZQNAME"
    item.Rows = 7
    item.add_new(0x20010010, "LO", DD1)
    item.add_new(0x20011001, "FL", 1.5)
    item.add_new(0x20011099, "LO", "ZQPRIVATE")
    item.add_new(0x00190010, "LO", "ZQVENDOR")
    item.add_new(0x00191001, "LO", "ZQOTHER")
    dataset = ct(WHO)
    dataset.add_new(group << 16 | 0x10, "LO", creator)
    dataset.add_new(group << 16 | 0x1000 | low, "SQ", Sequence([item]))

    made = output(dataset, syntax)

    assert found(["ZQNAME", "ZQPRIVATE", "ZQOTHER", "ZQVENDOR"], searchable(made)) == []
    assert DD1.encode() in made
    assert struct.pack("<f", 1.5) in made


def test_creators_of_the_root_say_nothing_of_an_item() -> None:
    creator, group, low = SEQUENCE
    item = Dataset()
    item.add_new(0x20011001, "FL", 1.5)
    dataset = ct(WHO)
    dataset.add_new(group << 16 | 0x10, "LO", creator)
    dataset.add_new(group << 16 | 0x1000 | low, "SQ", Sequence([item]))

    read = result(dataset)

    assert privates(read[group << 16 | 0x1000 | low].value[0]) == {}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_uids_in_listed_elements_are_mapped_like_all_others(syntax: str) -> None:
    creator, group, low = UID
    dataset = ct(WHO)
    dataset.add_new(group << 16 | 0x10, "LO", creator)
    dataset.add_new(group << 16 | 0x1000 | low, "UI", dataset.StudyInstanceUID)

    read = result(dataset, syntax)

    mapped = read[group << 16 | 0x1000 | low].value
    mapped = mapped.decode().rstrip("\0") if isinstance(mapped, bytes) else mapped
    assert mapped == read.StudyInstanceUID
    assert mapped != dataset.StudyInstanceUID


def test_a_name_in_a_listed_text_is_cleaned() -> None:
    dataset = ct(WHO)
    dataset.add_new(0x00190010, "LO", MR)
    dataset.add_new(0x00191008, "CS", "IMAGE NUM 4")
    dataset.add_new(0x00510010, "LO", MR)
    dataset.add_new(0x00511008, "CS", WHO.family.upper())

    made = output(dataset)

    assert found(WHO.texts, searchable(made)) == []


def declared(status: str, creator: str, group: int, *safe_elements: int) -> Dataset:
    item = Dataset()
    item.PrivateGroupReference, item.PrivateCreatorReference = group, creator
    item.BlockIdentifyingInformationStatus = status
    if safe_elements:
        item.NonidentifyingPrivateElements = list(safe_elements)
    dataset = ct(WHO)
    dataset.PrivateDataElementCharacteristicsSequence = [item]
    dataset.add_new(group << 16 | 0x10, "LO", creator)
    dataset.add_new(group << 16 | 0x1001, "LO", "flux")
    dataset.add_new(group << 16 | 0x1002, "LO", "capacitor")
    return dataset


def test_a_block_that_the_instance_declares_safe_stays() -> None:
    read = result(declared("SAFE", "ACME FLUX", 0x0099))

    assert list(privates(read)) == [0x00990010, 0x00991001, 0x00991002]


def test_of_a_mixed_block_only_what_is_declared_safe_stays() -> None:
    read = result(declared("MIXED", "ACME FLUX", 0x0099, 0x02))

    assert list(privates(read)) == [0x00990010, 0x00991002]


@pytest.mark.parametrize("status", ["UNSAFE", "MIXED", "", "OTHER"])
def test_a_block_that_is_not_declared_safe_goes(status: str) -> None:
    assert privates(result(declared(status, "ACME FLUX", 0x0099))) == {}


def test_a_listed_block_that_the_instance_declares_unsafe_goes() -> None:
    dataset = plain(declared("UNSAFE", MR, 0x0019))

    assert privates(result(dataset)) == {}


def test_a_declared_creator_with_a_name_in_it_does_not_leave() -> None:
    data = part10(declared("SAFE", f"ACME {WHO.family}", 0x0099))
    try:
        made = b"".join(deidentify(MemorySource(data), context()).chunks())
    except GatewayError:
        made = bytes(200)

    assert found(WHO.texts, searchable(made)) == []


def test_without_the_option_a_declaration_keeps_nothing() -> None:
    basic = with_version(Profile("plain"))

    assert privates(result(declared("SAFE", "ACME FLUX", 0x0099), profile=basic)) == {}


SITE = """
name: our-scanner
options: [basic, retain_safe_private]
safe_private:
  - creator: ACME FLUX
    group: "0099"
    elements: {"01": LO}
"""


def test_a_site_may_add_what_it_knows_to_be_safe() -> None:
    profile = profile_from_text(SITE)

    read = result(declared("OTHER", "ACME", 0x0077), profile=profile)
    dataset = declared("SAFE", "x", 0x0077)
    dataset.add_new(0x00990010, "LO", "Acme  Flux")
    dataset.add_new(0x00991001, "LO", "flux")
    dataset.add_new(0x00991002, "LO", "ZQUNKNOWN")
    added = result(dataset, profile=profile)

    assert privates(read) == {}
    assert 0x00991001 in privates(added)
    assert 0x00991002 not in privates(added)
    assert added[0x00990010].value == "ACME FLUX"
    assert profile.version != safe().version


def test_every_canary_goes_but_the_one_that_is_listed() -> None:
    for syntax in SYNTAXES:
        data, canaries = everything("ct", syntax)

        made = b"".join(deidentify(MemorySource(data), context()).chunks())

        places = {canary.text: canary.place for canary in canaries}
        survivors = {places[text] for text in found(places, searchable(made))}
        assert survivors == {"known safe private"}


def test_the_plan_names_the_list_and_the_creator() -> None:
    made = deidentify(MemorySource(part10(plain(ct(WHO)))), context())

    by_path = {step.path: step for step in made.plan.steps()}

    assert by_path["(0019,100C)"].because == "Table E.3.10-1: SIEMENS MR HEADER (0019,xx0C)"
    assert by_path["(0019,1099)"].effect == "remove"
    assert by_path["(0019,0010)"].effect == "creator"
