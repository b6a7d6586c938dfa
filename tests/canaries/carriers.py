"""Ordinary objects with canaries in one kind of place each: what tools are compared on.

``tests.builders.everything`` puts all into one object; here an object that a tool refuses costs it
one kind of place only.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from tests.builders import (
    KEPT_TEXTS,
    REFERENCED_IMAGE,
    SCRIPTS,
    SENTENCES,
    Canary,
    Identity,
    Planter,
    ct,
    encapsulated_cda,
    encapsulated_pdf,
    part10,
    plant_oddities,
    plant_repeating,
    plant_table,
    pr,
    sentence,
)
from tests.canaries.frames import jpeg, jpeg_2000, jpeg_ls, rle
from tests.canaries.reports import plant_report, report

WHO = Identity()


@dataclass(frozen=True, slots=True)
class Planted:
    """One object and what was planted in it.

    Attributes:
        data: the whole file.
        canaries: what must not be found.
        codec: how the object's character set is called in Python.
    """

    data: bytes
    canaries: list[Canary] = field(repr=False)
    codec: str = "utf-8"


def _object(
    label: str, plant: Callable[[Dataset, Planter], None], dataset: Dataset | None = None
) -> Planted:
    planter = Planter(label)
    made = dataset or ct(WHO)
    plant(made, planter)
    return Planted(part10(made), planter.canaries)


# --- The table ---------------------------------------------------------------------------------


def table_at_root() -> Planted:
    return _object("root", lambda made, by: plant_table(made, by, "root", at_root=True))


def table_in_a_sequence() -> Planted:
    def plant(made: Dataset, planter: Planter) -> None:
        item = Dataset()
        plant_table(item, planter, "depth 1", at_root=False)
        made.ViewCodeSequence = [item]

    return _object("depth 1", plant)


def table_in_three_sequences() -> Planted:
    def plant(made: Dataset, planter: Planter) -> None:
        third, second, first = Dataset(), Dataset(), Dataset()
        plant_table(third, planter, "depth 3", at_root=False)
        second.ViewModifierCodeSequence = [third]
        first.AnatomicRegionModifierSequence = [second]
        made.AnatomicRegionSequence = [first]

    return _object("depth 3", plant)


def deflated() -> Planted:
    planter = Planter("deflated")
    made = ct(WHO)
    plant_table(made, planter, "root", at_root=True)
    return Planted(part10(made, DeflatedExplicitVRLittleEndian), planter.canaries)


# --- Private attributes ------------------------------------------------------------------------

# Creators of Table E.3.10-1 and of others that everybody meets, with elements that are not safe.
_BLOCKS = {
    0x0009: ("GEMS_IDEN_01", {0x01: "LO", 0x02: "SH", 0x31: "LO"}),
    0x0019: ("SIEMENS MR HEADER", {0x08: "CS", 0x0A: "OB", 0x0B: "UN"}),
    0x0029: ("SIEMENS CSA HEADER", {0x08: "LO", 0x10: "OB", 0x20: "OB"}),
    0x0033: ("MITRA OBJECT UTF8 ATTRIBUTES 1.0", {0x02: "PN", 0x06: "LO"}),
    0x2005: ("Philips MR Imaging DD 001", {0x0D: "ST", 0x5E: "LO", 0x83: "SQ"}),
    0x7FDF: ("ACUSON:1.2.840.113680.1.0:7ffe", {0x00: "UN", 0x01: "DA"}),
}


def private() -> Planted:
    def plant(made: Dataset, planter: Planter) -> None:
        for group, (creator, elements) in _BLOCKS.items():
            made.add_new(group << 16 | 0x10, "LO", creator)
            for low_byte, vr in elements.items():
                place = f"private {creator} {low_byte:02X}"
                _plant_private(made, group << 16 | 0x1000 | low_byte, vr, planter, place)
        made.add_new(0x00110010, "LO", planter.text("private creator"))
        made.add_new(0x00111001, "LO", planter.text("private, creator unknown"))
        made.add_new(0x00131001, "LO", planter.text("private, no creator"))
        made.add_new(0x7FE11001, "OB", planter.text("private, behind the pixels").encode())

    return _object("private", plant)


def _plant_private(made: Dataset, tag: int, vr: str, planter: Planter, place: str) -> None:
    if vr == "SQ":
        item = Dataset()
        item.PatientName = planter.text(f"{place} > PatientName")
        item.add_new(0x20050010, "LO", "Philips MR Imaging DD 005")
        item.add_new(0x20051001, "LO", planter.text(f"{place} > private"))
        made.add_new(tag, "SQ", [item])
    elif vr in {"OB", "UN"}:
        text = planter.text(place)
        made.add_new(tag, vr, b"SV10\x04\x03\x02\x01" + text.encode() + b"\x00\xcd" * 3)
    else:
        made.add_new(tag, vr, planter.value(vr, place))


def safe_private() -> Planted:
    """Elements that Table E.3.10-1 lists, with values that tell nothing by themselves."""

    def plant(made: Dataset, planter: Planter) -> None:
        made.add_new(0x00190010, "LO", "GEMS_ACQU_01")
        made.add_new(0x00191023, "DS", planter.number("safe private, number"))
        made.add_new(0x00430010, "LO", "GEMS_PARM_01")
        made.add_new(0x00431027, "SH", planter.text("safe private, text"))

    return _object("safe private", plant)


# --- Text that stays ---------------------------------------------------------------------------


def unlisted() -> Planted:
    """Text in attributes that the standard's table does not list."""

    def plant(made: Dataset, planter: Planter) -> None:
        for keyword in KEPT_TEXTS:
            setattr(made, keyword, planter.text(f"unlisted {keyword}"))

    return _object("unlisted", plant)


