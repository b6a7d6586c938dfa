"""One instance on its way through the steps."""

import base64
import re
from collections.abc import Mapping

from app.deid.attributes import (
    ACCESSION_NUMBER,
    BURNED_IN,
    INSTITUTION_NAME,
    MANUFACTURER,
    OFFSET_TABLES,
    PATIENT_ID,
    PATIENT_NAME,
)
from app.deid.overrides import Facts, Override
from app.deid.planning import Plan, Remark, place_for
from app.deid.private import View, declarations
from app.deid.profile import BurnedInPolicy
from app.deid.rulebook import Dates
from app.deid.standard import ciod_of, is_uid, uid_kind
from app.deid.substitutes import Fact, Substitutes
from app.dicom.codestreams import Codestream, codestream_of
from app.dicom.elements import key_tag, make_key, tag_text
from app.dicom.frames import CleanFrames, size_of
from app.dicom.tokens import Tokens
from app.errors import (
    BurnedInAnnotationSuspected,
    LabelImage,
    MediaDirectory,
    MissingIdentifier,
    UndecidableElement,
    UnsupportedSOPClass,
    UnsupportedTransferSyntax,
)
from app.pipeline.frame_search import search_frames
from app.pipeline.layout import Layout
from app.pipeline.picturing import picture_of
from app.pipeline.pixel_advice import advice_without_option
from app.pipeline.pixel_step import PixelStep
from app.pipeline.results import Context, Deidentified
from app.pipeline.root import RootValues
from app.pipeline.side_work import Masked, Request, Wanted, Work
from app.pipeline.writing import Placed, Writer
from app.pixels.rules import RuleSet
from app.vault.mapping import Originals as MappedOriginals
from app.vault.mapping import Replacements

# AE titles have sixteen characters at most: 13 symbols are 65 bits.
_AE_SYMBOLS = 13
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_ISSUER = 0x00100021
_MODALITY = 0x00080060
_MODEL = 0x00081090
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
_MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_SOP_CLASS_KEY = make_key(_SOP_CLASS_UID, "UI")
# What is stated of pixels that nothing had to be done to.
_USUAL = frozenset({BURNED_IN})


