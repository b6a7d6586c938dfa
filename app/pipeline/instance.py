"""One instance on its way through the steps, and what comes out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from app import __version__
from app.deid.applying import Applier, Findings, Substitutes
from app.deid.attributes import (
    ACCESSION_NUMBER,
    CHARACTER_SET,
    INSTITUTION_NAME,
    PATIENT_ID,
    PATIENT_NAME,
    PIXEL_DATA,
)
from app.deid.planning import Plan, Remark, kept_text, place_for
from app.deid.profile import BurnedInPolicy, Profile
from app.deid.rules.text import TextCleaner
from app.deid.searching import Values, compile_search
from app.deid.standard import ciod_of, uid_kind
from app.deid.verifying import verify
from app.dicom import part10
from app.dicom.codestreams import Codestream, codestream_of
from app.dicom.elements import (
    encode_element,
    encode_text,
    key_tag,
    key_vr,
    make_key,
    tag_text,
)
from app.dicom.frames import CleanFrames, Range, Segment, clean_frames
from app.dicom.source import Source, write_all
from app.dicom.text import decode
from app.dicom.tokens import Limits, PixelValue, Tokens
from app.errors import (
    BurnedInAnnotationSuspected,
    MediaDirectory,
    MissingIdentifier,
    ResidualIdentifier,
    UndecidableElement,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from app.vault.mapping import Originals, Replacements
from app.vault.pseudonyms import Pseudonyms

# Our own arc: a UUID of this project under 2.25 (PS3.5 2026d, B.2).
IMPLEMENTATION_CLASS_UID = "2.25.297861250519478283184932114850462341120"
IMPLEMENTATION_VERSION = f"DEIDGATEWAY_{__version__}"[:16]
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_ISSUER = 0x00100021
_MODALITY = 0x00080060
_BURNED_IN = 0x00280301
_ROWS, _COLUMNS, _FRAMES = 0x00280010, 0x00280011, 0x00280008
_SAMPLES, _BITS = 0x00280002, 0x00280100
_PHOTOMETRIC = 0x00280004
# An IS value; a sign and zeros behind a point are met as well.
_INTEGER = re.compile(rb"[\0 ]*\+?0*([0-9]{1,10})(?:\.0*)?[\0 ]*")
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_SOP_CLASS_KEY = make_key(_SOP_CLASS_UID, "UI")
_PREAMBLE = bytes(128) + b"DICM"


@dataclass(frozen=True, slots=True)
class Context:
    """What one instance is de-identified with.

    Attributes:
        organization: id of the organisation whose pseudonyms are used.
        profile: the confidentiality profile.
        pseudonyms: the organisation's.
        limits: bounds on the instance.
    """

    organization: str
    profile: Profile
    pseudonyms: Pseudonyms
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, repr=False)
class Deidentified:
    """One de-identified SOP Instance, verified, not yet written.

    Attributes:
        plan: what was decided and why.
        originals: the identifiers it came with; sealed by the vault, nothing else reads them.
        replacements: the pseudonyms it goes out with.
        warnings: codes and places for the receiver.
        size: length in bytes.
        sop_class_uid: of the result, which is that of the original.
        modality: Modality of the result; empty where it has none.
    """

    plan: Plan
    originals: Originals
    replacements: Replacements
    warnings: tuple[Remark, ...]
    size: int
    sop_class_uid: str
    modality: str
    _source: Source
    _segments: tuple[Segment, ...]

    def chunks(self, max_bytes: int = 1 << 20) -> Iterator[bytes | memoryview]:
        """Yield the object's bytes; pixel bytes are read from the source as they are needed."""
        for segment in self._segments:
            if isinstance(segment, bytes):
                yield segment
                continue
            offset, remaining = segment.offset, segment.size
            while remaining:
                size = min(max_bytes, remaining)
                yield self._source.view(offset, size)
                offset += size
                remaining -= size

    def write_to(self, fd: int) -> None:
        """Append the object to a file descriptor; ranges of a file are copied by the kernel."""
        for segment in self._segments:
            if isinstance(segment, bytes):
                write_all(fd, segment)
            else:
                self._source.send(fd, segment.offset, segment.size)