def repeated_identity() -> Planted:
    """The patient's and physicians' names and ids, once more in descriptions that stay."""
    made = ct(WHO)
    text = "; ".join(sentence(name, WHO) for name in SENTENCES)
    made.InterventionDescription = made.DetectorDescription = text
    made.ManufacturerModelName = f"{WHO.family} {WHO.given}"
    written = [name for name in dict.fromkeys(WHO.texts) if name in text]
    places = {WHO.institution: "institution, repeated"}
    return Planted(
        part10(made), [Canary(name, places.get(name, "identity, repeated")) for name in written]
    )


def script(charset: str) -> Planted:
    """Text of the table and of a patient in another script, at two depths."""
    name, codec = SCRIPTS[charset]
    alphabet = _alphabet(codec, name)
    made, planter = ct(WHO), Planter(charset)
    made.SpecificCharacterSet = charset.split("\\")
    made.PatientName = name
    item = Dataset()
    made.ViewCodeSequence = [item]
    for dataset, depth in ((made, "root"), (item, "depth 1")):
        for keyword in _WRITTEN:
            text = _word(planter, alphabet, f"{depth} {keyword}")
            setattr(dataset, keyword, text)
    parts = [part for group in name.split("=") for part in group.split("^")]
    made.WindowCenterWidthExplanation = [f"for {part}" for part in parts]
    canaries = planter.canaries + [Canary(part, "identity, repeated") for part in parts]
    return Planted(part10(made), canaries, codec)


# Attributes of the table of each VR that a character set applies to: SH, LO, ST, LT, UT, PN, UC.
_WRITTEN = (
    *("StationName", "StudyDescription", "InstitutionAddress", "AdditionalPatientHistory"),
    *("AcquisitionFieldOfViewLabel", "PerformingPhysicianName", "DeviceLabel", "LensMake"),
    *("PersonAddress", "DeviceAlternateIdentifier", "PrescriptionNotes"),
)


def _is_single(letter: str, codec: str) -> bool:
    """Say whether a set has the letter itself, not only its parts."""
    return 0 < len(letter.encode(codec, "ignore")) <= (8 if codec == "iso2022_jp" else 4)


def _alphabet(codec: str, name: str) -> str:
    """Return letters of a script: of a set of single bytes all, of others those beside a name's."""
    if codec in {"utf-8", "gb18030", "iso2022_jp", "euc_kr"}:
        first = max(letter for letter in name if letter.isalpha())
        letters = [chr(ord(first) + n) for n in range(-200, 200)]
        return "".join(one for one in letters if one.isalpha() and _is_single(one, codec))
    return "".join(filter(str.isalpha, bytes(range(0xA1, 0x100)).decode(codec, "ignore")))


