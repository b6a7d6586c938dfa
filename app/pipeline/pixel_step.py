"""The pixels of one instance within the steps: what is asked about them, and what is said of them.

Only for profiles with Clean Pixel Data. Nothing is decoded here.
"""

from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Final

from app.deid.attributes import DERIVATION_DESCRIPTION, PIXEL_DATA
from app.deid.options import Option
from app.deid.overlays import Overlay, whole_overlays
from app.deid.pixel_policy import Read
from app.deid.private import View
from app.deid.profile import Profile
from app.deid.rulebook import rulebook_of
from app.deid.rules.identifiers import Identifier
from app.deid.substitutes import Fact
from app.dicom.elements import key_tag
from app.errors import GatewayError
from app.pipeline.document_work import DocumentPart, document_in
from app.pipeline.picturing import picture_of
from app.pipeline.pixel_facts import codes_of, facts_of, is_claimed
from app.pipeline.root import RootValues
from app.pipeline.side_work import Request, Work
from app.pixels import ladder
from app.pixels.hiding import has_hidden_room
from app.pixels.ladder import Planned
from app.pixels.model import Decision, Reason, Risk, Rung, Verdict
from app.pixels.placing import Pieces, frames_of, has_unused_bits
from app.pixels.risk import is_video
from app.pixels.rules import RuleSet
from app.pixels.rules_loading import load_rules

#: More frames than a film of an hour has are not told apart: a few bytes can claim any number.
MOST_FRAMES: Final = 200_000


class PixelStep:
    """What the ladder says of one instance.

    Args:
        root: its values.
        sop_class: its SOP Class UID.
        profile: one with Clean Pixel Data.
        rules: of the organisation; None for those of the program alone.
        work: what was done already; None at first.
    """

    def __init__(
        self,
        root: RootValues,
        sop_class: str,
        profile: Profile,
        rules: RuleSet | None,
        work: Work | None,
    ) -> None:
        self.root = root
        self.profile = profile
        self.picture = picture_of(root, sop_class) if root.tokens.pixels is not None else None
        self.rules = rules or _built_in()
        self.work = work or self._settled()

    @cached_property
    def planned(self) -> Planned | None:
        """What the first rungs say; None where there are no pixels."""
        if self.picture is None:
            return None
        policy = self.profile.pixels
        planned = ladder.plan(self.picture, self.rules, policy)
        if policy.read is Read.ALL:
            return _to_be_read(planned, Reason(Rung.RISK, "all-are-read"))
        if planned.settled is Verdict.PASS and self._has_more_frames:
            return _to_be_read(planned, Reason(Rung.RISK, "contradictory-values", "frames"))
        return planned

    @property
    def _has_more_frames(self) -> bool:
        """Whether there are compressed frames that the header does not count."""
        tokens, picture = self.root.tokens, self.picture
        if picture is None or tokens.pixels is None or len(tokens.pixels.fragments) < 2:
            return False
        if len(tokens.pixels.fragments) - 1 <= picture.frames or is_video(picture):
            return False
        return self.frames is not None and len(self.frames) > picture.frames

    @cached_property
    def frames(self) -> tuple[Pieces, ...] | None:
        """Where the frames lie; None where they cannot be told apart."""
        tokens, picture = self.root.tokens, self.picture
        if tokens.pixels is None or picture is None or picture.frames > MOST_FRAMES:
            return None
        try:
            return tuple(frames_of(tokens.source, tokens.pixels, picture))
        except GatewayError:
            return None

    @cached_property
    def must_clean(self) -> bool:
        """Whether pixels carry more than their values, such as an embedded overlay, or may."""
        tokens, picture = self.root.tokens, self.picture
        if tokens.pixels is None or picture is None or is_video(picture):
            return False
        if tokens.pixels.length is None:
            return self.frames is None or has_hidden_room(tokens.source, self.frames, picture)
        if (
            key_tag(tokens.pixels.key) != PIXEL_DATA
            or picture.bits_stored >= picture.bits_allocated
        ):
            return False
        return self.frames is None or has_unused_bits(tokens.source, self.frames, picture)

    @cached_property
    def overlays(self) -> tuple[Overlay, ...]:
        """The overlays that may stay once somebody has looked into them."""
        if Option.CLEAN_GRAPHICS not in self.profile.options:
            return ()
        return whole_overlays(self.root.tokens.root, View(self.root.tokens.buffer))

    @cached_property
    def document(self) -> DocumentPart | None:
        """The document that is to be cleaned; there is none beside pixels."""
        return document_in(self.root, self.profile) if self.picture is None else None

    @property
    def facts(self) -> dict[int, Fact]:
        """Tag → what is stated of the pixels, or of the document."""
        if self.work is not None and self.work.document is not None:
            return self.work.document.facts()
        rules = rulebook_of(self.profile.options)
        describes = DERIVATION_DESCRIPTION in rules.cells
        return facts_of(self.picture, self.work, self.root, describes=describes)

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """The codes of CID 7050 that are true of this object."""
        has_document = self.work is not None and self.work.document is not None
        is_clean = has_document or is_claimed(self.picture, self.work)
        return codes_of(self.profile, is_clean=is_clean)

    @property
    def is_dropped(self) -> bool:
        """Whether nothing of the image is passed on."""
        return self.planned is not None and self.planned.settled is Verdict.DROP

    @property
    def looked_at(self) -> frozenset[int]:
        """Groups of overlays in which nothing identifying is written."""
        return self.work.overlays if self.work else frozenset()

    def request(
        self,
        *,
        identifiers: tuple[Identifier, ...],
        cloud_study_id: str,
        cloud_patient_id: str,
        name_key: bytes,
    ) -> Request:
        """Return what has to be done.

        Args:
            identifiers: what must not be read in pixels.
            cloud_study_id: under which the object is held back.
            cloud_patient_id: the same for the patient.
            name_key: under which names inside of a document get others.
        """
        tokens, document = self.root.tokens, self.document
        return Request(
            source=tokens.source,
            picture=self.picture,
            planned=self.planned,
            rules_version=self.rules.version,
            frames=self.frames,
            must_clean=self.must_clean,
            overlays=self.overlays,
            document=replace(document, name_key=name_key) if document else None,
            header=tokens.buffer,
            identifiers=identifiers,
            cloud_study_id=cloud_study_id,
            cloud_patient_id=cloud_patient_id,
        )

    def _settled(self) -> Work | None:
        """Return the work where nothing has to be done; None where something has."""
        planned = self.planned
        if self.overlays or self.must_clean or self.document:
            return None
        if planned is None:
            return Work()
        if planned.settled is not Verdict.PASS:
            return None
        decision = Decision(Verdict.PASS, planned.risk, planned.marks, planned.reasons)
        return Work(decision, rules_version=self.rules.version)


def _to_be_read(planned: Planned, reason: Reason) -> Planned:
    """Return a plan by which an image without risk is read as others are."""
    if planned.risk is not Risk.NONE or planned.settled is not Verdict.PASS:
        return planned
    reasons = (*planned.reasons, reason)
    return replace(planned, risk=Risk.SOME, reasons=reasons, must_read=True, settled=None)


@lru_cache(maxsize=1)
def _built_in() -> RuleSet:
    return load_rules()