class Instance:
    """One instance on its way through the steps."""

    def __init__(
        self,
        tokens: Tokens,
        context: Context,
        rules: RuleSet | None = None,
        work: Work | None = None,
    ) -> None:
        self.tokens = tokens
        self.context = context
        self.sop_class = self._sop_class()
        self.ciod = ciod_of(self.sop_class)
        overrides = self._overrides()
        self.tail_place = place_for(context.profile, self.ciod, tail=True, overrides=overrides)
        self.pixels: PixelStep | None = None
        self.facts: Mapping[int, Fact] = {}
        self._place(overrides, _USUAL if self._has_usual_facts() else frozenset())
        if context.profile.cleans_pixels:
            self._ask_ladder(overrides, rules, work)
        self.tail_view = self._view(tokens.tail_buffer)
        self.warnings = [Remark(code) for code in tokens.anomalies]
        placed = Placed(self.root, self.place, self.tail_place, self.view, self.tail_view)
        self.writer = Writer(placed, context.recognize, self.warnings)
        self.layout = Layout(self.root, self.sop_class, self.warnings)

    def _sop_class(self) -> str:
        root, meta = self.tokens.root, self.tokens.meta
        if meta.get(0x00020002, b"").rstrip(b"\0 ") == _MEDIA_STORAGE_DIRECTORY:
            raise MediaDirectory("A DICOMDIR is not passed on; send the instances it lists")
        try:
            start, stop = root.value_span(root.keys.index(_SOP_CLASS_KEY))
        except ValueError:
            raise MissingIdentifier(path=tag_text(_SOP_CLASS_UID)) from None
        return self.tokens.buffer[start:stop].rstrip(b"\0 ").decode("ascii", "replace")

    def _view(self, buffer: bytes) -> View:
        """Return what rules about private elements see of a part of the instance."""
        looked_at = self.pixels.looked_at if self.pixels else None
        if self.place.rules.safe_private is None:
            return View(buffer, looked_at=looked_at)
        return View(buffer, declarations(self.tokens.buffer, self.tokens.root), looked_at)

    def _overrides(self) -> tuple[Override, ...]:
        """Return the profile's overrides whose conditions hold for this instance."""
        overrides = self.context.profile.overrides
        if not overrides:
            return ()
        values = self._values()
        facts = Facts(
            sop_class=self.sop_class,
            modality=values.text(_MODALITY),
            manufacturer=values.text(MANUFACTURER),
            model=values.text(_MODEL),
        )
        return tuple(one for one in overrides if one.when.holds(facts))

    def _values(self) -> RootValues:
        """Return the values of the root before there is a plan."""
        places = {key_tag(key): i for i, key in enumerate(self.tokens.root.keys)}
        return RootValues(self.tokens, places)

    def _has_usual_facts(self) -> bool:
        """Say whether one fact alone will be stated of the pixels, as far as one can tell."""
        return self.context.profile.cleans_pixels and self.tokens.pixels is not None

    def _place(self, overrides: tuple[Override, ...], written: frozenset[int]) -> None:
        """Settle what is decided where, and so where each value is."""
        profile, tokens = self.context.profile, self.tokens
        self.place = place_for(profile, self.ciod, overrides=overrides, written=written)
        self.view = self._view(tokens.buffer)
        self.root = RootValues(tokens, self.place.plan_of(tokens.root, self.view).places)

    def _ask_ladder(
        self, overrides: tuple[Override, ...], rules: RuleSet | None, work: Work | None
    ) -> None:
        """Hear what the ladder says, and settle anew where that changes what is written."""
        step = PixelStep(self.root, self.sop_class, self.context.profile, rules, work)
        self.pixels, self.facts = step, step.facts
        if self.facts.keys() != self.place.rules.written or step.looked_at:
            self._place(overrides, frozenset(self.facts))

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
        if codestream_of(syntax) is Codestream.VIDEO and pixels is not None and not self.pixels:
            raise UndecidableElement("Nobody looks into videos without Clean Pixel Data")
        policy = self.context.profile.burned_in
        is_declared = self.root.text(BURNED_IN).upper() == "YES"
        if self.pixels is None and policy is BurnedInPolicy.REFUSE and is_declared:
            advice = advice_without_option(picture_of(self.root, self.sop_class))
            raise BurnedInAnnotationSuspected(advice, path=tag_text(BURNED_IN))

    def deidentified(self) -> Deidentified:
        """Resolve, apply, verify, and lay out what is to be written."""
        originals = self._originals()
        replacements = self._replacements(originals)
        masked = self._masked(replacements)
        frames = self.layout.frames(masked)
        substitutes = self._substitutes(originals, replacements, frames)
        header, tail = self.writer.verified(substitutes)
        self._search(frames)
        segments = self.layout.segments(replacements.sop_instance_uid, header, tail, frames, masked)
        size = sum(map(size_of, segments))
        return Deidentified(
            plan=Plan(
                profile=self.context.profile,
                ciod=self.ciod,
                root=self.tokens.root,
                tail=self.tokens.tail,
                place=self.place,
                warnings=tuple(dict.fromkeys(self.warnings)),
                view=self.view,
                tail_view=self.tail_view,
                tail_place=self.tail_place,
            ),
            originals=originals,
            replacements=replacements,
            warnings=tuple(dict.fromkeys(self.warnings)),
            size=size,
            sop_class_uid=self.sop_class,
            modality=self._modality(header),
            work=self.pixels.work if self.pixels else None,
            codes=substitutes.codes,
            _source=self.tokens.source,
            _segments=tuple(segments),
        )

    def _search(self, frames: CleanFrames | None) -> None:
        """Look into compressed frames once more."""
        pixels, originals = self.tokens.pixels, self.writer.originals
        if frames is None or pixels is None or originals is None:
            return
        search_frames(self.tokens.source, pixels, frames, self.tokens.transfer_syntax, originals)

    def _masked(self, replacements: Replacements) -> Masked | None:
        """Return frames that take the place of those that came, if some do.

        Raises:
            LabelImage: nothing of the image is passed on.
            Wanted: something has to be done first.
        """
        step = self.pixels
        if step is None:
            return None
        if step.work is not None:
            return step.work.masked
        if step.is_dropped:
            raise LabelImage
        raise Wanted(self._request(step, replacements))

    def _request(self, step: PixelStep, replacements: Replacements) -> Request:
        """Return what has to be done; names inside of a document are the same in a study."""
        return step.request(
            identifiers=tuple(self.writer.gathered().identifiers()),
            cloud_study_id=replacements.cloud_study_id,
            cloud_patient_id=replacements.cloud_patient_id,
            name_key=self.context.pseudonyms.lookup("document-names", self.root.text(_STUDY_UID)),
        )

    def request(self) -> Request | None:
        """Return what would be asked about the pixels; None where the profile asks nothing."""
        if self.pixels is None:
            return None
        return self._request(self.pixels, self._replacements(self._originals()))

    def _originals(self) -> MappedOriginals:
        study_uid, sop_uid = self.root.text(_STUDY_UID), self.root.text(_SOP_INSTANCE_UID)
        for tag, value in ((_STUDY_UID, study_uid), (_SOP_INSTANCE_UID, sop_uid)):
            if not value:
                raise MissingIdentifier(path=tag_text(tag))
        patient_id, issuer = self.root.text(PATIENT_ID), self.root.text(_ISSUER)
        # Without a Patient ID nobody can say that two studies are one person's: each is its own.
        subject = (
            f"patient:{len(issuer)}:{issuer}{patient_id}" if patient_id else f"study:{study_uid}"
        )
        return MappedOriginals(
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            study_uid=study_uid,
            accession_number=self.root.text(ACCESSION_NUMBER),
            series_uid=self.root.text(_SERIES_UID),
            sop_instance_uid=sop_uid,
            subject=subject,
        )

    def _replacements(self, originals: MappedOriginals) -> Replacements:
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
            study_uid=self._uid(originals.study_uid),
            series_uid=self._uid(originals.series_uid) if originals.series_uid else "",
            sop_instance_uid=self._uid(originals.sop_instance_uid),
        )

    def _uid(self, original: str) -> str:
        """Return what the data set will hold in the place of a UID."""
        if self.place.rules.keeps_uids and is_uid(original):
            return original
        return self.context.pseudonyms.uid(original)

    def _ae_title(self, original: str) -> str:
        """Return a keyed AE title: devices stay apart, nobody can tell which they are."""
        if not original:
            return ""
        digest = self.context.pseudonyms.lookup("ae-title", original)
        return "AE" + base64.b32encode(digest).decode("ascii")[:_AE_SYMBOLS]

    def _substitutes(
        self, originals: MappedOriginals, replacements: Replacements, frames: CleanFrames | None
    ) -> Substitutes:
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
            codes=self.pixels.codes if self.pixels else profile.method_codes,
            offset_days=self._offset_days(originals),
            pseudonym=self._ae_title,
            offset_tables=(
                frames.offset_tables(self.root.raw(0x7FE00001), self.root.raw(0x7FE00002))
                if frames
                else dict.fromkeys(OFFSET_TABLES, b"")
            ),
            facts=self.facts,
        )

    def _offset_days(self, originals: MappedOriginals) -> int:
        if self.place.rules.dates is not Dates.MODIFIED:
            return 0
        return self.context.pseudonyms.date_offset_days(originals.subject)

    def _modality(self, header: bytes) -> str:
        """Return Modality if the element went into the header as it came."""
        index = self.root.places.get(_MODALITY)
        if index is None:
            return ""
        start, stop = self.tokens.root.span(index)
        text = self.root.text(_MODALITY)
        is_kept = self.tokens.buffer[start:stop] in header
        return text if is_kept and _CODE_STRING.fullmatch(text) else ""