def _word(planter: Planter, alphabet: str, place: str) -> str:
    """Make a word of eight letters of a script; no two places have the same."""
    number = int.from_bytes(hashlib.sha256(f"{planter.label} {place}".encode()).digest())
    word = "".join(alphabet[number // len(alphabet) ** n % len(alphabet)] for n in range(8))
    planter.canaries.append(Canary(word, place))
    return word


# --- Objects of other kinds --------------------------------------------------------------------


def structured_report() -> Planted:
    return _object("report", plant_report, report(WHO))


def presentation_state() -> Planted:
    def plant(made: Dataset, planter: Planter) -> None:
        annotation = made.GraphicAnnotationSequence[0]
        annotation.TextObjectSequence[0].UnformattedTextValue = planter.text(
            "graphics UnformattedTextValue"
        )
        compound = Dataset()
        compound.CompoundGraphicInstanceID, compound.CompoundGraphicType = 1, "RULER"
        compound.UnformattedTextValue = planter.text("graphics compound UnformattedTextValue")
        annotation.CompoundGraphicSequence = [compound]
        made.ContentLabel = "CANARIES"
        made.ContentDescription = planter.text("graphics ContentDescription")
        made.ContentCreatorName = planter.text("graphics ContentCreatorName")
        layer = made.GraphicLayerSequence[0]
        layer.GraphicLayerDescription = planter.text("graphics GraphicLayerDescription")

    return _object("graphics", plant, pr(WHO))


def repeating_groups() -> Planted:
    return _object("repeating", plant_repeating)


def oddities() -> Planted:
    return _object("oddities", plant_oddities)


def pdf() -> Planted:
    """A letter: Info and XMP, plain and compressed text, UTF-16 and hexadecimal strings."""

    def plant(made: Dataset, planter: Planter) -> None:
        wide = planter.text("PDF, UTF-16").encode("utf-16-be")
        drawn = f"BT ({planter.text('PDF, compressed')}) Tj ET".encode()
        packed = zlib.compress(drawn)
        made.EncapsulatedDocument = b"\n".join(
            [
                b"%PDF-1.4",
                b"1 0 obj << /Author (" + planter.text("PDF, author").encode() + b") >> endobj",
                b"2 0 obj (\xfe\xff" + wide + b") endobj",
                b"3 0 obj <"
                + planter.text("PDF, hexadecimal").encode().hex().encode()
                + b"> endobj",
                b"4 0 obj << /Filter /FlateDecode /Length %d >>\nstream" % len(packed),
                packed,
                b"endstream endobj",
                b"<x:xmpmeta>" + planter.text("PDF, XMP").encode() + b"</x:xmpmeta>",
                b"%%EOF",
            ]
        )
        made.DocumentTitle = planter.text("PDF, Document Title")

    return _object("pdf", plant, encapsulated_pdf(WHO))


def cda() -> Planted:
    """A clinical document with a name, an id and an attachment in base64."""

    def plant(made: Dataset, planter: Planter) -> None:
        attached = base64.b64encode(f"letter of {planter.text('CDA, attachment')}".encode())
        made.EncapsulatedDocument = (
            b"<ClinicalDocument><recordTarget><patientRole><id extension='"
            + planter.text("CDA, id").encode()
            + b"'/><name>"
            + planter.text("CDA, name").encode()
            + b"</name></patientRole></recordTarget><text representation='B64'>"
            + attached
            + b"</text></ClinicalDocument>"
        )

    return _object("cda", plant, encapsulated_cda(WHO))


# --- Around the data set -----------------------------------------------------------------------


def file_header() -> Planted:
    planter = Planter("header")
    return Planted(part10(ct(WHO), ExplicitVRLittleEndian, planter), planter.canaries)


def trailing() -> Planted:
    planter = Planter("trailing")
    made = ct(WHO)
    made.PixelData += planter.text("behind the last pixel").encode()
    made.DataSetTrailingPadding = planter.text("trailing padding").encode()
    waves, table = Dataset(), Dataset()
    waves.NumberOfWaveformChannels, waves.NumberOfWaveformSamples = 2, 4
    waves.WaveformBitsAllocated = 16
    samples = bytes(range(16)) + planter.text("behind the last sample").encode()
    waves.add_new(0x54001010, "OW", samples)
    table.LUTDescriptor = [4, 0, 16]
    table.add_new(0x00283006, "OW", bytes(8) + planter.text("behind the last entry").encode())
    made.WaveformSequence, made.ModalityLUTSequence = [waves], [table]
    return Planted(part10(made), planter.canaries)


def behind() -> Planted:
    planter = Planter("behind")
    text = planter.text("behind the data set").encode()
    return Planted(part10(ct(WHO), trailing=text * 3), planter.canaries)


_ONE_EACH: dict[str, Callable[[], Planted]] = {
    "attributes of the table, at the root": table_at_root,
    "attributes of the table, one sequence down": table_in_a_sequence,
    "attributes of the table, three sequences down": table_in_three_sequences,
    "attributes of the table, deflated": deflated,
    "private attributes": private,
    "safe private attributes": safe_private,
    "unlisted text": unlisted,
    "identity repeated in descriptions": repeated_identity,
    "unknown attributes, icon, signatures, originals": oddities,
    "structured report": structured_report,
    "presentation state": presentation_state,
    "overlays and curves": repeating_groups,
    "encapsulated PDF": pdf,
    "encapsulated CDA": cda,
    "preamble and File Meta": file_header,
    "padding; behind the last pixel, sample, table entry": trailing,
    "bytes behind the data set": behind,
}
_FRAMES = {"JPEG": jpeg, "JPEG-LS": jpeg_ls, "JPEG 2000": jpeg_2000, "RLE": rle}


def _frames(name: str) -> Callable[[], Planted]:
    def build() -> Planted:
        planter = Planter(name)
        return Planted(_FRAMES[name](planter), planter.canaries)

    return build


#: Name of the object → what makes it; ``group_of`` gives the kind of place.
CARRIERS: dict[str, Callable[[], Planted]] = (
    _ONE_EACH
    | {f"{name} frames": _frames(name) for name in _FRAMES}
    | {f"text in {charset}": lambda charset=charset: script(charset) for charset in SCRIPTS}
)
#: Not an identifier of anybody: the reference that objects of the study share.
SHARED_REFERENCE = REFERENCED_IMAGE


def group_of(name: str) -> str:
    """Name the kind of place that a carrier stands for."""
    if name.startswith("text in "):
        return "text and names in 14 character sets"
    return "metadata inside compressed frames" if name.endswith(" frames") else name