class Instance:
    """One instance on its way through the steps."""

    def __init__(self, tokens: Tokens, context: Context) -> None:
        self.tokens = tokens
        self.context = context
        self.sop_class = self._sop_class()
        self.ciod = ciod_of(self.sop_class)
        self.place = place_for(context.profile, self.ciod)
        self.places = self.place.plan_of(tokens.root).places
        self.charset = self._raw(CHARACTER_SET)
        self.warnings = [Remark(code) for code in tokens.anomalies]

    def _sop_class(self) -> str:
        root, meta = self.tokens.root, self.tokens.meta
        if meta.get(0x00020002, b"").rstrip(b"\0 ") == _MEDIA_STORAGE_DIRECTORY:
            raise MediaDirectory("A DICOMDIR is not passed on; send the instances it lists")
        try:
            start, stop = root.value_span(root.keys.index(_SOP_CLASS_KEY))
        except ValueError:
            raise MissingIdentifier(path=tag_text(_SOP_CLASS_UID)) from None
        return self.tokens.buffer[start:stop].rstrip(b"\0 ").decode("ascii", "replace")

    def _raw(self, tag: int) -> bytes:
        index = self.places.get(tag)
        if index is None:
            return b""
        start, stop = self.tokens.root.value_span(index)
        return self.tokens.buffer[start:stop]

    def _text(self, tag: int) -> str:
        return decode(self._raw(tag), self.charset).strip("\0 ")

    def _number(self, tag: int) -> int:
        """Return a US or IS value; 0 where there is none."""
        raw = self._raw(tag)
        if tag == _FRAMES:
            number = _INTEGER.fullmatch(raw)
            return int(number[1]) if number else 0
        return int.from_bytes(raw[:2], "little")

    def admit(self) -> None:
        """Refuse what policy forbids or no rule covers."""
        if self.ciod is None and uid_kind(self.sop_class) != "SOPClass":
            raise UnsupportedSOPClass("The SOP Class is not registered in the standard")
        syntax = self.tokens.transfer_syntax
        pixels = self.tokens.pixels
        if codestream_of(syntax) is Codestream.UNKNOWN and (
            pixels is not None or uid_kind(syntax) != "TransferSyntax"
        ):
            raise UnsupportedTransferSyntax
        if pixels is not None and pixels.length is None and not self.tokens.root.explicit:
            raise UnsupportedTransferSyntax("Encapsulated pixel data needs explicit VR")
        policy = self.context.profile.burned_in
        if policy is BurnedInPolicy.REFUSE and self._text(_BURNED_IN).upper() == "YES":
            raise BurnedInAnnotationSuspected(path=tag_text(_BURNED_IN))

    def deidentified(self) -> Deidentified:
        """Resolve, apply, verify, and lay out what is to be written."""
        originals = self._originals()
        replacements = self._replacements(originals)
        frames = self._frames()
        substitutes = self._substitutes(replacements, frames)
        header, tail = self._verified(substitutes)
        segments = self._segments(replacements, header, tail, frames)
        size = sum(len(s) if isinstance(s, bytes) else s.size for s in segments)
        return Deidentified(
            plan=Plan(
                profile=self.context.profile,
                ciod=self.ciod,
                root=self.tokens.root,
                tail=self.tokens.tail,
                place=self.place,
                warnings=tuple(dict.fromkeys(self.warnings)),
            ),
            originals=originals,
            replacements=replacements,
            warnings=tuple(dict.fromkeys(self.warnings)),
            size=size,
            sop_class_uid=self.sop_class,
            modality=self._modality(header),
            _source=self.tokens.source,
            _segments=tuple(segments),
        )

    def _originals(self) -> Originals:
        study_uid, sop_uid = self._text(_STUDY_UID), self._text(_SOP_INSTANCE_UID)
        for tag, value in ((_STUDY_UID, study_uid), (_SOP_INSTANCE_UID, sop_uid)):
            if not value:
                raise MissingIdentifier(path=tag_text(tag))
        patient_id, issuer = self._text(PATIENT_ID), self._text(_ISSUER)
        # Without a Patient ID nobody can say that two studies are one person's: each is its own.
        subject = (
            f"patient:{len(issuer)}:{issuer}{patient_id}" if patient_id else f"study:{study_uid}"
        )
        return Originals(
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            study_uid=study_uid,
            accession_number=self._text(ACCESSION_NUMBER),
            series_uid=self._text(_SERIES_UID),
            sop_instance_uid=sop_uid,
            subject=subject,
        )

    def _replacements(self, originals: Originals) -> Replacements:
        pseudonyms = self.context.pseudonyms
        cloud_study_id = pseudonyms.cloud_study_id(originals.study_uid)
        cloud_patient_id = pseudonyms.cloud_patient_id(originals.subject)
        return Replacements(
            cloud_study_id=cloud_study_id,
            cloud_patient_id=cloud_patient_id,
            patient_id=self.context.profile.identity.patient_id.format(
                organization=self.context.organization,
                cloud_study_id=cloud_study_id,
                cloud_patient_id=cloud_patient_id,
            ),
            study_uid=pseudonyms.uid(originals.study_uid),
            series_uid=pseudonyms.uid(originals.series_uid) if originals.series_uid else "",
            sop_instance_uid=pseudonyms.uid(originals.sop_instance_uid),
        )

    def _substitutes(self, replacements: Replacements, frames: CleanFrames | None) -> Substitutes:
        profile = self.context.profile
        names = {
            "organization": self.context.organization,
            "cloud_study_id": replacements.cloud_study_id,
            "cloud_patient_id": replacements.cloud_patient_id,
        }
        identity = profile.identity
        return Substitutes(
            identity={
                PATIENT_ID: replacements.patient_id,
                PATIENT_NAME: identity.patient_name.format(**names),
                ACCESSION_NUMBER: identity.accession_number.format(**names),
                INSTITUTION_NAME: identity.institution_name.format(**names),
            },
            uid=self.context.pseudonyms.uid,
            method=f"deid-gateway {profile.name} {profile.version}",
            codes=profile.method_codes,
            offset_tables=(
                frames.offset_tables(self._raw(0x7FE00001), self._raw(0x7FE00002)) if frames else {}
            ),
        )

    def _missing_charset(self) -> str:
        """Return a Specific Character Set for text that came without one, if it needs it.

        Bytes beyond ASCII in a text without declaration are nearly always UTF-8 or Latin-1.
        """
        if CHARACTER_SET in self.places:
            return ""
        text = b"".join(kept_text(self.tokens.buffer, self.tokens.root, self.place))
        if text.isascii():
            return ""
        self.warnings.append(Remark("character-set-declared", tag_text(CHARACTER_SET)))
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            return "ISO_IR 100"
        return "ISO_IR 192"

    def _modality(self, header: bytes) -> str:
        """Return Modality if the element went into the header as it came."""
        index = self.places.get(_MODALITY)
        if index is None:
            return ""
        start, stop = self.tokens.root.span(index)
        text = self._text(_MODALITY)
        is_kept = self.tokens.buffer[start:stop] in header
        return text if is_kept and _CODE_STRING.fullmatch(text) else ""

    def _frames(self) -> CleanFrames | None:
        pixels = self.tokens.pixels
        if pixels is None or pixels.length is not None:
            return None
        frames = clean_frames(
            self.tokens.source,
            pixels,
            self.tokens.transfer_syntax,
            frame_count=self._number(_FRAMES) if self._raw(_FRAMES).strip(b"\0 ") else 1,
            segment_bytes=self._rle_segment_bytes(),
        )
        if frames is not None and frames.segments is not None:
            self.warnings.append(Remark("frame-metadata-removed", tag_text(PIXEL_DATA)))
        return frames

    def _rle_segment_bytes(self) -> int | None:
        """Return how many bytes an RLE segment decodes to; None where pixels are not bytes."""
        if self._number(_BITS) % 8:
            return None
        return self._number(_ROWS) * self._number(_COLUMNS) or None

    def _verified(self, substitutes: Substitutes) -> tuple[bytes, bytes]:
        """Return the data set before and behind the pixel value, applied and verified.

        Kept text is looked at word by word only where a first search finds something in it.
        """
        header, tail, findings = self._applied(substitutes, None)
        values = tuple(findings.values)
        search = compile_search(values)
        own = self._own(substitutes)
        try:
            text = self._verify(header, tail, values, findings, own)
            is_clean = text.isascii() and not search.suspects(text)
        except ResidualIdentifier:
            is_clean = False
        if not is_clean:
            cleaner = TextCleaner(findings.identifiers(), frozenset(findings.uids))
            substitutes = replace(substitutes, declared_charset=self._missing_charset())
            header, tail, findings = self._applied(substitutes, cleaner)
            self._verify(header, tail, values, findings, own)
        self.warnings += findings.warnings
        return header, tail

    def _applied(
        self, substitutes: Substitutes, cleaner: TextCleaner | None
    ) -> tuple[bytes, bytes, Findings]:
        tokens = self.tokens
        applier = Applier(tokens.buffer, substitutes, cleaner)
        header = applier.write(tokens.root, self.place)
        findings = applier.findings
        if tokens.tail is None:
            return header, b"", findings
        behind = Applier(tokens.tail_buffer, substitutes, cleaner, charset=self.charset)
        place = place_for(self.context.profile, self.ciod, tail=True)
        tail = behind.write(tokens.tail, place)
        findings.values += behind.findings.values
        findings.uids |= behind.findings.uids
        findings.warnings += behind.findings.warnings
        return header, tail, findings

    def _own(self, substitutes: Substitutes) -> frozenset[bytes]:
        """Return the texts that the gateway itself writes; they are no residue."""
        texts = [*substitutes.identity.values(), substitutes.method, "DCM"]
        texts += [text for code in substitutes.codes for text in code]
        return frozenset(text.encode() for text in texts)

    def _verify(
        self,
        header: bytes,
        tail: bytes,
        values: Values,
        findings: Findings,
        own: frozenset[bytes],
    ) -> bytes:
        explicit = self.tokens.root.explicit
        text = verify(header, explicit=explicit, values=values, uids=findings.uids, own=own)
        if tail:
            text += verify(tail, explicit=explicit, values=values, uids=findings.uids, own=own)
        return text

    def _segments(
        self, replacements: Replacements, header: bytes, tail: bytes, frames: CleanFrames | None
    ) -> list[Segment]:
        pixels = self.tokens.pixels
        segments: list[Segment] = [self._meta(replacements) + header]
        if pixels is not None:
            segments += self._pixel_segments(pixels, frames)
        if tail:
            segments.append(tail)
        return segments

    def _pixel_segments(self, pixels: PixelValue, frames: CleanFrames | None) -> list[Segment]:
        """Return the pixel element, without what its value holds beside frames or pixels."""
        source = self.tokens.source
        if frames is not None and frames.segments is not None:
            header = source.read(pixels.start, pixels.value - pixels.start)
            return [header, *frames.segments]
        surplus = self._surplus(pixels)
        if pixels.length is None or not (surplus or pixels.length % 2):
            return [Range(pixels.start, pixels.stop - pixels.start)]
        if surplus:
            self.warnings.append(Remark("pixel-surplus-removed", tag_text(PIXEL_DATA)))
        kept = pixels.length - surplus
        header = encode_element(
            key_tag(pixels.key),
            key_vr(pixels.key >> 32),
            b"",
            explicit=self.tokens.root.explicit,
        )
        padding = [b"\0"] if kept % 2 else []
        length = (kept + len(padding)).to_bytes(4, "little")
        return [header[:-4] + length, Range(pixels.value, kept), *padding]

    def _surplus(self, pixels: PixelValue) -> int:
        """Return how many bytes of a native value lie behind the last pixel and its padding.

        Source: PS3.5 2026d, 8.1.1 and 8.2.
        """
        if pixels.length is None:
            return 0
        bits = self._number(_ROWS) * self._number(_COLUMNS) * self._number(_BITS)
        if not bits:
            raise UndecidableElement("Pixel Data without Rows, Columns or Bits Allocated")
        samples = self._number(_SAMPLES) or 1
        bits *= self._number(_FRAMES) or 1
        expected = -(-bits * samples // 8)
        # Said to be subsampled, yet as long as if it were not: no pixel is cut off.
        if self._text(_PHOTOMETRIC) == "YBR_FULL_422" and pixels.length < expected:
            expected = -(-bits * 2 // 8)
        surplus = pixels.length - expected - expected % 2
        if surplus > 0 and not self._number(_FRAMES) and self._raw(_FRAMES).strip(b"\0 "):
            raise UndecidableElement("This is no number of frames", path=tag_text(_FRAMES))
        return max(surplus, 0)

    def _meta(self, replacements: Replacements) -> bytes:
        """Return preamble and File Meta Information, all new. Source: PS3.10 2026d, 7.1."""
        elements = (
            encode_element(0x00020001, "OB", b"\0\1", explicit=True)
            + encode_text(0x00020002, "UI", self.sop_class, explicit=True)
            + encode_text(0x00020003, "UI", replacements.sop_instance_uid, explicit=True)
            + encode_text(0x00020010, "UI", self._syntax(), explicit=True)
            + encode_text(0x00020012, "UI", IMPLEMENTATION_CLASS_UID, explicit=True)
            + encode_text(0x00020013, "SH", IMPLEMENTATION_VERSION, explicit=True)
        )
        length = encode_element(
            0x00020000, "UL", len(elements).to_bytes(4, "little"), explicit=True
        )
        return _PREAMBLE + length + elements

    def _syntax(self) -> str:
        """Return the transfer syntax as the data set is really encoded."""
        syntax, explicit = self.tokens.transfer_syntax, self.tokens.root.explicit
        if syntax == part10.IMPLICIT_LE and explicit:
            return part10.EXPLICIT_LE
        if syntax == part10.EXPLICIT_LE and not explicit:
            return part10.IMPLICIT_LE
        return syntax
